//! The lock on `db/big-lock` that every program with an open database holds shared, and who changes the schema alone. One
//! for all connections of this process, so that all of them can let another program have it.

use crate::error::Result;
use crate::lock::{FileLock, Mode};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Held shared, but for [`BigLock::yield_to_others`], while any connection is open.
#[derive(Debug)]
pub(super) struct BigLock {
    file: FileLock,
    /// How many have asked that others may have it for a while.
    yielded: Mutex<usize>,
}

static HELD: Mutex<BTreeMap<PathBuf, Weak<BigLock>>> = Mutex::new(BTreeMap::new());

impl BigLock {
    /// The lock of a directory's database. `create` makes a database that is not there yet, alone.
    pub(super) fn take(directory: &Path, create: &dyn Fn() -> Result<()>) -> Result<Arc<Self>> {
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|_, lock| lock.strong_count() > 0);
        // The same directory under another name would get a lock of its own, which is right as well, only less sharing.
        if let Some(lock) = held.get(directory).and_then(Weak::upgrade) {
            // Somebody may have removed the whole directory meanwhile.
            if lock.file.is_current()? {
                create()?;
                return Ok(lock);
            }
        }
        let file = FileLock::open(&directory.join("big-lock"))?;
        if !directory.join("schema").exists() {
            file.acquire(Mode::Exclusive)?;
            create()?;
        }
        file.acquire(Mode::Shared)?;
        let lock = Arc::new(Self { file, yielded: Mutex::new(0) });
        held.insert(directory.to_owned(), Arc::downgrade(&lock));
        Ok(lock)
    }

    /// Lets others have it until [`Self::take_back`] was called as often as this: a program that we wait for may want to
    /// add tables of its own.
    pub(super) fn yield_to_others(&self) -> Result<()> {
        let mut yielded = self.yielded.lock().unwrap_or_else(PoisonError::into_inner);
        *yielded += 1;
        if *yielded == 1 { self.file.release() } else { Ok(()) }
    }

    /// Takes it back.
    pub(super) fn take_back(&self) -> Result<()> {
        let mut yielded = self.yielded.lock().unwrap_or_else(PoisonError::into_inner);
        *yielded = yielded.saturating_sub(1);
        if *yielded == 0 { self.file.acquire(Mode::Shared) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_connections_of_a_process_yield_together() {
        let directory = tempfile::tempdir().unwrap();
        let nothing = || Ok(());
        std::fs::write(directory.path().join("schema"), "10").unwrap();
        let first = BigLock::take(directory.path(), &nothing).unwrap();
        let second = BigLock::take(directory.path(), &nothing).unwrap();
        let other = FileLock::open(&directory.path().join("big-lock")).unwrap();
        assert!(!other.try_acquire(Mode::Exclusive).unwrap());
        first.yield_to_others().unwrap();
        second.yield_to_others().unwrap();
        second.take_back().unwrap();
        assert!(other.try_acquire(Mode::Exclusive).unwrap());
        drop(other);
        first.take_back().unwrap();
        let other = FileLock::open(&directory.path().join("big-lock")).unwrap();
        assert!(!other.try_acquire(Mode::Exclusive).unwrap());
        drop((first, second));
        assert!(other.try_acquire(Mode::Exclusive).unwrap());
    }
}
