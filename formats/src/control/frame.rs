//! Frames of the control protocol: how messages are told apart in a stream, and the numbers and texts of which they are made.

use std::fmt;
use std::io::{self, Read, Write};

/// The largest body of a frame.
pub const MAX_FRAME: usize = 1 << 20;

/// Why a frame is not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("malformed control message")
    }
}

impl std::error::Error for Malformed {}

/// A message that can be a frame's body.
pub trait Message: Sized {
    /// Appends tag and fields.
    fn encode(&self, body: &mut Body);

    /// Reads them back.
    fn decode(fields: &mut Fields<'_>) -> Option<Self>;

    /// The whole frame.
    fn to_frame(&self) -> Vec<u8> {
        let mut body = Body::default();
        self.encode(&mut body);
        let mut frame = (body.0.len() as u32).to_le_bytes().to_vec();
        frame.extend(body.0);
        frame
    }

    /// Reads a frame's body, all of it.
    fn from_body(body: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields(body);
        let message = Self::decode(&mut fields).ok_or(Malformed)?;
        if fields.0.is_empty() { Ok(message) } else { Err(Malformed) }
    }

    /// Writes the frame to a stream.
    fn send(&self, stream: &mut impl Write) -> io::Result<()> {
        stream.write_all(&self.to_frame())
    }

    /// Reads the next frame of a stream; `None` at its end.
    fn receive(stream: &mut impl Read) -> io::Result<Option<Self>> {
        let mut length = [0; 4];
        match stream.read_exact(&mut length) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let length = u32::from_le_bytes(length) as usize;
        if length > MAX_FRAME {
            return Err(io::Error::new(io::ErrorKind::InvalidData, Malformed));
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        Self::from_body(&body).map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

/// Takes the first whole frame off the front of what was received: its body's range and the frame's length. An error
/// when it never becomes one.
pub fn split_frame(buffer: &[u8]) -> Result<Option<(&[u8], usize)>, Malformed> {
    let Some(length) = buffer.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*length) as usize;
    if length > MAX_FRAME {
        return Err(Malformed);
    }
    Ok(buffer.get(4..4 + length).map(|body| (body, 4 + length)))
}

/// A body being written.
#[derive(Debug, Default)]
pub struct Body(Vec<u8>);

impl Body {
    pub(super) fn byte(&mut self, byte: u8) -> &mut Self {
        self.0.push(byte);
        self
    }

    pub(super) fn word(&mut self, word: u32) -> &mut Self {
        self.0.extend(word.to_le_bytes());
        self
    }

    pub(super) fn long(&mut self, long: u64) -> &mut Self {
        self.0.extend(long.to_le_bytes());
        self
    }

    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.word(text.len() as u32);
        self.0.extend(text.as_bytes());
        self
    }
}

/// A body being read.
#[derive(Debug)]
pub struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>()?;
        self.0 = tail;
        Some(*head)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    pub(super) fn word(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn long(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn text(&mut self) -> Option<String> {
        let length = self.word()? as usize;
        let (head, tail) = self.0.split_at_checked(length)?;
        self.0 = tail;
        std::str::from_utf8(head).ok().map(str::to_owned)
    }
}
