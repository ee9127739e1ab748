//! Adding objects that are not built: texts, files, trees, NARs. Order of every addition: temporary root, lock, write,
//! sync, register. What a crash leaves behind is not valid and is removed by the next writer or collection.

use crate::database::NewPath;
use crate::error::{Error, Result};
use crate::lock::PathLocks;
use crate::open::Store;
use crate::temporary::Temporary;
use crate::tree::{self, Copied};
use formats::content_address::{ContentAddress, Method};
use formats::derivation::Derivation;
use formats::hash::{Algorithm, Hash, HashingReader, HashingWriter};
use formats::nar;
use formats::path_info::PathInfo;
use formats::store_path::StorePath;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// A text to add.
#[derive(Debug, Clone)]
pub struct TextObject {
    /// The store path's name.
    pub name: String,
    /// The file's bytes.
    pub contents: Vec<u8>,
    /// What it refers to.
    pub references: BTreeSet<StorePath>,
}

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs() as i64)
}

impl Store {
    /// Adds a text file (as `builtins.toFile` does, and as derivations are).
    pub fn add_text(
        &self,
        name: &str,
        contents: &[u8],
        references: &BTreeSet<StorePath>,
    ) -> Result<StorePath> {
        let text =
            TextObject { name: name.to_owned(), contents: contents.to_vec(), references: references.clone() };
        let paths = self.add_texts(std::slice::from_ref(&text))?;
        paths.into_iter().next().ok_or_else(|| Error::Invalid("no text was added".to_owned()))
    }

    /// Adds many texts in one transaction; they may refer to each other in any order.
    pub fn add_texts(&self, texts: &[TextObject]) -> Result<Vec<StorePath>> {
        if let Some(remote) = &self.remote {
            return remote.add_texts(texts);
        }
        let mut paths = Vec::new();
        let mut missing: BTreeMap<StorePath, &TextObject> = BTreeMap::new();
        for text in texts {
            let path = self.dir().make_text_path(&text.name, &text.contents, &text.references)?;
            self.add_temp_root(&path)?;
            if !self.is_valid(&path)? {
                missing.insert(path.clone(), text);
            }
            paths.push(path);
        }
        if missing.is_empty() {
            return Ok(paths);
        }
        let derivations = self.parse_new_derivations(&missing)?;
        self.make_room();
        let real: Vec<_> = missing.keys().map(|path| self.real_path(path)).collect();
        let _locks = PathLocks::acquire(&real)?;
        let mut infos = Vec::new();
        for (path, text) in &missing {
            if self.is_valid(path)? {
                continue; // somebody was faster
            }
            infos.push(self.write_text(path, text)?);
        }
        if self.options.durable {
            match infos.as_slice() {
                [one] => tree::sync_tree(&self.real_path(&one.path), 1)?,
                _ => tree::sync_file_system(&self.layout.real_store)?,
            }
        }
        let mut new = Vec::new();
        for info in &infos {
            let outputs = match derivations.get(&info.path) {
                Some(derivation) => self.output_paths(derivation)?,
                None => BTreeMap::new(),
            };
            new.push(NewPath { info, outputs });
        }
        self.database().register(&new)?;
        Ok(paths)
    }

    /// Derivations among the texts, each checked to claim only its own outputs.
    fn parse_new_derivations(
        &self,
        texts: &BTreeMap<StorePath, &TextObject>,
    ) -> Result<BTreeMap<StorePath, Derivation>> {
        let mut derivations = BTreeMap::new();
        for (path, text) in texts.iter().filter(|(path, _)| path.is_derivation()) {
            derivations.insert(path.clone(), self.parse_derivation(path, &text.contents)?);
        }
        for derivation in derivations.values() {
            derivation.check_output_paths::<Error>(self.dir(), &mut |input| {
                self.modulo_among(input, &derivations)
            })?;
        }
        Ok(derivations)
    }

    fn write_text(&self, path: &StorePath, text: &TextObject) -> Result<PathInfo> {
        let real = self.real_path(path);
        tree::remove(&real)?;
        let mut archive = Vec::with_capacity(text.contents.len() + 128);
        let mut writer = nar::Writer::new(&mut archive).map_err(Error::nar(path.base_name()))?;
        writer
            .file(false, text.contents.len() as u64, &mut text.contents.as_slice())
            .and_then(|()| writer.finish().map(drop))
            .map_err(Error::nar(path.base_name()))?;
        tree::restore(&real, &mut archive.as_slice())?;
        let mut info = PathInfo::new(path.clone(), Hash::sha256(&archive), archive.len() as u64);
        info.references.clone_from(&text.references);
        info.content_address =
            Some(ContentAddress { method: Method::Text, hash: Hash::sha256(&text.contents) });
        info.registration_time = now();
        Ok(info)
    }

