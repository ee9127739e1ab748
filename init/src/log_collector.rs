//! The log collector: a child of the supervisor that brings what the machine says into the store (`formats::log_record`):
//! units' pipes, syslog's and the journal's datagrams, stdout streams, the kernel's messages. It holds nothing that cannot be
//! lost with it: pipes and sockets are also held by PID 1, and what is in them is taken out only after it is written
//! (`pipe`, `datagram`). No service waits for the disk: what a full disk or a flood leaves no room for is counted.
//!
//! A message belongs to the unit whose cgroup its sender is in. Files are synced every `SYNC_EVERY` by a child of
//! its own, so that a slow disk holds nobody up; a critical message is synced at once.

pub mod announcement;
mod datagram;
pub mod flood;
mod kernel;
mod native;
mod pipe;
mod store;
mod syslog;

use crate::sorted_map::SortedMap;
use crate::supervisor::cgroup;
use announcement::{Announcement, Origin, Received};
use formats::log_record::{DIRECTORY, Record, Source};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use store::{Store, now, stamp};

/// The stream of senders that belong to no unit.
pub const OTHER: &str = "other";

/// A second collector waits here until the first is gone.
const LOCK: &str = "/run/firn/log.lock";

/// Microseconds between a write and its sync.
const SYNC_EVERY: u64 = 2_000_000;

/// Microseconds from the collector's start to its first look at the kernel's messages.
const KERNEL_AFTER: u64 = 300_000;

/// Who is read.
#[derive(Debug)]
enum Input {
    Pipe(pipe::Pipe),
    Syslog(OwnedFd),
    Journal(OwnedFd),
    Streams(UnixListener),
    /// A connection to the streams' socket: its header's lines first, then text.
    Stream {
        stream: UnixStream,
        origin: Option<Origin>,
        pid: u32,
        bytes: Vec<u8>,
    },
    Kernel(kernel::Kernel),
}

/// Everything.
struct Collector {
    epoll: Epoll,
    store: Store,
    scratch: pipe::Scratch,
    boot: [u8; 16],
    inputs: SortedMap<u64, Input>,
    next: u64,
    buffer: Vec<u8>,
    /// The last sender's unit: who logs, logs more than once.
    last_sender: (u32, u64, String),
    /// Pipes that have more than their share.
    hungry: Vec<u64>,
    /// When the kernel's messages are begun with.
    kernel_at: Option<u64>,
    sync_at: Option<u64>,
    is_urgent: bool,
    syncing: bool,
}

/// Runs until the supervisor's socket closes.
pub fn run(socket: &OwnedFd) -> i32 {
    // Two at work on one pipe would take each other's lines.
    let lock = std::fs::OpenOptions::new().write(true).create(true).truncate(false).open(LOCK).ok();
    let lock = lock.and_then(|file| nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusive).ok());
    let Ok(mut collector) = Collector::new(socket) else { return 1 };
    collector.main_loop(socket);
    drop(lock);
    0
}

/// /proc/sys/kernel/random/boot_id as bytes.
fn boot_id() -> [u8; 16] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    u128::from_str_radix(&text.trim().replace('-', ""), 16).unwrap_or(0).to_be_bytes()
}

impl Collector {
    fn new(socket: &OwnedFd) -> nix::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(socket, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
        let boot = boot_id();
        Ok(Self {
            epoll,
            store: Store::new(Path::new(DIRECTORY), boot),
            scratch: pipe::Scratch::new()?,
            boot,
            inputs: SortedMap::new(),
            next: 1,
            buffer: Vec::new(),
            last_sender: (0, 0, String::new()),
            hungry: Vec::new(),
            kernel_at: Some(now() + KERNEL_AFTER),
            sync_at: None,
            is_urgent: false,
            syncing: false,
        })
    }

    /// Begins with the kernel's messages, which wait in its ring: a boot has more urgent things to do than to copy them.
    fn open_kernel(&mut self) {
        let Ok(mut kernel) = kernel::Kernel::open() else { return };
        if let Some(last) = self.store.last_record(kernel::STREAM) {
            kernel.go_on_behind(&last);
        }
        // The ring buffer is bounded; what a driver repeats in it is the kernel's to limit.
        self.store.set_limit(kernel::STREAM, flood::Limit { burst: 0, interval: 0 });
        self.add(Input::Kernel(kernel));
    }

