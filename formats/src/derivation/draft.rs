//! Finishing a derivation that an evaluation has just put together: its output paths, its text and its hash "modulo",
//! all from one writing of what the three texts behind them have in common. The results are those of
//! [`Derivation::fill_output_paths`], [`Derivation::unparse`] and [`Derivation::hash_modulo`], which say what they mean.

use super::aterm::{escape, output_fields, quote, separate, strings};
use super::{Derivation, ModuloHash, Output};
use crate::hash::{Algorithm, Hash, Hasher};
use crate::store_path::{StoreDir, StorePath, StorePathError};
use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};

/// A derivation whose output paths are not known yet; its texts are borrowed.
#[derive(Debug, Default)]
pub struct Draft<'d> {
    /// The name: its store path's, without `.drv`.
    pub name: &'d str,
    /// The outputs by name, those that get a path as [`Output::Deferred`].
    pub outputs: BTreeMap<String, Output>,
    /// Derivations and the names of those outputs that are inputs; in any order.
    pub input_drvs: Vec<(StorePath, &'d str)>,
    /// Store paths that are inputs as they are; in any order.
    pub input_srcs: Vec<StorePath>,
    /// The system that it builds on.
    pub platform: &'d [u8],
    /// The program that builds.
    pub builder: &'d [u8],
    /// Its arguments.
    pub args: Vec<&'d [u8]>,
    /// Its environment without duplicates, best in the order of the names; the variables of the outputs are added.
    pub env: Vec<(&'d [u8], &'d [u8])>,
}

/// What became of a draft.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The outputs with their paths, where these are known.
    pub outputs: BTreeMap<String, Output>,
    /// What stands for each output in its variable: its path, printed, a placeholder, or nothing.
    pub output_texts: BTreeMap<String, String>,
    /// The derivation's text.
    pub text: Vec<u8>,
    /// All inputs: what the text refers to.
    pub references: BTreeSet<StorePath>,
    /// What its users count it as.
    pub hash: ModuloHash,
}

