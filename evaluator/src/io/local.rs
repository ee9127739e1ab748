//! The local machine, read only: files and environment are the machine's; what evaluation adds to the store is kept in
//! memory under the path that it would have (as Nix does with `--store dummy://`).

use super::spill::{Place, Spill};
use super::{EvalIo, Fetch, FileType, Filter, Ingestion, IoError, hash_file};
use crate::trace::Fingerprint;
use formats::content_address::Method;
use formats::hash::{Algorithm, Hash};
use formats::store_path::{StoreDir, StorePath};
use rustix::fs::{AtFlags, FileType as EntryType, Mode, OFlags, RawDir};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// So many bytes of a directory are read at once.
const LISTING: usize = 32 * 1024;

/// A text that was added to the store.
#[derive(Debug)]
struct Text {
    contents: Place,
    references: Box<[StorePath]>,
}

/// See the module.
#[derive(Debug)]
pub struct LocalIo {
    store: StoreDir,
    texts: RefCell<BTreeMap<Box<[u8]>, Text>>,
    /// Their contents.
    contents: RefCell<Spill>,
    /// Files and trees that were added: they are where they came from, under these names they only exist.
    copied: RefCell<BTreeSet<StorePath>>,
}

impl LocalIo {
    /// The machine, with a store directory that only gives names.
    pub fn new(store_dir: &str) -> Self {
        Self {
            store: StoreDir::new(store_dir),
            texts: RefCell::default(),
            contents: RefCell::default(),
            copied: RefCell::default(),
        }
    }
}

fn local(path: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(path))
}

fn system(action: &'static str, path: &[u8], source: std::io::Error) -> IoError {
    let path = String::from_utf8_lossy(path).into_owned();
    if source.kind() == std::io::ErrorKind::NotFound {
        return IoError::Missing(path);
    }
    IoError::System { action, path, source }
}

fn kind_of(kind: std::fs::FileType) -> FileType {
    if kind.is_symlink() {
        FileType::Symlink
    } else if kind.is_dir() {
        FileType::Directory
    } else if kind.is_file() {
        FileType::Regular
    } else {
        FileType::Unknown
    }
}

fn kind_of_entry(kind: EntryType) -> FileType {
    match kind {
        EntryType::RegularFile => FileType::Regular,
        EntryType::Directory => FileType::Directory,
        EntryType::Symlink => FileType::Symlink,
        _ => FileType::Unknown,
    }
}

impl EvalIo for LocalIo {
    fn store_dir(&self) -> &str {
        self.store.as_str()
    }

    fn read_file(&self, path: &[u8]) -> Result<Vec<u8>, IoError> {
        if path.starts_with(self.store.as_str().as_bytes())
            && let Some(text) = self.texts.borrow().get(path)
        {
            let contents = self.contents.borrow().get(text.contents);
            return contents.map_err(|error| system("reading the file", path, error));
        }
        std::fs::read(local(path)).map_err(|error| system("reading the file", path, error))
    }

