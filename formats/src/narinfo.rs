//! What a binary cache says about a path: the file `<hash part>.narinfo`, and `nix-cache-info` of the whole cache. Nix
//! manual, "Binary Cache Store". Lines of `Key: value`; keys that we do not know are passed over, because caches have
//! always had some of their own, and a key that we know may come once only (`Sig` as often as it likes).

use crate::content_address::ContentAddressError;
use crate::hash::{Algorithm, Hash, HashError};
use crate::path_info::PathInfo;
use crate::store_path::{StoreDir, StorePath, StorePathError};
use std::collections::BTreeSet;
use std::str::FromStr;
use thiserror::Error;

/// A path in a binary cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NarInfo {
    /// The path itself.
    pub info: PathInfo,
    /// Where its archive is, relative to the cache.
    pub url: String,
    /// How the archive is compressed.
    pub compression: Compression,
    /// The compressed archive's hash.
    pub file_hash: Option<Hash>,
    /// The compressed archive's size in bytes.
    pub file_size: Option<u64>,
}

/// How an archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Compression {
    /// Not at all.
    None,
    /// LZMA 2 in xz containers, of which there may be several one after the other.
    Xz,
    /// Zstandard frames.
    Zstd,
    /// What a cache means that names no compression.
    Bzip2,
    /// RFC 1952.
    Gzip,
    /// RFC 7932.
    Brotli,
}

impl Compression {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::None, Self::Xz, Self::Zstd, Self::Bzip2, Self::Gzip, Self::Brotli];

    /// Its name in narinfos and settings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Gzip => "gzip",
            Self::Brotli => "br",
        }
    }

    /// What a file's name ends in, with the dot.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Xz => ".xz",
            Self::Zstd => ".zst",
            Self::Bzip2 => ".bz2",
            Self::Gzip => ".gz",
            Self::Brotli => ".br",
        }
    }
}

impl FromStr for Compression {
    type Err = NarInfoError;

    fn from_str(text: &str) -> Result<Self, NarInfoError> {
        Self::ALL
            .into_iter()
            .find(|compression| compression.name() == text)
            .ok_or_else(|| NarInfoError::Compression(text.to_owned()))
    }
}

/// Why a text is no narinfo.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NarInfoError {
    /// A line that is not `Key: value` and a newline.
    #[error("line {0} is not `Key: value` with a newline")]
    Line(usize),
    /// A key twice.
    #[error("`{0}` comes twice")]
    Twice(String),
    /// A key that must be there is not.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// A number that is none.
    #[error("`{key}: {text}` is not a number of bytes")]
    Number {
        /// The key.
        key: &'static str,
        /// The value.
        text: String,
    },
    /// A compression that we do not have.
    #[error("compression `{0}` is not known here (none, xz, zstd, bzip2, gzip are)")]
    Compression(String),
    /// A place that no archive can be at.
    #[error("its archive cannot be at `{0}`")]
    Url(String),
    /// A path that is none.
    #[error(transparent)]
    Path(#[from] StorePathError),
    /// A hash that is none.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// A content address that is none.
    #[error(transparent)]
    ContentAddress(#[from] ContentAddressError),
}

impl NarInfo {
    /// Reads a narinfo.
    pub fn parse(text: &str, store: &StoreDir) -> Result<Self, NarInfoError> {
        let mut fields = Fields::split(text)?;
        let path = store.parse(fields.required("StorePath")?)?;
        let nar_hash = Hash::parse_as(fields.required("NarHash")?, Algorithm::Sha256)?;
        let nar_size = number("NarSize", fields.required("NarSize")?)?;
        if nar_size == 0 {
            return Err(NarInfoError::Number { key: "NarSize", text: "0".to_owned() });
        }
        let mut info = PathInfo::new(path, nar_hash, nar_size);
        info.references = fields
            .first("References")
            .unwrap_or_default()
            .split_ascii_whitespace()
            .map(StorePath::from_base_name)
            .collect::<Result<_, _>>()?;
        info.deriver = match fields.first("Deriver") {
            None | Some("" | "unknown-deriver") => None,
            Some(text) => Some(StorePath::from_base_name(text)?),
        };
        info.signatures = std::mem::take(&mut fields.signatures);
        info.content_address = match fields.first("CA") {
            None | Some("") => None,
            Some(text) => Some(text.parse()?),
        };
        let url = fields.required("URL")?;
        if url.is_empty() || url.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            return Err(NarInfoError::Url(url.to_owned()));
        }
        Ok(Self {
            info,
            url: url.to_owned(),
            compression: match fields.first("Compression") {
                None | Some("") => Compression::Bzip2,
                Some(text) => text.parse()?,
            },
            file_hash: fields.first("FileHash").map(Hash::parse).transpose()?,
            file_size: fields.first("FileSize").map(|text| number("FileSize", text)).transpose()?,
        })
    }

    /// The text, in Nix's order of keys.
    #[must_use]
    pub fn print(&self, store: &StoreDir) -> String {
        let mut text = String::new();
        let mut line = |key: &str, value: &str| {
            text.extend([key, ": ", value, "\n"]);
        };
        line("StorePath", &store.print(&self.info.path));
        line("URL", &self.url);
        line("Compression", self.compression.name());
        if let Some(hash) = &self.file_hash {
            line("FileHash", &hash.base32());
        }
        if let Some(size) = self.file_size {
            line("FileSize", &size.to_string());
        }
        line("NarHash", &self.info.nar_hash.base32());
        line("NarSize", &self.info.nar_size.to_string());
        let references: Vec<&str> = self.info.references.iter().map(StorePath::base_name).collect();
        line("References", &references.join(" "));
        if let Some(deriver) = &self.info.deriver {
            line("Deriver", deriver.base_name());
        }
        for signature in &self.info.signatures {
            line("Sig", signature);
        }
        if let Some(address) = &self.info.content_address {
            line("CA", &address.to_string());
        }
        text
    }
}

