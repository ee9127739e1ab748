//! The log collector: a child that reads every unit's pipe and writes lines to `/var/log/firn/UNIT.log`. It holds nothing that
//! cannot be lost with it: the pipes' read ends are also held by PID 1, what is in a pipe stays there until the next
//! collector reads it. Each file is bounded: at `FILE_LIMIT` it becomes `UNIT.log.1` and a new one begins, so one
//! chatty unit costs only its own history.
//!
//! A line is `MICROSECONDS BOOT TEXT`: CLOCK_REALTIME, the first eight digits of the boot's id, what the service wrote.

use nix::cmsg_space;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{IoSlice, IoSliceMut, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Where logs lie.
pub const DIRECTORY: &str = "/var/log/firn";

/// A unit's history is at most two files of this size.
const FILE_LIMIT: u64 = 2 << 20;

/// A longer line is cut.
const LINE_LIMIT: usize = 8 << 10;

/// What is kept of a unit whose file cannot be opened yet.
const BACKLOG_LIMIT: usize = 64 << 10;

/// Supervisor: hands a unit's pipe over.
pub fn send_pipe(socket: BorrowedFd<'_>, unit: &str, pipe: BorrowedFd<'_>) -> nix::Result<()> {
    let rights = [pipe.as_raw_fd()];
    let flags = MsgFlags::MSG_NOSIGNAL;
    let control = [ControlMessage::ScmRights(&rights)];
    sendmsg::<UnixAddr>(socket.as_raw_fd(), &[IoSlice::new(unit.as_bytes())], &control, flags, None).map(drop)
}

/// One unit's stream.
struct Stream {
    unit: String,
    pipe: OwnedFd,
    /// The line that has no end yet.
    partial: Vec<u8>,
    /// Whole lines that could not be written yet.
    backlog: Vec<u8>,
    file: Option<(File, u64)>,
}

/// Runs until the supervisor's socket closes.
pub fn run(socket: &OwnedFd) -> i32 {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let boot = boot.get(..8).unwrap_or("00000000").to_owned();
    let Ok(epoll) = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC) else { return 1 };
    if epoll.add(socket, EpollEvent::new(EpollFlags::EPOLLIN, 0)).is_err() {
        return 1;
    }
    let mut streams: BTreeMap<u64, Stream> = BTreeMap::new();
    let mut next = 1;
    let mut open = true;
    let mut events = [EpollEvent::empty(); 64];
    loop {
        let waits_for_disk = streams.values().any(|stream| !stream.backlog.is_empty());
        let timeout = if waits_for_disk { EpollTimeout::from(1000_u16) } else { EpollTimeout::NONE };
        let count = match epoll.wait(&mut events, timeout) {
            Ok(count) => count,
            Err(nix::Error::EINTR) => continue,
            Err(_) => return 1,
        };
        for event in events.iter().take(count) {
            match event.data() {
                0 => match receive(socket.as_fd()) {
                    Received::Pipe(unit, pipe) => {
                        if epoll.add(&pipe, EpollEvent::new(EpollFlags::EPOLLIN, next)).is_ok() {
                            let stream =
                                Stream { unit, pipe, partial: Vec::new(), backlog: Vec::new(), file: None };
                            streams.insert(next, stream);
                            next += 1;
                        }
                    }
                    Received::Nothing => {}
                    Received::Closed => open = false,
                },
                number => {
                    let goes_on = streams.get_mut(&number).is_some_and(|stream| stream.read(&boot));
                    if !goes_on {
                        streams.remove(&number);
                    }
                }
            }
        }
        for stream in streams.values_mut() {
            stream.write_out();
        }
        if !open {
            // The supervisor is gone or replaces us: what is in the pipes now is written, the rest is our successor's.
            for stream in streams.values_mut() {
                stream.read(&boot);
                stream.write_out();
            }
            return 0;
        }
    }
}

/// What the supervisor says.
enum Received {
    /// A unit and its pipe.
    Pipe(String, OwnedFd),
    /// Nothing yet, or nothing of use.
    Nothing,
    /// It is gone.
    Closed,
}

/// Takes the next message.
fn receive(socket: BorrowedFd<'_>) -> Received {
    let mut bytes = [0; 512];
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
    let unit = String::from_utf8_lossy(bytes.get(..length).unwrap_or_default()).into_owned();
    match raw.and_then(|raw| sys::terminal::adopt(raw).ok()) {
        Some(pipe) => Received::Pipe(unit, pipe),
        None => Received::Nothing,
    }
}

impl Stream {
    /// Reads what is there; false at the end of the stream.
    fn read(&mut self, boot: &str) -> bool {
        let mut buffer = [0; 16 << 10];
        // A bounded share, so that one flood does not keep the others waiting.
        for _ in 0..8 {
            match nix::unistd::read(self.pipe.as_fd(), &mut buffer) {
                Ok(0) => {
                    self.end_line(boot);
                    self.write_out();
                    return false;
                }
                Ok(length) => self.take(buffer.get(..length).unwrap_or_default(), boot),
                Err(nix::Error::EINTR) => {}
                Err(_) => return true,
            }
        }
        true
    }

    fn take(&mut self, bytes: &[u8], boot: &str) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            match part.split_last() {
                Some((b'\n', line)) => {
                    self.partial.extend(line);
                    self.end_line(boot);
                }
                _ => self.partial.extend(part),
            }
            if self.partial.len() > LINE_LIMIT {
                self.end_line(boot);
            }
        }
    }

    /// Turns what was gathered into a line.
    fn end_line(&mut self, boot: &str) {
        if self.partial.is_empty() {
            return;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |span| span.as_micros());
        self.partial.truncate(LINE_LIMIT);
        if self.backlog.len() < BACKLOG_LIMIT {
            self.backlog.extend(format!("{now} {boot} ").into_bytes());
            self.backlog.append(&mut self.partial);
            self.backlog.push(b'\n');
        }
        self.partial.clear();
    }

    /// Writes whole lines to the file; what cannot be written waits, up to a bound.
    fn write_out(&mut self) {
        if self.backlog.is_empty() {
            return;
        }
        if self.file.is_none() {
            self.file = open_log(&self.unit);
        }
        let Some((file, size)) = &mut self.file else { return };
        if let Ok(()) = file.write_all(&self.backlog) {
            *size += self.backlog.len() as u64;
            self.backlog.clear();
        } else {
            self.file = None;
            return;
        }
        if *size > FILE_LIMIT {
            let (current, old) = (path_of(&self.unit), path_of(&self.unit).with_extension("log.1"));
            drop(std::fs::rename(current, old));
            self.file = None;
        }
    }
}

fn path_of(unit: &str) -> PathBuf {
    Path::new(DIRECTORY).join(format!("{unit}.log"))
}

fn open_log(unit: &str) -> Option<(File, u64)> {
    std::fs::create_dir_all(DIRECTORY).ok()?;
    let file = OpenOptions::new().append(true).create(true).open(path_of(unit)).ok()?;
    let size = file.metadata().ok()?.len();
    Some((file, size))
}
