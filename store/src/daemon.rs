//! The daemon: Nix's worker protocol over a Unix socket or a pair of pipes, for Nix's own clients. Nix manual, "Nix
//! Daemon Protocol". One thread and one open store per connection; a client that goes away takes its builds with it.
//!
//! The daemon's store is a [`Layout`] and never an address: it cannot connect to itself.

pub(crate) mod client;
mod connection;
pub(crate) mod derived_path;
mod messages;
pub(crate) mod operations;
mod peer;
mod restriction;
mod users;
pub(crate) mod wire;

pub use connection::{Settings, Trust, serve};
pub use restriction::Restriction;
pub(crate) use restriction::Window;

use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::open::Options;
use peer::Peer;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use users::Users;

/// Listens on a socket and serves everybody who connects, for ever.
pub fn listen(socket: &Path, layout: &Layout, options: &Options, settings: &Settings) -> Result<()> {
    // Opened once before anything: what is wrong with the store is said here and not to a client. In this thread, so
    // that a read-only store is writable for all of them.
    drop(crate::open::Store::open_with(layout.clone(), options.clone())?);
    let listener = bind(socket)?;
    let users = Arc::new(Users::default());
    for client in listener.incoming() {
        let client = match client {
            Ok(client) => client,
            Err(error) => {
                log::warn!("accepting a client: {error}");
                continue;
            }
        };
        let (layout, options, mut settings) = (layout.clone(), options.clone(), settings.clone());
        let (peer, mut trust) = trust_of(&client, &settings);
        let mut visit = None;
        if let (Some(peer), Trust::NotTrusted) = (&peer, &trust) {
            match users.admit(peer.uid, &settings.nix) {
                Ok(admitted) => {
                    settings.build.room.clone_from(&admitted.room);
                    visit = Some(admitted);
                }
                Err(limit) => trust = Trust::TooMany { who: peer.text(), limit },
            }
        }
        let thread = std::thread::Builder::new().spawn(move || {
            let _visit = visit;
            if let Some(name) = peer.as_ref().and_then(|peer| peer.name.as_deref()) {
                make_user_directories(&layout, peer.as_ref().map_or(0, |peer| peer.uid), name);
            }
            let served = client
                .try_clone()
                .map_err(Error::file("serving a client of", &layout.state))
                .and_then(|reader| {
                    let hang_up = client.try_clone().ok();
                    serve(reader, client, hang_up, trust, &layout, &options, &settings)
                });
            if let Err(error) = served {
                log::debug!("a client went away: {error}");
            }
        });
        if let Err(error) = thread {
            log::warn!("serving a client: {error}");
        }
    }
    Ok(())
}

/// The version of Nix that the daemon behaves as: clients ask for it to know what a daemon can do.
pub const NIX_VERSION: &str = "2.26.3";

/// Connects to a socket whose path may be longer than a socket's address can be.
pub(crate) fn connect(socket: &Path) -> Result<UnixStream> {
    use std::os::fd::AsRawFd as _;
    let parent = socket.parent().unwrap_or(Path::new("/"));
    let directory = fs::File::open(parent).map_err(Error::file("opening", parent))?;
    let name = socket.file_name().unwrap_or_default().to_string_lossy();
    let short = format!("/proc/self/fd/{}/{name}", directory.as_raw_fd());
    UnixStream::connect(short).map_err(Error::file("connecting to", socket))
}

/// Binds the socket anew; its path may be longer than a socket's address can be.
pub(crate) fn bind(socket: &Path) -> Result<UnixListener> {
    use std::os::fd::AsRawFd as _;
    let parent = socket.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent).map_err(Error::file("creating", parent))?;
    match fs::remove_file(socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::file("removing", socket)(error));
        }
        _ => {}
    }
    let directory = fs::File::open(parent).map_err(Error::file("opening", parent))?;
    let name = socket.file_name().unwrap_or_default().to_string_lossy();
    let short = format!("/proc/self/fd/{}/{name}", directory.as_raw_fd());
    let listener = UnixListener::bind(short).map_err(Error::file("listening on", socket))?;
    fs::set_permissions(socket, fs::Permissions::from_mode(0o666))
        .map_err(Error::file("changing the mode of", socket))?;
    Ok(listener)
}

/// Whom the settings name is trusted: root, where they do not say. As with Nix, a daemon's own user is nobody special.
fn trust_of(client: &UnixStream, settings: &Settings) -> (Option<Peer>, Trust) {
    let Some(peer) = Peer::of(client) else { return (None, Trust::Refused("somebody unknown".to_owned())) };
    let trust = if peer.uid == 0 || peer.is_in(&settings.nix.words("trusted-users", &["root"])) {
        Trust::Trusted
    } else if peer.is_in(&settings.nix.words("allowed-users", &["*"])) {
        Trust::NotTrusted
    } else {
        Trust::Refused(peer.text())
    };
    (Some(peer), trust)
}

/// Makes the directories in which a user keeps profiles and roots. Where it cannot be done, the user sees it later.
fn make_user_directories(layout: &Layout, uid: u32, name: &str) {
    for parent in [layout.profiles(), layout.roots()] {
        let directory = parent.join("per-user").join(name);
        if directory.exists() {
            continue;
        }
        let made = fs::create_dir_all(&directory)
            .and_then(|()| fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)))
            .and_then(|()| std::os::unix::fs::chown(&directory, Some(uid), None));
        if let Err(error) = made {
            log::warn!("creating {}: {error}", directory.display());
        }
    }
}
