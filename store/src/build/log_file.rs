//! A build's log: kept compressed where `nix log` finds it, its last lines in memory, each line told to the listener.

use super::{Event, Progress};
use crate::error::{Error, Result};
use crate::layout::Layout;
use bzip2::Compression;
use bzip2::write::BzEncoder;
use formats::store_path::StorePath;
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;

/// The longest line told; what is longer is cut in pieces.
const LINE_LIMIT: usize = 16 * 1024;

/// A log being written.
pub(super) struct BuildLog<'a> {
    derivation: &'a StorePath,
    progress: &'a dyn Progress,
    file: BzEncoder<File>,
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
        fs::create_dir_all(parent).map_err(Error::file("creating", parent))?;
        let file = File::create(&path).map_err(Error::file("creating log", &path))?;
        Ok(Self {
            derivation,
            progress,
            file: BzEncoder::new(file, Compression::new(6)),
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
        self.file.write_all(data).map_err(Error::file("writing log", &self.path))?;
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
            std::io::Read::read_to_end(&mut bzip2::read::MultiBzDecoder::new(file), &mut text)
                .map_err(Error::file("reading log", PathBuf::from(compressed)))?;
            return Ok(Some(text));
        }
        match fs::read(&plain) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::file("reading log", &plain)(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
