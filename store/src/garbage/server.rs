//! The collector's side of the temporary-root protocol: a client that needs a path while a collection runs writes the
//! path and a newline to `gc-socket/socket` and waits for `1`. A client that asks for a path that is just being deleted waits until that is done.

use crate::error::{Error, Result};
use crate::layout::Layout;
use formats::store_path::StorePath;
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

#[derive(Debug, Default)]
struct State {
    /// What clients asked for.
    wanted: BTreeSet<StorePath>,
    /// Hash parts of what is being deleted now.
    deleting: BTreeSet<String>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    stop: AtomicBool,
}

/// The running server; dropping it ends it.
#[derive(Debug)]
pub(super) struct Server {
    shared: Arc<Shared>,
    socket: PathBuf,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(super) fn start(layout: &Layout) -> Result<Self> {
        let directory = layout.state.join("gc-socket");
        fs::create_dir_all(&directory).map_err(Error::file("creating", &directory))?;
        let socket = directory.join("socket");
        match fs::remove_file(&socket) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::file("removing", &socket)(error));
            }
            _ => {}
        }
        let listener = bind(&socket).map_err(Error::file("listening on", &socket))?;
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o666))
            .map_err(Error::file("changing the mode of", &socket))?;
        let shared = Arc::new(Shared::default());
        let thread = {
            let (shared, store) = (Arc::clone(&shared), layout.store_dir.clone());
            std::thread::spawn(move || {
                for client in listener.incoming() {
                    if shared.stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let Ok(client) = client else { continue };
                    let (shared, store) = (Arc::clone(&shared), store.clone());
                    std::thread::spawn(move || serve(&client, &shared, &store));
                }
            })
        };
        Ok(Self { shared, socket, thread: Some(thread) })
    }

    /// Announces the deletion of these paths; returns what clients asked for so far, which must stay.
    pub(super) fn begin<'a>(&self, paths: impl Iterator<Item = &'a StorePath>) -> BTreeSet<StorePath> {
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.deleting = paths.map(|path| path.hash_part().to_owned()).collect();
        state.wanted.clone()
    }

    /// Announces the deletion of one thing by its hash part, unless a client asked for it.
    pub(super) fn begin_hash_part(&self, hash_part: &str) -> bool {
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.wanted.iter().any(|path| path.hash_part() == hash_part) {
            return false;
        }
        state.deleting = BTreeSet::from([hash_part.to_owned()]);
        true
    }

    /// What was announced is done.
    pub(super) fn done(&self) {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner).deleting.clear();
        self.shared.changed.notify_all();
    }
}

/// Binds, through a short name where the path is longer than a socket address can be.
fn bind(socket: &std::path::Path) -> std::io::Result<UnixListener> {
    use std::os::fd::AsRawFd as _;
    if socket.as_os_str().len() < 100 {
        return UnixListener::bind(socket);
    }
    let directory = fs::File::open(socket.parent().unwrap_or(socket))?;
    UnixListener::bind(format!("/proc/self/fd/{}/socket", directory.as_raw_fd()))
}

fn serve(client: &UnixStream, shared: &Shared, store: &formats::store_path::StoreDir) {
    for line in BufReader::new(client).lines() {
        let Ok(line) = line else { return };
        let Ok(path) = store.parse(&line) else { return };
        {
            let mut state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.wanted.insert(path.clone());
            while state.deleting.contains(path.hash_part()) {
                state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
        if (&mut &*client).write_all(b"1").is_err() {
            return;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.done();
        // Wakes the thread from accepting.
        let woken = UnixStream::connect(&self.socket).is_ok();
        if fs::remove_file(&self.socket).is_err() {
            log::debug!("{} was removed by somebody else", self.socket.display());
        }
        if let Some(thread) = self.thread.take().filter(|_| woken)
            && thread.join().is_err()
        {
            log::warn!("the collector's server died");
        }
    }
}
