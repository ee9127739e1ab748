//! Puts paths into a cache. All archives first, on all cores; then the narinfos, each after those that it refers to: a cache
//! never names a path whose closure it does not have, wherever the work is cut off.

use super::compression::Encoder;
use super::{Cache, TransportError, narinfo_name, transport};
use crate::error::{Error, Result};
use crate::nar_listing::Node;
use crate::open::Store;
use formats::hash::{Algorithm, HashingWriter};
use formats::narinfo::NarInfo;
use formats::path_info::PathInfo;
use formats::store_path::StorePath;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::sync::{Mutex, PoisonError};

/// Where files of debugging symbols are, by the build ids of their programs.
const SYMBOLS: &str = "lib/debug/.build-id";

impl Cache {
    /// Puts valid paths, whose references must be among them or in the cache, into the cache. Returns those that were not
    /// there before. `progress` hears of each path before it is packed.
    pub fn upload(
        &self,
        store: &Store,
        paths: &BTreeSet<StorePath>,
        progress: &(dyn Fn(&StorePath) + Sync),
    ) -> Result<Vec<StorePath>> {
        self.announce()?;
        let next = Mutex::new(store.sort_by_references(paths)?.into_iter().enumerate());
        let packed: Mutex<Vec<(usize, NarInfo)>> = Mutex::default();
        let failure: Mutex<Option<Error>> = Mutex::default();
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let pack_on = || {
            while let Some((index, path)) = { lock(&next).next() } {
                if lock(&failure).is_some() {
                    return;
                }
                match self.pack(store, &path, progress) {
                    Ok(narinfo) => lock(&packed).extend(narinfo.map(|narinfo| (index, narinfo))),
                    Err(error) => *lock(&failure) = Some(error),
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(pack_on);
            }
        });
        if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        let mut packed = packed.into_inner().unwrap_or_else(PoisonError::into_inner);
        packed.sort_by_key(|(index, _)| *index);
        let mut done = Vec::new();
        for (_, narinfo) in packed {
            self.put_narinfo(&narinfo)?;
            done.push(narinfo.info.path);
        }
        Ok(done)
    }

    /// Signs a path that the cache has.
    pub fn sign(&self, path: &StorePath, key: &formats::signature::SecretKey) -> Result<()> {
        let cannot = |why: String| Error::Invalid(format!("cache `{}`: {path}: {why}", self.name));
        let mut narinfo = self
            .narinfo(path)
            .map_err(|error| cannot(error.to_string()))?
            .ok_or_else(|| cannot("it is not there".to_owned()))?;
        narinfo.info.signatures.insert(key.sign(&narinfo.info.fingerprint(&self.store)));
        self.put_narinfo(&narinfo)
    }

    /// Writes `nix-cache-info` where there is none yet.
    pub(super) fn announce(&self) -> Result<()> {
        if self.info.store_dir.is_some() {
            return Ok(());
        }
        transport::put_text(&self.place, "nix-cache-info", &format!("StoreDir: {}\n", self.store))
            .map_err(|error| Error::Invalid(format!("cache `{}`: {error}", self.name)))
    }

    /// Writes one path's archive; `None` when the cache has the path.
    fn pack(
        &self,
        store: &Store,
        path: &StorePath,
        progress: &(dyn Fn(&StorePath) + Sync),
    ) -> Result<Option<NarInfo>> {
        let failed = |error: TransportError| self.failed(path, &error);
        if transport::exists(&self.place, &narinfo_name(path)).map_err(failed)? {
            return Ok(None);
        }
        progress(path);
        let mut info = store.path_info(path)?;
        let known = (info.nar_hash, info.nar_size);
        let narinfo =
            self.put_archive(&mut info, store.options.durable, |output| store.archive(path, output))?;
        if (narinfo.info.nar_hash, narinfo.info.nar_size) != known {
            return Err(Error::HashMismatch {
                what: format!("`{}`: it was damaged after it was registered", store.dir().print(path)),
                specified: Box::new(known.0),
                got: Box::new(narinfo.info.nar_hash),
            });
        }
        if self.writes_listings || self.indexes_debug_info {
            self.describe_contents(store, &narinfo)?;
        }
        Ok(Some(narinfo))
    }

