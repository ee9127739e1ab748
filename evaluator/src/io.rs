//! [`EvalIo`]: the one door between the evaluator and the world. Everything that evaluation reads, asks or adds to a store
//! goes through it; a caller that hands in another implementation decides what the language can see.
//!
//! Paths are absolute, canonical bytes. `/nix/store/…` is the store as the language names it, wherever its files lie.

mod local;
mod memory;
mod nar;
mod spill;

pub use local::LocalIo;
pub use memory::MemoryIo;
pub use nar::{hash_file, hash_tree, write_tree};
pub use spill::{Place, Spill};

/// One attribute of a source tree, as it is asked for or as it came.
pub use formats::flake::Attribute as TreeAttribute;

use crate::trace::Fingerprint;
use formats::derivation::Derivation;
use formats::flake::{FlakeRef, Input};
use formats::hash::Hash;
use formats::store_path::StorePath;
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;

/// What a directory entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileType {
    /// A file.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// Anything else.
    Unknown,
}

impl FileType {
    /// The language's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Regular => "regular",
            Self::Directory => "directory",
            Self::Symlink => "symlink",
            Self::Unknown => "unknown",
        }
    }
}

/// Why the world said no.
#[derive(Debug, Error)]
pub enum IoError {
    /// The path names nothing.
    #[error("path '{0}' does not exist")]
    Missing(String),
    /// An operating system call failed.
    #[error("{action} '{path}': {source}")]
    System {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// This implementation cannot do that.
    #[error("{0}")]
    Unsupported(String),
    /// The store refused.
    #[error("{0}")]
    Store(String),
    /// Something fetched is not what its hash says.
    #[error("{0}")]
    Mismatch(String),
    /// A filter failed; the evaluator knows why.
    #[error("the filter failed")]
    Filter,
}

/// How a path enters the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ingestion {
    /// A single file by its contents.
    Flat,
    /// A file or tree by its NAR.
    Nar,
}

/// Decides what of a tree enters the store.
pub type Filter<'f> = dyn FnMut(&[u8], FileType) -> Result<bool, IoError> + 'f;

/// A store object that a value needs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanted {
    /// The object itself.
    Path(StorePath),
    /// An output of a derivation.
    Output(StorePath, String),
}

/// Where outputs are, by derivation and output.
pub type Realised = BTreeMap<(StorePath, String), StorePath>;

/// Something to download.
#[derive(Debug, Clone)]
pub struct Fetch {
    /// From where.
    pub url: String,
    /// The name of the store object.
    pub name: String,
    /// Whether to unpack an archive.
    pub unpack: bool,
    /// The hash that it must have: of the file, or of the unpacked tree's NAR.
    pub hash: Option<Hash>,
}

/// A source tree to fetch. Nix manual, `fetchTree`, "Source types".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeInput {
    /// Its type: `git`, `path`, `tarball`, `file`, ….
    pub kind: String,
    /// What says which one, without the type.
    pub attributes: BTreeMap<String, TreeAttribute>,
    /// Whether that is all that there is to say: then nothing is added to it, and what is in the store already need not
    /// be fetched.
    pub is_final: bool,
}

impl TreeInput {
    /// What a reference asks for.
    pub fn of(input: &Input, is_final: bool) -> Self {
        let mut attributes = input.attributes().clone();
        attributes.remove("type");
        Self { kind: input.kind().to_owned(), attributes, is_final }
    }

    /// A string among the attributes.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.attributes.get(name) {
            Some(TreeAttribute::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// A truth among the attributes.
    pub fn truth(&self, name: &str) -> bool {
        matches!(self.attributes.get(name), Some(TreeAttribute::Bool(true)))
    }
}

/// A source tree in the store, and what became known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedTree {
    /// Where it is.
    pub path: StorePath,
    /// What it was asked for by, with what makes that exact: `narHash`, `lastModified`, `rev`, …; without the type.
    pub attributes: BTreeMap<String, TreeAttribute>,
}

/// The world as the evaluator sees it.
pub trait EvalIo {
    /// The store directory as values name it, `/nix/store`.
    fn store_dir(&self) -> &str;

    /// A file's contents.
    fn read_file(&self, path: &[u8]) -> Result<Vec<u8>, IoError>;

    /// A directory's entries, in any order.
    fn read_dir(&self, path: &[u8]) -> Result<Vec<(Vec<u8>, FileType)>, IoError>;

    /// What the path is, links not followed at its end; `None` if there is nothing.
    fn file_type(&self, path: &[u8]) -> Result<Option<FileType>, IoError>;

    /// A symbolic link's target.
    fn read_link(&self, path: &[u8]) -> Result<Vec<u8>, IoError>;

