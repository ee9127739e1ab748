//! [`Input`]: where a source tree comes from, by attributes or as a URL. Nix manual, `fetchTree`, "Source types", and
//! `nix flake`, "Types". Each kind has its file; a kind that is not known is kept as it is and cannot be shown.

mod curl;
mod forge;
mod indirect;
mod path;
mod repository;

use super::attributes::{self, Attribute, Attributes};
use super::url::Url;
use super::{FlakeError, is_revision};
use crate::hash::{Algorithm, Hash};
use std::fmt::{Display, Formatter, Result as FormatResult};

/// A source tree by where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Input {
    attributes: Attributes,
}

/// What one kind of input does of its own.
struct Kind {
    /// The attributes that it may have, besides `type`.
    attributes: &'static [&'static str],
    /// Reads a URL; nothing if it is another kind's.
    of_url: OfUrl,
    /// Checks attributes, and writes them as they should be.
    check: fn(&mut Attributes) -> Result<(), FlakeError>,
    /// As a URL.
    to_url: fn(&Input) -> Result<Url, FlakeError>,
    /// With another branch and revision.
    overridden: Overridden,
}

/// A URL as attributes; with the truth, one without an ending is a tree all the same.
type OfUrl = fn(&Url, bool) -> Result<Option<Attributes>, FlakeError>;

/// An input with another branch and another revision.
type Overridden = fn(&mut Input, Option<&str>, Option<&str>) -> Result<(), FlakeError>;

/// The kinds by name, in the order in which a URL is offered to them.
const KINDS: [(&str, &Kind); 9] = [
    ("file", &curl::FILE),
    ("git", &repository::GIT),
    ("github", &forge::GITHUB),
    ("gitlab", &forge::GITLAB),
    ("hg", &repository::MERCURIAL),
    ("indirect", &indirect::INDIRECT),
    ("path", &path::PATH),
    ("sourcehut", &forge::SOURCEHUT),
    ("tarball", &curl::TARBALL),
];

impl Input {
    /// Reads a URL. With `require_tree` a URL without the ending of an archive is an archive all the same.
    pub fn from_url(url: &Url, require_tree: bool) -> Result<Self, FlakeError> {
        for (name, kind) in KINDS {
            if let Some(mut attributes) = (kind.of_url)(url, require_tree)? {
                attributes.insert("type".to_owned(), name.into());
                (kind.check)(&mut attributes)?;
                return Self::checked(attributes);
            }
        }
        FlakeError::other(format!("input '{url}' is unsupported"))
    }

    /// Takes attributes, which say their `type`.
    pub fn from_attributes(mut attributes: Attributes) -> Result<Self, FlakeError> {
        let Some(name) = attributes::text(&attributes, "type")?.map(str::to_owned) else {
            return FlakeError::other(
                "'type' attribute to specify input scheme is required but not provided",
            );
        };
        if let Some((_, kind)) = KINDS.iter().find(|(known, _)| *known == name) {
            for attribute in attributes.keys() {
                if attribute != "type" && !kind.attributes.contains(&attribute.as_str()) {
                    return FlakeError::other(format!(
                        "input attribute '{attribute}' not supported by scheme '{name}'"
                    ));
                }
            }
            (kind.check)(&mut attributes)?;
        }
        Self::checked(attributes)
    }

    /// Checks what all kinds have in common.
    fn checked(attributes: Attributes) -> Result<Self, FlakeError> {
        attributes::text(&attributes, "type")?;
        attributes::text(&attributes, "ref")?;
        attributes::text(&attributes, "narHash")?;
        attributes::number(&attributes, "revCount")?;
        attributes::number(&attributes, "lastModified")?;
        Ok(Self { attributes })
    }

