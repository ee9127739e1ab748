//! From what a builder left to valid paths: canonical, scanned, hashed, checked, moved into place, synced, registered.

use super::identity::Identity;
use super::one::Job;
use super::{FailureKind, rules};
use crate::add::now;
use crate::database::NewPath;
use crate::error::{Error, Result};
use crate::lock::PathLocks;
use crate::open::Store;
use crate::rewrite::{HashPart, copy_rewritten, hash_part};
use crate::scan::ReferenceScanner;
use crate::tree::{self, Inode};
use formats::content_address::{ContentAddress, Method};
use formats::derivation::Output;
use formats::hash::{Algorithm, HashingWriter};
use formats::path_info::PathInfo;
use formats::store_path::StorePath;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown,
};
use std::path::{Path, PathBuf};

/// The directories of a build, in one that nobody else may enter: `<derivation>.chroot` in the store, so that outputs
/// can be renamed and the collector knows it.
#[derive(Debug)]
pub(super) struct Scratch {
    directory: PathBuf,
    /// The build directory, where it is not below the other.
    outside: Option<PathBuf>,
}

impl Scratch {
    /// Makes the directories. With `outside` the build directory is not in the store: programs refuse to link from there.
    pub(super) fn create(
        store: &Store,
        derivation: &StorePath,
        identity: &Identity,
        outside: bool,
    ) -> Result<Self> {
        let directory = store.layout.real_store.join(format!("{derivation}.chroot"));
        tree::remove(&directory)?;
        let make = |path: &Path, mode: u32| -> Result<()> {
            DirBuilder::new().mode(0o700).create(path).map_err(Error::file("creating", path))?;
            if identity.separate && mode != 0 {
                chown(path, Some(identity.user), Some(identity.group))
                    .map_err(Error::file("changing the owner of", path))?;
            }
            if mode & 0o077 != 0 {
                fs::set_permissions(path, Permissions::from_mode(mode))
                    .map_err(Error::file("changing the mode of", path))?;
            }
            Ok(())
        };
        let outside = if outside { Some(temporary_directory(derivation)?) } else { None };
        let scratch = Self { directory, outside };
        make(&scratch.directory, 0)?;
        make(&scratch.store(), 0o755)?;
        if scratch.outside.is_none() {
            make(&scratch.build(), 0o700)?;
        }
        make(&scratch.temporary(), 0o1777)?;
        Ok(scratch)
    }

    /// Where the sandbox's root is mounted, over the others, in its own namespace.
    pub(super) fn root(&self) -> &Path {
        &self.directory
    }

    /// What the builder sees as the store.
    pub(super) fn store(&self) -> PathBuf {
        self.directory.join("store")
    }

    /// The build directory.
    pub(super) fn build(&self) -> PathBuf {
        self.outside.clone().unwrap_or_else(|| self.directory.join("build"))
    }

    /// Where outputs are written anew with their final paths in them; few builds need it.
    fn rewritten(&self) -> Result<PathBuf> {
        let path = self.directory.join("rewritten");
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(Error::file("creating", &path)(error))
            }
            _ => Ok(path),
        }
    }

    /// `/tmp`.
    pub(super) fn temporary(&self) -> PathBuf {
        self.directory.join("tmp")
    }

    /// Writes a file for the builder, before it starts.
    pub(super) fn write_build_file(&self, name: &str, contents: &[u8], identity: &Identity) -> Result<()> {
        let path = self.build().join(name);
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(&path)
            .map_err(Error::file("creating", &path))?;
        file.write_all(contents).map_err(Error::file("writing", &path))?;
        if identity.separate {
            std::os::unix::fs::fchown(&file, Some(identity.user), Some(identity.group))
                .map_err(Error::file("changing the owner of", &path))?;
        }
        Ok(())
    }

    /// Removes everything.
    pub(super) fn remove(&self) -> Result<()> {
        if let Some(outside) = &self.outside {
            tree::remove(outside)?;
        }
        tree::remove(&self.directory).map(drop)
    }

    /// Leaves the build directory for a look at it, out of the collector's way.
    pub(super) fn keep(&self) -> Result<PathBuf> {
        let name = self.directory.file_stem().unwrap_or_default().to_string_lossy();
        let temporary = std::env::temp_dir();
        for number in 0.. {
            let target = temporary.join(format!("nix-build-{name}-{number}"));
            if fs::symlink_metadata(&target).is_ok() {
                continue;
            }
            // For its owner alone, whatever the builder made of it (CVE-2024-38531).
            fs::set_permissions(self.build(), Permissions::from_mode(0o700))
                .map_err(Error::file("changing the mode of", self.build()))?;
            if fs::rename(self.build(), &target).is_ok() {
                self.remove()?;
                return Ok(target);
            }
            break; // another file system: it stays where it is until the next collection
        }
        Ok(self.build())
    }
}

