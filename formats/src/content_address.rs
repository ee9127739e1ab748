//! Content addresses: how an object was hashed and to what. Nix manual, "Content-Addressing Store Objects". As text:
//! `text:sha256:<base 32>`, `fixed:<base 32 hash>`, `fixed:r:<…>`, `fixed:git:<…>`; also the `ca` column of the database.

use crate::hash::{Hash, HashError};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// What of an object is hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// The contents of a text file, whose references count too.
    Text,
    /// The contents of a file.
    Flat,
    /// The NAR of a file or tree.
    Recursive,
    /// The git tree or blob (experimental in Nix).
    Git,
}

impl Method {
    /// What stands before the hash in ATerm and in fingerprints.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Text => "text:",
            Self::Flat => "",
            Self::Recursive => "r:",
            Self::Git => "git:",
        }
    }

    /// Splits the method off a text such as `r:sha256`.
    #[must_use]
    pub fn split(text: &str) -> (Self, &str) {
        for method in [Self::Text, Self::Recursive, Self::Git] {
            if let Some(rest) = text.strip_prefix(method.prefix()) {
                return (method, rest);
            }
        }
        (Self::Flat, text)
    }
}

/// A method and the hash that it gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentAddress {
    /// What was hashed.
    pub method: Method,
    /// The hash.
    pub hash: Hash,
}

/// Why a text is not a content address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ContentAddressError {
    /// It begins with neither `text:` nor `fixed:`.
    #[error("`{0}` is not a content address: it begins with neither `text:` nor `fixed:`")]
    Kind(String),
    /// Its hash is not one.
    #[error("content address `{text}`: {source}")]
    Hash {
        /// The whole text.
        text: String,
        /// What is wrong with the hash.
        source: HashError,
    },
}

impl fmt::Display for ContentAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.method {
            Method::Text => write!(formatter, "text:{}", self.hash.base32()),
            method => write!(formatter, "fixed:{}{}", method.prefix(), self.hash.base32()),
        }
    }
}

impl FromStr for ContentAddress {
    type Err = ContentAddressError;

    fn from_str(text: &str) -> Result<Self, ContentAddressError> {
        let (method, hash) = match (text.strip_prefix("fixed:"), text.strip_prefix("text:")) {
            (Some(rest), _) if !rest.starts_with("text:") => Method::split(rest),
            (_, Some(rest)) => (Method::Text, rest),
            _ => return Err(ContentAddressError::Kind(text.to_owned())),
        };
        let hash = Hash::parse(hash)
            .map_err(|source| ContentAddressError::Hash { text: text.to_owned(), source })?;
        Ok(Self { method, hash })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_go_round() {
        let hash = Hash::sha256("x");
        for (method, prefix) in [
            (Method::Text, "text:"),
            (Method::Flat, "fixed:"),
            (Method::Recursive, "fixed:r:"),
            (Method::Git, "fixed:git:"),
        ] {
            let address = ContentAddress { method, hash };
            let text = address.to_string();
            assert_eq!(text, format!("{prefix}{}", hash.base32()));
            assert_eq!(text.parse::<ContentAddress>().unwrap(), address);
        }
        assert!("fixed:text:sha256:00".parse::<ContentAddress>().is_err());
        assert!("".parse::<ContentAddress>().is_err());
    }
}
