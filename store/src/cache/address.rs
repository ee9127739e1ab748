//! Addresses of stores and caches: `file:///dir`, `https://host/dir`, `/root` or `local?root=/root`, with parameters behind
//! a question mark. Nix manual, "Store URL format".

use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Where something is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A binary cache in a directory.
    Directory(PathBuf),
    /// A binary cache on a server: the address without a slash at its end.
    Server(String),
    /// A store below a root directory.
    Root(PathBuf),
    /// A store on this machine, by `nix-store --serve`.
    Ssh(String),
    /// A store on this machine, by `nix-daemon --stdio`.
    SshDaemon(String),
}

/// An address and its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The address as it is shown, without parameters.
    pub name: String,
    /// What it means.
    pub place: Place,
    /// The parameters.
    pub parameters: BTreeMap<String, String>,
}

impl Address {
    /// Reads an address.
    pub fn parse(text: &str) -> Result<Self> {
        let (name, query) = text.split_once('?').unwrap_or((text, ""));
        let mut parameters = BTreeMap::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or_else(|| {
                Error::Invalid(format!("address `{text}`: parameter `{pair}` has no value"))
            })?;
            parameters.insert(key.to_owned(), decode(value));
        }
        let place = if let Some(path) = name.strip_prefix("file://") {
            Place::Directory(absolute(text, &decode(path))?)
        } else if name.starts_with("http://") || name.starts_with("https://") {
            Place::Server(name.trim_end_matches('/').to_owned())
        } else if let Some(path) = name.strip_prefix("local://").filter(|path| !path.is_empty()) {
            Place::Root(absolute(text, path)?)
        } else if matches!(name, "local" | "local://") {
            let root = parameters.get("root").map_or("/", String::as_str);
            Place::Root(absolute(text, root)?)
        } else if let Some(host) = name.strip_prefix("ssh://") {
            Place::Ssh(host.to_owned())
        } else if let Some(host) = name.strip_prefix("ssh-ng://") {
            Place::SshDaemon(host.to_owned())
        } else if name.starts_with('/') {
            Place::Root(PathBuf::from(name))
        } else if let Some((scheme, _)) = name.split_once("://") {
            return Err(Error::Invalid(format!(
                "`{text}`: Firn does not speak `{scheme}`; it has file://, http://, https://, ssh://, ssh-ng:// and paths of stores"
            )));
        } else {
            return Err(Error::Invalid(format!(
                "`{text}` is not the address of a store or cache, such as https://cache.example.org, file:///srv/cache or /mnt"
            )));
        };
        Ok(Self { name: name.to_owned(), place, parameters })
    }

    /// A parameter that is a truth.
    #[must_use]
    pub fn flag(&self, name: &str) -> bool {
        matches!(self.parameters.get(name).map(String::as_str), Some("true" | "1" | "yes"))
    }
}

fn absolute(text: &str, path: &str) -> Result<PathBuf> {
    let path = PathBuf::from(path);
    if path.is_absolute() {
        return Ok(path);
    }
    Err(Error::Invalid(format!("`{text}`: the path must be absolute, as in file:///srv/cache")))
}

/// Undoes `%20` and the like.
fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = (first == b'%')
            .then(|| tail.get(..2))
            .flatten()
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(escaped.unwrap_or(first));
        rest = if escaped.is_some() { tail.get(2..).unwrap_or_default() } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, place) in [
            ("file:///srv/a%20b?compression=xz", Place::Directory("/srv/a b".into())),
            ("https://h.example/x/", Place::Server("https://h.example/x".to_owned())),
            ("/mnt", Place::Root("/mnt".into())),
            ("local", Place::Root("/".into())),
            ("local?root=/mnt", Place::Root("/mnt".into())),
            ("ssh://me@host?compress=1", Place::Ssh("me@host".to_owned())),
            ("ssh-ng://host", Place::SshDaemon("host".to_owned())),
        ] {
            assert_eq!(Address::parse(text).unwrap().place, place, "{text}");
        }
        let address = Address::parse("file:///c?compression=zstd&trusted=1").unwrap();
        assert_eq!(address.parameters["compression"], "zstd");
        assert!(address.flag("trusted") && !address.flag("other"));
        for text in ["s3://bucket", "file://relative", "nonsense", "file:///c?x", ""] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }
}
