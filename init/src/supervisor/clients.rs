//! Those who talk to the supervisor over the control socket: buffers, permissions, and who waits for what.

use formats::control::{ActiveState, Message as _, Reply, Request, split_frame};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

/// More than this unread by a client, and it is cut off.
const OUTPUT_LIMIT: usize = 4 << 20;

/// What a client waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waiting {
    /// Nothing: the next request may come.
    Nothing,
    /// The end of a unit's job.
    Job(u32),
    /// A unit's state, until a time.
    State(u32, ActiveState, Option<u64>),
    /// The end of a switch.
    Switch,
    /// Every change.
    Changes,
}

/// One client.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    input: Vec<u8>,
    output: Vec<u8>,
    /// Whether it runs as root.
    pub is_root: bool,
    /// What it waits for.
    pub waiting: Waiting,
}

impl Client {
    /// A client that has just connected.
    pub fn new(stream: UnixStream) -> std::io::Result<Self> {
        stream.set_nonblocking(true)?;
        let peer = nix::sys::socket::getsockopt(&stream, nix::sys::socket::sockopt::PeerCredentials)?;
        let (input, output) = (Vec::new(), Vec::new());
        Ok(Self { stream, input, output, is_root: peer.uid() == 0, waiting: Waiting::Nothing })
    }

    /// Its descriptor's owner.
    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Reads what is there. False when the client is gone or talks nonsense.
    pub fn read(&mut self) -> bool {
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return false,
                Ok(length) => self.input.extend(buffer.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    return split_frame(&self.input).is_ok();
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
    }

    /// The next request, when a whole one is there and the last one is answered. An error is nonsense.
    pub fn next_request(&mut self) -> Result<Option<Request>, formats::control::Malformed> {
        if self.waiting != Waiting::Nothing {
            return Ok(None);
        }
        let Some((body, length)) = split_frame(&self.input)? else { return Ok(None) };
        let request = Request::from_body(body)?;
        self.input.drain(..length);
        Ok(Some(request))
    }

    /// Queues an answer and sends what goes. False when the client is gone or does not read.
    pub fn reply(&mut self, reply: &Reply) -> bool {
        self.output.extend(reply.to_frame());
        self.flush() && self.output.len() <= OUTPUT_LIMIT
    }

    /// Sends what the socket takes now.
    pub fn flush(&mut self) -> bool {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(0) => return false,
                Ok(length) => drop(self.output.drain(..length)),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }

    /// Whether something is still to be sent.
    pub fn has_output(&self) -> bool {
        !self.output.is_empty()
    }
}
