//! [`StoreIo`]: the evaluator's door to the world over the real store. Files below `/nix/store` are read where the store
//! really keeps them; what an evaluation adds is really added.
//!
//! Derivations and other texts are written together, in few transactions: when some megabytes of them have come together,
//! when something must be built during the evaluation, and at its end ([`StoreIo::flush`]).

use crate::fetch::Fetcher;
use crate::nix_conf::NixConf;
use evaluator::io::{
    EvalIo, Fetch, FetchedTree, FileType, Filter, Ingestion, IoError, LocalIo, Place, Realised, Spill,
    TreeInput, Wanted, hash_file, write_tree,
};
use evaluator::trace::Fingerprint;
use formats::content_address::{ContentAddress, Method};
use formats::flake::FlakeRef;
use formats::hash::{Algorithm, Hash};
use formats::path_info::PathInfo;
use formats::store_path::{StoreDir, StorePath};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;
use std::rc::Rc;
use store::build::BuildOptions;
use store::{Store, TextObject};

/// Nix's `tarball-ttl`, in seconds.
const TARBALL_TTL: u64 = 3600;

/// When so many bytes of texts have come together, they are written to the store.
const MOST_PENDING: usize = 4 << 20;

/// Texts that are not in the store yet.
#[derive(Debug, Default)]
struct Pending {
    texts: BTreeMap<StorePath, PendingText>,
    contents: Spill,
    bytes: usize,
}

#[derive(Debug)]
struct PendingText {
    contents: Place,
    references: Box<[StorePath]>,
}

impl Pending {
    /// Adds a text; how many bytes there are with it.
    fn add(&mut self, path: &StorePath, contents: &[u8], references: &BTreeSet<StorePath>) -> usize {
        if !self.texts.contains_key(path) {
            let contents_at = self.contents.put(contents);
            let text =
                PendingText { contents: contents_at, references: references.iter().cloned().collect() };
            self.texts.insert(path.clone(), text);
            self.bytes += contents.len();
        }
        self.bytes
    }

    fn into_texts(self) -> Result<Vec<TextObject>, IoError> {
        let read = |(path, text): (StorePath, PendingText)| {
            let contents = self.contents.get(text.contents).map_err(|source| IoError::System {
                action: "reading what was put aside of",
                path: path.to_string(),
                source,
            })?;
            let references = text.references.into_iter().collect();
            Ok(TextObject { name: path.name().to_owned(), contents, references })
        };
        self.texts.into_iter().map(read).collect()
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct StoreIo {
    store: Rc<Store>,
    local: LocalIo,
    build: BuildOptions,
    /// Whether what an evaluation adds is only computed: what it fetches and builds is real all the same.
    computes_only: bool,
    /// Texts that are not in the store yet, by path.
    pending: RefCell<Pending>,
}

impl StoreIo {
    /// A door to the machine and to this store; what must be built during evaluation is built with these options.
    pub(crate) fn new(store: Rc<Store>, build: BuildOptions) -> Self {
        let local = LocalIo::new(store.dir().as_str());
        Self { store, local, build, computes_only: false, pending: RefCell::default() }
    }

    /// The same for an evaluation whose value is all that counts: what it would add to the store is not added unless
    /// something is built of it.
    pub(crate) fn computing(store: Rc<Store>, build: BuildOptions) -> Self {
        Self { computes_only: true, ..Self::new(store, build) }
    }

    /// Writes to the store what evaluation has added so far.
    pub(crate) fn flush(&self) -> Result<(), IoError> {
        let texts = std::mem::take(&mut *self.pending.borrow_mut()).into_texts()?;
        if texts.is_empty() {
            return Ok(());
        }
        self.evaluation().add_texts(&texts).map(drop).map_err(|error| store_error(&error))
    }

    /// Where what is evaluated is written to and read from: what is built is brought there.
    fn evaluation(&self) -> &Store {
        self.store.evaluation_store()
    }

    /// What downloads into the store.
    pub(crate) fn fetcher(&self) -> Fetcher<'_> {
        let time_to_live = NixConf::load().text("tarball-ttl").and_then(|text| text.parse().ok());
        Fetcher { store: self.evaluation(), time_to_live: time_to_live.unwrap_or(TARBALL_TTL) }
    }

    /// Copies what was built to where it is read.
    fn bring_back<'a>(&self, paths: impl Iterator<Item = &'a StorePath>) -> store::Result<()> {
        let to = self.evaluation();
        if std::ptr::eq(to, &raw const *self.store) {
            return Ok(());
        }
        let closure = self.store.closure(paths.cloned())?;
        self.store.copy_to(to, &closure, true, &|_| {}).map(drop)
    }

