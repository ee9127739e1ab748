//! The words between PID 1 and the supervisor, over a socket pair that keeps messages apart (unix(7), SOCK_SEQPACKET):
//! two 32-bit numbers, and with some a descriptor.

use nix::cmsg_space;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd as _, BorrowedFd, RawFd};

/// From PID 1: processes of the supervisor have ended.
pub const ENDS: u32 = 1;
/// From PID 1: a signal came, its number follows.
pub const SIGNAL: u32 = 2;
/// To PID 1: hold this descriptor under this tag.
pub const HOLD: u32 = 3;
/// To PID 1: let it go.
pub const LET_GO: u32 = 4;
/// To PID 1: end the machine; how, as in `formats::control::Shutdown`.
pub const FINAL: u32 = 5;

/// To PID 1: become the program of the generation that runs now.
pub const AGAIN: u32 = 6;

/// So many seconds room is waited for.
const PATIENCE: usize = 10;

/// Sends a message without waiting; an error when the other side is gone or does not listen.
pub fn send(
    socket: BorrowedFd<'_>,
    kind: u32,
    number: u32,
    descriptor: Option<BorrowedFd<'_>>,
) -> nix::Result<()> {
    let mut bytes = [0; 8];
    for (to, from) in bytes.iter_mut().zip(kind.to_le_bytes().into_iter().chain(number.to_le_bytes())) {
        *to = from;
    }
    let raw: Vec<RawFd> = descriptor.iter().map(std::os::fd::AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    sendmsg::<UnixAddr>(socket.as_raw_fd(), &[IoSlice::new(&bytes)], control, flags, None).map(drop)
}

/// Sends, and waits while the other side has no room: what is to be held, let go or ended must not be lost. PID 1 waits for nobody, so it
/// makes room soon.
pub fn send_surely(
    socket: BorrowedFd<'_>,
    kind: u32,
    number: u32,
    descriptor: Option<BorrowedFd<'_>>,
) -> nix::Result<()> {
    let mut result = send(socket, kind, number, descriptor);
    for _ in 0..PATIENCE {
        if result != Err(nix::Error::EAGAIN) {
            break;
        }
        let mut polled = [PollFd::new(socket, PollFlags::POLLOUT)];
        crate::best_effort::tolerate(nix::poll::poll(&mut polled, PollTimeout::from(1000_u16)));
        result = send(socket, kind, number, descriptor);
    }
    result
}

/// A message that has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// Kind, number and descriptor.
    Message(u32, u32, Option<RawFd>),
    /// None is there.
    Nothing,
    /// The other side is gone.
    Closed,
}

/// Receives without waiting.
pub fn receive(socket: BorrowedFd<'_>) -> Received {
    let mut bytes = [0; 8];
    let mut space = cmsg_space!([RawFd; 1]);
    let mut buffers = [IoSliceMut::new(&mut bytes)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let (length, descriptor) =
        match recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut buffers, Some(&mut space), flags) {
            Ok(message) => {
                let mut descriptor = None;
                if let Ok(control) = message.cmsgs() {
                    for item in control {
                        if let ControlMessageOwned::ScmRights(list) = item {
                            descriptor = list.first().copied();
                        }
                    }
                }
                (message.bytes, descriptor)
            }
            Err(nix::Error::EAGAIN | nix::Error::EINTR) => return Received::Nothing,
            Err(_) => return Received::Closed,
        };
    if length == 0 {
        return Received::Closed;
    }
    let [a, b, c, d, e, f, g, h] = bytes;
    Received::Message(u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]), descriptor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
    use std::os::fd::AsFd as _;

    /// More messages than the socket has room for, while the other side is busy: a bare send loses some, this one none.
    #[test]
    fn nothing_that_is_to_be_held_is_lost() {
        let pair =
            || socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
        let (ours, theirs) = pair();
        let refused = (0..5000).filter(|number| send(ours.as_fd(), HOLD, *number, None).is_err()).count();
        assert!(refused > 0, "there is room for all of them, and nothing to test");
        drop(theirs);
        let (ours, theirs) = pair();
        let reader = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(50));
            let mut seen = Vec::new();
            loop {
                match receive(theirs.as_fd()) {
                    Received::Message(_, number, _) => seen.push(number),
                    Received::Nothing => std::thread::sleep(std::time::Duration::from_millis(1)),
                    Received::Closed => return seen,
                }
            }
        });
        for number in 0..5000 {
            send_surely(ours.as_fd(), HOLD, number, None).unwrap();
        }
        drop(ours);
        assert_eq!(reader.join().unwrap(), (0..5000).collect::<Vec<u32>>());
    }
}
