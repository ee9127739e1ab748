//! What evaluation downloads: files (`fetchurl`), archives (`fetchTarball`), source trees (`fetchTree`, `fetchGit`). All
//! of it goes into the store. What came from the network without a hash is remembered for `tarball-ttl` seconds.

mod archive;
mod forge;
mod git;
mod remembered;

use evaluator::io::{Fetch, FetchedTree, IoError, TreeAttribute, TreeInput};
use formats::content_address::Method;
use formats::flake::Input;
use formats::flake::url::Url;
use formats::hash::{Algorithm, Hash};
use formats::store_path::StorePath;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use store::Store;

/// Fetches into a store.
#[derive(Debug)]
pub(crate) struct Fetcher<'s> {
    pub(crate) store: &'s Store,
    /// For how many seconds what came without a hash is not asked for again.
    pub(crate) time_to_live: u64,
}

/// What a tree is asked for by, and what is known of it.
type Attributes = BTreeMap<String, TreeAttribute>;

/// What is made of a download.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// The file, by its contents.
    File,
    /// The file as a tree of its own.
    FileAsTree,
    /// What the archive holds.
    Tree,
}

/// What was downloaded.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) path: StorePath,
    /// When the newest file in the archive was changed.
    pub(crate) time: i64,
    /// Its address for ever, if the server says so.
    pub(crate) immutable: Option<String>,
}

fn store_error(error: &store::Error) -> IoError {
    IoError::Store(error.to_string())
}

