//! `recursive-nix`: a builder that asks the store for more, over a socket in its build directory on which the daemon's
//! protocol is spoken. It sees its inputs and what it adds; what it adds, its outputs may refer to.

use super::FailureKind;
use super::one::Job;
use crate::daemon::{Settings, Trust, bind, serve};
use crate::error::Error;
use crate::nix_settings::NixSettings;
use crate::open::Options;
use crate::trust::Trust as Keys;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The system feature that derivations ask for.
pub(crate) const FEATURE: &str = "recursive-nix";
/// The socket in the build directory.
const SOCKET: &str = ".nix-socket";

/// What the variable `NIX_REMOTE` says to the builder, which calls its directory `inside`.
pub(super) fn address(inside: &Path) -> String {
    format!("unix://{}", inside.join(SOCKET).display())
}

/// Listens for one builder until it is dropped.
pub(super) struct Door {
    socket: PathBuf,
    closed: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Door {
    /// Opens it, for a builder that is to have one.
    pub(super) fn open(job: &Job<'_>) -> Result<Option<Self>, FailureKind> {
        let Some(restriction) = &job.restriction else { return Ok(None) };
        let socket = job.scratch.build().join(SOCKET);
        let listener = bind(&socket)?;
        let layout = job.store.layout().clone();
        let options = Options {
            substituters: Arc::default(),
            secret_keys: Vec::new(),
            trust: Keys::default(),
            ..job.store.options().clone()
        };
        let mut build = job.options.clone();
        build.substitute = false;
        build.post_build_hook = None;
        // The builder that asks has a place: what it asks for must not wait for it.
        build.room = None;
        let settings = Settings {
            build,
            nix: NixSettings::default(),
            store_options: |_| Err("a builder does not decide how the store is opened".to_owned()),
            version: crate::daemon::NIX_VERSION.to_owned(),
            restriction: Some(Arc::clone(restriction)),
        };
        let closed = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&closed);
        let thread = std::thread::Builder::new()
            .name("recursive-nix".to_owned())
            .spawn(move || {
                accept(&listener, &until, &|client: UnixStream| {
                    let (layout, options, settings) = (layout.clone(), options.clone(), settings.clone());
                    std::thread::spawn(move || {
                        let served = client
                            .try_clone()
                            .map_err(Error::file("serving", "a builder"))
                            .and_then(|reader| {
                                let hang_up = client.try_clone().ok();
                                serve(
                                    reader,
                                    client,
                                    hang_up,
                                    Trust::NotTrusted,
                                    &layout,
                                    &options,
                                    &settings,
                                )
                            });
                        if let Err(error) = served {
                            log::debug!("a builder's request failed: {error}");
                        }
                    });
                });
            })
            .map_err(Error::file("starting a thread for", &socket))?;
        Ok(Some(Self { socket, closed, thread: Some(thread) }))
    }
}

fn accept(listener: &UnixListener, until: &AtomicBool, serve: &dyn Fn(UnixStream)) {
    for client in listener.incoming() {
        if until.load(Ordering::SeqCst) {
            return;
        }
        match client {
            Ok(client) => serve(client),
            Err(error) => log::warn!("accepting a builder's request: {error}"),
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
        // Wakes the thread; nobody else can connect once the builder is dead.
        if crate::daemon::connect(&self.socket).is_err() {
            log::debug!("the socket {} is gone already", self.socket.display());
            return;
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::warn!("a thread that served a builder panicked");
        }
    }
}
