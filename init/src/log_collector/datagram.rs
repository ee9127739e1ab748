//! Datagrams of syslog and journal clients: looked at first, taken out of the socket when they are written. PID 1 holds the
//! sockets too, so that what is in them outlives the collector.

use nix::cmsg_space;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixAddr, UnixCredentials, recv, recvmsg};
use std::fs::File;
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt as _;

/// Longer datagrams are cut; journal clients send a file instead.
const LIMIT: usize = 256 << 10;

/// One datagram, or the file sent in its place.
#[derive(Debug)]
pub(super) struct Datagram {
    pub(super) pid: u32,
    pub(super) uid: u32,
    pub(super) bytes: Vec<u8>,
}

/// The next datagram, which stays in the socket.
pub(super) fn look(socket: BorrowedFd<'_>, buffer: &mut Vec<u8>) -> Option<Datagram> {
    buffer.resize(LIMIT, 0);
    let mut space = cmsg_space!(UnixCredentials, [RawFd; 8]);
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_PEEK;
    let (length, pid, uid, mut files) = loop {
        let mut buffers = [IoSliceMut::new(buffer)];
        match recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut buffers, Some(&mut space), flags) {
            Ok(message) => {
                let (mut pid, mut uid, mut files) = (0, 0, Vec::new());
                for item in message.cmsgs().into_iter().flatten() {
                    match item {
                        ControlMessageOwned::ScmCredentials(credentials) => {
                            (pid, uid) = (credentials.pid() as u32, credentials.uid());
                        }
                        ControlMessageOwned::ScmRights(list) => {
                            files.extend(list.into_iter().filter_map(|raw| sys::terminal::adopt(raw).ok()));
                        }
                        _ => {}
                    }
                }
                break (message.bytes, pid, uid, files);
            }
            Err(nix::Error::EINTR) => {}
            Err(_) => return None,
        }
    };
    let bytes = match files.pop() {
        Some(file) if length == 0 => read_file(file).unwrap_or_default(),
        _ => buffer.get(..length).unwrap_or_default().to_vec(),
    };
    Some(Datagram { pid, uid, bytes })
}

/// Takes the datagram that was looked at.
pub(super) fn take(socket: BorrowedFd<'_>) {
    crate::best_effort::tolerate(recv(socket.as_raw_fd(), &mut [0; 1], MsgFlags::MSG_DONTWAIT));
}

/// What lies in a memory file; of anything else reading could take for ever.
fn read_file(file: OwnedFd) -> Option<Vec<u8>> {
    use nix::fcntl::{FcntlArg, fcntl};
    fcntl(&file, FcntlArg::F_GET_SEALS).ok()?;
    let file = File::from(file);
    let length = file.metadata().ok()?.len().min(formats::log_record::MAX_PAYLOAD as u64);
    let mut bytes = vec![0; length as usize];
    let count = file.read_at(&mut bytes, 0).ok()?;
    bytes.truncate(count);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::memfd::{MFdFlags, memfd_create};
    use nix::sys::socket::{
        AddressFamily, ControlMessage, SockFlag, SockType, sendmsg, setsockopt, socketpair, sockopt,
    };
    use std::io::IoSlice;
    use std::os::fd::AsFd as _;

    #[test]
    fn datagrams_stay_until_they_are_taken() {
        let (client, server) =
            socketpair(AddressFamily::Unix, SockType::Datagram, None, SockFlag::SOCK_CLOEXEC).unwrap();
        setsockopt(&server, sockopt::PassCred, &true).unwrap();
        let mut buffer = Vec::new();
        assert!(look(server.as_fd(), &mut buffer).is_none());
        nix::unistd::write(&client, b"<13>hello").unwrap();
        let memory = memfd_create(c"m", MFdFlags::MFD_ALLOW_SEALING).unwrap();
        nix::unistd::write(&memory, b"MESSAGE=large\n").unwrap();
        let rights = [memory.as_raw_fd()];
        let control = [ControlMessage::ScmRights(&rights)];
        sendmsg::<UnixAddr>(client.as_raw_fd(), &[IoSlice::new(&[])], &control, MsgFlags::empty(), None)
            .unwrap();
        for _ in 0..2 {
            let seen = look(server.as_fd(), &mut buffer).unwrap();
            assert_eq!((seen.pid, seen.bytes.as_slice()), (std::process::id(), b"<13>hello".as_slice()));
        }
        take(server.as_fd());
        assert_eq!(look(server.as_fd(), &mut buffer).unwrap().bytes, b"MESSAGE=large\n");
        take(server.as_fd());
        assert!(look(server.as_fd(), &mut buffer).is_none());
    }
}
