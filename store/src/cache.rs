//! Binary caches: directories or servers with a `narinfo` for each path and its archive. Read, written, and asked in
//! parallel. Nix manual, "Local Binary Cache Store", "HTTP Binary Cache Store".

mod address;
mod compression;
mod keeper;
mod memory;
mod substituters;
mod transport;
mod upload;

pub use address::{Address, Place};
pub(crate) use substituters::Fetched;
pub use substituters::{Offer, Substituters};
pub use transport::TransportError;

use crate::error::{Error, Result};
use formats::narinfo::{CacheInfo, Compression, NarInfo, NarInfoError};
use formats::signature::SecretKey;
use formats::store_path::{StoreDir, StorePath};
use std::io::{self, Read};
use std::path::PathBuf;
use thiserror::Error;

/// No narinfo is larger: a path with thousands of references has some hundred kilobytes.
const NARINFO_LIMIT: u64 = 4 << 20;

/// Why a cache did not give what it was asked for.
#[derive(Debug, Error)]
pub enum CacheError {
    /// A file was not to be had.
    #[error("{0}")]
    Transport(#[from] TransportError),
    /// It said something that cannot be.
    #[error("{0}")]
    NarInfo(#[from] NarInfoError),
    /// It said something about another path.
    #[error("it answers with `{0}`")]
    OtherPath(String),
    /// Bytes that are no text.
    #[error("it is no text")]
    NoText,
}

/// A binary cache.
#[derive(Debug)]
pub struct Cache {
    name: String,
    place: Place,
    store: StoreDir,
    info: CacheInfo,
    /// Whether its paths need no signature (`?trusted=1`).
    trusted: bool,
    compression: Compression,
    level: Option<u32>,
    secret_key: Option<SecretKey>,
    /// Whether a listing of each archive is written (`?write-nar-listing=1`).
    writes_listings: bool,
    /// Whether it is noted where each file of debugging symbols is (`?index-debug-info=1`).
    indexes_debug_info: bool,
    /// Where archives that were read once are kept (`?local-nar-cache=DIR`).
    kept_archives: Option<PathBuf>,
}

impl Cache {
    /// Opens a cache for paths of this store directory. One in a directory need not be there yet.
    pub fn open(address: &Address, store: &StoreDir) -> Result<Self> {
        let own = address.parameters.get("store").map(|other| StoreDir::new(other));
        let expected = own.as_ref().unwrap_or(store);
        let cache = Self::open_any(address, store)?;
        if cache.store != *expected {
            return Err(Error::Invalid(format!(
                "cache `{}`: it has paths of `{}` and not of `{expected}`",
                cache.name, cache.store
            )));
        }
        Ok(cache)
    }

    /// The same of a cache that may have paths of another directory: it says which, or its address does.
    pub(crate) fn open_any(address: &Address, store: &StoreDir) -> Result<Self> {
        let failed = |what: String| Error::Invalid(format!("cache `{}`: {what}", address.name));
        let info = match transport::get(&address.place, "nix-cache-info", 64 << 10) {
            Ok(text) => CacheInfo::parse(&String::from_utf8_lossy(&text))
                .map_err(|error| failed(format!("its nix-cache-info cannot be read: {error}")))?,
            Err(TransportError::Missing) if matches!(address.place, Place::Directory(_)) => {
                CacheInfo { store_dir: None, want_mass_query: true, priority: None }
            }
            Err(TransportError::Missing) => {
                return Err(failed("there is no nix-cache-info: this is no binary cache".to_owned()));
            }
            Err(error) => return Err(failed(error.to_string())),
        };
        let parameter = |name: &str| address.parameters.get(name);
        Ok(Self {
            name: address.name.clone(),
            place: address.place.clone(),
            store: info
                .store_dir
                .as_ref()
                .or(address.parameters.get("store"))
                .map_or_else(|| store.clone(), |other| StoreDir::new(other)),
            info: CacheInfo {
                priority: match parameter("priority") {
                    Some(text) => {
                        Some(text.parse().map_err(|_| failed(format!("priority `{text}` is no number")))?)
                    }
                    None => info.priority,
                },
                ..info
            },
            trusted: address.flag("trusted"),
            compression: match parameter("compression") {
                Some(text) => text.parse().map_err(|error: NarInfoError| failed(error.to_string()))?,
                None => Compression::Zstd,
            },
            level: parameter("compression-level").and_then(|text| text.parse().ok()),
            writes_listings: address.flag("write-nar-listing"),
            indexes_debug_info: address.flag("index-debug-info"),
            kept_archives: parameter("local-nar-cache").map(PathBuf::from),
            secret_key: match parameter("secret-key") {
                Some(file) => Some(crate::trust::read_secret_key(std::path::Path::new(file))?),
                None => None,
            },
        })
    }

    /// Its address.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Asks for a path's description; `None` if the cache does not have it.
    pub fn narinfo(&self, path: &StorePath) -> Result<Option<NarInfo>, CacheError> {
        match self.narinfo_text(path)? {
            Some(text) => self.parse(path, &text).map(Some),
            None => Ok(None),
        }
    }

    fn narinfo_text(&self, path: &StorePath) -> Result<Option<String>, CacheError> {
        match transport::get(&self.place, &narinfo_name(path), NARINFO_LIMIT) {
            Ok(text) => Ok(Some(String::from_utf8(text).map_err(|_| CacheError::NoText)?)),
            Err(TransportError::Missing) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn parse(&self, path: &StorePath, text: &str) -> Result<NarInfo, CacheError> {
        let found = NarInfo::parse(text, &self.store)?;
        if found.info.path != *path {
            return Err(CacheError::OtherPath(self.store.print(&found.info.path)));
        }
        Ok(found)
    }

    /// A path's archive as it streams in, decompressed.
    pub fn archive(&self, narinfo: &NarInfo) -> Result<Box<dyn Read + Send>, TransportError> {
        let input = transport::open(&self.place, &narinfo.url)?;
        Ok(compression::decoder(narinfo.compression, input)?)
    }

    /// The same, telling how many bytes came in.
    fn archive_counted(
        &self,
        narinfo: &NarInfo,
        told: Box<dyn FnMut(u64) -> bool + Send>,
    ) -> Result<Box<dyn Read + Send>, TransportError> {
        let input = Counted { input: transport::open(&self.place, &narinfo.url)?, done: 0, told };
        Ok(compression::decoder(narinfo.compression, Box::new(input))?)
    }
}

/// The file with a path's description.
fn narinfo_name(path: &StorePath) -> String {
    format!("{}.narinfo", path.hash_part())
}

/// Tells a listener how far a transfer is; the listener may end it.
struct Counted {
    input: Box<dyn Read + Send>,
    done: u64,
    told: Box<dyn FnMut(u64) -> bool + Send>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.done += count as u64;
        if (self.told)(self.done) { Ok(count) } else { Err(io::Error::other("cancelled")) }
    }
}