    fn known_kind(&self) -> Option<&'static Kind> {
        KINDS.iter().find(|(name, _)| *name == self.kind()).map(|(_, kind)| *kind)
    }

    /// Its type.
    pub fn kind(&self) -> &str {
        self.text("type").unwrap_or_default()
    }

    /// All attributes.
    pub const fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    /// Sets an attribute.
    pub fn set(&mut self, name: &str, value: Attribute) {
        self.attributes.insert(name.to_owned(), value);
    }

    /// Removes an attribute.
    pub fn remove(&mut self, name: &str) {
        self.attributes.remove(name);
    }

    /// A string among the attributes.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.attributes.get(name) {
            Some(Attribute::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// A number among the attributes.
    pub fn number(&self, name: &str) -> Option<i64> {
        match self.attributes.get(name) {
            Some(Attribute::Int(number)) => Some(*number),
            _ => None,
        }
    }

    /// A truth among the attributes.
    pub fn truth(&self, name: &str) -> bool {
        matches!(self.attributes.get(name), Some(Attribute::Bool(true)))
    }

    /// The hash that the tree has.
    pub fn nar_hash(&self) -> Result<Option<Hash>, FlakeError> {
        let Some(text) = self.text("narHash") else { return Ok(None) };
        // An empty one is what a user writes to be told the right one.
        if text.is_empty() {
            return Ok(Hash::from_bytes(Algorithm::Sha256, &[0; 32]));
        }
        if !text.contains('-') {
            return FlakeError::other(format!("hash '{text}' is not SRI"));
        }
        Hash::parse_as(text, Algorithm::Sha256)
            .map(Some)
            .map_err(|error| FlakeError::Other(format!("narHash: {error}")))
    }

    /// Whether it can be fetched; an indirect one is looked up in registries first.
    pub fn is_direct(&self) -> bool {
        self.kind() != "indirect"
    }

    /// Whether it says enough to be the same tree each time.
    pub fn is_locked(&self) -> bool {
        match self.kind() {
            "git" | "hg" | "github" | "gitlab" | "sourcehut" => {
                self.text("rev").is_some_and(|rev| rev.bytes().any(|byte| byte != b'0'))
            }
            "path" | "file" | "tarball" => self.text("narHash").is_some(),
            _ => false,
        }
    }

    /// The path of an input that starts at the flake that names it.
    pub fn relative_path(&self) -> Option<&str> {
        self.text("path").filter(|path| self.kind() == "path" && !path.starts_with('/'))
    }

    /// As a URL.
    pub fn to_url(&self) -> Result<Url, FlakeError> {
        match self.known_kind() {
            Some(kind) => (kind.to_url)(self),
            None => FlakeError::other(format!(
                "cannot show unsupported input '{}'",
                attributes::to_json(&self.attributes)
            )),
        }
    }

    /// The same with another branch or revision.
    pub fn with_overrides(&self, branch: Option<&str>, revision: Option<&str>) -> Result<Self, FlakeError> {
        let mut input = self.clone();
        match self.known_kind() {
            Some(kind) if branch.is_some() || revision.is_some() => {
                (kind.overridden)(&mut input, branch, revision)?;
            }
            _ => {}
        }
        Ok(input)
    }

    /// Whether the other is this one, perhaps at a branch or revision.
    pub fn contains(&self, other: &Self) -> bool {
        if self == other {
            return true;
        }
        let mut other = other.clone();
        other.remove("ref");
        other.remove("rev");
        *self == other
    }
}

impl Display for Input {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> FormatResult {
        match self.to_url() {
            Ok(url) => Display::fmt(&url, formatter),
            Err(_) => Display::fmt(&attributes::to_json(&self.attributes), formatter),
        }
    }
}

/// For kinds without branches.
fn no_overrides(input: &mut Input, branch: Option<&str>, revision: Option<&str>) -> Result<(), FlakeError> {
    match (branch, revision) {
        (Some(branch), _) => FlakeError::other(format!(
            "don't know how to set branch/tag name of input '{input}' to '{branch}'"
        )),
        (None, Some(revision)) => {
            FlakeError::other(format!("don't know how to set revision of input '{input}' to '{revision}'"))
        }
        (None, None) => Ok(()),
    }
}

/// The revision among the attributes, checked and in lower case.
fn check_revision(attributes: &mut Attributes) -> Result<(), FlakeError> {
    let Some(revision) = attributes::text(attributes, "rev")? else { return Ok(()) };
    let is_sha256 = revision.len() == 64 && revision.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_revision(revision) && !is_sha256 {
        return FlakeError::other(format!("hash '{revision}' has wrong length for hash algorithm 'sha1'"));
    }
    let lower = Attribute::Text(revision.to_ascii_lowercase());
    attributes.insert("rev".to_owned(), lower);
    Ok(())
}
