//! A [`Trace`] as bytes: a magic word, then the fields in the order of the type, then the SHA-256 of all that. Numbers are
//! LEB128, byte strings have their length before them, a sorted list of paths says of each how much it shares with the one
//! before. Whoever reads trusts nothing: what is torn, foreign or made up is an error, never a panic and never more memory
//! than the file has bytes.

use super::{Fingerprint, Seen, Trace, Tree};
use crate::io::{FileType, Ingestion};
use formats::hash::{Algorithm, Hash};
use thiserror::Error;

/// The first bytes; the number goes up with the format.
const MAGIC: &[u8] = b"firn eval trace 1\n";
const DIGEST: usize = 32;

/// Why bytes are no trace.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum CodecError {
    /// They do not begin as one.
    #[error("this is no evaluation trace, or one of another version")]
    Magic,
    /// They are not as they were written.
    #[error("the evaluation trace is torn: its checksum does not fit")]
    Checksum,
    /// They mean nothing.
    #[error("the evaluation trace is malformed")]
    Malformed,
}

impl Trace {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder { out: MAGIC.to_vec(), before: Vec::new() };
        out.out.extend_from_slice(self.question.bytes());
        out.signed(self.begun);
        out.number(self.paths.len() as u64);
        for (path, seen) in &self.paths {
            out.path(path);
            out.seen(seen);
        }
        out.number(self.variables.len() as u64);
        for (name, value) in &self.variables {
            out.bytes(name);
            out.option(value.as_ref(), |out, value| out.bytes(value));
        }
        out.number(self.references.len() as u64);
        for (path, references) in &self.references {
            out.bytes(path.as_bytes());
            out.option(references.as_ref(), |out, names| {
                out.number(names.len() as u64);
                for name in names {
                    out.bytes(name.as_bytes());
                }
            });
        }
        out.number(self.trees.len() as u64);
        for tree in &self.trees {
            out.bytes(&tree.path);
            out.bytes(tree.name.as_bytes());
            out.number(u64::from(tree.ingestion == Ingestion::Nar));
            out.bytes(tree.stored.as_bytes());
            out.number(tree.prints.len() as u64);
            for (path, print) in &tree.prints {
                out.path(path);
                out.print(print);
            }
        }
        out.number(self.messages.len() as u64);
        for line in &self.messages {
            out.bytes(line.as_bytes());
        }
        out.bytes(&self.answer);
        let digest = Hash::sha256(&out.out);
        out.out.extend_from_slice(digest.bytes());
        out.out
    }

    /// From bytes.
    ///
    /// # Errors
    /// If they are not what [`Self::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        if !bytes.starts_with(MAGIC) {
            return Err(CodecError::Magic);
        }
        let (body, digest) = bytes
            .len()
            .checked_sub(DIGEST)
            .and_then(|end| bytes.split_at_checked(end))
            .ok_or(CodecError::Checksum)?;
        if Hash::sha256(body).bytes() != digest {
            return Err(CodecError::Checksum);
        }
        let mut from = Decoder { rest: body.get(MAGIC.len()..).unwrap_or_default(), before: Vec::new() };
        let question = from.hash()?;
        let begun = from.signed()?;
        let paths = from.list(|from| Ok((from.path()?, from.seen()?)))?;
        let variables =
            from.list(|from| Ok((from.bytes()?.to_vec(), from.option(|f| Ok(f.bytes()?.to_vec()))?)))?;
        let references =
            from.list(|from| Ok((from.text()?, from.option(|from| from.list(Decoder::text))?)))?;
        let trees = from.list(|from| {
            Ok(Tree {
                path: from.bytes()?.to_vec(),
                name: from.text()?,
                ingestion: if from.number()? == 0 { Ingestion::Flat } else { Ingestion::Nar },
                stored: from.text()?,
                prints: from.list(|from| Ok((from.path()?, from.print()?)))?,
            })
        })?;
        let messages = from.list(Decoder::text)?;
        let answer = from.bytes()?.to_vec();
        if !from.rest.is_empty() {
            return Err(CodecError::Malformed);
        }
        Ok(Self { question, begun, paths, variables, references, trees, messages, answer })
    }
}

struct Encoder {
    out: Vec<u8>,
    /// The path before.
    before: Vec<u8>,
}

