//! Those who talk to the supervisor over the control socket: buffers, permissions, and who waits for what.

use formats::control::{ActiveState, Message as _, Reply, Request, split_frame};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

/// More than this unread by a client, and it is cut off.
const OUTPUT_LIMIT: usize = 4 << 20;

/// More than this unanswered by us, and it is cut off: no request is nearly that long.
const INPUT_LIMIT: usize = 64 << 10;

/// So many clients at once; those of root may be [`ROOT_CLIENTS`].
pub const CLIENTS: usize = 512;
/// See [`CLIENTS`].
pub const ROOT_CLIENTS: usize = 2048;

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

    /// Reads what is there, up to the limit. False when the client is gone or talks nonsense.
    pub fn read(&mut self) -> bool {
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return false,
                Ok(length) => {
                    self.input.extend(buffer.get(..length).unwrap_or_default());
                    if self.input.len() > INPUT_LIMIT {
                        return false;
                    }
                }
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

#[cfg(test)]
mod tests {
    use super::*;
    use formats::control::{Shutdown, Verb};

    /// Tens of thousands of hostile messages, of a seed: frames that lie about their length, bodies cut short or flipped,
    /// noise. A client is answered or cut off; what it may keep here is bounded, and the next client is served.
    #[test]
    fn hostile_messages_do_no_harm() {
        let mut seed = 0x5eed_u64;
        let mut random = move |bound: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % bound
        };
        let requests = [
            Request::List,
            Request::Status { unit: "a.service".into() },
            Request::Job { verb: Verb::Restart, unit: "b@\u{e4}.service".into(), wait: true },
            Request::Kill { unit: "c".into(), signal: 9, main_only: false },
            Request::Switch { graph: "/x".into(), phase: formats::control::Phase::Whole },
            Request::Shutdown { how: Shutdown::Halt },
            Request::Wait { unit: "d".into(), state: ActiveState::Active, timeout: 7 },
            Request::Subscribe,
        ];
        let (mut understood, mut refused, mut most) = (0, 0, 0);
        for _ in 0..40_000 {
            let mut frame = requests[random(requests.len())].to_frame();
            for _ in 0..random(4) {
                let at = random(frame.len());
                match random(4) {
                    0 => frame[at] ^= 1 << random(8),
                    1 => frame.truncate(at.max(1)),
                    2 => frame.insert(at, random(256) as u8),
                    _ => frame.extend((0..random(9000)).map(|_| random(256) as u8)),
                }
            }
            let (mut theirs, ours) = UnixStream::pair().unwrap();
            let mut client = Client::new(ours).unwrap();
            theirs.write_all(&frame).unwrap();
            let mut is_fine = client.read();
            while is_fine {
                match client.next_request() {
                    Ok(Some(_)) => understood += 1,
                    Ok(None) => break,
                    Err(_) => is_fine = false,
                }
            }
            refused += usize::from(!is_fine);
            most = most.max(client.input.len());
            // Who sends without end is cut off.
            if random(2000) == 0 {
                theirs.set_nonblocking(true).unwrap();
                client.waiting = Waiting::Job(0);
                let mut turns = 0;
                while theirs.write_all(&[0; 4096]).is_ok() && client.read() {
                    turns += 1;
                }
                assert!(turns < 64 && client.input.len() <= INPUT_LIMIT + 4096);
            }
        }
        assert!(understood > 10_000 && refused > 5_000, "{understood} {refused}");
        assert!(most <= INPUT_LIMIT + 4096, "{most} bytes kept");
    }
}