    /// Adds a file or tree from the file system under the hash of its NAR, or a file under the hash of its contents.
    /// A path that is valid already is recognised by its hash and not copied.
    pub fn add_path(
        &self,
        source: &Path,
        name: &str,
        method: Method,
        algorithm: Algorithm,
    ) -> Result<StorePath> {
        if let Some(remote) = &self.remote {
            return remote.add_path(source, name, method, algorithm);
        }
        self.make_room();
        let hash = match method {
            Method::Recursive if algorithm == Algorithm::Sha256 => {
                // Reading a tree twice is dear: unless it looks as if it were here already, copy at once.
                if !self.database().has_name(name)? {
                    return self.add_by_copying(source, name);
                }
                tree::hash_tree(source, algorithm)?.0
            }
            Method::Recursive => tree::hash_tree(source, algorithm)?.0,
            Method::Flat => tree::hash_file(source, algorithm)?,
            Method::Text | Method::Git => {
                return Err(Error::Invalid(format!("cannot add `{}` by this method", source.display())));
            }
        };
        let none = BTreeSet::new();
        let path = self.dir().make_fixed_output_path(name, method, &hash, &none, false)?;
        self.add_temp_root(&path)?;
        if self.is_valid(&path)? {
            return Ok(path);
        }
        let real = self.real_path(&path);
        let _lock = PathLocks::acquire(std::slice::from_ref(&real))?;
        if self.is_valid(&path)? {
            return Ok(path);
        }
        let copied = if method == Method::Flat {
            copy_file(source, &real)
        } else {
            tree::remove(&real).and_then(|_| tree::copy(source, &real, Algorithm::Sha256))
        };
        let (nar_hash, nar_size, entries) = match copied {
            Ok(copied) => copied,
            Err(error) => {
                tree::remove(&real)?;
                return Err(error);
            }
        };
        let unchanged = match method {
            Method::Flat => tree::hash_file(&real, algorithm)? == hash,
            _ if algorithm == Algorithm::Sha256 => nar_hash == hash,
            _ => tree::hash_tree(&real, algorithm)?.0 == hash,
        };
        if !unchanged {
            tree::remove(&real)?;
            return Err(Error::Invalid(format!(
                "`{}` changed while it was added to the store",
                source.display()
            )));
        }
        let mut info = PathInfo::new(path.clone(), nar_hash, nar_size);
        info.content_address = Some(ContentAddress { method, hash });
        info.registration_time = now();
        self.finish(&info, entries)?;
        Ok(path)
    }

    /// Adds a tree under the SHA-256 of its NAR, copying it while it is hashed.
    fn add_by_copying(&self, source: &Path, name: &str) -> Result<StorePath> {
        let place = Temporary::create(self)?;
        let inside = place.path().join("x");
        let (hash, size, entries) = tree::copy(source, &inside, Algorithm::Sha256)?;
        let none = BTreeSet::new();
        let path = self.dir().make_fixed_output_path(name, Method::Recursive, &hash, &none, false)?;
        self.add_temp_root(&path)?;
        let real = self.real_path(&path);
        let _lock = PathLocks::acquire(std::slice::from_ref(&real))?;
        if self.is_valid(&path)? {
            return Ok(path);
        }
        tree::remove(&real)?;
        tree::rename(&inside, &real)?;
        let mut info = PathInfo::new(path.clone(), hash, size);
        info.content_address = Some(ContentAddress { method: Method::Recursive, hash });
        info.registration_time = now();
        let finished = self.finish(&info, entries);
        if finished.is_err() {
            tree::remove(&real)?;
        }
        finished.map(|()| path)
    }

    /// Adds a path from its NAR. The hash and size must be those that `info` says; signatures are the caller's business.
    pub fn add_nar(&self, info: &PathInfo, archive: &mut dyn Read) -> Result<()> {
        if let Some(remote) = &self.remote {
            return remote.add_nar(info, archive, self.options.trust.require_signatures);
        }
        self.add_temp_root(&info.path)?;
        self.make_room();
        let _lock = PathLocks::acquire(&[self.real_path(&info.path)])?;
        self.take_nar(info, archive)
    }

    /// The same, where the caller holds the path's lock and the store is in a directory of ours.
    pub(crate) fn add_nar_locked(&self, info: &PathInfo, archive: &mut dyn Read) -> Result<()> {
        self.add_temp_root(&info.path)?;
        self.take_nar(info, archive)
    }

