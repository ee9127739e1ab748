//! The hash of a derivation "modulo" its fixed outputs: how an input-addressed output gets its path. A fixed output
//! counts by what it is, not by how it is fetched, so that another mirror changes nothing downstream.
//!
//! Computing it needs the hashes of all input derivations; the caller's closure looks them up and must memoise, or the
//! cost grows with the number of paths through the graph.

use super::{Derivation, Output};
use crate::hash::Hash;
use crate::store_path::{StoreDir, StorePath, StorePathError};
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;

/// What stands for a derivation in the text of those that depend on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModuloHash {
    /// One hash for all outputs.
    Regular(Hash),
    /// A hash for each fixed output.
    Fixed(BTreeMap<String, Hash>),
    /// Not known before something is built: it or an input has a floating output.
    Deferred(Hash),
}

impl ModuloHash {
    /// The hash that stands for one output.
    #[must_use]
    pub fn of_output(&self, output: &str) -> Option<&Hash> {
        match self {
            Self::Regular(hash) | Self::Deferred(hash) => Some(hash),
            Self::Fixed(hashes) => hashes.get(output),
        }
    }
}

/// A derivation that claims an output path that is not its own.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OutputMismatch {
    /// The path differs from the one computed.
    #[error(
        "derivation `{derivation}` has incorrect output `{found}` for `{output}`, should be `{expected}`"
    )]
    Path {
        /// The derivation's name.
        derivation: String,
        /// The output's name.
        output: String,
        /// What it claims.
        found: String,
        /// What follows from its inputs.
        expected: String,
    },
    /// The variable with the output's name says another path.
    #[error(
        "derivation `{derivation}` has incorrect environment variable `{output}`, should be `{expected}`"
    )]
    Variable {
        /// The derivation's name.
        derivation: String,
        /// The output's and variable's name.
        output: String,
        /// What follows from its inputs.
        expected: String,
    },
}

impl Derivation {
    /// Its hash as seen by derivations that depend on it. `lookup` gives the same of an input derivation.
    pub fn hash_modulo<E: From<StorePathError>>(
        &self,
        store: &StoreDir,
        lookup: &mut dyn FnMut(&StorePath) -> Result<ModuloHash, E>,
    ) -> Result<ModuloHash, E> {
        self.modulo(store, false, lookup)
    }

    /// Its hash without its own output paths: what names its outputs as realisations in the worker protocol.
    pub fn masked_hash<E: From<StorePathError>>(
        &self,
        store: &StoreDir,
        lookup: &mut dyn FnMut(&StorePath) -> Result<ModuloHash, E>,
    ) -> Result<ModuloHash, E> {
        self.modulo(store, true, lookup)
    }

    fn modulo<E: From<StorePathError>>(
        &self,
        store: &StoreDir,
        mask_outputs: bool,
        lookup: &mut dyn FnMut(&StorePath) -> Result<ModuloHash, E>,
    ) -> Result<ModuloHash, E> {
        if let Some(hashes) = fixed_hashes(&self.outputs, |name, output| {
            let path = output.path(store, &self.name, name)?;
            Ok(path.map(|path| store.print(&path)).unwrap_or_default())
        })? {
            return Ok(ModuloHash::Fixed(hashes));
        }
        let mut deferred = self.outputs.values().any(|output| {
            matches!(output, Output::Floating { .. } | Output::Impure { .. })
                || (!mask_outputs && matches!(output, Output::Deferred))
        });
        let mut inputs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (path, outputs) in &self.input_drvs {
            let hash = lookup(path)?;
            deferred |= matches!(hash, ModuloHash::Deferred(_));
            for output in outputs {
                if let Some(hash) = hash.of_output(output) {
                    inputs.entry(hash.digits16()).or_default().insert(output.clone());
                }
            }
        }
        let hash = Hash::sha256(self.unparse_with(store, &inputs, mask_outputs)?);
        Ok(if deferred { ModuloHash::Deferred(hash) } else { ModuloHash::Regular(hash) })
    }

    /// Computes the paths of input-addressed outputs (given as [`Output::Deferred`] or with any path) and writes them
    /// into the outputs and into the variables of their names; writes those of fixed outputs into their variables, and
    /// for floating outputs a placeholder.
    pub fn fill_output_paths<E: From<StorePathError>>(
        &mut self,
        store: &StoreDir,
        lookup: &mut dyn FnMut(&StorePath) -> Result<ModuloHash, E>,
    ) -> Result<(), E> {
        let names: Vec<String> = self.outputs.keys().cloned().collect();
        for name in &names {
            self.env.insert(name.clone().into_bytes(), Vec::new());
        }
        let hash = self.modulo(store, true, lookup)?;
        for name in names {
            if let (Some(Output::Deferred | Output::InputAddressed(_)), ModuloHash::Regular(hash)) =
                (self.outputs.get(&name), &hash)
            {
                let path = store.make_output_path(&name, hash, &self.name)?;
                self.outputs.insert(name.clone(), Output::InputAddressed(path));
            }
            let Some(output) = self.outputs.get(&name) else { continue };
            let value = output.variable(store, &self.name, &name)?;
            self.env.insert(name.into_bytes(), value.into_bytes());
        }
        Ok(())
    }

