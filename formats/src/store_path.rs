//! Store paths: `<store directory>/<32 digits>-<name>`, and how each kind is computed from what it names. Nix manual,
//! "Complete Store Path Calculation" (protocols/store-path).

use crate::base32;
use crate::content_address::{ContentAddress, Method};
use crate::hash::{Algorithm, Hash};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use thiserror::Error;

/// The digits of the hash part.
pub const HASH_LENGTH: usize = 32;
/// The longest name.
pub const NAME_LIMIT: usize = 211;

/// Why a text is not a store path.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StorePathError {
    /// The path is elsewhere.
    #[error("path `{path}` is not in the store `{store}`")]
    NotInStore {
        /// The path.
        path: String,
        /// The store directory.
        store: String,
    },
    /// The base name has no hash part.
    #[error("`{0}` is not a store path: it does not begin with 32 base-32 digits and a dash")]
    NoHash(String),
    /// The name after the hash part is empty.
    #[error("store path name is empty (in `{0}`)")]
    EmptyName(String),
    /// The name is longer than file systems can take with the hash and `.lock`.
    #[error("store path name `{0}` is longer than 211 characters")]
    LongName(String),
    /// The name is `.`, `..` or begins with `.-` or `..-`.
    #[error("store path name `{0}` is not allowed: it could be taken for `.` or `..`")]
    DotName(String),
    /// A character that may not stand in a name.
    #[error(
        "store path name `{name}` has the character `{character}`, which is not allowed (letters, digits and +-._?= are)"
    )]
    Character {
        /// The name.
        name: String,
        /// The first such character.
        character: char,
    },
    /// A content address of this kind cannot have references.
    #[error("`{0}`: a flat or non-SHA-256 content address cannot have references")]
    References(String),
}

/// Which bytes may stand in a name.
const IN_NAMES: [bool; 256] = {
    let mut allowed = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        allowed[byte as usize] = (byte as u8).is_ascii_alphanumeric()
            || matches!(byte as u8, b'+' | b'-' | b'.' | b'_' | b'?' | b'=');
        byte += 1;
    }
    allowed
};

/// Checks a name: 1 to 211 characters of `[A-Za-z0-9+-._?=]`, not to be taken for `.` or `..`.
pub fn check_name(name: &str) -> Result<(), StorePathError> {
    if name.is_empty() {
        return Err(StorePathError::EmptyName(name.to_owned()));
    }
    if name.len() > NAME_LIMIT {
        return Err(StorePathError::LongName(name.to_owned()));
    }
    let first = name.split('-').next().unwrap_or(name);
    if first == "." || first == ".." {
        return Err(StorePathError::DotName(name.to_owned()));
    }
    if name.bytes().all(|byte| IN_NAMES[usize::from(byte)]) {
        return Ok(());
    }
    let allowed = |c: char| u8::try_from(c).is_ok_and(|byte| IN_NAMES[usize::from(byte)]);
    match name.chars().find(|&c| !allowed(c)) {
        Some(character) => Err(StorePathError::Character { name: name.to_owned(), character }),
        None => Ok(()),
    }
}

/// A store path without its store directory: `<hash part>-<name>`. Cheap to clone; ordered by bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StorePath(Arc<str>);

impl StorePath {
    /// Reads a base name such as `m0iyz1rzcgxw68h6skk8b9sg0p0napwc-foo.txt`.
    pub fn from_base_name(text: &str) -> Result<Self, StorePathError> {
        let bytes = text.as_bytes();
        let hash = bytes.get(..HASH_LENGTH).unwrap_or_default();
        if hash.len() != HASH_LENGTH || bytes.get(HASH_LENGTH) != Some(&b'-') {
            return Err(StorePathError::NoHash(text.to_owned()));
        }
        if !hash.iter().all(|&byte| base32::is_digit(byte)) {
            return Err(StorePathError::NoHash(text.to_owned()));
        }
        match text.get(HASH_LENGTH + 1..) {
            Some(name) => check_name(name)?,
            None => return Err(StorePathError::NoHash(text.to_owned())),
        }
        Ok(Self(text.into()))
    }

