//! Temporary roots: paths that this process works with and no collection may delete. `temproots/<pid>`, locked for the
//! process's life, NUL-terminated paths. While a collection runs, it is asked over its socket first (Nix's protocol).

use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::lock::{FileLock, Mode};
use formats::store_path::StorePath;
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

/// Tells the stores of one process apart.
static COUNTER: AtomicU32 = AtomicU32::new(0);

/// This store's temporary roots.
#[derive(Debug)]
pub(crate) struct TempRoots {
    layout: Layout,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    file: Option<(FileLock, PathBuf)>,
    known: BTreeSet<StorePath>,
}

impl TempRoots {
    pub(crate) fn new(layout: &Layout) -> Self {
        Self { layout: layout.clone(), state: Mutex::default() }
    }

    /// Protects a path from now until this store is closed. It need not exist.
    pub(crate) fn add(&self, path: &StorePath) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.known.contains(path) {
            return Ok(());
        }
        if state.file.is_none() {
            state.file = Some(self.create()?);
        }
        let gc_lock = FileLock::open(&self.layout.state.join("gc.lock"))?;
        while !gc_lock.try_acquire(Mode::Shared)? {
            if self.ask_collector(path)? {
                break;
            }
        }
        if let Some((lock, name)) = &state.file {
            let mut line = self.layout.store_dir.print(path).into_bytes();
            line.push(0);
            lock.file().write_all(&line).map_err(Error::file("writing", name))?;
        }
        state.known.insert(path.clone());
        Ok(())
    }

    fn create(&self) -> Result<(FileLock, PathBuf)> {
        // The first store of a process takes Nix's name; others of the same process need their own.
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let id = std::process::id();
        let name = if count == 0 { id.to_string() } else { format!("{id}-{count}") };
        let path = self.layout.temp_roots().join(name);
        loop {
            // A file of an earlier process with our number: its roots are void.
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::file("removing", &path)(error));
                }
                _ => {}
            }
            let lock = FileLock::open(&path)?;
            lock.acquire(Mode::Exclusive)?;
            // A collector that found it unlocked has written into it and unlinked it.
            let found = lock.file().metadata().map_err(Error::file("examining", &path))?;
            if found.size() == 0 && found.nlink() > 0 {
                return Ok((lock, path));
            }
        }
    }

    /// Tells the running collection about the path. False when it ended meanwhile.
    fn ask_collector(&self, path: &StorePath) -> Result<bool> {
        let socket = self.layout.state.join("gc-socket/socket");
        let mut stream = match UnixStream::connect(&socket) {
            Ok(stream) => stream,
            Err(error) => match error.kind() {
                io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => {
                    std::thread::sleep(std::time::Duration::from_millis(20));
                    return Ok(false);
                }
                _ => return Err(Error::file("connecting to", &socket)(error)),
            },
        };
        let line = format!("{}\n", self.layout.store_dir.print(path));
        let mut answer = [0];
        let asked = stream.write_all(line.as_bytes()).and_then(|()| stream.read_exact(&mut answer));
        Ok(asked.is_ok() && answer == *b"1")
    }
}

impl Drop for TempRoots {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, path)) = state.file.take()
            && fs::remove_file(&path).is_err()
        {
            log::debug!("temporary roots {} are left to the collector", path.display());
        }
    }
}