    /// Recomputes every output path and compares: a derivation from elsewhere must not claim a path that is not its own.
    pub fn check_output_paths<E: From<StorePathError> + From<OutputMismatch>>(
        &self,
        store: &StoreDir,
        lookup: &mut dyn FnMut(&StorePath) -> Result<ModuloHash, E>,
    ) -> Result<(), E> {
        let hash = self.modulo(store, true, lookup)?;
        for (name, output) in &self.outputs {
            let found = self.output_path(store, name)?;
            let expected = match (output, &hash) {
                (Output::InputAddressed(_) | Output::Deferred, ModuloHash::Regular(hash)) => {
                    Some(store.make_output_path(name, hash, &self.name)?)
                }
                (Output::Fixed(_), _) => found.clone(),
                _ => None,
            };
            let print =
                |path: &Option<StorePath>| path.as_ref().map(|path| store.print(path)).unwrap_or_default();
            if found != expected {
                return Err(OutputMismatch::Path {
                    derivation: self.name.clone(),
                    output: name.clone(),
                    found: print(&found),
                    expected: print(&expected),
                }
                .into());
            }
            let variable = self.env.get(name.as_bytes()).map(Vec::as_slice);
            if let Some(path) = &expected
                && variable != Some(store.print(path).as_bytes())
            {
                return Err(OutputMismatch::Variable {
                    derivation: self.name.clone(),
                    output: name.clone(),
                    expected: print(&expected),
                }
                .into());
            }
        }
        Ok(())
    }
}