    /// A path from the 20 bytes of its hash part and a name.
    pub fn new(hash: &[u8; 20], name: &str) -> Result<Self, StorePathError> {
        check_name(name)?;
        let mut text = String::with_capacity(HASH_LENGTH + 1 + name.len());
        text.push_str(&base32::encode(hash));
        text.push('-');
        text.push_str(name);
        Ok(Self(text.into()))
    }

    /// `<hash part>-<name>`.
    #[must_use]
    pub fn base_name(&self) -> &str {
        &self.0
    }

    /// The 32 digits.
    #[must_use]
    pub fn hash_part(&self) -> &str {
        self.0.get(..HASH_LENGTH).unwrap_or_default()
    }

    /// What stands after the dash.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.get(HASH_LENGTH + 1..).unwrap_or_default()
    }

    /// Whether it names a derivation (`….drv`).
    #[must_use]
    pub fn is_derivation(&self) -> bool {
        self.0.ends_with(".drv")
    }
}

impl fmt::Display for StorePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for StorePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The directory that all paths of a store lie in, as they name it: `/nix/store`. It is part of every hash.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreDir(Arc<str>);

impl Default for StoreDir {
    fn default() -> Self {
        Self("/nix/store".into())
    }
}

impl fmt::Display for StoreDir {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl StoreDir {
    /// Another store directory: absolute, without a slash at its end.
    #[must_use]
    pub fn new(directory: &str) -> Self {
        Self(directory.trim_end_matches('/').into())
    }

    /// The directory's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The whole path as text.
    #[must_use]
    pub fn print(&self, path: &StorePath) -> String {
        let mut text = String::with_capacity(self.0.len() + 1 + path.0.len());
        text.push_str(&self.0);
        text.push('/');
        text.push_str(&path.0);
        text
    }

    /// Reads a whole path that ends at the store path.
    pub fn parse(&self, path: &str) -> Result<StorePath, StorePathError> {
        let base = self.strip(path)?;
        StorePath::from_base_name(base)
    }

    /// Reads a path in the store or below: the store path and the rest (empty or beginning with a slash).
    pub fn parse_below<'a>(&self, path: &'a str) -> Result<(StorePath, &'a str), StorePathError> {
        let inside = self.strip(path)?;
        let (base, rest) = inside.split_at(inside.find('/').unwrap_or(inside.len()));
        Ok((StorePath::from_base_name(base)?, rest))
    }

