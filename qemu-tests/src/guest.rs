//! The driver's end of the agent protocol: requests side by side over one socket, each with its own queue of replies.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::protocol::{Decoder, PADDING, Reply, Request, VERSION};

/// Why a request had no final reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    /// No agent has said hello within the limit.
    NoAgent,
    /// The agent speaks this other version.
    Version(u32),
    /// No reply within the limit.
    Timeout,
    /// The guest was reset, or QEMU has ended.
    Gone,
    /// The request does not fit into a frame.
    TooLong,
}

/// A port on which an agent may come, go and come back.
#[derive(Debug, Clone)]
pub(crate) struct Guest {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    writer: Mutex<UnixStream>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    agent: Agent,
    hellos: u32,
    boot_id: String,
    next: u32,
    waiting: BTreeMap<u32, Sender<Reply>>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Agent {
    #[default]
    Absent,
    Ready,
    Version(u32),
    Closed,
}

/// A request under way.
#[derive(Debug)]
pub(crate) struct Pending {
    guest: Guest,
    /// Its number.
    request: u32,
    replies: Receiver<Reply>,
    done: bool,
}

impl Guest {
    /// Listens for agents.
    pub(crate) fn attach(stream: UnixStream) -> std::io::Result<Self> {
        let reader = stream.try_clone()?;
        let shared =
            Arc::new(Shared { writer: Mutex::new(stream), state: Mutex::default(), changed: Condvar::new() });
        let guest = Self { shared };
        let reading = guest.clone();
        thread::spawn(move || reading.read(reader));
        Ok(guest)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, mut stream: UnixStream) {
        let mut decoder = Decoder::default();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let bytes = match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => buffer.get(..length).unwrap_or_default(),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            decoder.push(bytes);
            while let Some(frame) = decoder.next_frame() {
                // What is not a reply of this version can only be answered by waiting on.
                let Ok(reply) = Reply::from_frame(&frame) else { continue };
                self.take(frame.request, reply);
            }
        }
        let mut state = self.lock();
        state.agent = Agent::Closed;
        state.waiting.clear();
        self.shared.changed.notify_all();
    }

    fn take(&self, request: u32, reply: Reply) {
        let mut state = self.lock();
        if let Reply::Hello { version, nonce, boot_id } = reply {
            // Whoever asked the agent before this one waits in vain: closing the queues tells them.
            state.waiting.clear();
            state.agent = if version == VERSION { Agent::Absent } else { Agent::Version(version) };
            state.hellos += 1;
            state.boot_id = String::from_utf8_lossy(&boot_id).into_owned();
            if version == VERSION {
                let (guest, hello) = (self.clone(), state.hellos);
                // By a thread of its own: this one must go on reading, or both sides could fill the pipe and stop.
                thread::spawn(move || guest.welcome(nonce, hello));
            }
            self.shared.changed.notify_all();
            return;
        }
        let last = reply.is_final();
        if let Some(sender) = state.waiting.get(&request) {
            // The asker may have given up.
            drop(sender.send(reply));
        }
        if last {
            state.waiting.remove(&request);
        }
    }

    /// Only after `Welcome` does the agent listen to requests. A failure shows as an agent that never gets ready.
    fn welcome(&self, nonce: u64, hello: u32) {
        if self.say_padded(&Request::Welcome { version: VERSION, nonce }).is_ok() {
            let mut state = self.lock();
            if state.hellos == hello && state.agent == Agent::Absent {
                state.agent = Agent::Ready;
            }
            drop(state);
            self.shared.changed.notify_all();
        }
    }

    fn say_padded(&self, request: &Request) -> std::io::Result<()> {
        let mut writer = self.shared.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.write_all(&vec![0; PADDING])?;
        writer.write_all(&request.to_frame(0).encode().unwrap_or_default())
    }

    fn say(&self, number: u32, request: &Request) -> Result<(), Lost> {
        let bytes = request.to_frame(number).encode().ok_or(Lost::TooLong)?;
        let mut writer = self.shared.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.write_all(&bytes).map_err(|_| Lost::Gone)
    }

    /// Asks an agent that runs already to say hello again.
    pub(crate) fn knock(&self) -> std::io::Result<()> {
        self.say_padded(&Request::Knock)
    }

    /// How often an agent has said hello; a position for [`Self::wait_for_agent`].
    pub(crate) fn hellos(&self) -> u32 {
        self.lock().hellos
    }

    /// The boot id that the agent told.
    pub(crate) fn boot_id(&self) -> String {
        self.lock().boot_id.clone()
    }

    /// Waits until an agent is there that has said hello after the first `after` hellos.
    pub(crate) fn wait_for_agent(&self, after: u32, limit: Duration) -> Result<(), Lost> {
        let end = Instant::now() + limit;
        let mut state = self.lock();
        loop {
            match state.agent {
                Agent::Version(version) => return Err(Lost::Version(version)),
                Agent::Closed => return Err(Lost::Gone),
                Agent::Ready if state.hellos > after => return Ok(()),
                Agent::Ready | Agent::Absent => {}
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Lost::NoAgent);
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The guest is being reset: requests under way are lost, and the next agent must say hello first.
    pub(crate) fn forget(&self) {
        let mut state = self.lock();
        state.waiting.clear();
        if state.agent != Agent::Closed {
            state.agent = Agent::Absent;
        }
    }

    /// Sends a request to an agent that is there.
    pub(crate) fn ask(&self, request: &Request) -> Result<Pending, Lost> {
        let (sender, replies) = channel();
        let number = {
            let mut state = self.lock();
            match state.agent {
                Agent::Ready => {}
                Agent::Version(version) => return Err(Lost::Version(version)),
                Agent::Absent => return Err(Lost::NoAgent),
                Agent::Closed => return Err(Lost::Gone),
            }
            state.next += 1;
            let number = state.next;
            state.waiting.insert(number, sender);
            number
        };
        let pending = Pending { guest: self.clone(), request: number, replies, done: false };
        self.say(number, request)?;
        Ok(pending)
    }
}

impl Pending {
    /// The next reply.
    pub(crate) fn next(&mut self, limit: Duration) -> Result<Reply, Lost> {
        match self.replies.recv_timeout(limit) {
            Ok(reply) => {
                self.done = reply.is_final();
                Ok(reply)
            }
            Err(RecvTimeoutError::Timeout) => Err(Lost::Timeout),
            Err(RecvTimeoutError::Disconnected) => {
                self.done = true;
                Err(Lost::Gone)
            }
        }
    }

    /// Says something more about this request: data, a signal.
    pub(crate) fn say(&self, request: &Request) -> Result<(), Lost> {
        self.guest.say(self.request, request)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.done {
            self.guest.lock().waiting.remove(&self.request);
            // The agent may be gone, which is what is wanted.
            self.say(&Request::Cancel).unwrap_or_default();
        }
    }
}
