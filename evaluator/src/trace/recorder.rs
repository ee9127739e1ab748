//! [`Recorder`]: an [`EvalIo`] that hands everything on to another one and notes what was seen.

use super::{Seen, Trace, Tree, listing_hash, tree_prints};
use crate::io::{
    EvalIo, Fetch, FetchedTree, FileType, Filter, Ingestion, IoError, Realised, TreeInput, Wanted,
};
use crate::trace::Fingerprint;
use formats::flake::FlakeRef;
use formats::hash::Hash;
use formats::store_path::StorePath;
use hashbrown::{HashMap, HashSet};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// See the module.
pub struct Recorder {
    inner: Rc<dyn EvalIo>,
    begun: i64,
    /// Whether something was asked for that no trace can check.
    lost: Cell<bool>,
    paths: RefCell<HashMap<Vec<u8>, Seen>>,
    variables: RefCell<BTreeMap<Vec<u8>, Option<Vec<u8>>>>,
    references: RefCell<BTreeMap<String, Option<Vec<String>>>>,
    trees: RefCell<Vec<Tree>>,
    messages: RefCell<Vec<String>>,
    /// Texts that this evaluation put in the store: not of the world.
    own: RefCell<HashSet<Vec<u8>>>,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Recorder").field("paths", &self.paths.borrow().len()).finish_non_exhaustive()
    }
}

impl Recorder {
    /// Notes what is asked of `inner` from now on.
    pub fn new(inner: Rc<dyn EvalIo>) -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self {
            inner,
            begun: since.map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)),
            lost: Cell::new(false),
            paths: RefCell::default(),
            variables: RefCell::default(),
            references: RefCell::default(),
            trees: RefCell::default(),
            messages: RefCell::default(),
            own: RefCell::default(),
        }
    }

    /// The trace of an evaluation that gave this answer to that question; `None` if it cannot be told whether the answer
    /// will still hold.
    pub fn finish(&self, question: Hash, answer: Vec<u8>) -> Option<Trace> {
        if self.lost.get() {
            return None;
        }
        let mut paths: Vec<_> = self.paths.borrow().iter().map(|(a, b)| (a.clone(), b.clone())).collect();
        paths.sort_by(|a, b| a.0.cmp(&b.0));
        Some(Trace {
            question,
            begun: self.begun,
            paths,
            variables: self.variables.borrow().clone().into_iter().collect(),
            references: self.references.borrow().clone().into_iter().collect(),
            trees: self.trees.borrow().clone(),
            messages: self.messages.borrow().clone(),
            answer,
        })
    }

    /// Notes something about a path; what it is and its fingerprint are noted with it the first time.
    fn note(&self, path: &[u8], change: impl FnOnce(&mut Seen)) {
        if self.lost.get() || self.own.borrow().contains(path) {
            return;
        }
        let mut paths = self.paths.borrow_mut();
        if let Some(seen) = paths.get_mut(path) {
            change(seen);
            return;
        }
        let Ok(kind) = self.inner.file_type(path) else {
            self.lost.set(true);
            return;
        };
        let mut seen = Seen { print: self.inner.fingerprint(path, false), kind, ..Seen::default() };
        // Without a fingerprint there is nothing cheap to compare; what is there must have one.
        if seen.kind.is_some() != seen.print.is_some() {
            self.lost.set(true);
        }
        change(&mut seen);
        paths.insert(path.to_vec(), seen);
    }

    /// Before something is read: its fingerprint must not be newer than what is read.
    fn look(&self, path: &[u8]) {
        self.note(path, |seen| {
            if seen.kind == Some(FileType::Symlink) && seen.behind.is_none() {
                seen.behind = self.inner.fingerprint(path, true);
            }
        });
    }

    fn note_contents(&self, path: &[u8], contents: &[u8]) {
        let hash = Hash::sha256(contents);
        self.note(path, |seen| match &seen.contents {
            Some(earlier) if *earlier != hash => self.lost.set(true),
            _ => seen.contents = Some(hash),
        });
    }

    fn note_listing(&self, path: &[u8], entries: Vec<(Vec<u8>, FileType)>) {
        let hash = listing_hash(entries);
        self.note(path, |seen| match &seen.listing {
            Some(earlier) if *earlier != hash => self.lost.set(true),
            _ => seen.listing = Some(hash),
        });
    }

    /// Adds what a filter admits, noting everything that went in and every directory that was listed.
    fn add_filtered(
        &self,
        name: &str,
        path: &[u8],
        ingestion: Ingestion,
        filter: &mut Filter<'_>,
        expected: Option<&Hash>,
    ) -> Result<StorePath, IoError> {
        let kind = self.file_type(path)?;
        self.note_admitted(path, kind)?;
        let mut noting = |inner: &[u8], kind: FileType| -> Result<bool, IoError> {
            let admitted = filter(inner, kind)?;
            if admitted {
                self.note_admitted(inner, Some(kind))?;
            }
            Ok(admitted)
        };
        self.inner.add_path(name, path, ingestion, Some(&mut noting), expected)
    }

    fn note_admitted(&self, path: &[u8], kind: Option<FileType>) -> Result<(), IoError> {
        match kind {
            Some(FileType::Regular) => {
                self.read_file(path)?;
                self.is_executable(path).map(drop)
            }
            Some(FileType::Directory) => self.read_dir(path).map(drop),
            Some(FileType::Symlink) => self.read_link(path).map(drop),
            _ => self.file_type(path).map(drop),
        }
    }
}

