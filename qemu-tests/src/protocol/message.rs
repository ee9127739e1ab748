//! The messages inside frames: what the driver asks and what the agent answers.
//!
//! Pure: [`Request`] and [`Reply`] to [`Frame`] and back. A hostile length is an error, never an allocation: every
//! count is checked against the bytes that are there.

use super::frame::{Frame, MAX_PAYLOAD};

/// Bytes of data in one `Stdin`, `Data` or output frame.
pub const CHUNK: usize = MAX_PAYLOAD - 64;

/// From the driver to the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Answers [`Reply::Hello`]: the agent may work from here on.
    Welcome {
        /// The driver's [`super::VERSION`].
        version: u32,
        /// The number from the `Hello`.
        nonce: u64,
    },
    /// Asks a running agent to forget everything and say `Hello` again.
    Knock,
    /// Runs a command in its own process group: [`Reply::Stdout`] and [`Reply::Stderr`] as they come, then [`Reply::Exit`].
    Run {
        /// Program (searched in PATH) and arguments.
        argv: Vec<Vec<u8>>,
        /// Variables set over the agent's own environment.
        env: Vec<(Vec<u8>, Vec<u8>)>,
        /// Start from an empty environment.
        clear_env: bool,
        /// Working directory; empty for the agent's own.
        cwd: Vec<u8>,
        /// Whether `Stdin` messages will follow; otherwise it reads /dev/null.
        stdin: bool,
    },
    /// Bytes for the command's standard input, or for the file of `WriteFile`.
    Data(Vec<u8>),
    /// No more [`Request::Data`].
    End,
    /// Sends a signal to the process group of the command with this request's number.
    Signal(i32),
    /// Gives up the request with this number: its command is killed, its wait ends.
    Cancel,
    /// The file's bytes as [`Reply::Data`], then [`Reply::Done`].
    ReadFile(Vec<u8>),
    /// Writes the `Data` that follow to a new file beside it and renames that to the path.
    WriteFile {
        /// Where.
        path: Vec<u8>,
        /// Permission bits of the new file.
        mode: u32,
    },
    /// `lstat` of a path: [`Reply::Status`].
    Status(Vec<u8>),
    /// The names in a directory, sorted: [`Reply::Names`].
    List(Vec<u8>),
    /// Waits (inotify) until a path is as described: [`Reply::Done`].
    WaitPath {
        /// Which.
        path: Vec<u8>,
        /// What must hold.
        condition: PathCondition,
    },
    /// Waits until a TCP port is listened on (or no longer): [`Reply::Done`].
    WaitPort {
        /// The port, in any address family.
        port: u16,
        /// Listened on, or not.
        open: bool,
    },
    /// Connects to a Unix stream socket: bytes to it by `Data` and `End`, bytes from it by [`Reply::Data`], and
    /// [`Reply::Done`] when it closes.
    Connect(Vec<u8>),
    /// The guest's clocks: [`Reply::Clock`].
    Clock,
    /// `sync(2)`.
    Sync,
    /// `reboot(2)` at once, without asking PID 1.
    Reboot {
        /// Power off instead of restarting.
        power_off: bool,
    },
}

/// What [`Request::WaitPath`] waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathCondition {
    /// Something is there, links followed.
    Exists,
    /// Nothing is there.
    Absent,
    /// A readable file whose bytes contain these.
    Contains(Vec<u8>),
}

/// From the agent to the driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The agent is there.
    Hello {
        /// The agent's [`super::VERSION`].
        version: u32,
        /// Chosen by the agent, repeated by `Welcome`.
        nonce: u64,
        /// `/proc/sys/kernel/random/boot_id`: tells one boot from the next.
        boot_id: Vec<u8>,
    },
    /// A piece of a command's standard output.
    Stdout(Vec<u8>),
    /// A piece of a command's standard error.
    Stderr(Vec<u8>),
    /// Final: the command ended with an exit code or by a signal.
    Exit {
        /// `WEXITSTATUS`, when it exited.
        code: Option<i32>,
        /// The signal that ended it.
        signal: Option<i32>,
    },
    /// A piece of a file.
    Data(Vec<u8>),
    /// Final: it holds or is done.
    Done,
    /// Final: the request failed.
    Failed {
        /// `errno`, 0 when there is none.
        errno: i32,
        /// What was tried and why it failed.
        message: String,
    },
    /// Final: what a path is.
    Status(FileStatus),
    /// Final: the names in a directory.
    Names(Vec<Vec<u8>>),
    /// Final: nanoseconds since 1970 and since boot.
    Clock {
        /// `CLOCK_REALTIME`.
        realtime: u64,
        /// `CLOCK_MONOTONIC`.
        monotonic: u64,
    },
}

