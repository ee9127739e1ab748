//! What a builder may see of the store that it is built in (`recursive-nix`): its own inputs, and what came of its
//! requests. Nix manual, "Experimental features", `recursive-nix`.

use crate::error::Result;
use crate::open::Store;
use formats::store_path::StorePath;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// See the module.
#[derive(Debug, Default)]
pub struct Restriction {
    allowed: Mutex<BTreeSet<StorePath>>,
    added: Mutex<BTreeSet<StorePath>>,
}

impl Restriction {
    /// A builder with these inputs.
    pub(crate) fn new(inputs: BTreeSet<StorePath>) -> Self {
        Self { allowed: Mutex::new(inputs), added: Mutex::default() }
    }

    /// Whether it may know of a path.
    pub(crate) fn allows(&self, path: &StorePath) -> bool {
        self.allowed.lock().unwrap_or_else(PoisonError::into_inner).contains(path)
    }

    /// Lets it know of a path that it added or built, and of all that the path needs.
    pub(crate) fn admit(&self, store: &Store, path: &StorePath) -> Result<()> {
        let closure = store.closure([path.clone()])?;
        self.added.lock().unwrap_or_else(PoisonError::into_inner).extend(closure.iter().cloned());
        self.allowed.lock().unwrap_or_else(PoisonError::into_inner).extend(closure);
        Ok(())
    }

    /// What it may refer to beside its inputs.
    pub(crate) fn added(&self) -> BTreeSet<StorePath> {
        self.added.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Those of many that it may know of.
    pub(crate) fn among(&self, paths: BTreeSet<StorePath>) -> BTreeSet<StorePath> {
        let allowed = self.allowed.lock().unwrap_or_else(PoisonError::into_inner);
        paths.into_iter().filter(|path| allowed.contains(path)).collect()
    }
}