    fn dir(&self) -> &StoreDir {
        self.store.dir()
    }

    /// Where a path that the language names really lies.
    fn real(&self, path: &[u8]) -> Vec<u8> {
        if path.starts_with(self.dir().as_str().as_bytes()) {
            let real = self.evaluation().layout().real_of_logical(Path::new(OsStr::from_bytes(path)));
            return real.into_os_string().into_vec();
        }
        path.to_vec()
    }

    /// The text at that path, if it is one that was not written yet.
    fn pending_text(&self, path: &[u8]) -> Option<Vec<u8>> {
        let name = path.strip_prefix(self.dir().as_str().as_bytes())?.strip_prefix(b"/")?;
        let path = StorePath::from_base_name(std::str::from_utf8(name).ok()?).ok()?;
        let pending = self.pending.borrow();
        let text = pending.texts.get(&path)?;
        pending.contents.get(text.contents).ok()
    }

    /// Adds what a filter leaves of a tree: through its NAR, since the store copies whole trees only.
    fn add_filtered(
        &self,
        name: &str,
        path: &[u8],
        filter: &mut Filter<'_>,
        expected: Option<&Hash>,
    ) -> Result<StorePath, IoError> {
        let archive = write_tree(self, path, Some(filter), Vec::new())?;
        let hash = Hash::sha256(&archive);
        check_expected(path, expected, &hash)?;
        let store_path = self
            .dir()
            .make_fixed_output_path(name, Method::Recursive, &hash, &BTreeSet::new(), false)
            .map_err(|error| IoError::Store(error.to_string()))?;
        let mut info = PathInfo::new(store_path.clone(), hash, archive.len() as u64);
        info.content_address = Some(ContentAddress { method: Method::Recursive, hash });
        self.evaluation().add_nar(&info, &mut archive.as_slice()).map_err(|error| store_error(&error))?;
        Ok(store_path)
    }
}

fn store_error(error: &store::Error) -> IoError {
    IoError::Store(error.to_string())
}

fn check_expected(path: &[u8], expected: Option<&Hash>, got: &Hash) -> Result<(), IoError> {
    match expected {
        Some(expected) if expected != got => Err(IoError::Store(format!(
            "hash mismatch importing path '{}': specified {}, got {}",
            String::from_utf8_lossy(path),
            expected.sri(),
            got.sri()
        ))),
        _ => Ok(()),
    }
}

impl EvalIo for StoreIo {
    fn store_dir(&self) -> &str {
        self.store.dir().as_str()
    }

    fn read_file(&self, path: &[u8]) -> Result<Vec<u8>, IoError> {
        match self.pending_text(path) {
            Some(text) => Ok(text),
            None => self.local.read_file(&self.real(path)),
        }
    }

    fn read_dir(&self, path: &[u8]) -> Result<Vec<(Vec<u8>, FileType)>, IoError> {
        self.local.read_dir(&self.real(path))
    }

    fn file_type(&self, path: &[u8]) -> Result<Option<FileType>, IoError> {
        if self.pending_text(path).is_some() {
            return Ok(Some(FileType::Regular));
        }
        self.local.file_type(&self.real(path))
    }

    fn read_link(&self, path: &[u8]) -> Result<Vec<u8>, IoError> {
        self.local.read_link(&self.real(path))
    }

    fn is_executable(&self, path: &[u8]) -> Result<bool, IoError> {
        if self.pending_text(path).is_some() {
            return Ok(false);
        }
        self.local.is_executable(&self.real(path))
    }

    fn fingerprint(&self, path: &[u8], follow: bool) -> Option<Fingerprint> {
        self.local.fingerprint(&self.real(path), follow)
    }

