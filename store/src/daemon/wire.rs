//! The protocol's words: numbers, strings and lists as in NAR, framed streams.

use crate::error::{Error, Result};
use std::io::{self, Read, Write};

/// The longest string taken from a client (derivations and texts come in frames).
const STRING_LIMIT: u64 = 64 * 1024 * 1024;
/// The longest list.
const LIST_LIMIT: u64 = 10_000_000;

fn broken(error: io::Error) -> Error {
    Error::File { doing: "talking to", path: "the client".into(), source: error }
}

/// Reads a number.
pub(crate) fn read_number(input: &mut dyn Read) -> Result<u64> {
    let mut bytes = [0; 8];
    input.read_exact(&mut bytes).map_err(broken)?;
    Ok(u64::from_le_bytes(bytes))
}

/// Reads a truth.
pub(crate) fn read_bool(input: &mut dyn Read) -> Result<bool> {
    Ok(read_number(input)? != 0)
}

/// Reads bytes.
pub(crate) fn read_bytes(input: &mut dyn Read) -> Result<Vec<u8>> {
    let length = read_number(input)?;
    if length > STRING_LIMIT {
        return Err(Error::Invalid(format!("the client announced a string of {length} bytes")));
    }
    let mut bytes = Vec::new();
    let read = input.take(length).read_to_end(&mut bytes).map_err(broken)?;
    if read as u64 != length {
        return Err(broken(io::ErrorKind::UnexpectedEof.into()));
    }
    let mut padding = [0; 8];
    let filling = ((8 - length % 8) % 8) as usize;
    let padding = padding.get_mut(..filling).unwrap_or_default();
    input.read_exact(padding).map_err(broken)?;
    if padding.iter().any(|byte| *byte != 0) {
        return Err(Error::Invalid("the client sent padding that is not zero".to_owned()));
    }
    Ok(bytes)
}

/// Reads text.
pub(crate) fn read_text(input: &mut dyn Read) -> Result<String> {
    String::from_utf8(read_bytes(input)?)
        .map_err(|_| Error::Invalid("the client sent text that is not UTF-8".to_owned()))
}

/// Reads a list of texts.
pub(crate) fn read_texts(input: &mut dyn Read) -> Result<Vec<String>> {
    let count = read_number(input)?;
    if count > LIST_LIMIT {
        return Err(Error::Invalid(format!("the client announced a list of {count} items")));
    }
    (0..count).map(|_| read_text(input)).collect()
}

/// Collects an answer.
#[derive(Debug, Default)]
pub(crate) struct Answer(pub(crate) Vec<u8>);

impl Answer {
    pub(crate) fn number(&mut self, number: u64) -> &mut Self {
        self.0.extend(number.to_le_bytes());
        self
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.number(bytes.len() as u64);
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(8), 0);
        self
    }

    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    pub(crate) fn texts<T: AsRef<str>>(&mut self, texts: impl ExactSizeIterator<Item = T>) -> &mut Self {
        self.number(texts.len() as u64);
        for text in texts {
            self.text(text.as_ref());
        }
        self
    }
}

/// A stream in frames: each with its length, ended by an empty one. Dropped early, the rest can be skipped.
pub(crate) struct Framed<'a> {
    input: &'a mut dyn Read,
    left: u64,
    ended: bool,
}

impl<'a> Framed<'a> {
    pub(crate) fn new(input: &'a mut dyn Read) -> Self {
        Self { input, left: 0, ended: false }
    }

    /// Reads what is left, so that the next request is found.
    pub(crate) fn drain(mut self) -> Result<()> {
        io::copy(&mut self, &mut io::sink()).map(drop).map_err(broken)
    }
}

impl Read for Framed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && !self.ended {
            let mut bytes = [0; 8];
            self.input.read_exact(&mut bytes)?;
            self.left = u64::from_le_bytes(bytes);
            self.ended = self.left == 0;
        }
        if self.ended {
            return Ok(0);
        }
        let limit = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.input.read(buffer.get_mut(..limit).unwrap_or_default())?;
        if count == 0 && limit > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= count as u64;
        Ok(count)
    }
}

/// Writes and flushes.
pub(crate) fn send(output: &mut dyn Write, bytes: &[u8]) -> Result<()> {
    output.write_all(bytes).and_then(|()| output.flush()).map_err(broken)
}
