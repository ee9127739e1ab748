//! A build's log: kept compressed where `nix log` finds it, its last lines in memory, each line told to the listener.
//! Most logs are short: a compressor for the largest blocks would cost more than their builds.

use super::{Event, Progress};
use crate::error::{Error, Result};
use crate::layout::Layout;
use bzip2::Compression;
use bzip2::write::BzEncoder;
use formats::store_path::StorePath;
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::PathBuf;

/// The longest line told; what is longer is cut in pieces.
const LINE_LIMIT: usize = 16 * 1024;

/// Blocks of bzip2's first level, 100,000 bytes: a log up to that size is compressed as well with them, in a fraction of the memory.
const SMALL_BLOCK: usize = 100_000;

/// What bzip2 makes of nothing.
const EMPTY: [u8; 14] = *b"BZh1\x17\x72\x45\x38\x50\x90\0\0\0\0";

/// The file of a log.
enum Compressed {
    /// So far all of it is in memory.
    Small(File, Vec<u8>),
    /// It goes to the file in blocks.
    Large(Box<BzEncoder<File>>),
    /// It could not be written.
    Failed,
}

impl Compressed {
    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        match self {
            Self::Small(_, text) if text.len() + data.len() <= SMALL_BLOCK => text.extend_from_slice(data),
            Self::Large(encoder) => encoder.write_all(data)?,
            Self::Small(..) => {
                if let Self::Small(file, text) = std::mem::replace(self, Self::Failed) {
                    let mut encoder = Box::new(BzEncoder::new(file, Compression::new(6)));
                    encoder.write_all(&text)?;
                    encoder.write_all(data)?;
                    *self = Self::Large(encoder);
                }
            }
            Self::Failed => return Err(io::Error::other("an earlier write failed")),
        }
        Ok(())
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::Small(mut file, text) if text.is_empty() => file.write_all(&EMPTY),
            Self::Small(file, text) => {
                let mut encoder = BzEncoder::new(file, Compression::new(1));
                encoder.write_all(&text)?;
                encoder.finish().map(drop)
            }
            Self::Large(encoder) => encoder.finish().map(drop),
            Self::Failed => Err(io::Error::other("an earlier write failed")),
        }
    }
}

/// A log being written.
pub(super) struct BuildLog<'a> {
    derivation: &'a StorePath,
    progress: &'a dyn Progress,
    file: Compressed,
    pub(super) path: PathBuf,
    line: Vec<u8>,
    tail: VecDeque<String>,
    tail_limit: usize,
    pub(super) size: u64,
}

impl<'a> BuildLog<'a> {
    pub(super) fn create(
        layout: &Layout,
        derivation: &'a StorePath,
        tail_limit: usize,
        progress: &'a dyn Progress,
    ) -> Result<Self> {
        let mut path = layout.build_log(derivation).into_os_string();
        path.push(".bz2");
        let path = PathBuf::from(path);
        let parent = path.parent().unwrap_or(&layout.log);
        let file = match File::create(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(parent).map_err(Error::file("creating", parent))?;
                File::create(&path)
            }
            other => other,
        }
        .map_err(Error::file("creating log", &path))?;
        Ok(Self {
            derivation,
            progress,
            file: Compressed::Small(file, Vec::new()),
            path,
            line: Vec::new(),
            tail: VecDeque::new(),
            tail_limit,
            size: 0,
        })
    }

    /// Takes a piece of output.
    pub(super) fn write(&mut self, data: &[u8]) -> Result<()> {
        self.size += data.len() as u64;
        self.file.write(data).map_err(Error::file("writing log", &self.path))?;
        for piece in data.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.line.len() >= LINE_LIMIT {
                self.end_line();
            }
        }
        Ok(())
    }

    fn end_line(&mut self) {
        let bytes = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_end_matches(['\n', '\r']);
        // What a program overwrote in its line is not interesting afterwards.
        let text = text.rsplit('\r').next().unwrap_or(text);
        match text.strip_prefix("@nix ").map(Message::parse) {
            Some(Message::Phase(phase)) => {
                self.progress.event(&Event::Phase { derivation: self.derivation, phase: &phase });
                return;
            }
            Some(Message::Other) => return,
            Some(Message::Strange(why)) => {
                let text = format!("Unable to handle a JSON message from the derivation builder: {why}");
                self.progress.event(&Event::Warning { derivation: self.derivation, text: &text });
                return;
            }
            Some(Message::NoJson(why)) => {
                let text = format!("bad JSON log message from the derivation builder: {why}");
                self.progress.event(&Event::Warning { derivation: self.derivation, text: &text });
            }
            None => {}
        }
        self.progress.event(&Event::Line { derivation: self.derivation, line: text });
        if self.tail.len() >= self.tail_limit {
            self.tail.pop_front();
        }
        self.tail.push_back(text.to_owned());
    }

    /// Ends the file; gives the last lines.
    pub(super) fn finish(mut self) -> Result<Vec<String>> {
        if !self.line.is_empty() {
            self.end_line();
        }
        self.file.finish().map_err(Error::file("writing log", &self.path))?;
        Ok(self.tail.into())
    }
}

