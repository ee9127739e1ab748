//! Another store for what evaluations write (`eval-store`): derivations are read there, and of it only the sources that a build
//! needs come to the store in which it is built. nix.conf(5), "eval-store".

use crate::error::{Error, Result};
use crate::open::Store;
use formats::derivation::Derivation;
use formats::store_path::StorePath;
use std::collections::BTreeSet;

impl Store {
    /// From now on, derivations that are not here are read from that store. It must have the same store directory.
    pub fn evaluate_in(&self, other: Self) -> Result<()> {
        if other.dir() != self.dir() {
            return Err(Error::Invalid(format!(
                "evaluations cannot write to a store of `{}` what is built in one of `{}`",
                other.dir(),
                self.dir()
            )));
        }
        self.evaluation
            .set(Box::new(other))
            .map_err(|_| Error::Invalid("there is a store for evaluations already".to_owned()))
    }

    /// The store to which evaluations write: this one, or another.
    pub fn evaluation_store(&self) -> &Self {
        self.evaluation.get().map_or(self, |other| other)
    }

    /// Whether a derivation can be read.
    pub(crate) fn knows_derivation(&self, path: &StorePath) -> Result<bool> {
        Ok(self.is_valid(path)?
            || (self.evaluation.get().is_some() && self.evaluation_store().is_valid(path)?))
    }

    /// Brings the sources of a derivation here.
    pub(crate) fn bring_sources(&self, derivation: &Derivation) -> Result<()> {
        self.bring(derivation.input_srcs.iter())
    }

    /// Brings what an evaluation wrote here, with all that it needs.
    pub(crate) fn bring<'a>(&self, paths: impl Iterator<Item = &'a StorePath>) -> Result<()> {
        let Some(from) = self.evaluation.get() else { return Ok(()) };
        let mut missing = BTreeSet::new();
        for path in paths {
            self.add_temp_root(path)?;
            if !self.is_valid(path)? {
                missing.insert(path.clone());
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        // What we wrote ourselves needs nobody's signature.
        from.copy_to(self, &from.closure(missing)?, true, &|_| {}).map(drop)
    }
}