impl Reply {
    /// Whether the request is over with this.
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::Hello { .. } | Self::Stdout(_) | Self::Stderr(_) | Self::Data(_))
    }
}

/// A path's kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// Regular file.
    File,
    /// Directory.
    Directory,
    /// Symbolic link.
    Symlink,
    /// Block device.
    BlockDevice,
    /// Character device.
    CharDevice,
    /// Named pipe.
    Fifo,
    /// Unix socket.
    Socket,
}

const KINDS: [FileKind; 7] = [
    FileKind::File,
    FileKind::Directory,
    FileKind::Symlink,
    FileKind::BlockDevice,
    FileKind::CharDevice,
    FileKind::Fifo,
    FileKind::Socket,
];

/// What `lstat` said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStatus {
    /// File, directory, …
    pub kind: FileKind,
    /// Permission bits with set-id and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes.
    pub size: u64,
    /// Inode number.
    pub inode: u64,
    /// Modification, nanoseconds since 1970.
    pub modified: i64,
    /// Where a symbolic link points; empty for everything else.
    pub target: Vec<u8>,
}

/// A frame that is not one of this version's messages.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("message of kind {kind:#04x} with {length} bytes is not one of protocol version {}", super::VERSION)]
pub struct Malformed {
    /// The frame's kind.
    pub kind: u8,
    /// Its payload's length.
    pub length: usize,
}

impl Request {
    /// As a frame; data longer than a frame is cut off, so senders use [`CHUNK`].
    pub fn to_frame(&self, request: u32) -> Frame {
        let mut w = Writer::default();
        let kind = match self {
            Self::Welcome { version, nonce } => {
                w.u32(*version).u64(*nonce);
                0x01
            }
            Self::Knock => 0x02,
            Self::Run { argv, env, clear_env, cwd, stdin } => {
                w.list(argv);
                w.u32(env.len() as u32);
                for (name, value) in env {
                    w.bytes(name).bytes(value);
                }
                w.u8(u8::from(*clear_env)).bytes(cwd).u8(u8::from(*stdin));
                0x03
            }
            Self::Data(bytes) => {
                w.rest(bytes);
                0x04
            }
            Self::End => 0x05,
            Self::Signal(number) => {
                w.u32(*number as u32);
                0x06
            }
            Self::Cancel => 0x07,
            Self::ReadFile(path) => {
                w.bytes(path);
                0x08
            }
            Self::WriteFile { path, mode } => {
                w.bytes(path).u32(*mode);
                0x09
            }
            Self::Status(path) => {
                w.bytes(path);
                0x0A
            }
            Self::List(path) => {
                w.bytes(path);
                0x0B
            }
            Self::WaitPath { path, condition } => {
                w.bytes(path);
                match condition {
                    PathCondition::Exists => w.u8(0),
                    PathCondition::Absent => w.u8(1),
                    PathCondition::Contains(bytes) => w.u8(2).bytes(bytes),
                };
                0x0C
            }
            Self::WaitPort { port, open } => {
                w.u32(u32::from(*port)).u8(u8::from(*open));
                0x0D
            }
            Self::Connect(path) => {
                w.bytes(path);
                0x11
            }
            Self::Clock => 0x0E,
            Self::Sync => 0x0F,
            Self::Reboot { power_off } => {
                w.u8(u8::from(*power_off));
                0x10
            }
        };
        Frame { kind, request, payload: w.out }
    }