/// What a line says that is meant for the build tool and not for people: `@nix {"action":"setPhase","phase":"…"}`, as
/// stdenv writes it.
#[derive(Debug, PartialEq, Eq)]
enum Message {
    Phase(String),
    /// Something that only Nix's own programs say of themselves.
    Other,
    /// JSON of another shape.
    Strange(String),
    /// Text that is no JSON.
    NoJson(String),
}

impl Message {
    fn parse(text: &str) -> Self {
        let message: serde_json::Value = match serde_json::from_str(text) {
            Ok(message) => message,
            Err(error) => return Self::NoJson(error.to_string()),
        };
        let field = |name: &str| message.get(name).and_then(serde_json::Value::as_str);
        match (field("action"), field("phase")) {
            (Some("setPhase"), Some(phase)) => Self::Phase(phase.to_owned()),
            (Some("setPhase"), None) => Self::Strange("`setPhase` without a `phase`".to_owned()),
            (Some(_), _) => Self::Other,
            (None, _) => Self::Strange(format!("no `action` in {message}")),
        }
    }
}

impl crate::open::Store {
    /// The log of a derivation's last build here, uncompressed; `None` when there is none.
    pub fn build_log(&self, derivation: &StorePath) -> Result<Option<Vec<u8>>> {
        if let Some(keeper) = self.remote.as_ref().filter(|keeper| !keeper.has_files()) {
            return keeper.build_log(derivation);
        }
        if let Some(text) = self.log_of(derivation)? {
            return Ok(Some(text));
        }
        // Where its inputs' paths were not known, what was built is what it resolves to.
        match super::resolve::path_of_resolved(self, derivation)? {
            Some(resolved) => self.log_of(&resolved),
            None => Ok(None),
        }
    }

    fn log_of(&self, derivation: &StorePath) -> Result<Option<Vec<u8>>> {
        let plain = self.layout.build_log(derivation);
        let mut compressed = plain.clone().into_os_string();
        compressed.push(".bz2");
        let mut text = Vec::new();
        if let Ok(file) = File::open(&compressed) {
            io::Read::read_to_end(&mut bzip2::read::MultiBzDecoder::new(file), &mut text)
                .map_err(Error::file("reading log", PathBuf::from(compressed)))?;
            return Ok(Some(text));
        }
        match fs::read(&plain) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::file("reading log", &plain)(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever is written, in pieces of whatever size, is what is read.
    #[test]
    fn logs_of_each_size_are_read_again() {
        let directory = tempfile::tempdir().unwrap();
        for (size, piece) in
            [(0, 1), (1, 1), (SMALL_BLOCK, 777), (SMALL_BLOCK + 1, 4096), (SMALL_BLOCK * 9, 65536)]
        {
            let text: Vec<u8> = (0..size).map(|at| (at * at % 251) as u8).collect();
            let path = directory.path().join(size.to_string());
            let mut compressed = Compressed::Small(File::create(&path).unwrap(), Vec::new());
            text.chunks(piece).for_each(|piece| compressed.write(piece).unwrap());
            compressed.finish().unwrap();
            let mut read = Vec::new();
            let mut decoder = bzip2::read::MultiBzDecoder::new(File::open(&path).unwrap());
            io::Read::read_to_end(&mut decoder, &mut read).unwrap();
            assert_eq!(read.len(), size);
            assert!(read == text, "{size}");
        }
    }

    #[test]
    fn messages_of_builders() {
        let phase = Message::parse(r#"{"action":"setPhase","phase":"buildPhase"}"#);
        assert_eq!(phase, Message::Phase("buildPhase".to_owned()));
        assert_eq!(Message::parse(r#"{"action":"stop","id":1}"#), Message::Other);
        for strange in ["1", "{}", r#"{"action":null}"#, r#"{"action":123}"#, r#"{"action":"setPhase"}"#] {
            assert!(matches!(Message::parse(strange), Message::Strange(_)), "{strange}");
        }
        assert!(matches!(Message::parse("]["), Message::NoJson(_)));
    }
}
