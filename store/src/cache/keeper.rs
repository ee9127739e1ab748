//! A binary cache as the store itself (`--store file:///srv/cache`): derivations and sources are written into it, what it
//! has counts as valid, and nothing can be built in it.

use super::{Cache, CacheError, transport};
use crate::add::TextObject;
use crate::build::{BuildError, BuildOptions, BuildReport, Failure, FailureKind, Missing, Wanted};
use crate::error::{Error, Result};
use crate::keeper::Keeper;
use crate::layout::Layout;
use crate::open::{Options, Store};
use crate::realisation::Realisation;
use crate::tree;
use formats::content_address::{ContentAddress, Method};
use formats::hash::{Algorithm, Hash};
use formats::path_info::PathInfo;
use formats::store_path::StorePath;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::path::Path;

/// The most that a realisation or a log may have.
const TEXT_LIMIT: u64 = 64 << 20;

impl Store {
    /// A cache as a store.
    pub fn of_cache(cache: Cache, mut layout: Layout, options: Options) -> Result<Self> {
        layout.store_dir = cache.store.clone();
        Self::kept(layout, options, Box::new(cache))
    }
}

impl Store {
    /// Which path an output of a derivation got, as a cache says; it must be signed unless that does not matter.
    pub fn realisation_from(
        &self,
        cache: &Cache,
        derivation: &StorePath,
        output: &str,
        unsigned: bool,
    ) -> Result<Realisation> {
        let id = self.realisation_id(&self.read_derivation(derivation)?, output)?;
        let path = self.realised_in(cache, derivation, output, unsigned)?.ok_or_else(|| {
            Error::Invalid(format!(
                "cache `{}` does not know the output `{output}` of {derivation}",
                cache.name
            ))
        })?;
        Ok(Realisation::new(id, path))
    }

    /// The same path: as the cache knows it by the derivation, or by the one that it resolves to.
    fn realised_in(
        &self,
        cache: &Cache,
        path: &StorePath,
        output: &str,
        unsigned: bool,
    ) -> Result<Option<StorePath>> {
        let derivation = self.read_derivation(path)?;
        if let Some(Some(known)) = self.known_outputs(&derivation)?.remove(output) {
            return Ok(Some(known));
        }
        let ask = |id: String| {
            let found = cache.realisation_of(&id).map_err(|error| cache.broken(&error))?;
            match found.filter(|found| found.id == id) {
                Some(found) if unsigned || cache.trusted || self.believes(&found) => Ok(Some(found.path)),
                Some(_) => Err(Error::Untrusted { path: id, signed_by: Vec::new() }),
                None => Ok(None),
            }
        };
        let found = ask(self.realisation_id(&derivation, output)?)?;
        if found.is_some() || derivation.input_drvs.is_empty() {
            return Ok(found);
        }
        let mut inputs: BTreeMap<StorePath, BTreeMap<String, StorePath>> = BTreeMap::new();
        for (input, outputs) in &derivation.input_drvs {
            for output in outputs {
                let Some(path) = self.realised_in(cache, input, output, unsigned)? else { return Ok(None) };
                inputs.entry(input.clone()).or_default().insert(output.clone(), path);
            }
        }
        let resolved = crate::build::resolve(self, &derivation, &inputs)?;
        ask(self.realisation_id(&resolved, output)?)
    }
}

