//! The kernel's messages about devices that come and go, over netlink(7) NETLINK_KOBJECT_UEVENT: what to wait on instead of
//! sleeping.

use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

/// A subscription. Events since its opening are not lost.
#[derive(Debug)]
pub struct Uevents {
    socket: OwnedFd,
}

impl Uevents {
    /// Subscribes to the kernel's own messages.
    pub fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let protocol = SockProtocol::NetlinkKObjectUEvent;
        let socket = socket(AddressFamily::Netlink, SockType::Datagram, flags, protocol)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 1))?;
        Ok(Self { socket })
    }

    /// Waits until a block device changed or time is up; false when it is up.
    pub fn wait_for_block_device(&self, until: Instant) -> io::Result<bool> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                return Ok(false);
            }
            let milliseconds = u16::try_from(left.as_millis().saturating_add(1)).unwrap_or(u16::MAX);
            let mut polled = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            match nix::poll::poll(&mut polled, PollTimeout::from(milliseconds)) {
                Err(nix::Error::EINTR) | Ok(0) => {}
                Err(error) => return Err(error.into()),
                Ok(_) => {
                    if self.drain() {
                        return Ok(true);
                    }
                }
            }
        }
    }

    /// Reads all that is there; whether any of it was about a block device. An overrun counts as one.
    fn drain(&self) -> bool {
        let mut buffer = [0_u8; 4096];
        let mut found = false;
        loop {
            match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(length) => {
                    let message = buffer.get(..length).unwrap_or_default();
                    found |= message.split(|byte| *byte == 0).any(|field| field == b"SUBSYSTEM=block");
                }
                Err(nix::Error::ENOBUFS) => found = true,
                Err(nix::Error::EINTR) => {}
                Err(_) => return found,
            }
        }
    }
}
