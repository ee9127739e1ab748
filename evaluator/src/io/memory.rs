//! A world in memory, for tests and for embedding: files are a map, the environment is empty, time stands still.

use super::{EvalIo, FileType, Filter, Ingestion, IoError, LocalIo, hash_file};
use formats::content_address::Method;
use formats::hash::{Algorithm, Hash};
use formats::store_path::{StoreDir, StorePath};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

/// See the module.
#[derive(Debug)]
pub struct MemoryIo {
    files: BTreeMap<Vec<u8>, Vec<u8>>,
    variables: BTreeMap<Vec<u8>, Vec<u8>>,
    store: LocalIo,
    messages: RefCell<Vec<String>>,
}

impl Default for MemoryIo {
    fn default() -> Self {
        Self {
            files: BTreeMap::new(),
            variables: BTreeMap::new(),
            store: LocalIo::new("/nix/store"),
            messages: RefCell::default(),
        }
    }
}

impl MemoryIo {
    /// The same world with one more file.
    #[must_use]
    pub fn with_file(mut self, path: &str, contents: &str) -> Self {
        self.files.insert(path.as_bytes().to_vec(), contents.as_bytes().to_vec());
        self
    }

    /// The same world with one more variable.
    #[must_use]
    pub fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.as_bytes().to_vec(), value.as_bytes().to_vec());
        self
    }

    /// What `trace` and `warn` printed so far.
    pub fn messages(&self) -> Vec<String> {
        self.messages.borrow().clone()
    }

    fn missing(path: &[u8]) -> IoError {
        IoError::Missing(String::from_utf8_lossy(path).into_owned())
    }
}

impl EvalIo for MemoryIo {
    fn store_dir(&self) -> &str {
        self.store.store_dir()
    }

    fn read_file(&self, path: &[u8]) -> Result<Vec<u8>, IoError> {
        if let Some(contents) = self.files.get(path) {
            return Ok(contents.clone());
        }
        if path.starts_with(self.store_dir().as_bytes()) {
            return self.store.read_file(path);
        }
        Err(Self::missing(path))
    }

    fn read_dir(&self, path: &[u8]) -> Result<Vec<(Vec<u8>, FileType)>, IoError> {
        let mut prefix = path.to_vec();
        if prefix != b"/" {
            prefix.push(b'/');
        }
        let mut entries = BTreeMap::new();
        for file in self.files.keys() {
            let Some(rest) = file.strip_prefix(prefix.as_slice()) else { continue };
            match rest.iter().position(|&byte| byte == b'/') {
                Some(slash) => entries.insert(rest[..slash].to_vec(), FileType::Directory),
                None => entries.insert(rest.to_vec(), FileType::Regular),
            };
        }
        if entries.is_empty() {
            return Err(Self::missing(path));
        }
        Ok(entries.into_iter().collect())
    }

    fn file_type(&self, path: &[u8]) -> Result<Option<FileType>, IoError> {
        if self.files.contains_key(path) {
            return Ok(Some(FileType::Regular));
        }
        if path == b"/" || self.read_dir(path).is_ok() {
            return Ok(Some(FileType::Directory));
        }
        if path.starts_with(self.store_dir().as_bytes()) {
            return self.store.file_type(path);
        }
        Ok(None)
    }

    fn read_link(&self, path: &[u8]) -> Result<Vec<u8>, IoError> {
        Err(IoError::Unsupported(format!("'{}' is not a symbolic link", String::from_utf8_lossy(path))))
    }

    fn is_executable(&self, _path: &[u8]) -> Result<bool, IoError> {
        Ok(false)
    }

    fn env(&self, name: &[u8]) -> Option<Vec<u8>> {
        self.variables.get(name).cloned()
    }

    fn now(&self) -> i64 {
        1_000_000_000
    }

    fn message(&self, line: &str) {
        self.messages.borrow_mut().push(line.to_owned());
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
        if expected.is_some_and(|expected| *expected != hash) {
            return Err(IoError::Store(format!("hash mismatch importing '{name}'")));
        }
        let method = match ingestion {
            Ingestion::Flat => Method::Flat,
            Ingestion::Nar => Method::Recursive,
        };
        StoreDir::new(self.store_dir())
            .make_fixed_output_path(name, method, &hash, &BTreeSet::new(), false)
            .map_err(|error| IoError::Store(error.to_string()))
    }

    fn add_text(
        &self,
        name: &str,
        contents: &[u8],
        references: &BTreeSet<StorePath>,
    ) -> Result<StorePath, IoError> {
        self.store.add_text(name, contents, references)
    }

    fn references(&self, path: &StorePath) -> Result<Option<BTreeSet<StorePath>>, IoError> {
        self.store.references(path)
    }
}
