//! Derivations in the store: read, written, and checked before they are believed. A derivation from anywhere may claim any
//! output path; only the path that follows from its inputs is registered for it.

use crate::add::TextObject;
use crate::error::{Error, Result};
use crate::open::Store;
use formats::derivation::{Derivation, ModuloHash, parse};
use formats::store_path::StorePath;
use std::collections::BTreeMap;
use std::fs;
use std::sync::PoisonError;

impl Store {
    /// Reads a derivation. Its outputs' paths are as its text says; [`Store::check_derivation`] recomputes them.
    pub fn read_derivation(&self, path: &StorePath) -> Result<Derivation> {
        if let Some(other) = self.evaluation.get()
            && !self.is_valid(path)?
        {
            return other.read_derivation(path);
        }
        if !self.has_files() {
            let mut archive = Vec::new();
            self.archive(path, &mut archive)?;
            return self.parse_derivation(path, &crate::tree::only_file(path.base_name(), &archive)?);
        }
        let real = self.real_path(path);
        let text = fs::read(&real).map_err(Error::file("reading", &real))?;
        self.parse_derivation(path, &text)
    }

    pub(crate) fn parse_derivation(&self, path: &StorePath, text: &[u8]) -> Result<Derivation> {
        let name = path.name().strip_suffix(".drv").ok_or_else(|| {
            Error::Invalid(format!(
                "`{}` is not a derivation: its name does not end in .drv",
                self.dir().print(path)
            ))
        })?;
        if is_dynamic(text) {
            return Err(Error::Invalid(format!(
                "Building dynamic derivations in one shot is not yet implemented: `{}` depends on outputs of derivations that are themselves outputs",
                self.dir().print(path)
            )));
        }
        parse(text, name, self.dir())
            .map_err(|source| Error::Derivation { path: self.dir().print(path), source })
    }

    /// Writes a derivation to the store.
    pub fn add_derivation(&self, derivation: &Derivation) -> Result<StorePath> {
        let paths = self.add_derivations(std::slice::from_ref(derivation))?;
        paths.into_iter().next().ok_or_else(|| Error::Invalid("no derivation was added".to_owned()))
    }

    /// Writes many derivations in one transaction. Those that others refer to may be among them, in any order.
    pub fn add_derivations(&self, derivations: &[Derivation]) -> Result<Vec<StorePath>> {
        let mut texts = Vec::new();
        for derivation in derivations {
            let text = derivation.unparse(self.dir())?;
            texts.push(TextObject {
                name: format!("{}.drv", derivation.name),
                contents: text,
                references: derivation.references(),
            });
        }
        self.add_texts(&texts)
    }

    /// The hash that gives the outputs of those that depend on a derivation their paths.
    pub fn derivation_hash(&self, path: &StorePath) -> Result<ModuloHash> {
        self.modulo(path)
    }

    /// The hash of a derivation modulo fixed outputs, remembered for the life of this store.
    pub(crate) fn modulo(&self, path: &StorePath) -> Result<ModuloHash> {
        self.modulo_among(path, &BTreeMap::new())
    }

    /// The same where derivations that are not in the store yet are among the others given.
    pub(crate) fn modulo_among(
        &self,
        path: &StorePath,
        others: &BTreeMap<StorePath, Derivation>,
    ) -> Result<ModuloHash> {
        if let Some(known) = self.modulo_hashes.lock().unwrap_or_else(PoisonError::into_inner).get(path) {
            return Ok(known.clone());
        }
        let read;
        let derivation = if let Some(derivation) = others.get(path) {
            derivation
        } else {
            read = self.read_derivation(path)?;
            &read
        };
        let hash = derivation.hash_modulo(self.dir(), &mut |input| self.modulo_among(input, others))?;
        self.modulo_hashes.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone(), hash.clone());
        Ok(hash)
    }

    /// Recomputes all output paths of a derivation and refuses one that claims others.
    pub fn check_derivation(&self, derivation: &Derivation) -> Result<()> {
        derivation.check_output_paths(self.dir(), &mut |input| self.modulo(input))
    }

    /// The output paths of a derivation, by name, where they are known before a build.
    pub fn output_paths(&self, derivation: &Derivation) -> Result<BTreeMap<String, StorePath>> {
        let mut paths = BTreeMap::new();
        for (output, path) in derivation.output_paths(self.dir())? {
            if let Some(path) = path {
                paths.insert(output, path);
            }
        }
        Ok(paths)
    }
}

/// Whether a derivation's text is of the kind that names outputs of derivations not made yet (RFC 92). It is kept as any
/// other text and not built.
pub(crate) fn is_dynamic(text: &[u8]) -> bool {
    text.starts_with(b"DrvWithVersion(\"xp-dyn-drv\"")
}