    fn main_loop(&mut self, socket: &OwnedFd) {
        let mut events = [EpollEvent::empty(); 64];
        loop {
            let count = match self.epoll.wait(&mut events, self.timeout()) {
                Ok(count) => count,
                Err(nix::Error::EINTR) => 0,
                Err(_) => return,
            };
            for event in events.iter().take(count) {
                match event.data() {
                    0 => match announcement::receive(socket.as_fd()) {
                        Received::Said(announcement) => self.announced(announcement),
                        Received::Nothing => {}
                        // The supervisor is gone or replaces us. What is in pipes and sockets is our successor's.
                        Received::Closed => {
                            self.store.write_out();
                            return;
                        }
                    },
                    number => {
                        let is_over = event.events().contains(EpollFlags::EPOLLHUP);
                        self.read(number, is_over);
                    }
                }
            }
            for number in std::mem::take(&mut self.hungry) {
                self.read(number, false);
            }
            if self.kernel_at.is_some_and(|at| now() >= at) {
                self.kernel_at = None;
                self.open_kernel();
            }
            self.look_after_lines();
            self.store.tell_dropped();
            self.store.write_out();
            self.sync();
        }
    }

    fn timeout(&self) -> EpollTimeout {
        let lines = self
            .inputs
            .values()
            .any(|input| matches!(input, Input::Pipe(pipe) if pipe.waits_since.is_some()));
        let until = |at: u64| at.saturating_sub(now()).div_ceil(1000);
        let (sync, kernel) = (self.sync_at.map(until), self.kernel_at.map(until));
        let short = (lines || self.syncing).then_some(250);
        let long = self.store.waits().then_some(1000);
        let at_once = (!self.hungry.is_empty()).then_some(0);
        match [sync, kernel, short, long, at_once].into_iter().flatten().min() {
            Some(milliseconds) => EpollTimeout::from(milliseconds.min(60_000) as u16),
            None => EpollTimeout::NONE,
        }
    }

    fn announced(&mut self, announcement: Announcement) {
        match announcement {
            Announcement::Pipe(origin, read) => {
                self.store.set_limit(&origin.unit, origin.limit);
                self.add(Input::Pipe(pipe::Pipe::new(origin, read)));
            }
            Announcement::Syslog(socket) => self.add(Input::Syslog(socket)),
            Announcement::Journal(socket) => self.add(Input::Journal(socket)),
            Announcement::Streams(socket) => self.add(Input::Streams(UnixListener::from(socket))),
        }
    }

    /// Begins to read an input. Pipes tell only news: a line without an end would else wake us for ever.
    fn add(&mut self, input: Input) {
        let number = self.next;
        let mut flags = EpollFlags::EPOLLIN;
        flags.set(EpollFlags::EPOLLET, matches!(input, Input::Pipe(_)));
        let event = EpollEvent::new(flags, number);
        let added = match &input {
            Input::Pipe(pipe) => self.epoll.add(pipe.descriptor(), event),
            Input::Syslog(socket) | Input::Journal(socket) => self.epoll.add(socket, event),
            Input::Streams(listener) => self.epoll.add(listener, event),
            Input::Stream { stream, .. } => self.epoll.add(stream, event),
            Input::Kernel(kernel) => self.epoll.add(&kernel.file, event),
        };
        if added.is_ok() {
            self.inputs.insert(number, input);
            self.next += 1;
        }
    }

    /// An input has something.
    fn read(&mut self, number: u64, is_over: bool) {
        let Some(mut input) = self.inputs.remove(&number) else { return };
        let goes_on = match &mut input {
            Input::Pipe(pipe) => {
                if self.read_pipe(pipe, is_over) {
                    self.hungry.push(number);
                }
                true
            }
            Input::Syslog(socket) => {
                self.read_datagrams(socket.as_fd(), Self::syslog);
                true
            }
            Input::Journal(socket) => {
                self.read_datagrams(socket.as_fd(), Self::journal);
                true
            }
            Input::Streams(listener) => {
                while let Ok((stream, _)) = listener.accept() {
                    let peer =
                        nix::sys::socket::getsockopt(&stream, nix::sys::socket::sockopt::PeerCredentials);
                    let pid = peer.map_or(0, |peer| peer.pid() as u32);
                    if stream.set_nonblocking(true).is_ok() {
                        self.add(Input::Stream { stream, origin: None, pid, bytes: Vec::new() });
                    }
                }
                true
            }
            Input::Stream { stream, origin, pid, bytes } => self.read_stream(stream, origin, *pid, bytes),
            Input::Kernel(kernel) => {
                self.read_kernel(kernel);
                true
            }
        };
        if goes_on {
            self.inputs.insert(number, input);
        }
    }

