//! Flakes as data: references and the inputs in them, lock files, registries. Nix manual, `nix flake`, "Flake references",
//! "Lock files"; `nix registry`, "Registry format". Nothing is fetched here and no file is looked for: who calls knows
//! where a relative path begins and whether a directory has a `flake.nix`.

pub mod attributes;
pub mod input;
pub mod lock;
pub mod reference;
pub mod registry;
pub mod url;

pub use attributes::{Attribute, Attributes};
pub use input::Input;
pub use lock::{Edge, InputPath, LockFile, Locked, Node};
pub use reference::FlakeRef;
pub use registry::Registry;

use thiserror::Error;

/// Why something about flakes could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FlakeError {
    /// The text is no URL that any kind of input takes; it may still be meant as a path.
    #[error("{0}")]
    Url(String),
    /// Anything else, as a sentence.
    #[error("{0}")]
    Other(String),
}

impl FlakeError {
    pub(crate) fn other<T>(message: impl Into<String>) -> Result<T, Self> {
        Err(Self::Other(message.into()))
    }

    pub(crate) fn url<T>(message: impl Into<String>) -> Result<T, Self> {
        Err(Self::Url(message.into()))
    }
}

/// Whether the text can be the name of an input: a letter, then letters, digits, `_` and `-`.
pub fn is_id(text: &str) -> bool {
    text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// Whether the text can be a branch or tag in a reference.
pub(crate) fn is_ref(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"_./@+-".contains(&byte);
    text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'@')
        && text.bytes().all(inner)
}

/// Whether the text is a revision: 40 hexadecimal digits.
pub(crate) fn is_revision(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