    /// Gives a valid path that is damaged its content again, from its NAR.
    pub(crate) fn replace_by_nar(&self, info: &PathInfo, archive: &mut dyn Read) -> Result<()> {
        let place = Temporary::create(self)?;
        let inside = place.path().join("x");
        let mut reader = HashingReader::new(archive.take(info.nar_size), Algorithm::Sha256);
        tree::restore(&inside, &mut reader)?;
        let (_, hash, size) = reader.finish();
        check_archive(&self.dir().print(&info.path), info, &hash, size)?;
        self.check_content_address(info, &inside)?;
        let _lock = PathLocks::acquire(&[self.real_path(&info.path)])?;
        self.replace_tree(&info.path, &inside)?;
        let mut info = info.clone();
        info.registration_time = now();
        let outputs = self.outputs_of_new(&info.path)?;
        self.database().register(&[NewPath { info: &info, outputs }])
    }

    fn take_nar(&self, info: &PathInfo, archive: &mut dyn Read) -> Result<()> {
        let real = self.real_path(&info.path);
        if self.is_valid(&info.path)? {
            return Ok(());
        }
        tree::remove(&real)?;
        // Not a byte more than announced: an archive without end would fill the disk first.
        let mut reader = HashingReader::new(archive.take(info.nar_size), Algorithm::Sha256);
        let restored = tree::restore(&real, &mut reader).and_then(|entries| {
            let (_, hash, size) = reader.finish();
            check_archive(&self.dir().print(&info.path), info, &hash, size)?;
            self.check_content_address(info, &real)?;
            let mut info = info.clone();
            info.registration_time = now();
            self.finish(&info, entries)
        });
        if restored.is_err() {
            tree::remove(&real)?;
        }
        restored
    }

    /// Syncs a written path and makes it valid.
    fn finish(&self, info: &PathInfo, entries: usize) -> Result<()> {
        let real = self.real_path(&info.path);
        if self.options.durable {
            tree::sync_tree(&real, entries)?;
        }
        let outputs = self.outputs_of_new(&info.path)?;
        self.database().register(&[NewPath { info, outputs }])
    }

    /// What a path that is about to become valid says that it builds: nothing unless it is a derivation, and then only
    /// what is its own.
    pub(crate) fn outputs_of_new(&self, path: &StorePath) -> Result<BTreeMap<String, StorePath>> {
        if !path.is_derivation() || !self.real_path(path).is_file() {
            return Ok(BTreeMap::new());
        }
        let real = self.real_path(path);
        let text = std::fs::read(&real).map_err(Error::file("reading", &real))?;
        if crate::derivations::is_dynamic(&text) {
            return Ok(BTreeMap::new());
        }
        let derivation = self.parse_derivation(path, &text)?;
        self.check_derivation(&derivation)?;
        self.output_paths(&derivation)
    }
}

/// Compares an archive that was read with what was announced.
fn check_archive(path: &str, info: &PathInfo, hash: &Hash, size: u64) -> Result<()> {
    if *hash != info.nar_hash {
        return Err(Error::HashMismatch {
            what: format!("the NAR of `{path}`"),
            specified: Box::new(info.nar_hash),
            got: Box::new(*hash),
        });
    }
    if size != info.nar_size {
        return Err(Error::Invalid(format!(
            "the NAR of `{path}` has {size} bytes, {} were announced",
            info.nar_size
        )));
    }
    Ok(())
}

/// Copies a file as a plain file that is not executable.
fn copy_file(source: &Path, target: &Path) -> Result<Copied> {
    tree::remove(target)?;
    let mut file = File::open(source).map_err(Error::file("opening", source))?;
    let size = file.metadata().map_err(Error::file("examining", source))?.len();
    let (mut reader, writer) = io::pipe().map_err(Error::file("copying", source))?;
    let hashed = std::thread::scope(|scope| {
        let writing = scope.spawn(move || {
            let output = HashingWriter::new(writer, Algorithm::Sha256);
            let mut archive = nar::Writer::new(output)?;
            archive.file(false, size, &mut file)?;
            archive.finish().map(HashingWriter::finish)
        });
        tree::restore(target, &mut reader)?;
        drop(reader);
        match writing.join() {
            Ok(result) => result.map_err(Error::nar(source.display().to_string())),
            Err(_) => Err(Error::Invalid("the copying thread died".to_owned())),
        }
    })?;
    Ok((hashed.1, hashed.2, 1))
}