    /// Writes what is in an archive: its listing, and which of its files have the symbols of which program.
    fn describe_contents(&self, store: &Store, narinfo: &NarInfo) -> Result<()> {
        let path = &narinfo.info.path;
        let failed = |error: TransportError| self.failed(path, &error);
        let (mut reader, mut writer) = io::pipe().map_err(Error::file("listing", path.base_name()))?;
        let root = std::thread::scope(|scope| {
            let dumping = scope.spawn(move || store.archive(path, &mut io::BufWriter::new(&mut writer)));
            let listed = Node::of_archive(&mut io::BufReader::new(&mut reader));
            drop(reader);
            match dumping.join() {
                Ok(dumped) => dumped.and(listed),
                Err(_) => Err(Error::Invalid("the listing thread died".to_owned())),
            }
        })?;
        if self.writes_listings {
            let listing = serde_json::json!({"version": 1, "root": root.to_json(true)}).to_string();
            let name = format!("{}.ls", path.hash_part());
            transport::put_text(&self.place, &name, &listing).map_err(failed)?;
        }
        let Some(Node::Directory(parts)) = root.at(SYMBOLS).filter(|_| self.indexes_debug_info) else {
            return Ok(());
        };
        for (start, node) in parts.iter().filter(|(start, _)| start.len() == 2) {
            let Node::Directory(files) = node else { continue };
            for (rest, _) in files.iter().filter(|(rest, _)| rest.strip_suffix(".debug").is_some()) {
                let place = serde_json::json!({
                    "archive": format!("../{}", narinfo.url),
                    "member": format!("{SYMBOLS}/{start}/{rest}"),
                });
                let name = format!("debuginfo/{start}{rest}");
                if !transport::exists(&self.place, &name).map_err(failed)? {
                    transport::put_text(&self.place, &name, &place.to_string()).map_err(failed)?;
                }
            }
        }
        Ok(())
    }

    /// Writes an archive and signs its description, in which its hash and size are set. The narinfo is left to write.
    pub(super) fn put_archive(
        &self,
        info: &mut PathInfo,
        durable: bool,
        dump: impl FnOnce(&mut dyn io::Write) -> Result<()>,
    ) -> Result<NarInfo> {
        let path = info.path.clone();
        let failed = |error: TransportError| self.failed(&path, &error);
        let temporary = transport::temporary(&self.place, path.base_name()).map_err(failed)?;
        let written = self.write_archive(&temporary, durable, dump);
        let put = written.and_then(|(nar_hash, nar_size, file_hash, file_size)| {
            (info.nar_hash, info.nar_size) = (nar_hash, nar_size);
            let url = format!("nar/{}.nar{}", file_hash.digits32(), self.compression.suffix());
            transport::put(&self.place, &url, &temporary).map_err(failed)?;
            if let Some(key) = &self.secret_key {
                info.signatures.insert(key.sign(&info.fingerprint(&self.store)));
            }
            Ok(NarInfo {
                info: info.clone(),
                url,
                compression: self.compression,
                file_hash: Some(file_hash),
                file_size: Some(file_size),
            })
        });
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::file("removing", &temporary)(error))
            }
            _ => put,
        }
    }

    /// Writes the description of a path whose archive is there.
    pub(super) fn put_narinfo(&self, narinfo: &NarInfo) -> Result<()> {
        let path = &narinfo.info.path;
        transport::put_text(&self.place, &narinfo_name(path), &narinfo.print(&self.store))
            .map_err(|error| self.failed(path, &error))
    }

    /// Dumps, hashes, compresses and hashes again, in one pass.
    fn write_archive(
        &self,
        temporary: &std::path::Path,
        durable: bool,
        dump: impl FnOnce(&mut dyn io::Write) -> Result<()>,
    ) -> Result<(formats::hash::Hash, u64, formats::hash::Hash, u64)> {
        let writing = || Error::file("writing", temporary);
        let file = File::create(temporary).map_err(writing())?;
        let file = HashingWriter::new(io::BufWriter::with_capacity(128 * 1024, file), Algorithm::Sha256);
        let encoder = Encoder::new(self.compression, self.level, file).map_err(writing())?;
        let hashing = HashingWriter::new(encoder, Algorithm::Sha256);
        let mut buffered = io::BufWriter::with_capacity(128 * 1024, hashing);
        dump(&mut buffered)?;
        let hashing = buffered.into_inner().map_err(|error| writing()(error.into_error()))?;
        let (encoder, nar_hash, nar_size) = hashing.finish();
        let (mut buffered, file_hash, file_size) = encoder.finish().map_err(writing())?.finish();
        buffered.flush().map_err(writing())?;
        let file = buffered.into_inner().map_err(|error| writing()(error.into_error()))?;
        if durable {
            // The narinfo that names it comes later: after a power cut there is no name without its bytes.
            file.sync_data().map_err(writing())?;
        }
        Ok((nar_hash, nar_size, file_hash, file_size))
    }

    pub(super) fn failed(&self, path: &StorePath, error: &TransportError) -> Error {
        Error::Invalid(format!("cannot copy `{path}` to the cache `{}`: {error}", self.name))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