    /// From a frame.
    pub fn from_frame(frame: &Frame) -> Result<Self, Malformed> {
        let mut r = Reader { bytes: &frame.payload };
        let message = match frame.kind {
            0x01 => r.u32().zip(r.u64()).map(|(version, nonce)| Self::Welcome { version, nonce }),
            0x02 => Some(Self::Knock),
            0x03 => r.run(),
            0x04 => Some(Self::Data(r.rest())),
            0x05 => Some(Self::End),
            0x06 => r.u32().map(|number| Self::Signal(number as i32)),
            0x07 => Some(Self::Cancel),
            0x08 => r.bytes().map(Self::ReadFile),
            0x09 => r.bytes().zip(r.u32()).map(|(path, mode)| Self::WriteFile { path, mode }),
            0x0A => r.bytes().map(Self::Status),
            0x0B => r.bytes().map(Self::List),
            0x0C => r.bytes().zip(r.condition()).map(|(path, condition)| Self::WaitPath { path, condition }),
            0x0D => r
                .u32()
                .zip(r.flag())
                .and_then(|(port, open)| u16::try_from(port).ok().map(|port| Self::WaitPort { port, open })),
            0x11 => r.bytes().map(Self::Connect),
            0x0E => Some(Self::Clock),
            0x0F => Some(Self::Sync),
            0x10 => r.flag().map(|power_off| Self::Reboot { power_off }),
            _ => None,
        };
        r.finish(frame, message)
    }
}

impl Reply {
    /// As a frame; data longer than a frame is cut off, so senders use [`CHUNK`].
    pub fn to_frame(&self, request: u32) -> Frame {
        let mut w = Writer::default();
        let kind = match self {
            Self::Hello { version, nonce, boot_id } => {
                w.u32(*version).u64(*nonce).bytes(boot_id);
                0x81
            }
            Self::Stdout(bytes) => {
                w.rest(bytes);
                0x82
            }
            Self::Stderr(bytes) => {
                w.rest(bytes);
                0x83
            }
            Self::Exit { code, signal } => {
                w.optional(*code).optional(*signal);
                0x84
            }
            Self::Data(bytes) => {
                w.rest(bytes);
                0x85
            }
            Self::Done => 0x86,
            Self::Failed { errno, message } => {
                w.u32(*errno as u32).bytes(message.as_bytes());
                0x87
            }
            Self::Status(s) => {
                let kind = KINDS.iter().position(|k| *k == s.kind).unwrap_or(0) as u8;
                w.u8(kind).u32(s.mode).u32(s.uid).u32(s.gid).u64(s.size).u64(s.inode);
                w.u64(s.modified as u64).bytes(&s.target);
                0x88
            }
            Self::Names(names) => {
                w.list(names);
                0x89
            }
            Self::Clock { realtime, monotonic } => {
                w.u64(*realtime).u64(*monotonic);
                0x8A
            }
        };
        Frame { kind, request, payload: w.out }
    }

    /// From a frame.
    pub fn from_frame(frame: &Frame) -> Result<Self, Malformed> {
        let mut r = Reader { bytes: &frame.payload };
        let message = match frame.kind {
            0x81 => r.u32().zip(r.u64()).zip(r.bytes()).map(|((version, nonce), boot_id)| Self::Hello {
                version,
                nonce,
                boot_id,
            }),
            0x82 => Some(Self::Stdout(r.rest())),
            0x83 => Some(Self::Stderr(r.rest())),
            0x84 => r.exit(),
            0x85 => Some(Self::Data(r.rest())),
            0x86 => Some(Self::Done),
            0x87 => r.u32().zip(r.bytes()).map(|(errno, message)| Self::Failed {
                errno: errno as i32,
                message: String::from_utf8_lossy(&message).into_owned(),
            }),
            0x88 => r.status().map(Self::Status),
            0x89 => r.list().map(Self::Names),
            0x8A => r.u64().zip(r.u64()).map(|(realtime, monotonic)| Self::Clock { realtime, monotonic }),
            _ => None,
        };
        r.finish(frame, message)
    }
}

#[derive(Default)]
struct Writer {
    out: Vec<u8>,
}

