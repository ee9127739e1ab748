//! What can go wrong in an activation, one variant per kind of step, each with the place and what to do.

use std::path::{Path, PathBuf};

/// The crate's result.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a step failed.
#[expect(
    clippy::error_impl_error,
    reason = "the crate's one error, always written with its path or alone in its module"
)]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file operation.
    #[error("cannot {doing} {}: {source}", path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A path passes through more links than the kernel would follow.
    #[error("{}: the links of this path go round in a circle", path.display())]
    LinkLoop {
        /// The path.
        path: PathBuf,
    },
    /// A document of the toplevel.
    #[error("{}: {source}", toplevel.display())]
    Document {
        /// The toplevel.
        toplevel: PathBuf,
        /// What is wrong with it.
        source: formats::json_document::DocumentError,
    },
    /// Something in the configuration that cannot be carried out.
    #[error("{option}: {problem}")]
    Configuration {
        /// The option as the user wrote it.
        option: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A tmpfiles rule that cannot be read or done.
    #[error("systemd.tmpfiles.rules, `{line}`: {problem}")]
    Rule {
        /// The rule.
        line: String,
        /// What is wrong.
        problem: String,
    },
    /// A snippet of the configuration failed.
    #[error("activation snippet `{name}` failed: {problem}")]
    Snippet {
        /// Its name.
        name: String,
        /// How it failed.
        problem: String,
    },
    /// A request to the kernel.
    #[error("cannot {doing}: {source}")]
    Kernel {
        /// What was asked.
        doing: String,
        /// Its answer.
        source: std::io::Error,
    },
    /// Another activation is running.
    #[error("another activation is running (it holds {}); wait for it or end it", lock.display())]
    Busy {
        /// The lock file.
        lock: PathBuf,
    },
    /// The supervisor cannot be reached or refused.
    #[error("the supervisor {problem}")]
    Supervisor {
        /// What it said, as the end of a sentence.
        problem: String,
    },
}

impl Error {
    /// For `map_err` after a file operation.
    pub(crate) fn file(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::File { doing, path: path.to_path_buf(), source }
    }

    /// For `map_err` after a system call on a file.
    pub(crate) fn call(doing: &'static str, path: &Path) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |errno| Self::File { doing, path: path.to_path_buf(), source: errno.into() }
    }
}
