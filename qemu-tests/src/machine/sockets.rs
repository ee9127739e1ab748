//! A Unix socket in the guest as a stream on the host, through the agent.

use std::io::{self, Read, Write};

use super::Machine;
use crate::error::Result;
use crate::guest::Pending;
use crate::protocol::message::CHUNK;
use crate::protocol::{Reply, Request};

/// An open connection. Reads wait as long as the machine's limit.
#[derive(Debug)]
pub struct GuestStream<'a> {
    machine: &'a Machine,
    pending: Pending,
    description: String,
    buffer: Vec<u8>,
    over: bool,
}

impl Machine {
    /// Connects to a Unix stream socket in the guest, as root.
    pub fn connect(&self, path: &str) -> Result<GuestStream<'_>> {
        let description = format!("the socket {path}");
        let pending = self.ask(&description, &Request::Connect(path.into()))?;
        Ok(GuestStream { machine: self, pending, description, buffer: Vec::new(), over: false })
    }
}

impl Read for GuestStream<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.buffer.is_empty() && !self.over {
            match self.pending.next(self.machine.limit()) {
                Ok(Reply::Data(bytes)) => self.buffer = bytes,
                Ok(Reply::Failed { message, .. }) => return Err(io::Error::other(message)),
                Ok(_) => self.over = true,
                Err(lost) => return Err(io::Error::other(self.machine.lost(lost, &self.description))),
            }
        }
        let length = self.buffer.len().min(into.len());
        for (to, from) in into.iter_mut().zip(self.buffer.drain(..length)) {
            *to = from;
        }
        Ok(length)
    }
}

impl Write for GuestStream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = bytes.get(..bytes.len().min(CHUNK)).unwrap_or(bytes);
        match self.pending.say(&Request::Data(piece.to_vec())) {
            Ok(()) => Ok(piece.len()),
            Err(lost) => Err(io::Error::other(self.machine.lost(lost, &self.description))),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