impl Writer {
    fn rest(&mut self, bytes: &[u8]) -> &mut Self {
        self.out.extend_from_slice(bytes);
        self
    }
    fn u8(&mut self, value: u8) -> &mut Self {
        self.rest(&[value])
    }
    fn u32(&mut self, value: u32) -> &mut Self {
        self.rest(&value.to_le_bytes())
    }
    fn u64(&mut self, value: u64) -> &mut Self {
        self.rest(&value.to_le_bytes())
    }
    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.u32(bytes.len() as u32).rest(bytes)
    }
    fn list(&mut self, items: &[Vec<u8>]) -> &mut Self {
        self.u32(items.len() as u32);
        for item in items {
            self.bytes(item);
        }
        self
    }
    fn optional(&mut self, value: Option<i32>) -> &mut Self {
        self.u8(u8::from(value.is_some())).u32(value.unwrap_or(0) as u32)
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl Reader<'_> {
    fn take(&mut self, count: usize) -> Option<&[u8]> {
        let (head, tail) = self.bytes.split_at_checked(count)?;
        self.bytes = tail;
        Some(head)
    }
    fn u8(&mut self) -> Option<u8> {
        self.take(1).and_then(|b| b.first().copied())
    }
    fn u32(&mut self) -> Option<u32> {
        self.take(4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes)
    }
    fn u64(&mut self) -> Option<u64> {
        self.take(8).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes)
    }
    fn flag(&mut self) -> Option<bool> {
        self.u8().and_then(|byte| match byte {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        })
    }
    fn bytes(&mut self) -> Option<Vec<u8>> {
        let length = self.u32()? as usize;
        self.take(length).map(<[u8]>::to_vec)
    }
    fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes).to_vec()
    }
    /// Items are at least `smallest` bytes long, so a count that cannot be true ends here.
    fn count(&mut self, smallest: usize) -> Option<usize> {
        let count = self.u32()? as usize;
        (count <= self.bytes.len() / smallest).then_some(count)
    }
    fn list(&mut self) -> Option<Vec<Vec<u8>>> {
        (0..self.count(4)?).map(|_| self.bytes()).collect()
    }
    fn exit(&mut self) -> Option<Reply> {
        let mut part = || Some((self.flag()?, self.u32()? as i32));
        let ((exited, code), (killed, signal)) = (part()?, part()?);
        Some(Reply::Exit { code: exited.then_some(code), signal: killed.then_some(signal) })
    }
    fn run(&mut self) -> Option<Request> {
        let argv = self.list()?;
        let env = (0..self.count(8)?).map(|_| Some((self.bytes()?, self.bytes()?))).collect::<Option<_>>()?;
        let (clear_env, cwd, stdin) = (self.flag()?, self.bytes()?, self.flag()?);
        Some(Request::Run { argv, env, clear_env, cwd, stdin })
    }
    fn condition(&mut self) -> Option<PathCondition> {
        match self.u8()? {
            0 => Some(PathCondition::Exists),
            1 => Some(PathCondition::Absent),
            2 => self.bytes().map(PathCondition::Contains),
            _ => None,
        }
    }
    fn status(&mut self) -> Option<FileStatus> {
        Some(FileStatus {
            kind: KINDS.get(usize::from(self.u8()?)).copied()?,
            mode: self.u32()?,
            uid: self.u32()?,
            gid: self.u32()?,
            size: self.u64()?,
            inode: self.u64()?,
            modified: self.u64()? as i64,
            target: self.bytes()?,
        })
    }
    /// The message, when it was whole and nothing is left over.
    fn finish<T>(self, frame: &Frame, message: Option<T>) -> Result<T, Malformed> {
        message
            .filter(|_| self.bytes.is_empty())
            .ok_or(Malformed { kind: frame.kind, length: frame.payload.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests() -> Vec<Request> {
        let b = |text: &str| text.as_bytes().to_vec();
        vec![
            Request::Welcome { version: 1, nonce: u64::MAX },
            Request::Knock,
            Request::Run {
                argv: vec![b("sh"), b("-c"), b("exit 3")],
                env: vec![(b("A"), b("1")), (b("B"), b(""))],
                clear_env: true,
                cwd: b("/tmp"),
                stdin: true,
            },
            Request::Run { argv: vec![], env: vec![], clear_env: false, cwd: vec![], stdin: false },
            Request::Data(vec![0; CHUNK]),
            Request::End,
            Request::Signal(15),
            Request::Cancel,
            Request::ReadFile(b("/etc/passwd")),
            Request::WriteFile { path: b("/x"), mode: 0o644 },
            Request::Status(b("/")),
            Request::List(b("/")),
            Request::WaitPath { path: b("/x"), condition: PathCondition::Exists },
            Request::WaitPath { path: b("/x"), condition: PathCondition::Absent },
            Request::WaitPath { path: b("/x"), condition: PathCondition::Contains(b("ok")) },
            Request::WaitPort { port: 65535, open: true },
            Request::Connect(b("/run/firn/control")),
            Request::Clock,
            Request::Sync,
            Request::Reboot { power_off: true },
        ]
    }

    fn replies() -> Vec<Reply> {
        let status = FileStatus {
            kind: FileKind::Socket,
            mode: 0o4755,
            uid: 1,
            gid: 2,
            size: 3,
            inode: 4,
            modified: -5,
            target: b"/nix".to_vec(),
        };
        vec![
            Reply::Hello { version: 1, nonce: 2, boot_id: b"id".to_vec() },
            Reply::Stdout(b"out".to_vec()),
            Reply::Stderr(vec![]),
            Reply::Exit { code: Some(-1), signal: None },
            Reply::Exit { code: None, signal: Some(9) },
            Reply::Data(vec![1; CHUNK]),
            Reply::Done,
            Reply::Failed { errno: 2, message: "no such file".into() },
            Reply::Status(status),
            Reply::Names(vec![b"a".to_vec(), vec![]]),
            Reply::Clock { realtime: 1, monotonic: 2 },
        ]
    }

    #[test]
    fn messages_come_back_as_they_went() {
        for message in requests() {
            assert_eq!(Request::from_frame(&message.to_frame(5)), Ok(message));
        }
        for message in replies() {
            assert_eq!(Reply::from_frame(&message.to_frame(5)), Ok(message));
        }
    }

    #[test]
    fn every_truncation_is_refused_and_none_allocates_what_is_not_there() {
        for frame in requests().iter().map(|m| m.to_frame(1)).chain(replies().iter().map(|m| m.to_frame(1))) {
            let open_ended = matches!(frame.kind, 0x04 | 0x82 | 0x83 | 0x85);
            for length in 0..frame.payload.len().min(200) {
                let cut = Frame { payload: frame.payload[..length].to_vec(), ..frame.clone() };
                let refused = Request::from_frame(&cut).is_err() && Reply::from_frame(&cut).is_err();
                assert_eq!(refused, !open_ended, "kind {:#x} cut to {length}", frame.kind);
            }
        }
        let hostile = Frame { kind: 0x03, request: 1, payload: vec![0xFF; 12] };
        assert!(Request::from_frame(&hostile).is_err());
        let hostile = Frame { kind: 0x89, request: 1, payload: vec![0xFF; 4] };
        assert!(Reply::from_frame(&hostile).is_err());
    }

    #[test]
    fn trailing_bytes_are_refused() {
        let mut frame = Request::Sync.to_frame(1);
        frame.payload.push(0);
        assert_eq!(Request::from_frame(&frame), Err(Malformed { kind: 0x0F, length: 1 }));
    }

    /// Any payload under any kind is decoded or refused, and what is decoded says the same when it is said again.
    #[test]
    fn random_payloads_do_no_harm() {
        let mut state = 88_172_645_463_325_252_u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for _ in 0..20_000 {
            let payload =
                (0..random() % 40).map(|_| if random() % 3 == 0 { random() as u8 } else { 0 }).collect();
            let frame =
                Frame { kind: (random() % 0x13) as u8 | ((random() as u8) & 0x80), request: 1, payload };
            if let Ok(message) = Request::from_frame(&frame) {
                assert_eq!(Request::from_frame(&message.to_frame(1)), Ok(message));
            }
            if let Ok(message) = Reply::from_frame(&frame) {
                let again = message.to_frame(1);
                assert_eq!(Reply::from_frame(&again).map(|m| m.to_frame(1)), Ok(again));
            }
        }
    }
}
