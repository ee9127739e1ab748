//! Directories in the store that hold what has no name yet: `tmp-<process>-<number>`, locked with flock(2) as Nix's are, so
//! that a collector leaves them alone while their owner lives.

use crate::error::{Error, Result};
use crate::open::Store;
use crate::tree;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

static COUNTER: AtomicU64 = AtomicU64::new(0);

/// A directory in the store that the collector leaves alone while it is locked.
#[derive(Debug)]
pub(crate) struct Temporary {
    path: PathBuf,
    _lock: File,
}

impl Temporary {
    /// Creates and locks it.
    pub(crate) fn create(store: &Store) -> Result<Self> {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = store.layout.real_store.join(format!("tmp-{}-{number}", std::process::id()));
        tree::remove(&path)?;
        fs::create_dir(&path).map_err(Error::file("creating", &path))?;
        let lock = File::open(&path).map_err(Error::file("opening", &path))?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive)
            .map_err(Error::call("locking", &path))?;
        Ok(Self { path, _lock: lock })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(error) = tree::remove(&self.path) {
            log::warn!("{error}");
        }
    }
}