impl Draft<'_> {
    /// Computes everything that follows. `lookup` gives the hash of an input derivation.
    pub fn finish<H: Borrow<ModuloHash>, E: From<StorePathError>>(
        mut self,
        store: &StoreDir,
        lookup: &mut dyn FnMut(&StorePath) -> Result<H, E>,
    ) -> Result<Finished, E> {
        self.input_drvs.sort_unstable();
        self.input_drvs.dedup();
        self.input_srcs.sort_unstable();
        self.input_srcs.dedup();
        let names: Vec<String> = self.outputs.keys().cloned().collect();
        let (rest, places) = self.rest(store, &names);
        let fixed = self.outputs.values().all(|output| matches!(output, Output::Fixed(_)));
        let floating = |output: &Output| matches!(output, Output::Floating { .. } | Output::Impure { .. });
        let mut deferred = self.outputs.values().any(floating);
        let mut hashed_inputs = Vec::new();
        if !fixed {
            deferred |= self.write_hashed_inputs(&mut hashed_inputs, lookup)?;
        }

        let mut masked = None;
        if self.outputs.values().any(|output| matches!(output, Output::Deferred)) && !deferred {
            let head = self.head(&BTreeMap::new());
            masked = Some(sha256(&[&head, &hashed_inputs, b"],", &rest]));
        }
        if let Some(hash) = &masked {
            for (name, output) in &mut self.outputs {
                if matches!(output, Output::Deferred) {
                    *output = Output::InputAddressed(store.make_output_path(name, hash, self.name)?);
                }
            }
        }
        let mut output_texts = BTreeMap::new();
        for (name, output) in &self.outputs {
            output_texts.insert(name.clone(), output.variable(store, self.name, name)?);
        }

        let mut filled = Vec::with_capacity(rest.len() + names.len() * 100);
        let mut done = 0;
        for (place, output) in places {
            filled.extend_from_slice(rest.get(done..place).unwrap_or_default());
            done = place;
            let text = names.get(output).and_then(|name| output_texts.get(name));
            filled.extend_from_slice(text.map(String::as_bytes).unwrap_or_default());
        }
        filled.extend_from_slice(rest.get(done..).unwrap_or_default());

        let mut text = self.head(&output_texts);
        let head_length = text.len();
        self.write_inputs(&mut text, store);
        text.extend_from_slice(b"],");
        text.extend_from_slice(&filled);
        let hash = if let Some(hashes) = self.fixed_hashes(&output_texts)? {
            ModuloHash::Fixed(hashes)
        } else {
            let head = text.get(..head_length).unwrap_or_default();
            let hash = sha256(&[head, &hashed_inputs, b"],", &filled]);
            let open = |output: &Output| matches!(output, Output::Deferred);
            let deferred = deferred || self.outputs.values().any(open);
            if deferred { ModuloHash::Deferred(hash) } else { ModuloHash::Regular(hash) }
        };
        let drvs = self.input_drvs.into_iter().map(|(path, _)| path);
        let references = self.input_srcs.into_iter().chain(drvs).collect();
        Ok(Finished { outputs: self.outputs, output_texts, text, references, hash })
    }

    /// The text behind the inputs, and for each variable of an output where its value belongs and which output it is.
    fn rest(&self, store: &StoreDir, names: &[String]) -> (Vec<u8>, Vec<(usize, usize)>) {
        let is_output = |key: &[u8]| names.iter().position(|name| name.as_bytes() == key);
        let mut env: Vec<(&[u8], &[u8])> = self.env.clone();
        env.retain(|(key, _)| is_output(key).is_none());
        env.extend(names.iter().map(|name| (name.as_bytes(), b"".as_slice())));
        // Mostly in order up to here: the stable sort sees that.
        env.sort_by_key(|(key, _)| *key);

        let mut rest = Vec::with_capacity(4096);
        let sources: Vec<String> = self.input_srcs.iter().map(|path| store.print(path)).collect();
        strings(&mut rest, sources.iter().map(String::as_bytes), quote);
        rest.push(b',');
        quote(&mut rest, self.platform);
        rest.push(b',');
        escape(&mut rest, self.builder);
        rest.push(b',');
        strings(&mut rest, self.args.iter().copied(), escape);
        rest.extend_from_slice(b",[");
        let mut places = Vec::with_capacity(names.len());
        for (index, (key, value)) in env.iter().enumerate() {
            separate(&mut rest, index);
            rest.push(b'(');
            escape(&mut rest, key);
            rest.push(b',');
            if let Some(output) = is_output(key) {
                places.push((rest.len() + 1, output));
            }
            escape(&mut rest, value);
            rest.push(b')');
        }
        rest.extend_from_slice(b"])");
        (rest, places)
    }

    /// The text up to the inputs, with the outputs' paths from their variables as far as they are given.
    fn head(&self, texts: &BTreeMap<String, String>) -> Vec<u8> {
        let mut text = Vec::with_capacity(4096);
        text.extend_from_slice(b"Derive([");
        for (index, (name, output)) in self.outputs.iter().enumerate() {
            separate(&mut text, index);
            let path = texts.get(name).filter(|_| output.has_path()).map_or("", String::as_str);
            output_fields(&mut text, name, output, path);
        }
        text.extend_from_slice(b"],[");
        text
    }

    fn write_inputs(&self, text: &mut Vec<u8>, store: &StoreDir) {
        let groups = self.input_drvs.chunk_by(|(one, _), (other, _)| one == other);
        for (index, group) in groups.enumerate() {
            let Some((path, _)) = group.first() else { continue };
            separate(text, index);
            text.push(b'(');
            text.push(b'"');
            for piece in [store.as_str(), "/", path.base_name()] {
                text.extend_from_slice(piece.as_bytes());
            }
            text.extend_from_slice(b"\",");
            strings(text, group.iter().map(|(_, output)| output.as_bytes()), quote);
            text.push(b')');
        }
    }

    /// The same with hashes for the paths. Whether one of them is not final yet.
    fn write_hashed_inputs<H: Borrow<ModuloHash>, E>(
        &self,
        text: &mut Vec<u8>,
        lookup: &mut dyn FnMut(&StorePath) -> Result<H, E>,
    ) -> Result<bool, E> {
        let mut deferred = false;
        let mut inputs: Vec<(Hash, &str)> = Vec::with_capacity(self.input_drvs.len());
        for group in self.input_drvs.chunk_by(|(one, _), (other, _)| one == other) {
            let Some((path, _)) = group.first() else { continue };
            let hash = lookup(path)?;
            let hash = hash.borrow();
            deferred |= matches!(hash, ModuloHash::Deferred(_));
            inputs.extend(group.iter().filter_map(|(_, output)| Some((*hash.of_output(output)?, *output))));
        }
        inputs.sort_unstable();
        inputs.dedup();
        for (index, group) in inputs.chunk_by(|(one, _), (other, _)| one == other).enumerate() {
            let Some((hash, _)) = group.first() else { continue };
            separate(text, index);
            text.push(b'(');
            text.push(b'"');
            hash.write_digits16(text);
            text.extend_from_slice(b"\",");
            strings(text, group.iter().map(|(_, output)| output.as_bytes()), quote);
            text.push(b')');
        }
        Ok(deferred)
    }

    fn fixed_hashes(
        &self,
        texts: &BTreeMap<String, String>,
    ) -> Result<Option<BTreeMap<String, Hash>>, StorePathError> {
        super::modulo::fixed_hashes(&self.outputs, |name, _| Ok(texts.get(name).cloned().unwrap_or_default()))
    }
}

/// The hash of texts that follow each other.
fn sha256(pieces: &[&[u8]]) -> Hash {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    for piece in pieces {
        hasher.update(piece);
    }
    hasher.finish()
}

impl<'d> From<&'d Derivation> for Draft<'d> {
    /// The derivation without its output paths.
    fn from(derivation: &'d Derivation) -> Self {
        let open = |output: &Output| match output {
            Output::InputAddressed(_) => Output::Deferred,
            other => other.clone(),
        };
        let drvs = derivation.input_drvs.iter();
        Self {
            name: &derivation.name,
            outputs: derivation.outputs.iter().map(|(name, output)| (name.clone(), open(output))).collect(),
            input_drvs: drvs
                .flat_map(|(path, outputs)| outputs.iter().map(|output| (path.clone(), output.as_str())))
                .collect(),
            input_srcs: derivation.input_srcs.iter().cloned().collect(),
            platform: &derivation.platform,
            builder: &derivation.builder,
            args: derivation.args.iter().map(Vec::as_slice).collect(),
            env: derivation.env.iter().map(|(key, value)| (key.as_slice(), value.as_slice())).collect(),
        }
    }
}