    /// Whether a file is executable.
    fn is_executable(&self, path: &[u8]) -> Result<bool, IoError>;

    /// What the system says about a path without reading it, for the evaluation trace; `None` if nothing is there or
    /// nothing can be said. With `follow`, of what a link leads to.
    fn fingerprint(&self, _path: &[u8], _follow: bool) -> Option<Fingerprint> {
        None
    }

    /// A variable of the environment.
    fn env(&self, name: &[u8]) -> Option<Vec<u8>>;

    /// Seconds since 1970.
    fn now(&self) -> i64;

    /// Prints a line of `trace` or `warn`.
    fn message(&self, line: &str);

    /// Adds a file or tree (what of it the filter admits) to the store under that name; with `expected` the content must
    /// have that hash.
    fn add_path(
        &self,
        name: &str,
        path: &[u8],
        ingestion: Ingestion,
        filter: Option<&mut Filter<'_>>,
        expected: Option<&Hash>,
    ) -> Result<StorePath, IoError>;

    /// Adds a text file to the store.
    fn add_text(
        &self,
        name: &str,
        contents: &[u8],
        references: &BTreeSet<StorePath>,
    ) -> Result<StorePath, IoError>;

    /// Adds a derivation to the store: a text named `<name>.drv`.
    fn add_derivation(&self, derivation: &Derivation) -> Result<StorePath, IoError> {
        let store = formats::store_path::StoreDir::new(self.store_dir());
        let text = derivation.unparse(&store).map_err(|error| IoError::Store(error.to_string()))?;
        self.add_text(&format!("{}.drv", derivation.name), &text, &derivation.references())
    }

    /// Makes store objects exist: builds or downloads them. Says where the outputs are.
    fn realise(&self, wanted: &[Wanted]) -> Result<Realised, IoError> {
        match wanted.first() {
            None => Ok(Realised::new()),
            Some(_) => Err(IoError::Unsupported("this evaluation has no store that could build".to_owned())),
        }
    }

    /// The store paths that a valid store object refers to; `None` if it is not valid.
    fn references(&self, path: &StorePath) -> Result<Option<BTreeSet<StorePath>>, IoError>;

    /// Downloads something into the store.
    fn fetch(&self, fetch: &Fetch) -> Result<StorePath, IoError> {
        Err(IoError::Unsupported(format!("cannot download '{}': this evaluation has no network", fetch.url)))
    }

    /// Fetches a source tree (`fetchTree`, `fetchGit`) into the store.
    fn fetch_tree(&self, input: &TreeInput) -> Result<FetchedTree, IoError> {
        let kind = &input.kind;
        Err(IoError::Unsupported(format!(
            "cannot fetch a tree of type '{kind}': this evaluation has no network"
        )))
    }

    /// What a flake's name means by the registries; a reference that is no name is handed back. Without `all`, what this
    /// user or machine has written there is left out: a lock file should not depend on it.
    fn look_up_flake(&self, reference: &FlakeRef, _all: bool) -> Result<FlakeRef, IoError> {
        if reference.input.is_direct() {
            return Ok(reference.clone());
        }
        Err(IoError::Unsupported(format!("cannot find flake '{}' in the flake registries", reference.input)))
    }

    /// Why a file is not in a tree that was fetched although it is where the tree came from, and what to do.
    fn explain_missing(&self, _input: &TreeInput, _file: &str) -> Option<String> {
        None
    }

    /// The path with all symbolic links resolved; what does not exist is left as it is.
    fn resolve_links(&self, path: &[u8]) -> Result<Vec<u8>, IoError> {
        let mut resolved: Vec<u8> = Vec::with_capacity(path.len());
        let mut rest: Vec<Vec<u8>> = segments(path);
        let mut followed = 0;
        while let Some(segment) = rest.pop() {
            match segment.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    let end = resolved.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
                    resolved.truncate(end);
                    continue;
                }
                _ => {}
            }
            let length = resolved.len();
            resolved.push(b'/');
            resolved.extend_from_slice(&segment);
            if self.file_type(&resolved)? == Some(FileType::Symlink) {
                followed += 1;
                if followed > 1024 {
                    let path = String::from_utf8_lossy(path).into_owned();
                    return Err(IoError::Unsupported(format!(
                        "infinite symbolic link recursion in path '{path}'"
                    )));
                }
                let target = self.read_link(&resolved)?;
                resolved.truncate(if target.first() == Some(&b'/') { 0 } else { length });
                rest.extend(segments(&target));
            }
        }
        if resolved.is_empty() {
            resolved.push(b'/');
        }
        Ok(resolved)
    }
}

/// The segments of a path, last first.
fn segments(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|&byte| byte == b'/').rev().map(<[u8]>::to_vec).collect()
}
