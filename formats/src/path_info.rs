//! What a store knows about a valid path: hash, size, references, where it comes from. Nix manual, "Store object info";
//! also the text of `nix-store --dump-db`, `--load-db` and `--register-validity`.

use crate::content_address::ContentAddress;
use crate::hash::{Algorithm, Hash, HashError};
use crate::store_path::{StoreDir, StorePath, StorePathError};
use std::collections::BTreeSet;
use thiserror::Error;

/// A valid path's description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathInfo {
    /// The path.
    pub path: StorePath,
    /// The SHA-256 of its NAR.
    pub nar_hash: Hash,
    /// The size of its NAR in bytes.
    pub nar_size: u64,
    /// The paths that it mentions; itself, too, if it does.
    pub references: BTreeSet<StorePath>,
    /// The derivation that made it, if known.
    pub deriver: Option<StorePath>,
    /// When it became valid here, in seconds since 1970.
    pub registration_time: i64,
    /// Whether it was made here and not copied: then it needs no signature.
    pub ultimate: bool,
    /// Signatures, as `key name:base 64`.
    pub signatures: BTreeSet<String>,
    /// Its content address, if the path was computed from its content.
    pub content_address: Option<ContentAddress>,
}

impl PathInfo {
    /// A description with nothing but the path and what its NAR tells.
    #[must_use]
    pub fn new(path: StorePath, nar_hash: Hash, nar_size: u64) -> Self {
        Self {
            path,
            nar_hash,
            nar_size,
            references: BTreeSet::new(),
            deriver: None,
            registration_time: 0,
            ultimate: false,
            signatures: BTreeSet::new(),
            content_address: None,
        }
    }

    /// The text that a signature signs.
    #[must_use]
    pub fn fingerprint(&self, store: &StoreDir) -> String {
        let references: Vec<String> = self.references.iter().map(|path| store.print(path)).collect();
        let path = store.print(&self.path);
        format!("1;{path};{};{};{}", self.nar_hash.base32(), self.nar_size, references.join(","))
    }

    /// Its entry in the text that `nix-store --load-db` reads.
    #[must_use]
    pub fn to_registration(&self, store: &StoreDir, with_hash: bool) -> String {
        let mut text = store.print(&self.path);
        if with_hash {
            text = format!("{text}\n{}\n{}", self.nar_hash.digits16(), self.nar_size);
        }
        let deriver = self.deriver.as_ref().map(|path| store.print(path)).unwrap_or_default();
        text = format!("{text}\n{deriver}\n{}\n", self.references.len());
        for reference in &self.references {
            text.push_str(&store.print(reference));
            text.push('\n');
        }
        text
    }
}

/// Why a registration text could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RegistrationError {
    /// The text ends in an entry.
    #[error("registration of `{0}` ends too early")]
    Truncated(String),
    /// A number that is none.
    #[error("registration of `{path}`: `{text}` is not a number")]
    Number {
        /// The entry.
        path: String,
        /// The text.
        text: String,
    },
    /// A path that is none.
    #[error("registration: {0}")]
    Path(#[from] StorePathError),
    /// A hash that is none.
    #[error("registration: {0}")]
    Hash(#[from] HashError),
}

/// One entry of a registration text without hashes: `--register-validity` computes them from the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The path.
    pub path: StorePath,
    /// NAR hash and size, if the text has them.
    pub nar: Option<(Hash, u64)>,
    /// The deriver.
    pub deriver: Option<StorePath>,
    /// The references.
    pub references: BTreeSet<StorePath>,
}

/// Reads a registration text, with or without hashes.
pub fn parse_registrations(
    text: &str,
    store: &StoreDir,
    with_hash: bool,
) -> Result<Vec<Registration>, RegistrationError> {
    let mut lines = text.lines();
    let mut entries = Vec::new();
    while let Some(first) = lines.next() {
        if first.is_empty() {
            break;
        }
        let path = store.parse(first)?;
        let mut next = || lines.next().ok_or_else(|| RegistrationError::Truncated(first.to_owned()));
        let number = |text: &str| {
            text.parse::<u64>()
                .map_err(|_| RegistrationError::Number { path: first.to_owned(), text: text.to_owned() })
        };
        let nar = if with_hash {
            let hash = Hash::parse_as(next()?, Algorithm::Sha256)?;
            Some((hash, number(next()?)?))
        } else {
            None
        };
        let deriver = match next()? {
            "" => None,
            text => Some(store.parse(text)?),
        };
        let count = number(next()?)?;
        let mut references = BTreeSet::new();
        for _ in 0..count {
            references.insert(store.parse(next()?)?);
        }
        entries.push(Registration { path, nar, deriver, references });
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info() -> PathInfo {
        let store = StoreDir::default();
        let hash = Hash::parse("sha256:0597lv3gkj0lc63si52ch5s1q4msds6z96zq7c378wgcjv0hs9d5").unwrap();
        let path = store.parse("/nix/store/k5aa2fvm6zahiyw2gm8jrgwrijh281p3-d").unwrap();
        let mut info = PathInfo::new(path.clone(), hash, 712);
        info.references.insert(path);
        info
    }

    #[test]
    fn registrations_go_round() {
        let store = StoreDir::default();
        let info = info();
        for with_hash in [false, true] {
            let text = info.to_registration(&store, with_hash).repeat(2);
            let entries = parse_registrations(&text, &store, with_hash).unwrap();
            assert_eq!(entries.len(), 2);
            assert_eq!(entries[1].path, info.path);
            assert_eq!(entries[1].references, info.references);
            assert_eq!(entries[1].nar, with_hash.then_some((info.nar_hash, 712)));
            let cut = text.trim_end().rsplit_once('\n').unwrap().0;
            assert!(parse_registrations(cut, &store, with_hash).is_err());
        }
    }

    #[test]
    fn fingerprints() {
        assert_eq!(
            info().fingerprint(&StoreDir::default()),
            "1;/nix/store/k5aa2fvm6zahiyw2gm8jrgwrijh281p3-d;sha256:0597lv3gkj0lc63si52ch5s1q4msds6z96zq7c378wgcjv0hs9d5;712;/nix/store/k5aa2fvm6zahiyw2gm8jrgwrijh281p3-d"
        );
    }
}
