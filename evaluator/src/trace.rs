//! The evaluation trace: all that an evaluation has seen of the world, with what it answered. While the world still looks
//! the same, the same question has the same answer, and nothing needs to be evaluated.
//!
//! A [`Recorder`] stands between the evaluator and its [`EvalIo`] and notes every file, directory, link, variable and
//! store path that is asked for. [`Trace::check`] compares with the world as it is now: first by size, times and inode,
//! which is one system call a path; by content where those differ. An evaluation that asked for the time or for
//! something from the network has no trace.

mod check;
mod codec;
mod recorder;

pub use check::Verdict;
pub use codec::CodecError;
pub use recorder::Recorder;

use crate::io::{EvalIo, FileType, Ingestion, IoError};
use formats::hash::Hash;

/// What the system says about a file without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    /// Its number on its file system.
    pub inode: u64,
    /// Its size in bytes.
    pub size: u64,
    /// Type and permissions.
    pub mode: u32,
    /// When its contents were changed, in nanoseconds since 1970.
    pub modified: i64,
    /// When anything about it was changed, in nanoseconds since 1970; nobody can set this one.
    pub changed: i64,
}

/// What was seen of one path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The path itself, links not followed; `None` if nothing was there.
    pub(crate) print: Option<Fingerprint>,
    /// What a link at its end leads to, where contents were read through it.
    pub(crate) behind: Option<Fingerprint>,
    /// What it is; asked for whenever anything is.
    pub(crate) kind: Option<FileType>,
    /// The hash of what was read from it.
    pub(crate) contents: Option<Hash>,
    /// The hash of a directory's listing.
    pub(crate) listing: Option<Hash>,
    /// Where a link points.
    pub(crate) target: Option<Vec<u8>>,
    /// Whether it was executable.
    pub(crate) executable: Option<bool>,
}

/// A file or tree that was added to the store whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tree {
    pub(crate) path: Vec<u8>,
    pub(crate) name: String,
    pub(crate) ingestion: Ingestion,
    /// The base name of the store path that came of it.
    pub(crate) stored: String,
    /// Everything in it.
    pub(crate) prints: Vec<(Vec<u8>, Fingerprint)>,
}

/// What an evaluation saw and answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// What was asked: only the same question has this answer.
    pub(crate) question: Hash,
    /// When the evaluation began, in nanoseconds since 1970: what has changed since is compared by content.
    pub(crate) begun: i64,
    /// By path, sorted.
    pub(crate) paths: Vec<(Vec<u8>, Seen)>,
    /// Variables of the environment, sorted.
    pub(crate) variables: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// The references of store paths, by base name; `None` for what was not valid.
    pub(crate) references: Vec<(String, Option<Vec<String>>)>,
    pub(crate) trees: Vec<Tree>,
    /// What was printed on the way, to be printed again.
    pub(crate) messages: Vec<String>,
    pub(crate) answer: Vec<u8>,
}

impl Trace {
    /// What the evaluation printed on the way.
    pub fn messages(&self) -> &[String] {
        &self.messages
    }

    /// What the caller made of the evaluation's value.
    pub fn answer(&self) -> &[u8] {
        &self.answer
    }

    /// How many paths and variables the answer hangs on.
    pub fn inputs(&self) -> usize {
        let trees: usize = self.trees.iter().map(|tree| tree.prints.len()).sum();
        self.paths.len() + self.variables.len() + self.references.len() + trees
    }
}

/// The hash of a directory's listing in any order.
fn listing_hash(mut entries: Vec<(Vec<u8>, FileType)>) -> Hash {
    entries.sort();
    let mut text = Vec::new();
    for (name, kind) in entries {
        text.extend_from_slice(&name);
        text.push(0);
        text.extend_from_slice(kind.word().as_bytes());
        text.push(0);
    }
    Hash::sha256(text)
}

/// The fingerprints of a path and, for a directory, of everything in it.
fn tree_prints(io: &dyn EvalIo, path: &[u8]) -> Result<Vec<(Vec<u8>, Fingerprint)>, IoError> {
    let mut prints = Vec::new();
    let mut waiting = vec![path.to_vec()];
    while let Some(path) = waiting.pop() {
        let Some(print) = io.fingerprint(&path, false) else {
            return Err(IoError::Missing(String::from_utf8_lossy(&path).into_owned()));
        };
        if io.file_type(&path)? == Some(FileType::Directory) {
            for (name, _) in io.read_dir(&path)? {
                waiting.push([path.as_slice(), b"/", &name].concat());
            }
        }
        prints.push((path, print));
    }
    prints.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(prints)
}

#[cfg(test)]
mod tests;
