//! What evaluation downloads: files (`fetchurl`), archives (`fetchTarball`), source trees (`fetchTree`, `fetchGit`). All
//! of it goes into the store. What came from the network without a hash is remembered for `tarball-ttl` seconds.

mod archive;
mod git;
mod remembered;

use evaluator::io::{Fetch, FetchedTree, IoError, TreeAttribute, TreeInput};
use formats::content_address::Method;
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

/// Names of files that are archives of one directory.
const ARCHIVES: [&str; 8] =
    [".zip", ".tar", ".tgz", ".tar.gz", ".tar.xz", ".tar.bz2", ".tar.zst", ".tar.zstd"];

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
        let (path, _) = self.download(&fetch.url, &fetch.name, fetch.unpack, fetch.hash.is_some())?;
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

    /// Downloads a file, or unpacks an archive; its store path and when its newest file was changed.
    fn download(
        &self,
        url: &str,
        name: &str,
        unpack: bool,
        has_hash: bool,
    ) -> Result<(StorePath, i64), IoError> {
        let remote = url.starts_with("http://") || url.starts_with("https://");
        let question = format!("{unpack} {name} {url}");
        if remote
            && !has_hash
            && let Some((path, time)) = remembered::recall(&question, self.time_to_live)
            && self.store.is_valid(&path).unwrap_or(false)
        {
            return Ok((path, time));
        }
        let work = tempfile::tempdir().map_err(system("making a directory in", &std::env::temp_dir()))?;
        let file = archive::download(url, &work.path().join("download"))?;
        let (tree, time) =
            if unpack { archive::unpack(url, &file, &work.path().join("tree"))? } else { (file, 0) };
        let method = if unpack { Method::Recursive } else { Method::Flat };
        let path = self
            .store
            .add_path(&tree, name, method, Algorithm::Sha256)
            .map_err(|error| store_error(&error))?;
        if remote {
            remembered::remember(&question, &path, time);
        }
        Ok((path, time))
    }

    /// `fetchTree` and `fetchGit`.
    pub(crate) fn fetch_tree(&self, input: &TreeInput) -> Result<FetchedTree, IoError> {
        let name = input.text("name").unwrap_or("source").to_owned();
        let expected = match input.text("narHash") {
            Some(text) => Some(
                Hash::parse_any(text, Some(Algorithm::Sha256))
                    .map_err(|error| IoError::Unsupported(format!("narHash: {error}")))?,
            ),
            None => None,
        };
        let mut attributes = BTreeMap::new();
        // A git tree has more to say than its hash.
        if let Some(hash) = expected.as_ref().filter(|_| input.kind != "git")
            && let Some(path) = self.known(&name, method_of(input), hash)?
        {
            attributes.insert("narHash".to_owned(), TreeAttribute::Text(hash.sri()));
            return Ok(FetchedTree { path, attributes });
        }
        let path = match input.kind.as_str() {
            "git" => git::fetch(self, input, &name, &mut attributes)?,
            "path" => self.path_tree(input, &name, &mut attributes)?,
            "tarball" => {
                let (path, time) = self.download(&address(input)?, &name, true, expected.is_some())?;
                attributes.insert("lastModified".to_owned(), TreeAttribute::Int(time));
                path
            }
            "file" => {
                let url = address(input)?;
                let unpack = is_archive(&url);
                let (path, time) = self.download(&url, &name, unpack, expected.is_some())?;
                if unpack {
                    attributes.insert("lastModified".to_owned(), TreeAttribute::Int(time));
                }
                path
            }
            other => {
                return Err(IoError::Unsupported(format!(
                    "input of type '{other}' cannot be fetched: Firn has git, path, tarball and file"
                )));
            }
        };
        let found = self.store.path_info(&path).map_err(|error| store_error(&error))?.nar_hash;
        if let Some(expected) = expected.filter(|expected| *expected != found) {
            return Err(IoError::Mismatch(format!(
                "NAR hash mismatch in input '{}' ({}), expected '{}', got '{}'",
                address(input).unwrap_or_default(),
                self.store.dir().print(&path),
                expected.sri(),
                found.sri()
            )));
        }
        attributes.insert("narHash".to_owned(), TreeAttribute::Text(found.sri()));
        Ok(FetchedTree { path, attributes })
    }

    fn path_tree(
        &self,
        input: &TreeInput,
        name: &str,
        attributes: &mut BTreeMap<String, TreeAttribute>,
    ) -> Result<StorePath, IoError> {
        let path = input.text("path").ok_or_else(|| {
            IoError::Unsupported("an input of type 'path' needs the attribute 'path'".to_owned())
        })?;
        let path = PathBuf::from(path);
        if !path.is_absolute() {
            return Err(IoError::Unsupported(format!(
                "cannot fetch input 'path:{}' because it uses a relative path",
                path.display()
            )));
        }
        attributes.insert("lastModified".to_owned(), TreeAttribute::Int(newest(&path)?));
        let added = self.store.add_path(&path, name, Method::Recursive, Algorithm::Sha256);
        added.map_err(|error| store_error(&error))
    }
}

fn method_of(input: &TreeInput) -> Method {
    let single = input.kind == "file" && !address(input).is_ok_and(|url| is_archive(&url));
    if single { Method::Flat } else { Method::Recursive }
}

fn address(input: &TreeInput) -> Result<String, IoError> {
    let url = input.text("url");
    let kind = &input.kind;
    url.map(str::to_owned)
        .ok_or_else(|| IoError::Unsupported(format!("an input of type '{kind}' needs the attribute 'url'")))
}

/// Whether a URL names an archive.
fn is_archive(url: &str) -> bool {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    ARCHIVES.iter().any(|ending| path.ends_with(ending))
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