/// An output that was looked at: where it lies, what it will be.
pub(super) struct Built {
    pub(super) output: String,
    pub(super) info: PathInfo,
    place: PathBuf,
    entries: usize,
    /// Why it must not be used though it may be kept: a fixed output with another hash than promised.
    refused: Option<FailureKind>,
}

/// An output as its builder left it.
struct Raw {
    output: String,
    /// The path that the builder was told.
    scratch: StorePath,
    place: PathBuf,
    references: BTreeSet<StorePath>,
    entries: usize,
    info: PathInfo,
}

/// Makes the outputs valid, all or none; their final paths by name.
pub(super) fn register(job: &Job<'_>) -> Result<BTreeMap<String, StorePath>, FailureKind> {
    let mut built = finish(job, in_order(examine(job)?)?)?;
    for output in &built {
        rules::check(job, output, &built)?;
    }
    if job.goal.check {
        if let Some(refused) = built.iter_mut().find_map(|built| built.refused.take()) {
            return Err(refused);
        }
        if job.options.repair {
            repair(job, &built)?;
        } else {
            compare(job, &built)?;
        }
        return Ok(built.into_iter().map(|built| (built.output, built.info.path)).collect());
    }
    let mut outputs = BTreeMap::new();
    let mut new = Vec::new();
    let mut locks = Vec::new();
    for output in &built {
        let path = &output.info.path;
        outputs.insert(output.output.clone(), path.clone());
        if job.finals.get(&output.output) != Some(&Some(path.clone())) {
            // Nobody could lock it before: its path was not known.
            job.store.add_temp_root(path)?;
            locks.push(PathLocks::acquire(&[job.store.real_path(path)])?);
        }
        if job.store.is_valid(path)? {
            continue; // the same content, or another output of a build that was half there
        }
        move_into_place(job, &output.place, path)?;
        new.push(output);
    }
    if job.store.options.durable {
        match new.as_slice() {
            [] => {}
            [one] => tree::sync_tree(&job.store.real_path(&one.info.path), one.entries)?,
            _ => tree::sync_file_system(&job.store.layout.real_store)?,
        }
    }
    let rows: Vec<NewPath<'_>> =
        new.iter().map(|built| NewPath { info: &built.info, outputs: BTreeMap::new() }).collect();
    job.store.database().register(&rows)?;
    drop(locks);
    match built.iter_mut().find_map(|built| built.refused.take()) {
        Some(refused) => Err(refused),
        None => Ok(outputs),
    }
}

/// Canonicalises and scans each output, and hashes it as it is.
fn examine(job: &Job<'_>) -> Result<Vec<Raw>, FailureKind> {
    let builder = (job.identity.separate).then_some(job.identity.user);
    let mut seen: BTreeSet<Inode> = BTreeSet::new();
    let mut raw = Vec::new();
    for (output, scratch) in &job.outputs {
        let place = job.built_path(scratch);
        let found = match fs::symlink_metadata(&place) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(FailureKind::Output(format!(
                    "the builder succeeded but did not produce the output `{output}` ({})",
                    job.store.dir().print(scratch)
                )));
            }
            Err(error) => return Err(Error::file("examining output", &place)(error).into()),
        };
        if !found.is_symlink() && found.mode() & 0o022 != 0 {
            return Err(FailureKind::Output(format!(
                "output `{output}` is writable for its group or everybody: suspicious, rejected"
            )));
        }
        let entries = tree::canonicalise(&place, builder, &mut seen)
            .map_err(|error| FailureKind::Output(format!("output `{output}`: {error}")))?;
        let place = if job.may_use_network() && !job.goal.derivation.is_builtin() {
            // Who has a network can have passed an open file to somebody outside, who writes to it later: only a copy is
            // nobody else's (CVE-2024-27297, CVE-2025-46416).
            let copy = job.scratch.rewritten()?.join(format!("{}-own", scratch.base_name()));
            tree::copy(&place, &copy, formats::hash::Algorithm::Sha256)?;
            copy
        } else {
            place
        };
        let discard = job.attributes.output_rules(output).discard_references;
        let (info, references) = describe(job, &place, scratch, discard)?;
        raw.push(Raw { output: output.clone(), scratch: scratch.clone(), place, references, entries, info });
    }
    Ok(raw)
}