    /// Reads a share of a pipe, so that one flood does not keep the others waiting. Whether there is more: no edge tells.
    fn read_pipe(&mut self, pipe: &mut pipe::Pipe, is_over: bool) -> bool {
        let mut is_hungry = true;
        for _ in 0..16 {
            let mut lines = Vec::new();
            let all = is_over || pipe.waits_since.is_some_and(|since| now() >= since + pipe::PATIENCE);
            let take = pipe.look(&self.scratch, now(), all, |line| lines.push(line.to_vec()));
            for line in lines {
                self.keep_line(&pipe.origin, 0, &line);
            }
            self.store.write_out();
            pipe.take(take);
            if take == 0 {
                is_hungry = false;
                break;
            }
        }
        if is_over {
            let mut rest = Vec::new();
            pipe.finish(|line| rest.extend(line));
            if !rest.is_empty() {
                self.keep_line(&pipe.origin, 0, &rest);
            }
        }
        is_hungry
    }

    /// Lines whose end has not come for a while are taken as they are.
    fn look_after_lines(&mut self) {
        let now = now();
        let is_due = |input: &Input| matches!(input, Input::Pipe(pipe) if pipe.waits_since.is_some_and(|since| now >= since + pipe::PATIENCE));
        let due: Vec<u64> =
            self.inputs.iter().filter(|(_, input)| is_due(input)).map(|(number, _)| *number).collect();
        for number in due {
            self.read(number, false);
        }
    }

    /// One line of a unit's output.
    fn keep_line(&mut self, origin: &Origin, pid: u32, line: &[u8]) {
        let (priority, skipped) = pipe::level(line, origin);
        let text = line.get(skipped..).unwrap_or_default();
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if text.is_empty() || priority > origin.max_level {
            return;
        }
        let mut record = stamp(self.boot);
        record.priority = priority;
        record.pid = pid;
        record.identifier.clone_from(&origin.identifier);
        record.message = text.to_vec();
        self.keep(&origin.unit, &record);
    }

    fn keep(&mut self, stream: &str, record: &Record) {
        self.is_urgent |= record.priority <= 2;
        self.store.keep(stream, record);
    }

    /// Datagrams: each is written before it is taken.
    fn read_datagrams(&mut self, socket: BorrowedFd<'_>, keep: fn(&mut Self, &datagram::Datagram)) {
        let mut buffer = std::mem::take(&mut self.buffer);
        for _ in 0..64 {
            let Some(datagram) = datagram::look(socket, &mut buffer) else { break };
            keep(self, &datagram);
            self.store.write_out();
            datagram::take(socket);
        }
        self.buffer = buffer;
    }

    fn syslog(&mut self, datagram: &datagram::Datagram) {
        let text = String::from_utf8_lossy(&datagram.bytes);
        let parsed = syslog::parse(&text);
        let mut record = self.record_of(datagram, Source::Syslog);
        record.priority = parsed.priority;
        record.facility = parsed.facility;
        parsed.identifier.clone_into(&mut record.identifier);
        record.message = parsed.text.as_bytes().to_vec();
        if !parsed.structured.is_empty() {
            record.fields.push(("SYSLOG_STRUCTURED_DATA".into(), parsed.structured.as_bytes().to_vec()));
        }
        if parsed.pid != 0 && parsed.pid != datagram.pid {
            record.fields.push(("SYSLOG_PID".into(), parsed.pid.to_string().into_bytes()));
        }
        let stream = self.unit_of(datagram.pid);
        self.keep(&stream, &record);
    }

    fn journal(&mut self, datagram: &datagram::Datagram) {
        let mut record = self.record_of(datagram, Source::Journal);
        for (name, value) in native::parse(&datagram.bytes) {
            let number = || std::str::from_utf8(&value).ok()?.parse::<u8>().ok();
            match name.as_str() {
                "MESSAGE" => record.message = value,
                "PRIORITY" => record.priority = number().map_or(record.priority, |number| number.min(7)),
                "SYSLOG_FACILITY" => {
                    record.facility = number().map_or(record.facility, |number| number.min(23));
                }
                "SYSLOG_IDENTIFIER" => record.identifier = String::from_utf8_lossy(&value).into_owned(),
                _ => record.fields.push((name, value)),
            }
        }
        if record.message.is_empty() && record.fields.is_empty() {
            return;
        }
        let stream = self.unit_of(datagram.pid);
        self.keep(&stream, &record);
    }