    fn env(&self, name: &[u8]) -> Option<Vec<u8>> {
        self.local.env(name)
    }

    fn now(&self) -> i64 {
        self.local.now()
    }

    fn message(&self, line: &str) {
        self.local.message(line);
    }

    fn add_path(
        &self,
        name: &str,
        path: &[u8],
        ingestion: Ingestion,
        filter: Option<&mut Filter<'_>>,
        expected: Option<&Hash>,
    ) -> Result<StorePath, IoError> {
        if self.computes_only {
            return self.local.add_path(name, &self.real(path), ingestion, filter, expected);
        }
        if let (Ingestion::Nar, Some(filter)) = (ingestion, filter) {
            return self.add_filtered(name, path, filter, expected);
        }
        if expected.is_some() {
            check_expected(path, expected, &hash_file(self, path, ingestion, None, Algorithm::Sha256)?)?;
        }
        let method = match ingestion {
            Ingestion::Flat => Method::Flat,
            Ingestion::Nar => Method::Recursive,
        };
        let real = self.real(path);
        self.evaluation()
            .add_path(Path::new(OsStr::from_bytes(&real)), name, method, Algorithm::Sha256)
            .map_err(|error| store_error(&error))
    }

    fn add_text(
        &self,
        name: &str,
        contents: &[u8],
        references: &BTreeSet<StorePath>,
    ) -> Result<StorePath, IoError> {
        let path = self
            .dir()
            .make_text_path(name, contents, references)
            .map_err(|error| IoError::Store(error.to_string()))?;
        let bytes = self.pending.borrow_mut().add(&path, contents, references);
        // What an evaluation leaves in the store when it fails afterwards is garbage like any other.
        if bytes > MOST_PENDING && !self.computes_only {
            self.flush()?;
        }
        Ok(path)
    }

    fn realise(&self, wanted: &[Wanted]) -> Result<Realised, IoError> {
        self.flush()?;
        let mut requests: BTreeMap<StorePath, BTreeSet<String>> = BTreeMap::new();
        for wanted in wanted {
            match wanted {
                Wanted::Output(derivation, output) => {
                    requests.entry(derivation.clone()).or_default().insert(output.clone());
                }
                Wanted::Path(path) => {
                    if !self.evaluation().is_valid(path).map_err(|error| store_error(&error))? {
                        return Err(IoError::Missing(self.dir().print(path)));
                    }
                }
            }
        }
        if requests.is_empty() {
            return Ok(Realised::new());
        }
        let requests: Vec<_> = requests
            .into_iter()
            .map(|(derivation, outputs)| (derivation, store::build::Wanted::Outputs(outputs)))
            .collect();
        let report = self.store.build(&requests, &self.build).map_err(|error| store_error(&error))?;
        let mut made = Realised::new();
        for (derivation, outputs) in report.outputs {
            self.bring_back(outputs.values()).map_err(|error| store_error(&error))?;
            for (output, path) in outputs {
                made.insert((derivation.clone(), output), path);
            }
        }
        Ok(made)
    }

    fn references(&self, path: &StorePath) -> Result<Option<BTreeSet<StorePath>>, IoError> {
        if let Some(text) = self.pending.borrow().texts.get(path) {
            return Ok(Some(text.references.iter().cloned().collect()));
        }
        let info = self.evaluation().query_path_info(path).map_err(|error| store_error(&error))?;
        Ok(info.map(|info| info.references))
    }

    fn fetch(&self, fetch: &Fetch) -> Result<StorePath, IoError> {
        self.fetcher().fetch(fetch)
    }

    fn fetch_tree(&self, input: &TreeInput) -> Result<FetchedTree, IoError> {
        self.fetcher().fetch_tree(input)
    }

    fn look_up_flake(&self, reference: &FlakeRef, all: bool) -> Result<FlakeRef, IoError> {
        if reference.input.is_direct() {
            return Ok(reference.clone());
        }
        crate::flakes::registries::look_up(&self.fetcher(), reference, all)
    }

    fn explain_missing(&self, input: &TreeInput, file: &str) -> Option<String> {
        crate::fetch::explain_missing(input, file)
    }
}