impl Cache {
    /// Which path an output got, if the cache knows.
    pub(crate) fn realisation_of(&self, id: &str) -> Result<Option<Realisation>, CacheError> {
        match transport::get(&self.place, &realisation_name(id), TEXT_LIMIT) {
            Ok(text) => {
                let text = String::from_utf8(text).map_err(|_| CacheError::NoText)?;
                Realisation::from_json(&text).map(Some).map_err(|_| CacheError::OtherPath(text))
            }
            Err(super::TransportError::Missing) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Notes which path an output got.
    pub fn put_realisation(&self, realisation: &Realisation) -> Result<()> {
        transport::put_text(
            &self.place,
            &realisation_name(&realisation.id),
            &realisation.to_json().to_string(),
        )
        .map_err(|error| self.failed(&realisation.path, &error))
    }

    fn broken(&self, error: &CacheError) -> Error {
        Error::Invalid(format!("cache `{}`: {error}", self.name))
    }

    /// Adds what `dump` writes.
    fn add(&self, info: &mut PathInfo, dump: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
        if self.is_valid(&info.path)? {
            return Ok(());
        }
        self.announce()?;
        let narinfo = self.put_archive(info, false, dump)?;
        self.put_narinfo(&narinfo)
    }
}

fn realisation_name(id: &str) -> String {
    format!("realisations/{id}.doi")
}

impl Keeper for Cache {
    fn what(&self) -> String {
        format!("the cache `{}`", self.name)
    }

    fn info(&self, path: &StorePath) -> Result<Option<PathInfo>> {
        match self.narinfo(path) {
            Ok(found) => Ok(found.map(|narinfo| narinfo.info)),
            Err(error) => Err(self.broken(&error)),
        }
    }

    fn by_hash_part(&self, hash_part: &str) -> Result<Option<StorePath>> {
        let any = StorePath::from_base_name(&format!("{hash_part}-x"))?;
        match self.narinfo_text(&any).map_err(|error| self.broken(&error))? {
            Some(text) => {
                let parsed = formats::narinfo::NarInfo::parse(&text, &self.store);
                Ok(Some(parsed.map_err(|error| self.broken(&error.into()))?.info.path))
            }
            None => Ok(None),
        }
    }

    fn all_valid(&self) -> Result<BTreeSet<StorePath>> {
        let super::Place::Directory(directory) = &self.place else {
            return crate::keeper::refused(&self.what(), "list its paths");
        };
        let mut found = BTreeSet::new();
        for entry in std::fs::read_dir(directory).map_err(Error::file("reading directory", directory))? {
            let entry = entry.map_err(Error::file("reading directory", directory))?;
            let name = entry.file_name();
            if let Some(part) = name.to_str().and_then(|name| name.strip_suffix(".narinfo")) {
                found.extend(self.by_hash_part(part)?);
            }
        }
        Ok(found)
    }

    fn add_texts(&self, texts: &[TextObject]) -> Result<Vec<StorePath>> {
        let mut paths = Vec::new();
        for text in texts {
            let path = self.store.make_text_path(&text.name, &text.contents, &text.references)?;
            let archive = tree::archive_of(&text.name, &text.contents)?;
            let mut info =
                PathInfo::new(path.clone(), Hash::of(Algorithm::Sha256, &archive), archive.len() as u64);
            info.references.clone_from(&text.references);
            info.content_address = Some(ContentAddress {
                method: Method::Text,
                hash: Hash::of(Algorithm::Sha256, &text.contents),
            });
            self.add(&mut info, |output| {
                output.write_all(&archive).map_err(Error::file("writing", path.base_name()))
            })?;
            paths.push(path);
        }
        Ok(paths)
    }

    fn add_path(&self, source: &Path, name: &str, method: Method, algorithm: Algorithm) -> Result<StorePath> {
        let described = tree::describe(&self.store, source, name, method, algorithm)?;
        let mut info = described;
        self.add(&mut info, |output| tree::dump_by(method, source, output))?;
        Ok(info.path)
    }

    fn add_nar(&self, info: &PathInfo, archive: &mut dyn Read, _: bool) -> Result<()> {
        let (mut info, known) = (info.clone(), (info.nar_hash, info.nar_size));
        if self.is_valid(&info.path)? {
            return Ok(());
        }
        self.announce()?;
        let narinfo = self.put_archive(&mut info, false, |output| {
            io::copy(&mut archive.take(known.1), output)
                .map(drop)
                .map_err(Error::file("receiving", "an archive"))
        })?;
        if (narinfo.info.nar_hash, narinfo.info.nar_size) != known {
            return Err(Error::HashMismatch {
                what: format!("the archive of `{}`", self.store.print(&info.path)),
                specified: Box::new(known.0),
                got: Box::new(narinfo.info.nar_hash),
            });
        }
        self.put_narinfo(&narinfo)
    }

    fn archive(&self, path: &StorePath, output: &mut dyn Write) -> Result<()> {
        let found = self.narinfo(path).map_err(|error| self.broken(&error))?;
        let narinfo = found.ok_or_else(|| Error::NotValid(self.store.print(path)))?;
        let kept = self.kept_archives.as_ref().map(|place| place.join(format!("{}.nar", path.hash_part())));
        if let Some(mut file) = kept.as_ref().and_then(|kept| std::fs::File::open(kept).ok()) {
            return io::copy(&mut file, output)
                .map(drop)
                .map_err(Error::file("reading an archive kept of", &self.name));
        }
        let broken = |error: super::TransportError| self.broken(&error.into());
        let mut input = Cache::archive(self, &narinfo).map_err(broken)?;
        if let Some(kept) = &kept {
            // Complete before it has its name.
            let new = kept.with_extension(format!("{}.new", std::process::id()));
            let mut file = std::fs::File::create(&new).map_err(Error::file("creating", &new))?;
            io::copy(&mut input, &mut file).map_err(Error::file("keeping an archive in", &new))?;
            std::fs::rename(&new, kept).map_err(Error::file("keeping an archive in", kept))?;
            let file = std::fs::File::open(kept).map_err(Error::file("opening", kept))?;
            input = Box::new(file);
        }
        let size = narinfo.info.nar_size;
        let copied = io::copy(&mut input.by_ref().take(size), output)
            .map_err(Error::file("reading an archive of", &self.name))?;
        if copied == size {
            return Ok(());
        }
        Err(Error::Invalid(format!("cache `{}`: the archive of {path} is {copied} bytes long", self.name)))
    }

    fn add_signatures(&self, path: &StorePath, signatures: &[String]) -> Result<()> {
        let found = self.narinfo(path).map_err(|error| self.broken(&error))?;
        let mut narinfo = found.ok_or_else(|| Error::NotValid(self.store.print(path)))?;
        narinfo.info.signatures.extend(signatures.iter().cloned());
        self.put_narinfo(&narinfo)
    }

    fn realisation(&self, id: &str) -> Result<Option<Realisation>> {
        self.realisation_of(id).map_err(|error| self.broken(&error))
    }

    fn register_realisation(&self, realisation: &Realisation) -> Result<()> {
        self.put_realisation(realisation)
    }

    fn build_log(&self, derivation: &StorePath) -> Result<Option<Vec<u8>>> {
        match transport::get(&self.place, &format!("log/{derivation}"), TEXT_LIMIT) {
            Ok(text) => Ok(Some(text)),
            Err(super::TransportError::Missing) => Ok(None),
            Err(error) => Err(self.broken(&error.into())),
        }
    }

    fn add_build_log(&self, derivation: &StorePath, content: &mut dyn Read) -> Result<()> {
        let mut text = String::new();
        content.read_to_string(&mut text).map_err(Error::file("reading", "a build log"))?;
        transport::put_text(&self.place, &format!("log/{derivation}"), &text)
            .map_err(|error| self.failed(derivation, &error))
    }

    /// Nothing is built here: what is asked for must be there.
    fn build(&self, requests: &[(StorePath, Wanted)], _: &BuildOptions) -> Result<BuildReport> {
        let missing = Keeper::missing(self, requests)?.build;
        if missing.is_empty() {
            return Ok(BuildReport::default());
        }
        let failures = missing.into_iter().map(|derivation| Failure {
            derivation,
            kind: FailureKind::Unsupported(format!("{} cannot build; name machines that can", self.what())),
            tail: Vec::new(),
            log: None,
            kept: None,
        });
        Err(Error::Build(Box::new(BuildError { failures: failures.collect(), dependents: Vec::new() })))
    }

    fn missing(&self, requests: &[(StorePath, Wanted)]) -> Result<Missing> {
        let mut missing = Missing::default();
        for (path, wanted) in requests {
            let mut archive = Vec::new();
            Keeper::archive(self, path, &mut archive)?;
            let name = path.name().trim_end_matches(".drv");
            let text = tree::only_file(path.base_name(), &archive)?;
            let derivation = formats::derivation::parse(&text, name, &self.store)
                .map_err(|source| Error::Derivation { path: self.store.print(path), source })?;
            for (output, place) in derivation.output_paths(&self.store)? {
                // What only a build tells is known by who asked.
                if let Some(place) = place.filter(|_| wanted.contains(&output))
                    && !self.is_valid(&place)?
                {
                    missing.build.push(path.clone());
                    break;
                }
            }
        }
        Ok(missing)
    }
}
