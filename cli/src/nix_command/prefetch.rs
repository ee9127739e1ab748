//! `nix store prefetch-file`, and `nix-prefetch-url`: puts a file of the network into the store and says its hash, for a fixed-output
//! derivation that is to be written. nix3-store-prefetch-file(1), nix-prefetch-url(1).

use crate::fetch::Fetcher;
use crate::nix_front::{Arguments, Front};
use anyhow::{Context as _, Result, bail};
use evaluator::io::Fetch;
use formats::hash::{Algorithm, Hash};
use formats::store_path::StorePath;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use store::Store;

/// What to fetch.
#[derive(Debug)]
struct Wish {
    url: Option<String>,
    name: Option<String>,
    algorithm: Algorithm,
    expected: Option<String>,
    unpack: bool,
}

impl Wish {
    const fn new() -> Self {
        Self { url: None, name: None, algorithm: Algorithm::Sha256, expected: None, unpack: false }
    }

    /// Fetches it: its path and hash.
    fn fetch(&self, front: &mut Front) -> Result<(Store, StorePath, Hash)> {
        let url = self.url.as_deref().context("name a URL")?;
        let name = match &self.name {
            Some(name) => name.clone(),
            None => url.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned(),
        };
        if name.is_empty() {
            bail!("cannot figure out a file name for '{url}'; give one with '--name'");
        }
        let store = front.open()?;
        let time_to_live = front.conf.settings().number("tarball-ttl").unwrap_or(3600);
        let fetcher = Fetcher { store: &store, time_to_live };
        let fetch = Fetch { url: url.to_owned(), name, unpack: self.unpack, hash: None };
        let path = fetcher.fetch(&fetch)?;
        let real = store.real_path(&path);
        let hash = hash_of(&real, self.unpack, self.algorithm)?;
        if let Some(expected) = &self.expected {
            let wanted =
                Hash::parse_any(expected, Some(self.algorithm)).with_context(|| format!("'{expected}'"))?;
            if wanted != hash {
                bail!(
                    "hash mismatch for '{url}':\n  specified: {}\n  got:       {}",
                    wanted.sri(),
                    hash.sri()
                );
            }
        }
        Ok((store, path, hash))
    }
}

fn hash_of(place: &Path, tree: bool, algorithm: Algorithm) -> Result<Hash> {
    Ok(if tree {
        store::tree::hash_tree(place, algorithm)?.0
    } else {
        store::tree::hash_file(place, algorithm)?
    })
}

/// `nix store prefetch-file URL`.
pub(super) fn prefetch_file(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let mut wish = Wish::new();
    let mut as_json = false;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => as_json = true,
            "--name" => wish.name = Some(arguments.value(&argument)?),
            "--hash-type" | "--hash-algo" => wish.algorithm = arguments.value(&argument)?.parse()?,
            "--expected-hash" => wish.expected = Some(arguments.value(&argument)?),
            "--unpack" => wish.unpack = true,
            _ if front.take(&argument, arguments)? => {}
            flag if flag.starts_with('-') => bail!("unrecognised flag '{flag}'"),
            _ => wish.url = Some(argument),
        }
    }
    let (store, path, hash) = wish.fetch(front)?;
    let (path, hash) = (store.dir().print(&path), hash.sri());
    if as_json {
        writeln!(std::io::stdout(), "{}", serde_json::json!({ "hash": hash, "storePath": path }))?;
    } else {
        let url = wish.url.unwrap_or_default();
        writeln!(std::io::stderr(), "Downloaded '{url}' to '{path}' (hash '{hash}').")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `nix-prefetch-url URL [HASH]`.
pub(crate) fn nix_prefetch_url(arguments: &[OsString]) -> Result<ExitCode> {
    let mut arguments = Arguments::new(arguments);
    let mut front = Front::new();
    let mut wish = Wish::new();
    let mut print_path = std::env::var_os("PRINT_PATH").is_some();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--version" => {
                crate::nix_front::print_version("nix-prefetch-url")?;
                return Ok(ExitCode::SUCCESS);
            }
            "--type" => wish.algorithm = arguments.value(&argument)?.parse()?,
            "--name" => wish.name = Some(arguments.value(&argument)?),
            "--print-path" => print_path = true,
            "--unpack" => wish.unpack = true,
            _ if front.take(&argument, &mut arguments)? => {}
            flag if flag.starts_with('-') => bail!("unrecognised flag '{flag}'"),
            _ if wish.url.is_none() => wish.url = Some(argument),
            _ => wish.expected = Some(argument),
        }
    }
    let (store, path, hash) = wish.fetch(&mut front)?;
    let path = store.dir().print(&path);
    if !print_path {
        writeln!(std::io::stderr(), "path is '{path}'")?;
    }
    writeln!(std::io::stdout(), "{}", hash.digits32())?;
    if print_path {
        writeln!(std::io::stdout(), "{path}")?;
    }
    Ok(ExitCode::SUCCESS)
}
