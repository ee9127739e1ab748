//! What has to be there before the first service: mounts, links in /run, the activation of the generation, the sockets.

use crate::console::{self, Level};
use crate::mounting;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, setsockopt, socket, sockopt,
};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The generation's directory from the path of its `init`: the link's own place, not where it leads.
pub(super) fn toplevel_of(path: &str) -> String {
    let parent = Path::new(path).parent().map_or_else(|| PathBuf::from("/"), Path::to_path_buf);
    std::fs::canonicalize(&parent).unwrap_or(parent).to_string_lossy().into_owned()
}

/// Mounts, links, activation. Every step that fails is told, and the next one is tried.
pub(super) fn prepare(toplevel: &str) {
    for (source, target, fs_type, options) in [
        ("proc", "/proc", "proc", "nosuid,nodev,noexec"),
        ("sysfs", "/sys", "sysfs", "nosuid,nodev,noexec"),
        ("devtmpfs", "/dev", "devtmpfs", "nosuid,mode=755"),
        ("tmpfs", "/run", "tmpfs", "nosuid,nodev,mode=755,size=20%"),
        ("devpts", "/dev/pts", "devpts", "nosuid,noexec,mode=620,gid=3,ptmxmode=666"),
        ("tmpfs", "/dev/shm", "tmpfs", "nosuid,nodev,mode=1777,size=50%"),
        ("mqueue", "/dev/mqueue", "mqueue", "nosuid,nodev,noexec"),
        ("cgroup2", "/sys/fs/cgroup", "cgroup2", "nosuid,nodev,noexec,nsdelegate,memory_recursiveprot"),
    ] {
        if is_mount_point(Path::new(target)) {
            continue;
        }
        match mounting::mount_at(source, Path::new(target), fs_type, options) {
            Err(error) if error.raw_os_error() != Some(libc::EBUSY) => {
                let optional = matches!(fs_type, "mqueue");
                let level = if optional { Level::Info } else { Level::Error };
                console::log(level, &format!("cannot mount {target}: {error}"));
            }
            _ => {}
        }
    }
    told("set up the loopback interface", sys::loopback::set_up());
    drop(sys::process_limits::ctrl_alt_del_is_ours());
    for directory in ["/run/firn", "/run/lock", "/run/systemd/system", "/run/systemd/journal"] {
        told(&format!("make {directory}"), std::fs::create_dir_all(directory));
    }
    let link = Path::new("/run/booted-system");
    if !link.exists() {
        told("link /run/booted-system", std::os::unix::fs::symlink(toplevel, link));
    }
    activate(toplevel);
}

/// Whether a directory is another device than its parent.
fn is_mount_point(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let (Ok(inner), Some(Ok(outer))) = (path.metadata(), path.parent().map(Path::metadata)) else {
        return false;
    };
    inner.dev() != outer.dev()
}

fn told(what: &str, result: std::io::Result<()>) {
    if let Err(error) = result {
        console::log(Level::Error, &format!("cannot {what}: {error}"));
    }
}

/// Runs `TOPLEVEL/activate boot` and waits for it. A machine whose activation fails still starts its services, so that it can be
/// reached and mended.
fn activate(toplevel: &str) {
    let program = format!("{toplevel}/activate");
    if !Path::new(&program).exists() {
        console::log(Level::Warning, &format!("{program} does not exist; going on without activation"));
        return;
    }
    match Command::new(&program).arg("boot").env_clear().env("PATH", format!("{toplevel}/sw/bin")).status() {
        Ok(status) if status.success() => {}
        Ok(status) => console::log(Level::Error, &format!("activation failed ({status}); going on")),
        Err(error) => console::log(Level::Error, &format!("cannot run {program}: {error}")),
    }
}

/// The control socket: everybody may connect, the supervisor asks who it is.
pub(super) fn control_socket() -> Option<OwnedFd> {
    unix_socket(formats::control::SOCKET, SockType::Stream, 0o666)
}

/// The socket of sd_notify(3).
pub(super) fn notify_socket() -> Option<OwnedFd> {
    let socket = unix_socket("/run/firn/notify", SockType::Datagram, 0o666)?;
    crate::best_effort::tolerate(setsockopt(&socket, sockopt::PassCred, &true));
    crate::best_effort::tolerate(setsockopt(&socket, sockopt::RcvBuf, &(8 << 20)));
    Some(socket)
}

/// Where programs log: syslog(3)'s socket, the journal's own, and the one for streams, under the names that systemd has them.
pub(super) fn log_sockets() -> [Option<OwnedFd>; 3] {
    let datagrams = |path: &str| {
        let socket = unix_socket(path, SockType::Datagram, 0o666)?;
        crate::best_effort::tolerate(setsockopt(&socket, sockopt::PassCred, &true));
        crate::best_effort::tolerate(setsockopt(&socket, sockopt::RcvBuf, &(8 << 20)));
        Some(socket)
    };
    let syslog = datagrams("/run/systemd/journal/dev-log");
    let journal = datagrams("/run/systemd/journal/socket");
    let streams = unix_socket("/run/systemd/journal/stdout", SockType::Stream, 0o666);
    drop(std::fs::remove_file("/dev/log"));
    told("link /dev/log", std::os::unix::fs::symlink("/run/systemd/journal/dev-log", "/dev/log"));
    [syslog, journal, streams]
}

fn unix_socket(path: &str, kind: SockType, mode: u32) -> Option<OwnedFd> {
    use std::os::unix::fs::PermissionsExt as _;
    let made = (|| {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, kind, flags, None)?;
        // A leftover of an earlier life is in the way; when there is none, all the better.
        drop(std::fs::remove_file(path));
        bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
        if kind == SockType::Stream {
            listen(&socket, Backlog::new(64)?)?;
        }
        std::io::Result::Ok(socket)
    })();
    match made {
        Ok(socket) => Some(socket),
        Err(error) => {
            console::log(Level::Error, &format!("cannot listen on {path}: {error}"));
            None
        }
    }
}
