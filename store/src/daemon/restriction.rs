//! What a builder may see of the store that it is built in (`recursive-nix`): its own inputs, and what came of its
//! requests. Nix manual, "Experimental features", `recursive-nix`. In a sandbox it sees only what is shown to it: what came of
//! its requests appears in the directory that is its store.

use crate::error::Result;
use crate::open::Store;
use crate::tree;
use formats::hash::Algorithm;
use formats::store_path::StorePath;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// The directory that a builder in a sandbox sees as its store.
#[derive(Debug)]
pub(crate) struct Window {
    /// The directory, on the store's own file system.
    pub(crate) place: PathBuf,
    /// Whether the builder is another user than we are, who cannot write to our files.
    pub(crate) separate: bool,
}

impl Window {
    fn show(&self, store: &Store, path: &StorePath) -> Result<()> {
        let (from, name) = (store.real_path(path), path.base_name());
        if self.separate {
            return tree::link(&from, &self.place, OsStr::new(name));
        }
        // It could write to the store's own files.
        tree::copy(&from, &self.place.join(name), Algorithm::Sha256).map(drop)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Restriction {
    allowed: Mutex<BTreeSet<StorePath>>,
    added: Mutex<BTreeSet<StorePath>>,
    window: Option<Window>,
}

impl Restriction {
    /// A builder with these inputs, in a sandbox if it has a window.
    pub(crate) fn new(inputs: BTreeSet<StorePath>, window: Option<Window>) -> Self {
        Self { allowed: Mutex::new(inputs), added: Mutex::default(), window }
    }

    /// Whether it may know of a path.
    pub(crate) fn allows(&self, path: &StorePath) -> bool {
        self.allowed.lock().unwrap_or_else(PoisonError::into_inner).contains(path)
    }

    /// Lets it know of a path that it added or built, and of all that the path needs.
    pub(crate) fn admit(&self, store: &Store, path: &StorePath) -> Result<()> {
        let closure = store.closure([path.clone()])?;
        // Who asks for the same at the same time hears of it when it is there.
        let mut allowed = self.allowed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(window) = &self.window {
            for path in &closure {
                if !allowed.contains(path) {
                    window.show(store, path)?;
                    allowed.insert(path.clone());
                }
            }
        }
        self.added.lock().unwrap_or_else(PoisonError::into_inner).extend(closure.iter().cloned());
        allowed.extend(closure);
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