fn system(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> IoError {
    let path = path.display().to_string();
    move |source| IoError::System { action, path, source }
}

impl Fetcher<'_> {
    /// `fetchurl` and `fetchTarball`.
    pub(crate) fn fetch(&self, fetch: &Fetch) -> Result<StorePath, IoError> {
        let method = if fetch.unpack { Method::Recursive } else { Method::Flat };
        if let Some(hash) = &fetch.hash
            && let Some(known) = self.known(&fetch.name, method, hash)?
        {
            return Ok(known);
        }
        let want = if fetch.unpack { Want::Tree } else { Want::File };
        // What has to have a hash is downloaded, so that what is remembered is never the reason of a mismatch.
        let fetcher = Fetcher {
            store: self.store,
            time_to_live: if fetch.hash.is_some() { 0 } else { self.time_to_live },
        };
        let Got { path, .. } = fetcher.download(&fetch.url, &fetch.name, want, false)?;
        if let Some(expected) = &fetch.hash {
            let found = if fetch.unpack {
                self.store.path_info(&path).map_err(|error| store_error(&error))?.nar_hash
            } else {
                let real = self.store.real_path(&path);
                Hash::sha256(std::fs::read(&real).map_err(system("reading", &real))?)
            };
            if found != *expected {
                return Err(IoError::Mismatch(format!(
                    "hash mismatch in file downloaded from '{}':\n  specified: {}\n  got:       {}",
                    fetch.url,
                    expected.sri(),
                    found.sri()
                )));
            }
        }
        Ok(path)
    }

    /// The object with that content, if it is in the store already.
    fn known(&self, name: &str, method: Method, hash: &Hash) -> Result<Option<StorePath>, IoError> {
        let path = self.store.dir().make_fixed_output_path(name, method, hash, &BTreeSet::new(), false);
        let path = path.map_err(|error| IoError::Store(error.to_string()))?;
        let valid = self.store.is_valid(&path).map_err(|error| store_error(&error))?;
        Ok(valid.then_some(path))
    }

    /// Downloads a file, or unpacks an archive. With `for_ever` it is the same each time.
    pub(crate) fn download(&self, url: &str, name: &str, want: Want, for_ever: bool) -> Result<Got, IoError> {
        self.download_with(url, name, want, for_ever, &[])
    }

    /// The same with headers for the server.
    pub(crate) fn download_with(
        &self,
        url: &str,
        name: &str,
        want: Want,
        for_ever: bool,
        headers: &[(&'static str, String)],
    ) -> Result<Got, IoError> {
        let remote = url.starts_with("http://") || url.starts_with("https://");
        let question = match want {
            Want::FileAsTree => format!("as a tree {name} {url}"),
            _ => format!("{} {name} {url}", want == Want::Tree),
        };
        let time_to_live = if for_ever { u64::MAX } else { self.time_to_live };
        if remote
            && let Some(got) = remembered::recall(&question, time_to_live)
            && self.store.is_valid(&got.path).unwrap_or(false)
        {
            return Ok(got);
        }
        let work = tempfile::tempdir().map_err(system("making a directory in", &std::env::temp_dir()))?;
        let (file, immutable) = match archive::download(url, &work.path().join("download"), headers) {
            Ok(found) => found,
            Err(error) => {
                // Better what there was than nothing.
                if let Some(got) = remembered::recall(&question, u64::MAX).filter(|_| remote)
                    && self.store.is_valid(&got.path).unwrap_or(false)
                {
                    log::warn!("{error}; using cached version");
                    return Ok(got);
                }
                return Err(error);
            }
        };
        let (tree, time) = match want {
            Want::Tree => archive::unpack(url, &file, &work.path().join("tree"))?,
            Want::File | Want::FileAsTree => (file, 0),
        };
        let method = if want == Want::File { Method::Flat } else { Method::Recursive };
        let path = self
            .store
            .add_path(&tree, name, method, Algorithm::Sha256)
            .map_err(|error| store_error(&error))?;
        let got = Got { path, time, immutable };
        if remote {
            remembered::remember(&question, &got);
        }
        Ok(got)
    }

    /// `fetchTree`, `fetchGit` and the inputs of flakes.
    pub(crate) fn fetch_tree(&self, input: &TreeInput) -> Result<FetchedTree, IoError> {
        let name = input.text("name").unwrap_or("source").to_owned();
        let expected = match input.text("narHash") {
            // An empty one is written to be told the right one.
            Some("") => Hash::from_bytes(Algorithm::Sha256, &[0; 32]),
            Some(text) => Some(
                Hash::parse_any(text, Some(Algorithm::Sha256))
                    .map_err(|error| IoError::Unsupported(format!("narHash: {error}")))?,
            ),
            None => None,
        };
        let known = match &expected {
            Some(hash) => self.known(&name, Method::Recursive, hash)?,
            None => None,
        };
        if let (true, Some(path)) = (input.is_final, &known) {
            return Ok(FetchedTree { path: path.clone(), attributes: input.attributes.clone() });
        }
        let mut attributes = input.attributes.clone();
        let path = match (self.fresh_tree(input, &name, &mut attributes), known) {
            (Ok(path), _) => path,
            // What it should be is here, wherever it came from; of a repository there is more to know than that.
            (Err(error), Some(path)) if input.kind != "git" => {
                log::debug!("using {path}, which has the hash that was asked for: {error}");
                return Ok(FetchedTree { path, attributes });
            }
            (Err(error), _) => return Err(error),
        };
        let found = self.store.path_info(&path).map_err(|error| store_error(&error))?.nar_hash;
        if let Some(expected) = expected.filter(|expected| *expected != found) {
            return Err(IoError::Mismatch(format!(
                "NAR hash mismatch in input '{}', expected '{}' but got '{}'",
                described(input),
                expected.sri(),
                found.sri()
            )));
        }
        if input.is_final {
            return Ok(FetchedTree { path, attributes: input.attributes.clone() });
        }
        attributes.insert("narHash".to_owned(), TreeAttribute::Text(found.sri()));
        Ok(FetchedTree { path, attributes })
    }

    /// Fetches a tree, whatever is in the store; adds what becomes known of it.
    fn fresh_tree(
        &self,
        input: &TreeInput,
        name: &str,
        attributes: &mut Attributes,
    ) -> Result<StorePath, IoError> {
        match input.kind.as_str() {
            "git" => git::fetch(self, input, name, attributes),
            "path" => self.path_tree(input, name, attributes),
            "github" | "gitlab" | "sourcehut" => forge::fetch(self, input, name, attributes),
            "tarball" => {
                let got = self.download(&address(input)?, name, Want::Tree, false)?;
                if let Some(link) = got.immutable {
                    take_link(&link, attributes)?;
                }
                attributes.entry("lastModified".to_owned()).or_insert(TreeAttribute::Int(got.time));
                Ok(got.path)
            }
            "file" => Ok(self.download(&address(input)?, name, Want::FileAsTree, false)?.path),
            other => Err(IoError::Unsupported(format!(
                "input of type '{other}' cannot be fetched: Firn has git, github, gitlab, sourcehut, path, tarball and file"
            ))),
        }
    }

    fn path_tree(
        &self,
        input: &TreeInput,
        name: &str,
        attributes: &mut Attributes,
    ) -> Result<StorePath, IoError> {
        let path = input.text("path").ok_or_else(|| {
            IoError::Unsupported("an input of type 'path' needs the attribute 'path'".to_owned())
        })?;
        if !path.starts_with('/') {
            return Err(IoError::Unsupported(format!(
                "cannot fetch input 'path:{path}' because it uses a relative path"
            )));
        }
        let path = formats::flake::reference::absolute(path, "/");
        // What lies in the store as a tree is the tree.
        if let Ok(object) = self.store.dir().parse(&path)
            && object.name() == name
            && self.store.is_valid(&object).map_err(|error| store_error(&error))?
        {
            attributes.entry("lastModified".to_owned()).or_insert(TreeAttribute::Int(0));
            return Ok(object);
        }
        let path = if path.starts_with(&format!("{}/", self.store.dir().as_str())) {
            self.store.layout().real_of_logical(Path::new(&path))
        } else {
            PathBuf::from(path)
        };
        let time = newest(&path)?;
        attributes.entry("lastModified".to_owned()).or_insert(TreeAttribute::Int(time));
        let added = self.store.add_path(&path, name, Method::Recursive, Algorithm::Sha256);
        added.map_err(|error| store_error(&error))
    }
}

/// What an archive's server says is its address for ever, instead of the one that was asked for.
fn take_link(link: &str, attributes: &mut Attributes) -> Result<(), IoError> {
    let input = Url::parse(link).and_then(|url| Input::from_url(&url, true));
    let input = input.map_err(|error| IoError::Unsupported(error.to_string()))?;
    if input.kind() != "tarball" {
        let message = "tarball 'Link' headers that redirect to non-tarball URLs are not supported";
        return Err(IoError::Unsupported(message.to_owned()));
    }
    *attributes = input.attributes().clone();
    attributes.remove("type");
    Ok(())
}

/// An input as people write it.
fn described(input: &TreeInput) -> String {
    let mut attributes = input.attributes.clone();
    attributes.insert("type".to_owned(), TreeAttribute::Text(input.kind.clone()));
    Input::from_attributes(attributes)
        .map_or_else(|_| address(input).unwrap_or_else(|_| input.kind.clone()), |input| input.to_string())
}

/// Why a file of a tree was not fetched with it: git does not know of it.
pub(crate) fn explain_missing(input: &TreeInput, file: &str) -> Option<String> {
    let path = input.text("url")?.strip_prefix("file://").filter(|_| input.kind == "git")?;
    let tree = Path::new(path);
    let is_there = tree.join(".git").exists() && tree.join(file).exists();
    (is_there && git::is_untracked(tree, file)).then(|| git::untracked(path, file))
}

fn address(input: &TreeInput) -> Result<String, IoError> {
    let url = input.text("url");
    let kind = &input.kind;
    url.map(str::to_owned)
        .ok_or_else(|| IoError::Unsupported(format!("an input of type '{kind}' needs the attribute 'url'")))
}

/// When the newest file in a tree was changed, in seconds since 1970.
fn newest(path: &Path) -> Result<i64, IoError> {
    let found = std::fs::symlink_metadata(path).map_err(system("examining", path))?;
    let mut time = found.mtime();
    if found.is_dir() {
        for entry in std::fs::read_dir(path).map_err(system("reading directory", path))? {
            let entry = entry.map_err(system("reading directory", path))?;
            time = time.max(newest(&entry.path())?);
        }
    }
    Ok(time)
}
