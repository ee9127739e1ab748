//! Rebuilding a lost database from what is in the store directory.
//!
//! What can be proved is: derivations and other texts, sources, fixed outputs, everything whose name follows from its content.
//! Of the rest, what builds made, the name says nothing about the content; it is taken as it is when it has the canonical
//! form that a store gives to an object just before it becomes valid (modes, times), and everything that it mentions is there.
//! Whoever wants proof has it made again: `firn store verify --repair`, `nix-store --repair-path`.

use crate::add::now;
use crate::database::NewPath;
use crate::error::{Error, Result};
use crate::open::Store;
use crate::rewrite::hash_part;
use crate::scan::ReferenceScanner;
use crate::tree;
use formats::content_address::{ContentAddress, Method};
use formats::derivation::{Derivation, Output};
use formats::hash::{Algorithm, HashingWriter};
use formats::path_info::PathInfo;
use formats::store_path::StorePath;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// What a rebuilding found.
#[derive(Debug, Default)]
pub struct Rebuilt {
    /// Paths that are valid again.
    pub registered: BTreeSet<StorePath>,
    /// Those of them whose content is proved to be right by their name.
    pub proved: BTreeSet<StorePath>,
    /// What was left as it is, and why.
    pub left: BTreeMap<StorePath, String>,
}

/// What is known of one object before it is decided whether it becomes valid.
struct Found {
    info: PathInfo,
    proved: bool,
}

/// Which derivation makes a path, and with which address if that is fixed.
type Makers = BTreeMap<StorePath, (StorePath, Option<ContentAddress>)>;