/// The hashes of the outputs if they are all fixed; `print` gives an output's path as text.
pub(super) fn fixed_hashes(
    outputs: &BTreeMap<String, Output>,
    print: impl Fn(&str, &Output) -> Result<String, StorePathError>,
) -> Result<Option<BTreeMap<String, Hash>>, StorePathError> {
    let mut hashes = BTreeMap::new();
    for (name, output) in outputs {
        let Output::Fixed(address) = output else { return Ok(None) };
        let path = print(name, output)?;
        let text = format!("fixed:out:{}{}:{path}", address.method.prefix(), address.hash.base16());
        hashes.insert(name.clone(), Hash::sha256(text));
    }
    Ok(if hashes.is_empty() { None } else { Some(hashes) })
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;
    use crate::content_address::{ContentAddress, Method};
    use crate::hash::Algorithm;

    #[derive(Debug, Error)]
    enum Failure {
        #[error(transparent)]
        Path(#[from] StorePathError),
        #[error(transparent)]
        Mismatch(#[from] OutputMismatch),
    }

    fn base(name: &str, outputs: &[(&str, Output)], env: &[(&str, &str)]) -> Derivation {
        let mut derivation = Derivation {
            name: name.into(),
            platform: b"x86_64-linux".to_vec(),
            builder: b"/bin/sh".to_vec(),
            ..Derivation::default()
        };
        for (output, kind) in outputs {
            derivation.outputs.insert((*output).into(), kind.clone());
        }
        let own = [("builder", "/bin/sh"), ("name", name), ("system", "x86_64-linux")];
        for (key, value) in own.iter().chain(env) {
            derivation.env.insert(key.as_bytes().to_vec(), value.as_bytes().to_vec());
        }
        derivation
    }

    struct Graph(BTreeMap<StorePath, Derivation>);

    impl Graph {
        fn add(&mut self, mut derivation: Derivation) -> StorePath {
            let store = StoreDir::default();
            let draft = super::super::Draft::from(&derivation);
            let drafted = draft.finish::<_, Failure>(&store, &mut |path| self.modulo(path)).unwrap();
            derivation.fill_output_paths(&store, &mut |path| self.modulo(path)).unwrap();
            assert_eq!(drafted.outputs, derivation.outputs);
            assert_eq!(drafted.references, derivation.references());
            assert_eq!(drafted.text, derivation.unparse(&store).unwrap());
            let hash = derivation.hash_modulo::<Failure>(&store, &mut |path| self.modulo(path)).unwrap();
            assert_eq!(drafted.hash, hash);
            for (name, text) in &drafted.output_texts {
                assert_eq!(derivation.variable(name), Some(text.as_bytes()));
            }
            derivation.check_output_paths(&store, &mut |path| self.modulo(path)).unwrap();
            let (path, text) = derivation.to_store_path(&store).unwrap();
            assert_eq!(parse(&text, &derivation.name, &store).unwrap(), derivation);
            self.0.insert(path.clone(), derivation);
            path
        }
        fn modulo(&self, path: &StorePath) -> Result<ModuloHash, Failure> {
            self.0[path].hash_modulo(&StoreDir::default(), &mut |path| self.modulo(path))
        }
        fn out(&self, path: &StorePath, output: &str) -> String {
            self.0[path].output_path(&StoreDir::default(), output).unwrap().unwrap().to_string()
        }
    }

    /// The derivations fod, a and b of the golden vectors, whose paths Nix 2.8 printed.
    fn golden() -> (Graph, [StorePath; 3]) {
        let mut graph = Graph(BTreeMap::new());
        let hash = Hash::sha256("hello");
        let fixed = Output::Fixed(ContentAddress { method: Method::Flat, hash });
        let digits = hash.digits16();
        let fod = graph.add(base(
            "fod",
            &[("out", fixed)],
            &[("outputHash", &digits), ("outputHashAlgo", "sha256"), ("outputHashMode", "flat")],
        ));
        let mut a =
            base("a", &[("out", Output::Deferred), ("dev", Output::Deferred)], &[("outputs", "out dev")]);
        a.args = vec![b"-c".to_vec(), b"echo \"hi\n\" > $out".to_vec()];
        let a = graph.add(a);
        let store = StoreDir::default();
        let (fod_out, a_dev) = (
            store.print(&graph.0[&fod].output_path(&store, "out").unwrap().unwrap()),
            store.print(&graph.0[&a].output_path(&store, "dev").unwrap().unwrap()),
        );
        let mut b = base("b", &[("out", Output::Deferred)], &[("fod", &fod_out), ("dep", &a_dev)]);
        b.input_drvs.insert(fod.clone(), ["out".to_owned()].into());
        b.input_drvs.insert(a.clone(), ["dev".to_owned()].into());
        let b = graph.add(b);
        (graph, [fod, a, b])
    }

    #[test]
    fn paths_as_nix_computes_them() {
        let (graph, [fod, a, b]) = golden();
        assert_eq!(graph.out(&fod, "out"), "9q0mqp4y1k819ysjzsfjah1ld74x19w2-fod");
        assert_eq!(graph.out(&a, "out"), "8n1ffqw889q737q229x1q2i4qxjm4m4b-a");
        assert_eq!(graph.out(&a, "dev"), "a938zr1ybw55vsn341dvhxlqa2m22snc-a-dev");
        assert_eq!(graph.out(&b, "out"), "arxv9464yyyf0gzybznx2i1f5iki2wf2-b");
        assert_eq!(a.hash_part(), "qmrc0cc59licd6y5v8rzi6iadafnsvqm");
        assert_eq!(b.hash_part(), "bl2nrv66fazx4a9xbmi6v79xpdn792cm");
        assert_eq!(fod.hash_part(), "z0i11gnhz405hxyqdajd7iciarzrzy8a");
    }

    #[test]
    fn foreign_outputs_are_refused() {
        let (graph, [_, a, b]) = golden();
        let store = StoreDir::default();
        let stolen = graph.0[&a].outputs["out"].clone();
        let mut forged = graph.0[&b].clone();
        forged.outputs.insert("out".into(), stolen);
        let check = |derivation: &Derivation| {
            derivation.check_output_paths::<Failure>(&store, &mut |path| graph.modulo(path))
        };
        assert!(matches!(check(&forged), Err(Failure::Mismatch(OutputMismatch::Path { .. }))));
        let mut forged = graph.0[&b].clone();
        forged.env.insert(b"out".to_vec(), b"/nix/store/elsewhere".to_vec());
        assert!(matches!(check(&forged), Err(Failure::Mismatch(OutputMismatch::Variable { .. }))));
    }

    #[test]
    fn a_fixed_output_counts_by_content() {
        let (graph, [fod, ..]) = golden();
        let mut other_mirror = graph.0[&fod].clone();
        other_mirror.env.insert(b"url".to_vec(), b"https://elsewhere".to_vec());
        let store = StoreDir::default();
        let hash = other_mirror.hash_modulo::<Failure>(&store, &mut |path| graph.modulo(path)).unwrap();
        assert_eq!(hash, graph.modulo(&fod).unwrap());
        let ModuloHash::Fixed(hashes) = hash else { panic!("a fixed output") };
        assert_eq!(hashes["out"].algorithm(), Algorithm::Sha256);
    }

    #[test]
    fn corrupt_texts_are_refused() {
        let (graph, [_, a, _]) = golden();
        let store = StoreDir::default();
        let text = graph.0[&a].unparse(&store).unwrap();
        for end in 0..text.len() {
            assert!(parse(&text[..end], "a", &store).is_err(), "cut at {end}");
        }
        let mut longer = text.clone();
        longer.push(b'\n');
        assert!(matches!(parse(&longer, "a", &store), Err(crate::derivation::ParseError::Trailing(_))));
    }
}
