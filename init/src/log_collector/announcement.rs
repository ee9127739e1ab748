//! What the supervisor hands to the log collector, one message each over a socket that keeps messages apart: a letter,
//! words between NUL bytes, and a descriptor.

use super::flood::Limit;
use nix::cmsg_space;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd};

/// What a unit says about its output (systemd.exec(5), "Logging and standard input/output").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The unit's name.
    pub unit: String,
    /// SyslogIdentifier=, or the program's name.
    pub identifier: String,
    /// Priority of a line that says none.
    pub level: u8,
    /// Whether `<N>` at a line's beginning is its priority.
    pub level_prefix: bool,
    /// What is less urgent is not kept.
    pub max_level: u8,
    /// How much it may write.
    pub limit: Limit,
}

impl Origin {
    /// A unit that says nothing about it.
    pub fn new(unit: &str) -> Self {
        let identifier = unit.split('.').next().unwrap_or(unit).to_owned();
        let limit = Limit::default();
        Self { unit: unit.to_owned(), identifier, level: 6, level_prefix: true, max_level: 7, limit }
    }
}

/// One message.
#[derive(Debug)]
pub enum Announcement {
    /// A unit's pipe, its reading end.
    Pipe(Origin, OwnedFd),
    /// The socket behind /dev/log.
    Syslog(OwnedFd),
    /// The journal's own socket.
    Journal(OwnedFd),
    /// The listening socket of stdout streams.
    Streams(OwnedFd),
}

/// Tells the collector about a unit's pipe.
pub fn send_pipe(socket: BorrowedFd<'_>, origin: &Origin, pipe: BorrowedFd<'_>) -> nix::Result<()> {
    let Origin { unit, identifier, level, level_prefix, max_level, limit } = origin;
    let prefix = u8::from(*level_prefix);
    let words =
        format!("p{unit}\0{identifier}\0{level}\0{prefix}\0{max_level}\0{}\0{}", limit.burst, limit.interval);
    send(socket, words.as_bytes(), pipe)
}

/// Tells it about one of the sockets: `s` for syslog's, `j` for the journal's, `o` for stdout streams.
pub fn send_socket(socket: BorrowedFd<'_>, letter: char, given: BorrowedFd<'_>) -> nix::Result<()> {
    send(socket, letter.encode_utf8(&mut [0; 4]).as_bytes(), given)
}

fn send(socket: BorrowedFd<'_>, bytes: &[u8], given: BorrowedFd<'_>) -> nix::Result<()> {
    let rights = [given.as_raw_fd()];
    let control = [ControlMessage::ScmRights(&rights)];
    sendmsg::<UnixAddr>(
        socket.as_raw_fd(),
        &[IoSlice::new(bytes)],
        &control,
        MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT,
        None,
    )
    .map(drop)
}

/// What the supervisor's socket says now.
#[derive(Debug)]
pub enum Received {
    /// This.
    Said(Announcement),
    /// Nothing yet, or nothing of use.
    Nothing,
    /// It is gone.
    Closed,
}

/// Takes the next message.
pub fn receive(socket: BorrowedFd<'_>) -> Received {
    let mut bytes = [0; 1024];
    let mut space = cmsg_space!([RawFd; 1]);
    let mut buffers = [IoSliceMut::new(&mut bytes)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
    let (length, raw) = match recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut buffers, Some(&mut space), flags) {
        Ok(message) => {
            let mut raw = None;
            let Ok(items) = message.cmsgs() else { return Received::Nothing };
            for item in items {
                if let ControlMessageOwned::ScmRights(list) = item {
                    raw = list.first().copied();
                }
            }
            (message.bytes, raw)
        }
        Err(nix::Error::EAGAIN | nix::Error::EINTR) => return Received::Nothing,
        Err(_) => return Received::Closed,
    };
    if length == 0 {
        return Received::Closed;
    }
    let text = String::from_utf8_lossy(bytes.get(..length).unwrap_or_default()).into_owned();
    let descriptor = raw.and_then(|raw| sys::terminal::adopt(raw).ok());
    match descriptor.and_then(|descriptor| read(&text, descriptor)) {
        Some(announcement) => Received::Said(announcement),
        None => Received::Nothing,
    }
}

fn read(text: &str, descriptor: OwnedFd) -> Option<Announcement> {
    Some(match text.split_at_checked(1)? {
        ("s", _) => Announcement::Syslog(descriptor),
        ("j", _) => Announcement::Journal(descriptor),
        ("o", _) => Announcement::Streams(descriptor),
        ("p", words) => {
            let mut words = words.split('\0');
            let mut next = || words.next().unwrap_or_default();
            let (unit, identifier) = (next().to_owned(), next().to_owned());
            let (level, prefix, max_level) = (next().parse().ok()?, next() == "1", next().parse().ok()?);
            let limit = Limit { burst: next().parse().ok()?, interval: next().parse().ok()? };
            let origin = Origin { unit, identifier, level, level_prefix: prefix, max_level, limit };
            Announcement::Pipe(origin, descriptor)
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
    use std::os::fd::AsFd as _;

    #[test]
    fn what_is_announced_arrives() {
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
        let (pipe, _) = nix::unistd::pipe().unwrap();
        let mut origin = Origin::new("nginx.service");
        origin.limit.burst = 7;
        assert_eq!(origin.identifier, "nginx");
        send_pipe(ours.as_fd(), &origin, pipe.as_fd()).unwrap();
        send_socket(ours.as_fd(), 'j', pipe.as_fd()).unwrap();
        let Received::Said(Announcement::Pipe(found, _)) = receive(theirs.as_fd()) else { panic!("no pipe") };
        assert_eq!(found, origin);
        assert!(matches!(receive(theirs.as_fd()), Received::Said(Announcement::Journal(_))));
        assert!(matches!(receive(theirs.as_fd()), Received::Nothing));
        drop(ours);
        assert!(matches!(receive(theirs.as_fd()), Received::Closed));
    }
}
