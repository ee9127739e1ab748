//! Sockets of socket units (systemd.socket(5)): made, bound and listened on before their service starts.

use super::accounts;
use formats::service_graph::key::{Key, flag, listen};
use formats::service_graph::view::Unit;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrLike, UnixAddr, bind,
    listen as start_listening, setsockopt, socket, sockopt,
};
use std::io;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

/// Opens every socket of a unit.
pub fn open_all(unit: &Unit<'_>) -> io::Result<Vec<OwnedFd>> {
    unit.tagged(Key::Listen)
        .map(|(tag, address)| {
            open_one(unit, tag, address)
                .map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))
        })
        .collect()
}

fn open_one(unit: &Unit<'_>, tag: u32, address: &str) -> io::Result<OwnedFd> {
    let kind = match tag {
        listen::STREAM => SockType::Stream,
        listen::DATAGRAM => SockType::Datagram,
        listen::SEQPACKET => SockType::SeqPacket,
        _ => return open_fifo(unit, address),
    };
    let backlog = Backlog::new(unit.number(Key::Backlog).unwrap_or(4096).min(4096) as i32)?;
    if address.starts_with('/') || address.starts_with('@') {
        let opened = open_unix(unit, kind, address)?;
        if kind != SockType::Datagram {
            start_listening(&opened, backlog)?;
        }
        return Ok(opened);
    }
    let place = parse_address(address)
        .ok_or_else(|| io::Error::other("neither a path nor a port nor address:port"))?;
    let family = if place.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let opened = socket(family, kind, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    setsockopt(&opened, sockopt::ReuseAddr, &true)?;
    if unit.flag(flag::REUSE_PORT) {
        setsockopt(&opened, sockopt::ReusePort, &true)?;
    }
    if unit.flag(flag::FREE_BIND) {
        setsockopt(&opened, sockopt::IpFreebind, &true)?;
    }
    if let (SocketAddr::V6(_), Some(only @ (1 | 2))) = (&place, unit.number(Key::BindIpv6Only)) {
        setsockopt(&opened, sockopt::Ipv6V6Only, &(only == 2))?;
    }
    let bound: Box<dyn SockaddrLike> = match place {
        SocketAddr::V4(place) => Box::new(SockaddrIn::from(place)),
        SocketAddr::V6(place) => Box::new(SockaddrIn6::from(place)),
    };
    bind(opened.as_raw_fd(), bound.as_ref())?;
    if kind != SockType::Datagram {
        start_listening(&opened, backlog)?;
    }
    Ok(opened)
}

/// ListenFIFO=: open for both directions, so that it never ends for the one who reads.
fn open_fifo(unit: &Unit<'_>, address: &str) -> io::Result<OwnedFd> {
    use nix::fcntl::OFlag;
    use nix::sys::stat::Mode;
    let path = Path::new(address);
    make_parent(unit, path)?;
    match nix::unistd::mkfifo(path, Mode::from_bits_truncate(0o600)) {
        Ok(()) | Err(nix::Error::EEXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlag::O_RDWR | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let opened = nix::fcntl::open(path, flags, Mode::empty())?;
    let meta = nix::sys::stat::fstat(&opened)?;
    if meta.st_mode & libc::S_IFMT != libc::S_IFIFO {
        return Err(io::Error::other("there is something that is no FIFO"));
    }
    give(unit, path)?;
    Ok(opened)
}

/// The directories above a socket, with DirectoryMode= where they are new.
fn make_parent(unit: &Unit<'_>, path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let mode = unit.number(Key::DirectoryMode).unwrap_or(0o755) as u32;
    match path.parent() {
        Some(parent) if !parent.is_dir() => {
            std::fs::DirBuilder::new().recursive(true).mode(mode).create(parent)
        }
        _ => Ok(()),
    }
}

fn open_unix(unit: &Unit<'_>, kind: SockType, address: &str) -> io::Result<OwnedFd> {
    let opened = socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    if let Some(name) = address.strip_prefix('@') {
        bind(opened.as_raw_fd(), &UnixAddr::new_abstract(name.as_bytes())?)?;
        return Ok(opened);
    }
    let path = Path::new(address);
    make_parent(unit, path)?;
    // Left behind by an earlier life, or not there.
    drop(std::fs::remove_file(path));
    bind(opened.as_raw_fd(), &UnixAddr::new(path)?)?;
    give(unit, path)?;
    Ok(opened)
}

/// SocketMode=, SocketUser=, SocketGroup=.
fn give(unit: &Unit<'_>, path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = unit.number(Key::SocketMode).unwrap_or(0o666) as u32;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    let uid = unit
        .text(Key::SocketUser)
        .map(|name| {
            accounts::user(name)
                .map(|account| account.uid)
                .ok_or_else(|| io::Error::other(format!("there is no user `{name}`")))
        })
        .transpose()?;
    let gid = unit
        .text(Key::SocketGroup)
        .map(|name| {
            accounts::group(name).ok_or_else(|| io::Error::other(format!("there is no group `{name}`")))
        })
        .transpose()?;
    std::os::unix::fs::chown(path, uid, gid)
}

/// `80` (all addresses), `127.0.0.1:80`, `[::1]:80`.
fn parse_address(text: &str) -> Option<SocketAddr> {
    if let Ok(port) = text.parse() {
        return Some(SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0)));
    }
    text.parse().ok()
}

/// Symlinks=: other names of the only socket that lies in the file system.
pub fn make_links(unit: &Unit<'_>) {
    let Some((_, target)) = unit.tagged(Key::Listen).find(|(_, address)| address.starts_with('/')) else {
        return;
    };
    for link in unit.texts(Key::Symlinks) {
        let make = || -> io::Result<()> {
            Path::new(link).parent().map_or(Ok(()), std::fs::create_dir_all)?;
            if Path::new(link).is_symlink() {
                std::fs::remove_file(link)?;
            }
            std::os::unix::fs::symlink(target, link)
        };
        if let Err(error) = make() {
            let text = format!("{}: cannot make the link {link}: {error}", unit.name());
            crate::console::log(crate::console::Level::Warning, &text);
        }
    }
}

/// FlushPending=: what came while nobody served is thrown away.
pub fn flush(sockets: &[OwnedFd]) {
    let mut buffer = [0; 4096];
    for socket in sockets {
        // A socket that listens gives connections, which are closed; any other gives data. A bounded share of either.
        for _ in 0..1024 {
            if let Ok(connection) = accept_one(socket) {
                drop(connection);
            } else if !matches!(nix::unistd::read(socket, &mut buffer), Ok(1..)) {
                break;
            }
        }
    }
}

/// The next connection of a socket that listens; not blocking, and blocking itself, as services expect.
pub fn accept_one(socket: &OwnedFd) -> io::Result<OwnedFd> {
    // A service may have had it, and made it block.
    nix::fcntl::fcntl(socket, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK))?;
    let raw = nix::sys::socket::accept4(socket.as_raw_fd(), SockFlag::SOCK_CLOEXEC)?;
    sys::terminal::adopt(raw)
}

/// The other side of a connection: address and port, as $REMOTE_ADDR and $REMOTE_PORT have them; nothing for others than IP.
pub fn peer(connection: &OwnedFd) -> Option<(String, u16)> {
    let storage =
        nix::sys::socket::getpeername::<nix::sys::socket::SockaddrStorage>(connection.as_raw_fd()).ok()?;
    if let Some(address) = storage.as_sockaddr_in() {
        return Some((address.ip().to_string(), address.port()));
    }
    let address = storage.as_sockaddr_in6()?;
    let ip = address.ip();
    Some((ip.to_ipv4_mapped().map_or_else(|| ip.to_string(), |mapped| mapped.to_string()), address.port()))
}

/// Removes the files of a unit's sockets that ask for it.
pub fn remove(unit: &Unit<'_>) {
    if unit.flag(flag::REMOVE_ON_STOP) {
        for link in unit.texts(Key::Symlinks) {
            drop(std::fs::remove_file(link));
        }
        for (_, address) in unit.tagged(Key::Listen).filter(|(_, address)| address.starts_with('/')) {
            drop(std::fs::remove_file(address));
        }
    }
}
