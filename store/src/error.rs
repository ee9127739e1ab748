//! What can go wrong in a store: one variant per boundary, each with the path or thing it is about.

use formats::derivation::{OutputMismatch, ParseError};
use formats::hash::Hash;
use formats::nar::NarError;
use formats::store_path::{StorePath, StorePathError};
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// The store's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the store could not do it.
#[derive(Debug, Error)]
#[expect(clippy::error_impl_error, reason = "the crate's one error, named as in std::io")]
pub enum Error {
    /// A file operation failed.
    #[error("{doing} `{}`: {source}", path.display())]
    File {
        /// What was being done, as a gerund.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The database refused.
    #[error("store database, {doing}: {source}")]
    Database {
        /// What was being done.
        doing: &'static str,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The database is of a version that this program does not know.
    #[error("the store `{}` has database schema {found}; this program knows {known}: use a newer Firn or Nix", path.display())]
    Schema {
        /// The file with the version.
        path: PathBuf,
        /// What it says.
        found: String,
        /// What we know.
        known: u32,
    },
    /// A row that cannot be.
    #[error("store database: path `{path}` has {what}; `firn store verify` tells more")]
    BadRow {
        /// The path's text.
        path: String,
        /// What is wrong with it.
        what: String,
    },
    /// The daemon that keeps the store refused.
    #[error("{0}")]
    Daemon(String),
    /// A path that should be valid is not.
    #[error("path `{0}` is not valid in this store")]
    NotValid(String),
    /// A NAR could not be read or written.
    #[error("{context}: {source}")]
    Nar {
        /// Which one.
        context: String,
        /// What is wrong.
        source: NarError,
    },
    /// Not a store path.
    #[error(transparent)]
    Path(#[from] StorePathError),
    /// A text that is no derivation.
    #[error("`{path}`: {source}")]
    Derivation {
        /// Its file.
        path: String,
        /// What is wrong.
        source: ParseError,
    },
    /// A derivation claims outputs that are not its own.
    #[error(transparent)]
    ForeignOutput(#[from] OutputMismatch),
    /// A path from elsewhere that nobody trusted vouches for.
    #[error(
        "cannot add path '{path}' because it lacks a signature by a trusted key{}",
        untrusted_hint(signed_by)
    )]
    Untrusted {
        /// The path.
        path: String,
        /// The keys that did sign it, or claim to.
        signed_by: Vec<String>,
    },
    /// Content does not have the hash that was promised.
    #[error("hash mismatch in {what}:\n  specified: {}\n  got:       {}", specified.sri(), got.sri())]
    HashMismatch {
        /// What was hashed.
        what: String,
        /// The hash wanted.
        specified: Box<Hash>,
        /// The hash found.
        got: Box<Hash>,
    },
    /// A file that cannot be in a store.
    #[error("`{}` is a {kind}; a store holds regular files, directories and symbolic links only", path.display())]
    FileType {
        /// The file.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// References that go round between different paths.
    #[error("cycle of references between {}", list(.0))]
    Cycle(Vec<StorePath>),
    /// A path that something still needs.
    #[error("cannot delete `{path}`: {reason}")]
    Alive {
        /// The path.
        path: String,
        /// What needs it.
        reason: String,
    },
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// Something was built and failed.
    #[error(transparent)]
    Build(#[from] Box<crate::build::BuildError>),
}

fn untrusted_hint(signed_by: &[String]) -> String {
    match signed_by {
        [] => "; it has no signature at all".to_owned(),
        names => format!(
            "; it is signed by {}: if you trust that, add its public key to trusted-public-keys",
            names.join(", ")
        ),
    }
}

fn list(paths: &[StorePath]) -> String {
    paths.iter().map(|path| format!("`{path}`")).collect::<Vec<_>>().join(", ")
}

impl Error {
    /// For `map_err` of a file operation.
    pub(crate) fn file(doing: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { doing, path: path.as_ref().to_owned(), source }
    }

    /// The same for rustix's error numbers.
    pub(crate) fn call(
        doing: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |source| Self::File { doing, path: path.as_ref().to_owned(), source: source.into() }
    }

    /// For `map_err` of a database operation.
    pub(crate) fn database(doing: &'static str) -> impl FnOnce(rusqlite::Error) -> Self {
        move |source| Self::Database { doing, source }
    }

    /// For `map_err` of a NAR operation.
    pub(crate) fn nar(context: impl Into<String>) -> impl FnOnce(NarError) -> Self {
        let context = context.into();
        move |source| Self::Nar { context, source }
    }
}