/// Hashes a tree and finds what it refers to.
fn describe(
    job: &Job<'_>,
    place: &Path,
    path: &StorePath,
    discard_references: bool,
) -> Result<(PathInfo, BTreeSet<StorePath>)> {
    let added = job.restriction.as_ref().map(|restriction| restriction.added()).unwrap_or_default();
    let candidates =
        job.inputs.iter().chain(&added).chain(job.outputs.values()).filter(|_| !discard_references);
    let scanner = ReferenceScanner::new(HashingWriter::new(io::sink(), Algorithm::Sha256), candidates);
    let buffered = tree::dump(place, io::BufWriter::with_capacity(64 * 1024, scanner))?;
    let scanner =
        buffered.into_inner().map_err(|error| Error::file("scanning output", place)(error.into_error()))?;
    let (hasher, references) = scanner.finish();
    let (_, nar_hash, nar_size) = hasher.finish();
    Ok((PathInfo::new(path.clone(), nar_hash, nar_size), references))
}

/// Sorts outputs so that each comes after those that it refers to, which must not go round.
fn in_order(raw: Vec<Raw>) -> Result<Vec<Raw>, FailureKind> {
    let mut left = raw;
    let mut sorted: Vec<Raw> = Vec::new();
    while !left.is_empty() {
        let names: BTreeSet<StorePath> = left.iter().map(|raw| raw.scratch.clone()).collect();
        let free = |raw: &Raw| {
            !raw.references.iter().any(|reference| *reference != raw.scratch && names.contains(reference))
        };
        let Some(index) = left.iter().position(free) else {
            let names: Vec<&str> = left.iter().map(|raw| raw.output.as_str()).collect();
            return Err(FailureKind::Output(format!(
                "cycle of references between its outputs {}",
                names.join(", ")
            )));
        };
        sorted.push(left.remove(index));
    }
    Ok(sorted)
}

/// Gives each output its final path and content.
fn finish(job: &Job<'_>, sorted: Vec<Raw>) -> Result<Vec<Built>, FailureKind> {
    let mut finals: BTreeMap<StorePath, StorePath> = BTreeMap::new();
    let mut built = Vec::new();
    for raw in sorted {
        let mut done = place_output(job, raw, &finals)?;
        finals.insert(done.0, done.1.info.path.clone());
        done.1.info.deriver = Some(job.goal.path.clone());
        done.1.info.ultimate = true;
        done.1.info.registration_time = now();
        job.store.sign_new(&mut done.1.info);
        built.push(done.1);
    }
    Ok(built)
}

/// One output: its path is known or follows from its content; what it says of itself and of its siblings is set right.
fn place_output(
    job: &Job<'_>,
    raw: Raw,
    siblings: &BTreeMap<StorePath, StorePath>,
) -> Result<(StorePath, Built), FailureKind> {
    let Raw { output, scratch, mut place, references, entries, mut info } = raw;
    let moved = |path: &StorePath| siblings.get(path).unwrap_or(path).clone();
    let mut rewrites: BTreeMap<HashPart, HashPart> = siblings
        .iter()
        .filter(|(from, to)| from != to && references.contains(from))
        .map(|(from, to)| (hash_part(from), hash_part(to)))
        .collect();
    let own = references.contains(&scratch);
    let others: BTreeSet<StorePath> =
        references.iter().filter(|path| **path != scratch).map(&moved).collect();
    let (mut refused, mut changed) = (None, false);
    let path = match (job.finals.get(&output), job.goal.derivation.outputs.get(&output)) {
        (_, Some(Output::Fixed(address))) => {
            let (path, wrong) = check_fixed(job, &place, address, &info, &references)?;
            refused = wrong;
            path
        }
        (Some(Some(path)), _) => path.clone(),
        (_, Some(Output::Floating { method, algorithm } | Output::Impure { method, algorithm })) => {
            if !rewrites.is_empty() {
                let target = job.scratch.rewritten()?.join(format!("{}-siblings", scratch.base_name()));
                copy_rewritten(&place, &target, std::mem::take(&mut rewrites))?;
                (place, changed) = (target, true);
            }
            let kind = (*method, *algorithm);
            let name = scratch.name();
            let (address, path) =
                job.store.address_of(&place, name, kind, &hash_part(&scratch), &others, own)?;
            info.content_address = Some(address);
            path
        }
        _ => {
            return Err(FailureKind::Output(format!("the path of output `{output}` is not known")));
        }
    };
    if let Some(Output::Fixed(address)) = job.goal.derivation.outputs.get(&output) {
        let mut address = *address;
        if let Some(FailureKind::HashMismatch { got, .. }) = &refused {
            address.hash = **got;
        }
        info.content_address = Some(address);
    }
    if own && path != scratch {
        rewrites.insert(hash_part(&scratch), hash_part(&path));
    }
    if !rewrites.is_empty() {
        let target = job.scratch.rewritten()?.join(scratch.base_name());
        copy_rewritten(&place, &target, rewrites)?;
        (place, changed) = (target, true);
    }
    if changed || path != scratch {
        let address = info.content_address;
        (info, _) = describe(job, &place, &path, true)?;
        info.content_address = address;
    }
    info.references = others;
    if own {
        info.references.insert(path);
    }
    Ok((scratch, Built { output, info, place, entries, refused }))
}