impl EvalIo for Recorder {
    fn store_dir(&self) -> &str {
        self.inner.store_dir()
    }

    fn read_file(&self, path: &[u8]) -> Result<Vec<u8>, IoError> {
        self.look(path);
        let contents = self.inner.read_file(path)?;
        self.note_contents(path, &contents);
        Ok(contents)
    }

    fn read_dir(&self, path: &[u8]) -> Result<Vec<(Vec<u8>, FileType)>, IoError> {
        self.look(path);
        let entries = self.inner.read_dir(path)?;
        self.note_listing(path, entries.clone());
        Ok(entries)
    }

    fn file_type(&self, path: &[u8]) -> Result<Option<FileType>, IoError> {
        let kind = self.inner.file_type(path)?;
        self.note(path, |seen| {
            if seen.kind != kind {
                self.lost.set(true);
            }
        });
        Ok(kind)
    }

    fn read_link(&self, path: &[u8]) -> Result<Vec<u8>, IoError> {
        let target = self.inner.read_link(path)?;
        self.note(path, |seen| match &seen.target {
            Some(earlier) if *earlier != target => self.lost.set(true),
            _ => seen.target = Some(target.clone()),
        });
        Ok(target)
    }

    fn is_executable(&self, path: &[u8]) -> Result<bool, IoError> {
        self.look(path);
        let executable = self.inner.is_executable(path)?;
        self.note(path, |seen| seen.executable = Some(executable));
        Ok(executable)
    }

    fn fingerprint(&self, path: &[u8], follow: bool) -> Option<Fingerprint> {
        self.inner.fingerprint(path, follow)
    }

    fn env(&self, name: &[u8]) -> Option<Vec<u8>> {
        let value = self.inner.env(name);
        self.variables.borrow_mut().insert(name.to_vec(), value.clone());
        value
    }

    fn now(&self) -> i64 {
        self.lost.set(true);
        self.inner.now()
    }

    fn message(&self, line: &str) {
        self.messages.borrow_mut().push(line.to_owned());
        self.inner.message(line);
    }

    fn add_path(
        &self,
        name: &str,
        path: &[u8],
        ingestion: Ingestion,
        filter: Option<&mut Filter<'_>>,
        expected: Option<&Hash>,
    ) -> Result<StorePath, IoError> {
        if let Some(filter) = filter {
            return self.add_filtered(name, path, ingestion, filter, expected);
        }
        let prints = tree_prints(&*self.inner, path);
        let stored = self.inner.add_path(name, path, ingestion, None, expected)?;
        match prints {
            Ok(prints) => self.trees.borrow_mut().push(Tree {
                path: path.to_vec(),
                name: name.to_owned(),
                ingestion,
                stored: stored.base_name().to_owned(),
                prints,
            }),
            Err(_) => self.lost.set(true),
        }
        Ok(stored)
    }

    fn add_text(
        &self,
        name: &str,
        contents: &[u8],
        references: &BTreeSet<StorePath>,
    ) -> Result<StorePath, IoError> {
        let path = self.inner.add_text(name, contents, references)?;
        self.own.borrow_mut().insert(format!("{}/{}", self.store_dir(), path.base_name()).into_bytes());
        Ok(path)
    }

    fn realise(&self, wanted: &[Wanted]) -> Result<Realised, IoError> {
        self.inner.realise(wanted)
    }

    fn references(&self, path: &StorePath) -> Result<Option<BTreeSet<StorePath>>, IoError> {
        let references = self.inner.references(path)?;
        let printed = format!("{}/{}", self.store_dir(), path.base_name()).into_bytes();
        if !self.own.borrow().contains(&printed) {
            let names = references
                .as_ref()
                .map(|paths| paths.iter().map(|path| path.base_name().to_owned()).collect());
            self.references.borrow_mut().insert(path.base_name().to_owned(), names);
        }
        Ok(references)
    }

    fn fetch(&self, fetch: &Fetch) -> Result<StorePath, IoError> {
        // What has a known hash is the same for ever; anything else can be another thing tomorrow.
        if fetch.hash.is_none() {
            self.lost.set(true);
        }
        self.inner.fetch(fetch)
    }

    fn fetch_tree(&self, input: &TreeInput) -> Result<FetchedTree, IoError> {
        if input.text("narHash").is_none() {
            self.lost.set(true);
        }
        self.inner.fetch_tree(input)
    }

    fn look_up_flake(&self, reference: &FlakeRef, all: bool) -> Result<FlakeRef, IoError> {
        // Tomorrow the name may mean another flake.
        if !reference.input.is_direct() {
            self.lost.set(true);
        }
        self.inner.look_up_flake(reference, all)
    }

    fn explain_missing(&self, input: &TreeInput, file: &str) -> Option<String> {
        self.inner.explain_missing(input, file)
    }
}