impl Store {
    /// Makes valid what is in the store directory and not in the database, as far as it is whole. Takes nothing away.
    /// `progress` hears of each object before it is read.
    pub fn rebuild_database(&self, progress: &(dyn Fn(&StorePath) + Sync)) -> Result<Rebuilt> {
        let mut rebuilt = Rebuilt::default();
        let valid = self.all_valid()?;
        let present = self.objects()?;
        let unknown: Vec<StorePath> = present.difference(&valid).cloned().collect();
        let derivations = self.derivations_among(&unknown, &mut rebuilt.left);
        let makers = self.makers(&derivations)?;
        let found: Mutex<BTreeMap<StorePath, Result<Found, String>>> = Mutex::default();
        let rest: Vec<&StorePath> = unknown.iter().filter(|path| !rebuilt.left.contains_key(path)).collect();
        let next = Mutex::new(rest.iter());
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some(path) = { next.lock().unwrap_or_else(PoisonError::into_inner).next() } {
                        progress(path);
                        let one = self.examine(path, &present, &derivations, &makers);
                        found.lock().unwrap_or_else(PoisonError::into_inner).insert((*path).clone(), one);
                    }
                });
            }
        });
        let mut whole = BTreeMap::new();
        for (path, one) in found.into_inner().unwrap_or_else(PoisonError::into_inner) {
            match one {
                Ok(one) => drop(whole.insert(path, one)),
                Err(reason) => drop(rebuilt.left.insert(path, reason)),
            }
        }
        drop_incomplete(&mut whole, &valid, &mut rebuilt.left);
        let mut new = Vec::new();
        for (path, one) in &whole {
            let outputs = match derivations.get(path) {
                Some(derivation) => self.output_paths(derivation)?,
                None => BTreeMap::new(),
            };
            new.push(NewPath { info: &one.info, outputs });
        }
        self.database().register(&new)?;
        drop(new);
        rebuilt.proved = whole.values().filter(|one| one.proved).map(|one| one.info.path.clone()).collect();
        rebuilt.registered = whole.into_keys().collect();
        Ok(rebuilt)
    }

    /// Everything in the store directory that has a store path's name.
    fn objects(&self) -> Result<BTreeSet<StorePath>> {
        let directory = &self.layout.real_store;
        let mut objects = BTreeSet::new();
        for entry in fs::read_dir(directory).map_err(Error::file("reading directory", directory))? {
            let entry = entry.map_err(Error::file("reading directory", directory))?;
            let name = entry.file_name();
            // Locks and build directories have a path's name with something behind it.
            let aside = Path::new(&name).extension().is_some_and(|word| word == "lock" || word == "chroot");
            objects.extend(
                name.to_str().filter(|_| !aside).and_then(|name| StorePath::from_base_name(name).ok()),
            );
        }
        Ok(objects)
    }

    fn derivations_among(
        &self,
        paths: &[StorePath],
        left: &mut BTreeMap<StorePath, String>,
    ) -> BTreeMap<StorePath, Derivation> {
        let mut derivations = BTreeMap::new();
        for path in paths.iter().filter(|path| path.is_derivation() && self.real_path(path).is_file()) {
            match self.read_derivation(path) {
                Ok(derivation) => drop(derivations.insert(path.clone(), derivation)),
                Err(error) => drop(left.insert(path.clone(), error.to_string())),
            }
        }
        derivations
    }

    fn makers(&self, derivations: &BTreeMap<StorePath, Derivation>) -> Result<Makers> {
        let mut makers = Makers::new();
        for (path, derivation) in derivations {
            for (name, output) in &derivation.outputs {
                let Some(made) = derivation.output_path(self.dir(), name)? else { continue };
                let address = match output {
                    Output::Fixed(address) => Some(*address),
                    _ => None,
                };
                makers.insert(made, (path.clone(), address));
            }
        }
        Ok(makers)
    }

    /// Hashes and scans one object. An error is a reason to leave it.
    fn examine(
        &self,
        path: &StorePath,
        present: &BTreeSet<StorePath>,
        derivations: &BTreeMap<StorePath, Derivation>,
        makers: &Makers,
    ) -> Result<Found, String> {
        let place = self.real_path(path);
        let text = |error: Error| error.to_string();
        check_form(&place)?;
        let scanner = ReferenceScanner::new(HashingWriter::new(io::sink(), Algorithm::Sha256), present);
        let buffered = tree::dump(&place, io::BufWriter::with_capacity(64 * 1024, scanner)).map_err(text)?;
        let scanner = buffered.into_inner().map_err(|error| error.to_string())?;
        let (hasher, mut references) = scanner.finish();
        let (_, hash, size) = hasher.finish();
        let mut info = PathInfo::new(path.clone(), hash, size);
        info.registration_time = now();
        let mut proved = false;
        if let Some(derivation) = derivations.get(path) {
            references = derivation.references();
            let named = self.address(path, &place, &references, (Method::Text, Algorithm::Sha256))?;
            info.content_address = Some(named.ok_or("its content is not what its name says")?);
            proved = true;
        } else if let Some((maker, fixed)) = makers.get(path) {
            info.deriver = Some(maker.clone());
            if let Some(fixed) = fixed {
                // What is fixed mentions nothing.
                references.clear();
                let kind = (fixed.method, fixed.hash.algorithm());
                let named = self.address(path, &place, &references, kind)?;
                info.content_address = Some(named.ok_or("its content is not what its derivation promised")?);
                proved = true;
            }
        } else {
            // A source may mention paths without referring to them: nobody scanned it when it was added.
            let none = BTreeSet::new();
            let guesses = [
                (Method::Recursive, &none),
                (Method::Flat, &none),
                (Method::Text, &references),
                (Method::Text, &none),
                (Method::Recursive, &references),
            ];
            for (method, references) in guesses {
                if method != Method::Recursive && !place.is_file() {
                    continue;
                }
                if let Some(address) = self.address(path, &place, references, (method, Algorithm::Sha256))? {
                    info.content_address = Some(address);
                    info.references.clone_from(references);
                    return Ok(Found { info, proved: true });
                }
            }
        }
        info.references = references;
        Ok(Found { info, proved })
    }

    /// The content address by this method, if it gives the path.
    fn address(
        &self,
        path: &StorePath,
        place: &Path,
        references: &BTreeSet<StorePath>,
        kind: (Method, Algorithm),
    ) -> Result<Option<ContentAddress>, String> {
        let own = references.contains(path);
        let others: BTreeSet<StorePath> =
            references.iter().filter(|reference| *reference != path).cloned().collect();
        match self.address_of(place, path.name(), kind, &hash_part(path), &others, own) {
            Ok((address, named)) => Ok((named == *path).then_some(address)),
            // A method that has no path with references is not the one.
            Err(Error::Path(_)) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// An object that a build or an addition was still writing does not have these.
fn check_form(place: &Path) -> Result<(), String> {
    let found = fs::symlink_metadata(place).map_err(|error| error.to_string())?;
    let mode_is_right = found.is_symlink() || matches!(found.mode() & 0o7777, 0o444 | 0o555);
    if mode_is_right && found.mtime() == 1 {
        Ok(())
    } else {
        Err("it has not the modes and times of a finished object".to_owned())
    }
}

/// Leaves what refers to something that is not there or is left itself, until nothing more does.
fn drop_incomplete(
    whole: &mut BTreeMap<StorePath, Found>,
    valid: &BTreeSet<StorePath>,
    left: &mut BTreeMap<StorePath, String>,
) {
    loop {
        let incomplete: Vec<(StorePath, StorePath)> = whole
            .iter()
            .filter_map(|(path, one)| {
                let absent = one
                    .info
                    .references
                    .iter()
                    .find(|reference| !whole.contains_key(*reference) && !valid.contains(*reference))?;
                Some((path.clone(), absent.clone()))
            })
            .collect();
        if incomplete.is_empty() {
            return;
        }
        for (path, absent) in incomplete {
            whole.remove(&path);
            left.insert(path, format!("it refers to `{absent}`, which is not whole or not there"));
        }
    }
}