/// Compares a fixed output with its promise; the path that its content gives, and what is wrong with it.
fn check_fixed(
    job: &Job<'_>,
    place: &Path,
    address: &ContentAddress,
    info: &PathInfo,
    references: &BTreeSet<StorePath>,
) -> Result<(StorePath, Option<FailureKind>), FailureKind> {
    let algorithm = address.hash.algorithm();
    let got = match address.method {
        Method::Flat => {
            let found = fs::symlink_metadata(place).map_err(Error::file("examining output", place))?;
            if !found.is_file() || found.mode() & 0o111 != 0 {
                return Err(FailureKind::Output(
                    "its fixed output should be one plain file without execute permission (outputHashMode flat)"
                        .to_owned(),
                ));
            }
            tree::hash_file(place, algorithm)?
        }
        Method::Recursive if algorithm == Algorithm::Sha256 => info.nar_hash,
        Method::Recursive => tree::hash_tree(place, algorithm)?.0,
        Method::Text | Method::Git => {
            return Err(FailureKind::Unsupported("outputHashMode text and git are not supported".to_owned()));
        }
    };
    if let Some(reference) = references.iter().next() {
        return Err(FailureKind::Output(format!(
            "its fixed output is not allowed to refer to other store paths, and refers to `{}`",
            job.store.dir().print(reference)
        )));
    }
    let found = ContentAddress { method: address.method, hash: got };
    let name = info.path.name();
    let path = job
        .store
        .dir()
        .make_content_address_path(name, &found, &BTreeSet::new(), false)
        .map_err(Error::from)?;
    let wrong = (got != address.hash)
        .then(|| FailureKind::HashMismatch { specified: Box::new(address.hash), got: Box::new(got) });
    Ok((path, wrong))
}

/// Puts what was built in the place of what is damaged.
fn repair(job: &Job<'_>, built: &[Built]) -> Result<()> {
    for built in built {
        if job.store.verify_path(&built.info.path)?.is_some() {
            job.store.replace_tree(&built.info.path, &built.place)?;
            job.store.database().register(&[NewPath { info: &built.info, outputs: BTreeMap::new() }])?;
        }
    }
    Ok(())
}

/// `--check`: the same again, or not.
fn compare(job: &Job<'_>, built: &[Built]) -> Result<(), FailureKind> {
    for built in built {
        let known = job.store.path_info(&built.info.path)?;
        if known.nar_hash == built.info.nar_hash {
            continue;
        }
        let mut message = format!(
            "it may not be deterministic: output `{}` differs from what was built before",
            job.store.dir().print(&built.info.path)
        );
        if job.options.keep_failed {
            let mut target = job.store.real_path(&built.info.path).into_os_string();
            target.push(".check");
            let target = PathBuf::from(target);
            tree::remove(&target)?;
            tree::rename(&built.place, &target)?;
            message = format!("{message}; the new one is kept as `{}`", target.display());
        }
        return Err(FailureKind::NotDeterministic(message));
    }
    Ok(())
}

/// Renames a canonical tree to where it is valid.
fn move_into_place(job: &Job<'_>, from: &Path, path: &StorePath) -> Result<()> {
    let to = job.store.real_path(path);
    if from == to {
        return Ok(());
    }
    tree::remove(&to)?;
    tree::rename(from, &to)
}
/// A new directory for a build below the directory for temporary files.
fn temporary_directory(derivation: &StorePath) -> Result<PathBuf> {
    for number in 0..u32::MAX {
        let name = format!("firn-build-{}-{}-{number}", std::process::id(), derivation.hash_part());
        let path = std::env::temp_dir().join(name);
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Error::file("creating", &path)(error)),
        }
    }
    Err(Error::Invalid("every name for a build directory is taken".to_owned()))
}