/// The keys that may come only once.
const SINGLE: [&str; 10] = [
    "StorePath",
    "URL",
    "Compression",
    "FileHash",
    "FileSize",
    "NarHash",
    "NarSize",
    "References",
    "Deriver",
    "CA",
];

#[derive(Default)]
struct Fields<'a> {
    fields: Vec<(&'a str, &'a str)>,
    signatures: BTreeSet<String>,
}

impl<'a> Fields<'a> {
    fn split(text: &'a str) -> Result<Self, NarInfoError> {
        let mut fields = Self::default();
        for (index, line) in text.split_inclusive('\n').enumerate() {
            let (key, value) = line
                .strip_suffix('\n')
                .and_then(|line| line.split_once(':'))
                // Nix writes one blank and skips one character, whatever it is.
                .and_then(|(key, value)| {
                    Some((key, value.strip_prefix(' ').or(value.is_empty().then_some(""))?))
                })
                .ok_or(NarInfoError::Line(index + 1))?;
            if key == "Sig" {
                fields.signatures.insert(value.to_owned());
            } else if SINGLE.contains(&key) && fields.first(key).is_some() {
                return Err(NarInfoError::Twice(key.to_owned()));
            } else {
                fields.fields.push((key, value));
            }
        }
        Ok(fields)
    }

    fn first(&self, key: &str) -> Option<&'a str> {
        self.fields.iter().find(|(found, _)| *found == key).map(|(_, value)| *value)
    }

    fn required(&self, key: &'static str) -> Result<&'a str, NarInfoError> {
        self.first(key).ok_or(NarInfoError::Missing(key))
    }
}

fn number(key: &'static str, text: &str) -> Result<u64, NarInfoError> {
    // No sign, no blanks: `parse` would take a plus.
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NarInfoError::Number { key, text: text.to_owned() });
    }
    text.parse().map_err(|_| NarInfoError::Number { key, text: text.to_owned() })
}

/// What `nix-cache-info` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheInfo {
    /// The store directory of its paths; none if it does not say.
    pub store_dir: Option<String>,
    /// Whether it likes to be asked for many paths at once.
    pub want_mass_query: bool,
    /// Lower is asked first.
    pub priority: Option<u64>,
}