    fn strip<'a>(&self, path: &'a str) -> Result<&'a str, StorePathError> {
        path.strip_prefix(&*self.0)
            .and_then(|rest| rest.strip_prefix('/'))
            .filter(|rest| !rest.is_empty())
            .ok_or_else(|| StorePathError::NotInStore { path: path.to_owned(), store: self.0.to_string() })
    }

    /// The path of the given type: `SHA-256("<kind>:<inner>:<store>:<name>")`, folded to 20 bytes.
    pub fn make_path(&self, kind: &str, inner: &Hash, name: &str) -> Result<StorePath, StorePathError> {
        let inner = inner.base16();
        let fingerprint = [kind, &inner, &self.0, name].join(":");
        StorePath::new(&Hash::sha256(fingerprint).compress20(), name)
    }

    fn make_kind(&self, kind: &str, references: &BTreeSet<StorePath>, own: bool) -> String {
        let mut text = kind.to_owned();
        text.reserve(references.iter().map(|path| path.0.len() + self.0.len() + 2).sum::<usize>() + 5);
        for reference in references {
            for piece in [":", &self.0, "/", &reference.0] {
                text.push_str(piece);
            }
        }
        if own {
            text.push_str(":self");
        }
        text
    }

    /// The path of a text file (`builtins.toFile`, derivations) with these references.
    pub fn make_text_path(
        &self,
        name: &str,
        contents: &[u8],
        references: &BTreeSet<StorePath>,
    ) -> Result<StorePath, StorePathError> {
        self.make_text_path_from_hash(name, &Hash::sha256(contents), references)
    }

    /// The same from the contents' SHA-256.
    pub fn make_text_path_from_hash(
        &self,
        name: &str,
        contents: &Hash,
        references: &BTreeSet<StorePath>,
    ) -> Result<StorePath, StorePathError> {
        self.make_path(&self.make_kind("text", references, false), contents, name)
    }

    /// The path of a file or tree by the SHA-256 of its NAR: what `builtins.path` and `nix-store --add` make.
    /// With `own` the tree mentions itself and the hash is taken with that masked.
    pub fn make_source_path(
        &self,
        name: &str,
        nar_hash: &Hash,
        references: &BTreeSet<StorePath>,
        own: bool,
    ) -> Result<StorePath, StorePathError> {
        self.make_path(&self.make_kind("source", references, own), nar_hash, name)
    }

    /// The path of a fixed output, or of anything else that is addressed by one hash of its content.
    pub fn make_fixed_output_path(
        &self,
        name: &str,
        method: Method,
        hash: &Hash,
        references: &BTreeSet<StorePath>,
        own: bool,
    ) -> Result<StorePath, StorePathError> {
        if method == Method::Text {
            return self.make_text_path_from_hash(name, hash, references);
        }
        if method == Method::Recursive && hash.algorithm() == Algorithm::Sha256 {
            return self.make_source_path(name, hash, references, own);
        }
        if own || !references.is_empty() {
            return Err(StorePathError::References(name.to_owned()));
        }
        let inner = Hash::sha256(format!("fixed:out:{}{}:", method.prefix(), hash.base16()));
        self.make_path("output:out", &inner, name)
    }

    /// The path that a content address names.
    pub fn make_content_address_path(
        &self,
        name: &str,
        address: &ContentAddress,
        references: &BTreeSet<StorePath>,
        own: bool,
    ) -> Result<StorePath, StorePathError> {
        self.make_fixed_output_path(name, address.method, &address.hash, references, own)
    }

    /// The path of a derivation's output that is addressed by its inputs; `derivation_name` has no `.drv`.
    pub fn make_output_path(
        &self,
        output: &str,
        derivation_hash: &Hash,
        derivation_name: &str,
    ) -> Result<StorePath, StorePathError> {
        self.make_path(&format!("output:{output}"), derivation_hash, &output_name(derivation_name, output))
    }
}

/// The store path name of an output: the derivation's, and `-<output>` unless that is `out`.
#[must_use]
pub fn output_name(derivation_name: &str, output: &str) -> String {
    if output == "out" { derivation_name.to_owned() } else { format!("{derivation_name}-{output}") }
}

/// What stands in a builder's environment for the path of an output that is not known yet.
#[must_use]
pub fn placeholder(output: &str) -> String {
    format!("/{}", Hash::sha256(format!("nix-output:{output}")).digits32())
}