impl Encoder {
    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.out.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.out.push(number as u8);
    }

    fn signed(&mut self, number: i64) {
        self.number(number as u64);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.out.extend_from_slice(bytes);
    }

    fn path(&mut self, path: &[u8]) {
        let shared = path.iter().zip(&self.before).take_while(|(a, b)| a == b).count();
        self.number(shared as u64);
        self.bytes(path.get(shared..).unwrap_or_default());
        path.clone_into(&mut self.before);
    }

    fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.out.push(u8::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }

    fn print(&mut self, print: &Fingerprint) {
        self.number(print.inode);
        self.number(print.size);
        self.number(u64::from(print.mode));
        self.signed(print.modified);
        self.signed(print.changed);
    }

    fn seen(&mut self, seen: &Seen) {
        let kind = match seen.kind {
            None => 0,
            Some(FileType::Regular) => 1,
            Some(FileType::Directory) => 2,
            Some(FileType::Symlink) => 3,
            Some(FileType::Unknown) => 4,
        };
        self.out.push(kind);
        self.option(seen.print.as_ref(), Self::print);
        self.option(seen.behind.as_ref(), Self::print);
        self.option(seen.contents.as_ref(), |out, hash| out.out.extend_from_slice(hash.bytes()));
        self.option(seen.listing.as_ref(), |out, hash| out.out.extend_from_slice(hash.bytes()));
        self.option(seen.target.as_ref(), |out, target| out.bytes(target));
        self.option(seen.executable, |out, executable| out.out.push(u8::from(executable)));
    }
}

struct Decoder<'b> {
    rest: &'b [u8],
    before: Vec<u8>,
}

type Read<T> = Result<T, CodecError>;

impl<'b> Decoder<'b> {
    fn take(&mut self, count: usize) -> Read<&'b [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(CodecError::Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Read<u8> {
        self.take(1)?.first().copied().ok_or(CodecError::Malformed)
    }

    fn number(&mut self) -> Read<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(CodecError::Malformed)
    }

    fn signed(&mut self) -> Read<i64> {
        Ok(self.number()? as i64)
    }

    fn length(&mut self) -> Read<usize> {
        usize::try_from(self.number()?).map_err(|_| CodecError::Malformed)
    }

    fn bytes(&mut self) -> Read<&'b [u8]> {
        let length = self.length()?;
        self.take(length)
    }

    fn text(&mut self) -> Read<String> {
        String::from_utf8(self.bytes()?.to_vec()).map_err(|_| CodecError::Malformed)
    }

    fn path(&mut self) -> Read<Vec<u8>> {
        let shared = self.length()?;
        let end = self.bytes()?;
        if shared > self.before.len() {
            return Err(CodecError::Malformed);
        }
        self.before.truncate(shared);
        self.before.extend_from_slice(end);
        Ok(self.before.clone())
    }

    fn hash(&mut self) -> Read<Hash> {
        Hash::from_bytes(Algorithm::Sha256, self.take(DIGEST)?).ok_or(CodecError::Malformed)
    }

    fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Read<T>) -> Read<Option<T>> {
        match self.byte()? {
            0 => Ok(None),
            1 => read(self).map(Some),
            _ => Err(CodecError::Malformed),
        }
    }

    /// As many as the number says; room is made as they are read.
    fn list<T>(&mut self, mut read: impl FnMut(&mut Self) -> Read<T>) -> Read<Vec<T>> {
        let count = self.length()?;
        let mut list = Vec::new();
        for _ in 0..count {
            list.push(read(self)?);
        }
        Ok(list)
    }

    fn print(&mut self) -> Read<Fingerprint> {
        Ok(Fingerprint {
            inode: self.number()?,
            size: self.number()?,
            mode: u32::try_from(self.number()?).map_err(|_| CodecError::Malformed)?,
            modified: self.signed()?,
            changed: self.signed()?,
        })
    }

    fn seen(&mut self) -> Read<Seen> {
        let kind = match self.byte()? {
            0 => None,
            1 => Some(FileType::Regular),
            2 => Some(FileType::Directory),
            3 => Some(FileType::Symlink),
            4 => Some(FileType::Unknown),
            _ => return Err(CodecError::Malformed),
        };
        Ok(Seen {
            kind,
            print: self.option(Self::print)?,
            behind: self.option(Self::print)?,
            contents: self.option(Self::hash)?,
            listing: self.option(Self::hash)?,
            target: self.option(|from| Ok(from.bytes()?.to_vec()))?,
            executable: self.option(|from| Ok(from.byte()? != 0))?,
        })
    }
}