impl CacheInfo {
    /// Reads `nix-cache-info`. Keys that we do not know are passed over.
    pub fn parse(text: &str) -> Result<Self, NarInfoError> {
        let mut info = Self { store_dir: None, want_mass_query: false, priority: None };
        for (index, line) in text.lines().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            let (key, value) = line.split_once(':').ok_or(NarInfoError::Line(index + 1))?;
            let value = value.trim();
            match key {
                "StoreDir" => info.store_dir = Some(value.to_owned()),
                "WantMassQuery" => info.want_mass_query = value == "1",
                "Priority" => info.priority = Some(number("Priority", value)?),
                _ => {}
            }
        }
        Ok(info)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "StorePath: /nix/store/k5aa2fvm6zahiyw2gm8jrgwrijh281p3-d
URL: nar/0597lv3gkj0lc63si52ch5s1q4msds6z96zq7c378wgcjv0hs9d5.nar.xz
Compression: xz
FileHash: sha256:1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s
FileSize: 184
NarHash: sha256:0597lv3gkj0lc63si52ch5s1q4msds6z96zq7c378wgcjv0hs9d5
NarSize: 712
References: k5aa2fvm6zahiyw2gm8jrgwrijh281p3-d m0iyz1rzcgxw68h6skk8b9sg0p0napwc-foo.txt
Deriver: z0i11gnhz405hxyqdajd7iciarzrzy8a-fod.drv
Sig: a-1:AAAA
Sig: b-1:BBBB
CA: fixed:r:sha256:0597lv3gkj0lc63si52ch5s1q4msds6z96zq7c378wgcjv0hs9d5
";

    #[test]
    fn texts_go_round() {
        let store = StoreDir::default();
        let parsed = NarInfo::parse(TEXT, &store).unwrap();
        assert_eq!(parsed.print(&store), TEXT);
        assert_eq!(parsed.info.references.len(), 2);
        assert_eq!(parsed.info.signatures.len(), 2);
        assert_eq!(parsed.compression, Compression::Xz);
    }

    #[test]
    fn what_may_be_missing() {
        let store = StoreDir::default();
        let without = |keys: &[&str]| -> String {
            TEXT.split_inclusive('\n').filter(|line| !keys.iter().any(|key| line.starts_with(key))).collect()
        };
        let text = without(&["Compression", "FileHash", "FileSize", "References", "Deriver", "Sig", "CA"]);
        let parsed = NarInfo::parse(&format!("{text}System: x86_64-linux\nSystem: y\n"), &store).unwrap();
        assert_eq!(parsed.compression, Compression::Bzip2);
        assert!(parsed.info.references.is_empty() && parsed.info.deriver.is_none());
        for key in ["StorePath", "URL", "NarHash", "NarSize"] {
            assert_eq!(NarInfo::parse(&without(&[key]), &store).unwrap_err(), NarInfoError::Missing(key));
        }
        let unknown = TEXT.replace("z0i11gnhz405hxyqdajd7iciarzrzy8a-fod.drv", "unknown-deriver");
        assert_eq!(NarInfo::parse(&unknown, &store).unwrap().info.deriver, None);
    }

    #[test]
    fn hostile_texts_are_refused() {
        let store = StoreDir::default();
        for (from, to) in [
            ("NarSize: 712", "NarSize: 0"),
            ("NarSize: 712", "NarSize: -1"),
            ("NarSize: 712", "NarSize: +712"),
            ("NarSize: 712", "NarSize: 99999999999999999999"),
            ("NarSize: 712", "NarSize: 712\nNarSize: 713"),
            ("NarSize: 712", "NarSize 712"),
            ("FileSize: 184", "FileSize:184"),
            ("FileSize: 184", "FileSize: x"),
            ("Compression: xz", "Compression: rot13"),
            ("NarHash: sha256:", "NarHash: sha1:"),
            ("References: k5", "References: ../k5"),
            ("/nix/store/k5", "/other/store/k5"),
            ("281p3-d\nURL", "281p3-d/x\nURL"),
            ("URL: nar/", "URL: nar /"),
            ("CA: fixed", "CA: broken"),
            ("y5s\n", "y5s\n\n"),
        ] {
            assert!(TEXT.contains(from), "{from}");
            let text = TEXT.replacen(from, to, 1);
            assert!(NarInfo::parse(&text, &store).is_err(), "{to}");
        }
        assert!(NarInfo::parse(TEXT.trim_end(), &store).is_err());
        assert!(NarInfo::parse("", &store).is_err());
    }

    #[test]
    fn cache_info() {
        let info =
            CacheInfo::parse("StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 40\nOther: x\n").unwrap();
        assert_eq!(
            info,
            CacheInfo { store_dir: Some("/nix/store".to_owned()), want_mass_query: true, priority: Some(40) }
        );
        assert!(CacheInfo::parse("<html>").is_err());
        assert_eq!(CacheInfo::parse("").unwrap().priority, None);
    }
}