/// What stands for an output of a derivation in those that depend on it, until its path is known.
#[must_use]
pub fn downstream_placeholder(derivation: &StorePath, output: &str) -> String {
    let name = derivation.name();
    let name = output_name(name.strip_suffix(".drv").unwrap_or(name), output);
    format!("/{}", Hash::sha256(format!("nix-upstream-output:{}:{name}", derivation.hash_part())).digits32())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn references(paths: &[&StorePath]) -> BTreeSet<StorePath> {
        paths.iter().map(|path| (*path).clone()).collect()
    }

    // All values below were printed by Nix 2.8.0 and 2.26.3.
    #[test]
    fn text_paths() {
        let store = StoreDir::default();
        let foo = store.make_text_path("foo.txt", b"hello", &BTreeSet::new()).unwrap();
        assert_eq!(foo.base_name(), "m0iyz1rzcgxw68h6skk8b9sg0p0napwc-foo.txt");
        let contents = format!("see {}", store.print(&foo));
        let bar = store.make_text_path("bar.txt", contents.as_bytes(), &references(&[&foo])).unwrap();
        assert_eq!(bar.base_name(), "vasdparc3kb043mic9kcw8f5a18ppdxb-bar.txt");
    }

    #[test]
    fn fixed_output_paths() {
        let store = StoreDir::default();
        let none = BTreeSet::new();
        let flat = Hash::sha256("hello");
        let path = store.make_fixed_output_path("hello", Method::Flat, &flat, &none, false).unwrap();
        assert_eq!(path.base_name(), "3fhdhfqli6qm669f7sz8d8v6xz24zrqc-hello");
        let path = store.make_fixed_output_path("fod", Method::Flat, &flat, &none, false).unwrap();
        assert_eq!(path.base_name(), "9q0mqp4y1k819ysjzsfjah1ld74x19w2-fod");
        let zero = Hash::zero(Algorithm::Sha1);
        let path = store.make_fixed_output_path("fodr", Method::Recursive, &zero, &none, false).unwrap();
        assert_eq!(path.base_name(), "m4969hwbqlk3s0hkp4sh8r8lph7v8qnp-fodr");
        let nar = Hash::parse("sha256:0597lv3gkj0lc63si52ch5s1q4msds6z96zq7c378wgcjv0hs9d5").unwrap();
        let path = store.make_source_path("d", &nar, &none, false).unwrap();
        assert_eq!(path.base_name(), "k5aa2fvm6zahiyw2gm8jrgwrijh281p3-d");
        assert!(matches!(
            store.make_fixed_output_path("fod", Method::Flat, &flat, &references(&[&path]), false),
            Err(StorePathError::References(_))
        ));
    }

    #[test]
    fn placeholders() {
        assert_eq!(placeholder("out"), "/1rz4g4znpzjwh1xymhjpm42vipw92pr73vdgl6xs1hycac8kf2n9");
        let derivation = StorePath::from_base_name("ps2vxd8d8ibk6rvpprkhz0wys449f3c4-a.drv").unwrap();
        for (output, text) in [
            ("out", "/17sb7nxfzvwmslz400br7rpdd502h573lbi198gf36dkr39d73k1"),
            ("dev", "/079xyv64rfch7k67q4x9xjf7r7aqkhbj5xxc5hvwfrzkiaynksj8"),
        ] {
            assert_eq!(downstream_placeholder(&derivation, output), text);
        }
    }

    #[test]
    fn parsing() {
        let store = StoreDir::default();
        let text = "/nix/store/m0iyz1rzcgxw68h6skk8b9sg0p0napwc-foo.txt";
        let path = store.parse(text).unwrap();
        assert_eq!((path.hash_part(), path.name()), ("m0iyz1rzcgxw68h6skk8b9sg0p0napwc", "foo.txt"));
        assert_eq!(store.print(&path), text);
        assert_eq!(store.parse_below(&format!("{text}/bin/x")).unwrap(), (path, "/bin/x"));
        for bad in [
            "/nix/store",
            "/nix/store/",
            "/nix/storem0iyz1rzcgxw68h6skk8b9sg0p0napwc-foo",
            "/tmp/m0iyz1rzcgxw68h6skk8b9sg0p0napwc-foo",
            "/nix/store/m0iyz1rzcgxw68h6skk8b9sg0p0napwc-",
            "/nix/store/m0iyz1rzcgxw68h6skk8b9sg0p0napwc",
            "/nix/store/e0iyz1rzcgxw68h6skk8b9sg0p0napwc-foo",
            "/nix/store/m0iyz1rzcgxw68h6skk8b9sg0p0napwc-a/b",
            "/nix/store/m0iyz1rzcgxw68h6skk8b9sg0p0napwc-a\u{e4}",
        ] {
            assert!(store.parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names() {
        for good in ["a", ".a", "...", "a.drv", "+-._?=", ".gitignore", "x".repeat(211).as_str()] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in ["", ".", "..", ".-a", "..-a", "a/b", "a b", "x".repeat(212).as_str(), "~"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
