//! What the JSON documents of a toplevel have in common: a version that is checked first, and errors that name the
//! document, the key and the place.

use serde::de::DeserializeOwned;

/// Why a document could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// No JSON, an unknown key, a missing key, or a value of another type.
    #[error("{document}: {reason}")]
    Malformed {
        /// Which document.
        document: &'static str,
        /// What the parser says, with line and column.
        reason: String,
    },
    /// The document is of a version that this program does not know.
    #[error(
        "{document} is of version {found}, this program reads version {known}: use the Firn that comes with the generation"
    )]
    Version {
        /// Which document.
        document: &'static str,
        /// The version it claims.
        found: u64,
        /// The version read here.
        known: u32,
    },
}

/// Parses a document that has a `version` of `known`.
pub(crate) fn parse_versioned<T: DeserializeOwned>(
    document: &'static str,
    known: u32,
    bytes: &[u8],
) -> Result<T, DocumentError> {
    /// Only the version, whatever else there is: a newer document must fail by its version, not by its first new key.
    #[derive(serde::Deserialize)]
    struct Head {
        version: u64,
    }
    let malformed =
        |error: serde_json::Error| DocumentError::Malformed { document, reason: error.to_string() };
    let head: Head = serde_json::from_slice(bytes).map_err(malformed)?;
    if head.version != u64::from(known) {
        return Err(DocumentError::Version { document, found: head.version, known });
    }
    serde_json::from_slice(bytes).map_err(malformed)
}

/// Parses a document without a version.
pub(crate) fn parse<T: DeserializeOwned>(document: &'static str, bytes: &[u8]) -> Result<T, DocumentError> {
    serde_json::from_slice(bytes)
        .map_err(|error| DocumentError::Malformed { document, reason: error.to_string() })
}
