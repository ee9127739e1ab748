//! The local machine with the environment that the language tests expect, and with the messages kept.

use evaluator::io::{EvalIo, FileType, Filter, Ingestion, IoError, LocalIo};
use formats::hash::Hash;
use formats::store_path::StorePath;
use std::cell::RefCell;
use std::collections::BTreeSet;

/// See the module.
pub(crate) struct World {
    local: LocalIo,
    messages: RefCell<Vec<String>>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { local: LocalIo::new("/nix/store"), messages: RefCell::default() }
    }

    pub(crate) fn messages(&self) -> Vec<String> {
        self.messages.borrow().clone()
    }
}

impl EvalIo for World {
    fn store_dir(&self) -> &str {
        self.local.store_dir()
    }

    fn read_file(&self, path: &[u8]) -> Result<Vec<u8>, IoError> {
        self.local.read_file(path)
    }

    fn read_dir(&self, path: &[u8]) -> Result<Vec<(Vec<u8>, FileType)>, IoError> {
        self.local.read_dir(path)
    }

    fn file_type(&self, path: &[u8]) -> Result<Option<FileType>, IoError> {
        self.local.file_type(path)
    }

    fn read_link(&self, path: &[u8]) -> Result<Vec<u8>, IoError> {
        self.local.read_link(path)
    }

    fn is_executable(&self, path: &[u8]) -> Result<bool, IoError> {
        self.local.is_executable(path)
    }

    fn env(&self, name: &[u8]) -> Option<Vec<u8>> {
        match name {
            b"TEST_VAR" => Some(b"foo".to_vec()),
            b"HOME" => Some(b"/fake-home".to_vec()),
            _ => None,
        }
    }

    fn now(&self) -> i64 {
        self.local.now()
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
        self.local.add_path(name, path, ingestion, filter, expected)
    }

    fn add_text(
        &self,
        name: &str,
        contents: &[u8],
        references: &BTreeSet<StorePath>,
    ) -> Result<StorePath, IoError> {
        self.local.add_text(name, contents, references)
    }

    fn references(&self, path: &StorePath) -> Result<Option<BTreeSet<StorePath>>, IoError> {
        self.local.references(path)
    }
}