    fn read_dir(&self, path: &[u8]) -> Result<Vec<(Vec<u8>, FileType)>, IoError> {
        let failed = |error: rustix::io::Errno| system("reading the directory", path, error.into());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(local(path), flags, Mode::empty()).map_err(failed)?;
        let mut buffer = Vec::with_capacity(LISTING);
        let mut listing = RawDir::new(&directory, buffer.spare_capacity_mut());
        let mut entries = Vec::new();
        while let Some(entry) = listing.next() {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let kind = match entry.file_type() {
                // Some file systems do not say.
                EntryType::Unknown => rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)
                    .map_or(EntryType::Unknown, |stat| EntryType::from_raw_mode(stat.st_mode)),
                kind => kind,
            };
            entries.push((name.to_bytes().to_vec(), kind_of_entry(kind)));
        }
        Ok(entries)
    }

    fn file_type(&self, path: &[u8]) -> Result<Option<FileType>, IoError> {
        match std::fs::symlink_metadata(local(path)) {
            Ok(metadata) => Ok(Some(kind_of(metadata.file_type()))),
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(self.texts.borrow().contains_key(path).then_some(FileType::Regular))
            }
            Err(error) => Err(system("looking at", path, error)),
        }
    }

    fn read_link(&self, path: &[u8]) -> Result<Vec<u8>, IoError> {
        let target =
            std::fs::read_link(local(path)).map_err(|error| system("reading the link", path, error))?;
        Ok(target.into_os_string().into_vec())
    }

    fn is_executable(&self, path: &[u8]) -> Result<bool, IoError> {
        let metadata = std::fs::metadata(local(path)).map_err(|error| system("looking at", path, error))?;
        Ok(metadata.permissions().mode() & 0o100 != 0)
    }

    fn fingerprint(&self, path: &[u8], follow: bool) -> Option<Fingerprint> {
        use std::os::unix::fs::MetadataExt as _;
        let metadata =
            if follow { std::fs::metadata(local(path)) } else { std::fs::symlink_metadata(local(path)) };
        let metadata = metadata.ok()?;
        let nanoseconds =
            |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
        Some(Fingerprint {
            inode: metadata.ino(),
            size: metadata.size(),
            mode: metadata.mode(),
            modified: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            changed: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
        })
    }

    fn env(&self, name: &[u8]) -> Option<Vec<u8>> {
        if name.is_empty() || name.contains(&b'=') || name.contains(&0) {
            return None;
        }
        std::env::var_os(OsStr::from_bytes(name)).map(std::ffi::OsString::into_vec)
    }

    fn now(&self) -> i64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |since| since.as_secs() as i64)
    }

    fn message(&self, line: &str) {
        use std::io::Write as _;
        if let Err(error) = writeln!(std::io::stderr(), "{line}") {
            log::debug!("standard error is gone: {error}");
        }
    }

    fn add_path(
        &self,
        name: &str,
        path: &[u8],
        ingestion: Ingestion,
        filter: Option<&mut Filter<'_>>,
        expected: Option<&Hash>,
    ) -> Result<StorePath, IoError> {
        let hash = hash_file(self, path, ingestion, filter, Algorithm::Sha256)?;
        if let Some(expected) = expected.filter(|expected| **expected != hash) {
            let path = String::from_utf8_lossy(path);
            return Err(IoError::Store(format!(
                "hash mismatch importing path '{path}': wanted {}, got {}",
                expected.sri(),
                hash.sri()
            )));
        }
        let method = match ingestion {
            Ingestion::Flat => Method::Flat,
            Ingestion::Nar => Method::Recursive,
        };
        let added = self
            .store
            .make_fixed_output_path(name, method, &hash, &BTreeSet::new(), false)
            .map_err(|error| IoError::Store(error.to_string()))?;
        self.copied.borrow_mut().insert(added.clone());
        Ok(added)
    }

    fn add_text(
        &self,
        name: &str,
        contents: &[u8],
        references: &BTreeSet<StorePath>,
    ) -> Result<StorePath, IoError> {
        let path = self
            .store
            .make_text_path(name, contents, references)
            .map_err(|error| IoError::Store(error.to_string()))?;
        let name = self.store.print(&path).into_bytes().into_boxed_slice();
        let mut texts = self.texts.borrow_mut();
        texts.entry(name).or_insert_with(|| {
            let contents = self.contents.borrow_mut().put(contents);
            Text { contents, references: references.iter().cloned().collect() }
        });
        drop(texts);
        Ok(path)
    }

    fn references(&self, path: &StorePath) -> Result<Option<BTreeSet<StorePath>>, IoError> {
        if self.copied.borrow().contains(path) {
            return Ok(Some(BTreeSet::new()));
        }
        let path = self.store.print(path).into_bytes();
        Ok(self.texts.borrow().get(path.as_slice()).map(|text| text.references.iter().cloned().collect()))
    }

    fn fetch(&self, fetch: &Fetch) -> Result<StorePath, IoError> {
        // Nothing is downloaded, but what a known hash would name can be said.
        let method = if fetch.unpack { Method::Recursive } else { Method::Flat };
        if let Some(hash) = &fetch.hash {
            return self
                .store
                .make_fixed_output_path(&fetch.name, method, hash, &BTreeSet::new(), false)
                .map_err(|error| IoError::Store(error.to_string()));
        }
        match fetch.url.strip_prefix("file://") {
            Some(path) if !fetch.unpack => {
                self.add_path(&fetch.name, path.as_bytes(), Ingestion::Flat, None, None)
            }
            _ => Err(IoError::Unsupported(format!("cannot download '{}' without a store", fetch.url))),
        }
    }
}
