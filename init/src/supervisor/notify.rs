//! Messages of sd_notify(3): who sent them is told by the kernel, what they say by lines `NAME=value`.

use nix::cmsg_space;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixAddr, UnixCredentials, recvmsg};
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd as _, BorrowedFd, RawFd};

/// One message.
#[expect(clippy::struct_excessive_bools, reason = "one a kind of message, and one message may carry several")]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notice {
    /// The process that sent it.
    pub sender: u32,
    /// READY=1.
    pub ready: bool,
    /// RELOADING=1.
    pub reloading: bool,
    /// STOPPING=1.
    pub stopping: bool,
    /// WATCHDOG=1.
    pub alive: bool,
    /// MAINPID=.
    pub main_pid: Option<u32>,
    /// STATUS=.
    pub status: Option<String>,
    /// EXTEND_TIMEOUT_USEC=.
    pub extend: Option<u64>,
}

/// Reads the next message, if there is one.
pub fn receive(socket: BorrowedFd<'_>) -> Option<Notice> {
    let mut bytes = [0; 4096];
    let mut space = cmsg_space!(UnixCredentials, [RawFd; 16]);
    let mut buffers = [IoSliceMut::new(&mut bytes)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let (length, sender) = loop {
        match recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut buffers, Some(&mut space), flags) {
            Ok(message) => {
                let mut sender = 0;
                for item in message.cmsgs().ok()? {
                    match item {
                        ControlMessageOwned::ScmCredentials(credentials) => sender = credentials.pid() as u32,
                        // BARRIER=1 is answered by closing what came with it; FDSTORE is not kept.
                        ControlMessageOwned::ScmRights(list) => {
                            for raw in list {
                                drop(sys::terminal::adopt(raw));
                            }
                        }
                        _ => {}
                    }
                }
                break (message.bytes, sender);
            }
            Err(nix::Error::EINTR) => {}
            Err(_) => return None,
        }
    };
    Some(parse(sender, &String::from_utf8_lossy(bytes.get(..length).unwrap_or_default())))
}

fn parse(sender: u32, text: &str) -> Notice {
    let mut notice = Notice { sender, ..Notice::default() };
    for (name, value) in text.lines().filter_map(|line| line.split_once('=')) {
        match name {
            "READY" => notice.ready |= value == "1",
            "RELOADING" => notice.reloading |= value == "1",
            "STOPPING" => notice.stopping |= value == "1",
            "WATCHDOG" => notice.alive |= value == "1",
            "MAINPID" => notice.main_pid = value.parse().ok().filter(|pid| *pid > 1),
            "STATUS" => notice.status = Some(value.chars().take(256).collect()),
            "EXTEND_TIMEOUT_USEC" => notice.extend = value.parse().ok(),
            _ => {}
        }
    }
    notice
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_understood() {
        let notice = parse(7, "READY=1\nSTATUS=up and well\nMAINPID=99\nMAINPID=x\nFOO\n=\nWATCHDOG=trigger");
        assert_eq!((notice.sender, notice.ready, notice.alive, notice.main_pid), (7, true, false, None));
        assert_eq!(notice.status.as_deref(), Some("up and well"));
    }
}
