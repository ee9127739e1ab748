//! NAR, the canonical serialisation of a file tree. Nix manual, "Nix Archive (NAR) format".
//!
//! ```text
//! archive   = str("nix-archive-1") node
//! node      = str("(") str("type") kind str(")")
//! kind      = str("regular") [str("executable") str("")] [str("contents") str(bytes)]
//!           | str("symlink") str("target") str(target)
//!           | str("directory") {str("entry") str("(") str("name") str(name) str("node") node str(")")}
//! str(s)    = u64 little-endian length, the bytes, zeros up to a multiple of 8
//! ```
//!
//! Entries stand in strictly ascending byte order. Both directions stream: no file is ever held whole.

mod reader;
mod writer;

pub use reader::{Visitor, read};
pub use writer::Writer;

use std::io;
use thiserror::Error;

/// The word every archive begins with.
pub(crate) const MAGIC: &[u8] = b"nix-archive-1";
/// The longest file or link name that a Linux file system can hold is 255 and 4095 bytes; allow no more.
pub(crate) const NAME_LIMIT: u64 = 255;
pub(crate) const TARGET_LIMIT: u64 = 4095;
/// Directories in directories: deeper than any path can name, shallow enough for any stack.
pub const DEPTH_LIMIT: usize = 512;

/// Why a NAR could not be read or written.
#[derive(Debug, Error)]
pub enum NarError {
    /// Reading or writing failed.
    #[error("NAR: {0}")]
    Io(#[from] io::Error),
    /// The stream ends in the middle.
    #[error("NAR ends too early, at byte {offset}")]
    Truncated {
        /// How many bytes were read.
        offset: u64,
    },
    /// Another word stands where the grammar wants this one.
    #[error("NAR: expected {expected} at byte {offset}, found `{found}`")]
    Unexpected {
        /// What the grammar allows.
        expected: &'static str,
        /// What is there, shortened.
        found: String,
        /// Where it begins.
        offset: u64,
    },
    /// The filling up to a multiple of 8 is not zero.
    #[error("NAR: padding at byte {offset} is not zero")]
    Padding {
        /// Where the padding begins.
        offset: u64,
    },
    /// A name or target that is too long.
    #[error("NAR: a {what} of {length} bytes at byte {offset} is longer than a file system can hold")]
    TooLong {
        /// name, link target, keyword.
        what: &'static str,
        /// The length announced.
        length: u64,
        /// Where it stands.
        offset: u64,
    },
    /// A name that would leave its directory or cannot be.
    #[error("NAR: `{0}` cannot be the name of a directory entry")]
    BadName(String),
    /// A link target that no file system can hold.
    #[error("NAR: symbolic link with an empty target or a NUL in it (`{0}`)")]
    BadTarget(String),
    /// Entries out of order, or twice.
    #[error("NAR: entry `{name}` follows `{previous}`; entries must be sorted and unique")]
    Unsorted {
        /// The entry.
        name: String,
        /// The one before it.
        previous: String,
    },
    /// Directories nested without sense.
    #[error("NAR: directories are nested deeper than {DEPTH_LIMIT}")]
    TooDeep,
    /// The caller wrote another number of bytes than announced.
    #[error("NAR: a file of {announced} bytes got {written}")]
    Size {
        /// The length written before the contents.
        announced: u64,
        /// How many bytes came.
        written: u64,
    },
    /// The caller's calls do not make a tree.
    #[error("NAR: {0}")]
    Misuse(&'static str),
    /// The visitor could not take an entry.
    #[error("{context}: {source}")]
    Visitor {
        /// What it was doing.
        context: String,
        /// Why it failed.
        source: io::Error,
    },
}

/// Checks the name of a directory entry.
pub fn check_entry_name(name: &[u8]) -> Result<(), NarError> {
    let bad = name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') || name.contains(&0);
    if bad { Err(NarError::BadName(String::from_utf8_lossy(name).into_owned())) } else { Ok(()) }
}

/// The length of `str(bytes)` in a NAR for that many bytes.
#[must_use]
pub const fn string_size(length: u64) -> u64 {
    8 + length.next_multiple_of(8)
}
impl NarError {
    /// Whether reading or writing failed, and not the archive is wrong.
    #[must_use]
    pub const fn is_io(&self) -> bool {
        matches!(self, Self::Io(_))
    }
}
