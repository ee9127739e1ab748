//! Locks that Nix honours, too: flock(2), never fcntl.

use crate::error::{Error, Result};
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// How a lock is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// With others.
    Shared,
    /// Alone.
    Exclusive,
}

/// An open lock file; the lock ends when it is dropped.
#[derive(Debug)]
pub(crate) struct FileLock {
    file: File,
    path: PathBuf,
}

impl FileLock {
    /// Opens the file without locking it.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(Error::file("opening lock", path))?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Waits for the lock, or changes how it is held.
    pub(crate) fn acquire(&self, mode: Mode) -> Result<()> {
        let operation = match mode {
            Mode::Shared => FlockOperation::LockShared,
            Mode::Exclusive => FlockOperation::LockExclusive,
        };
        loop {
            match flock(&self.file, operation) {
                Err(rustix::io::Errno::INTR) => {}
                other => return other.map_err(Error::call("locking", &self.path)),
            }
        }
    }

    /// Gives the lock up; the file stays open.
    pub(crate) fn release(&self) -> Result<()> {
        flock(&self.file, FlockOperation::Unlock).map_err(Error::call("unlocking", &self.path))
    }

    /// Takes the lock if it is free.
    pub(crate) fn try_acquire(&self, mode: Mode) -> Result<bool> {
        let operation = match mode {
            Mode::Shared => FlockOperation::NonBlockingLockShared,
            Mode::Exclusive => FlockOperation::NonBlockingLockExclusive,
        };
        match flock(&self.file, operation) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
            Err(error) => Err(Error::call("locking", &self.path)(error)),
        }
    }

    /// Whether the file is still the one of that name.
    pub(crate) fn is_current(&self) -> Result<bool> {
        let own = self.file.metadata().map_err(Error::file("examining", &self.path))?;
        Ok(fs::metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == (own.dev(), own.ino())))
    }

    /// The open file.
    pub(crate) const fn file(&self) -> &File {
        &self.file
    }
}

/// Exclusive locks on store paths (`<path>.lock` beside each). A lock file that its holder removed is marked as stale by
/// a byte in it: who waited for it opens the new one.
#[derive(Debug)]
pub(crate) struct PathLocks {
    held: Vec<FileLock>,
}

impl PathLocks {
    /// Waits for all of them, in the order of their names, so that two who want several never wait for each other.
    pub(crate) fn acquire(real_paths: &[PathBuf]) -> Result<Self> {
        Ok(Self::take(real_paths, true)?.unwrap_or(Self { held: Vec::new() }))
    }

    /// Takes all of them or, if one is taken, none.
    pub(crate) fn try_acquire(real_paths: &[PathBuf]) -> Result<Option<Self>> {
        Self::take(real_paths, false)
    }

    fn take(real_paths: &[PathBuf], wait: bool) -> Result<Option<Self>> {
        let mut sorted: Vec<&PathBuf> = real_paths.iter().collect();
        sorted.sort();
        sorted.dedup();
        let mut held = Vec::new();
        for path in sorted {
            let mut name = path.as_os_str().to_owned();
            name.push(".lock");
            let name = PathBuf::from(name);
            loop {
                let lock = FileLock::open(&name)?;
                if wait {
                    lock.acquire(Mode::Exclusive)?;
                } else if !lock.try_acquire(Mode::Exclusive)? {
                    return Ok(None);
                }
                let found = lock.file.metadata().map_err(Error::file("examining", &name))?;
                if found.size() == 0 && found.nlink() > 0 {
                    held.push(lock);
                    break;
                }
            }
        }
        Ok(Some(Self { held }))
    }
}

impl Drop for PathLocks {
    /// Removes the lock files: the paths are valid now or somebody else's next try.
    fn drop(&mut self) {
        for lock in &mut self.held {
            // A lock file that stays does no harm: it can be locked again.
            if fs::remove_file(&lock.path).is_ok() && lock.file.write_all(b"d").is_err() {
                log::debug!("lock file {} was not marked as stale", lock.path.display());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let paths = [directory.path().join("b"), directory.path().join("a")];
        let held = PathLocks::acquire(&paths).unwrap();
        assert!(PathLocks::try_acquire(&paths[..1]).unwrap().is_none());
        drop(held);
        assert!(!directory.path().join("a.lock").exists());
        assert!(PathLocks::try_acquire(&paths).unwrap().is_some());
    }

    #[test]
    fn who_waited_takes_the_new_lock_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = [directory.path().join("a")];
        let counter = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let _held = PathLocks::acquire(&path).unwrap();
                        let before = counter.load(std::sync::atomic::Ordering::SeqCst);
                        std::thread::yield_now();
                        counter.store(before + 1, std::sync::atomic::Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(counter.into_inner(), 400);
    }
}