    fn record_of(&self, datagram: &datagram::Datagram, source: Source) -> Record {
        let mut record = stamp(self.boot);
        (record.source, record.pid, record.uid) = (source, datagram.pid, datagram.uid);
        record
    }

    /// The stream of a sender: its unit, or [`OTHER`].
    fn unit_of(&mut self, pid: u32) -> String {
        let (known, until, unit) = &self.last_sender;
        if *known == pid && now() < *until {
            return unit.clone();
        }
        let unit = cgroup::unit_of_process(pid).unwrap_or_else(|| OTHER.to_owned());
        self.last_sender = (pid, now() + 1_000_000, unit.clone());
        unit
    }

    /// A stdout stream (systemd-cat(1)): identifier, unit, priority, level prefix, three forwarding flags, each a line;
    /// then what is logged. False at its end.
    fn read_stream(
        &mut self,
        stream: &mut UnixStream,
        origin: &mut Option<Origin>,
        pid: u32,
        bytes: &mut Vec<u8>,
    ) -> bool {
        use std::io::Read as _;
        let mut buffer = [0; 8192];
        let mut goes_on = true;
        for _ in 0..8 {
            match stream.read(&mut buffer) {
                Ok(0) => {
                    goes_on = false;
                    break;
                }
                Ok(length) => bytes.extend(buffer.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    goes_on = error.kind() == std::io::ErrorKind::WouldBlock;
                    break;
                }
            }
        }
        if origin.is_none() {
            let ends: Vec<usize> = bytes
                .iter()
                .enumerate()
                .filter(|(_, byte)| **byte == b'\n')
                .map(|(at, _)| at)
                .take(7)
                .collect();
            let [.., end] = ends.as_slice() else { return goes_on && bytes.len() <= pipe::LINE_LIMIT };
            if ends.len() < 7 {
                return goes_on && bytes.len() <= pipe::LINE_LIMIT;
            }
            let header = String::from_utf8_lossy(bytes.get(..*end).unwrap_or_default()).into_owned();
            let mut lines = header.split('\n');
            let identifier = lines.next().unwrap_or_default().to_owned();
            let level: u8 = lines.nth(1).and_then(|level| level.parse().ok()).unwrap_or(6);
            let level_prefix = lines.next() == Some("1");
            let unit = self.unit_of(pid);
            *origin = Some(Origin { identifier, level: level & 7, level_prefix, ..Origin::new(&unit) });
            bytes.drain(..=*end);
        }
        let Some(origin) = origin.as_ref() else { return false };
        let mut whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if !goes_on || bytes.len() - whole > pipe::LINE_LIMIT {
            whole = bytes.len();
        }
        let lines: Vec<u8> = bytes.drain(..whole).collect();
        for line in lines.split(|byte| *byte == b'\n').flat_map(|line| line.chunks(pipe::LINE_LIMIT)) {
            self.keep_line(origin, pid, line);
        }
        goes_on
    }

    fn read_kernel(&mut self, kernel: &mut kernel::Kernel) {
        let (boot, moment) = (self.boot, stamp(self.boot));
        let monotonic = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
        let monotonic =
            monotonic.map_or(0, |time| time.tv_sec() as u64 * 1_000_000 + time.tv_nsec() as u64 / 1000);
        // The kernel stamps with a clock that stands still in sleep.
        let at = |since_boot: u64| {
            let ago = monotonic.saturating_sub(since_boot);
            let mut record = stamp(boot);
            record.time = moment.time.saturating_sub(ago);
            record.since_boot = moment.since_boot.saturating_sub(ago);
            record
        };
        for _ in 0..256 {
            let Some(record) = kernel.next(at) else { break };
            self.keep(kernel::STREAM, &record);
        }
    }

    /// Has what was written brought to the disk, by a child: fdatasync(2) may take its time.
    fn sync(&mut self) {
        self.syncing = self.syncing
            && !matches!(
                waitpid(None, Some(WaitPidFlag::WNOHANG)),
                Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) | Err(_)
            );
        if !self.store.is_dirty() {
            return;
        }
        let at = *self.sync_at.get_or_insert(now() + SYNC_EVERY);
        if self.syncing || (now() < at && !self.is_urgent) {
            return;
        }
        let files = self.store.take_dirty();
        self.sync_at = None;
        self.is_urgent = false;
        let birth = sys::sibling::Birth::default();
        let synced = sys::sibling::spawn(&birth, || {
            for file in &files {
                crate::best_effort::tolerate(file.sync_data());
            }
            0
        });
        self.syncing = synced.is_ok();
    }
}
