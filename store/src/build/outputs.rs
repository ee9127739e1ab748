//! From what a builder left to valid paths: canonical, scanned, hashed, checked, moved into place, synced, registered.

use super::FailureKind;
use super::attributes::OutputRules;
use super::identity::Identity;
use super::one::Job;
use crate::add::now;
use crate::database::NewPath;
use crate::error::{Error, Result};
use crate::open::Store;
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
}

impl Scratch {
    pub(super) fn create(store: &Store, derivation: &StorePath, identity: &Identity) -> Result<Self> {
        let directory = store.layout.real_store.join(format!("{derivation}.chroot"));
        tree::remove(&directory)?;
        let make = |path: &Path, mode: u32| -> Result<()> {
            DirBuilder::new().mode(0o700).create(path).map_err(Error::file("creating", path))?;
            if identity.separate && mode != 0 {
                chown(path, Some(identity.user), Some(identity.group))
                    .map_err(Error::file("changing the owner of", path))?;
            }
            if mode != 0 {
                fs::set_permissions(path, Permissions::from_mode(mode))
                    .map_err(Error::file("changing the mode of", path))?;
            }
            Ok(())
        };
        let scratch = Self { directory };
        make(&scratch.directory, 0)?;
        make(&scratch.root(), 0)?;
        make(&scratch.store(), 0o755)?;
        make(&scratch.build(), 0o700)?;
        make(&scratch.temporary(), 0o1777)?;
        Ok(scratch)
    }

    /// Where the sandbox's root is mounted.
    pub(super) fn root(&self) -> PathBuf {
        self.directory.join("root")
    }

    /// What the builder sees as the store.
    pub(super) fn store(&self) -> PathBuf {
        self.directory.join("store")
    }

    /// The build directory.
    pub(super) fn build(&self) -> PathBuf {
        self.directory.join("build")
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
            if fs::rename(self.build(), &target).is_ok() {
                self.remove()?;
                return Ok(target);
            }
            break; // another file system: it stays where it is until the next collection
        }
        Ok(self.build())
    }
}

/// An output that was looked at.
struct Built {
    output: String,
    info: PathInfo,
    entries: usize,
}

/// Makes the outputs valid, all or none.
pub(super) fn register(job: &Job<'_>) -> Result<(), FailureKind> {
    let built = examine(job)?;
    check_cycles(&built)?;
    for output in &built {
        check_rules(job, output, &built)?;
    }
    if job.goal.check {
        return compare(job, &built);
    }
    for output in &built {
        move_into_place(job, &output.info.path)?;
    }
    if job.store.options.durable {
        match built.as_slice() {
            [one] => tree::sync_tree(&job.store.real_path(&one.info.path), one.entries)?,
            _ => tree::sync_file_system(&job.store.layout.real_store)?,
        }
    }
    let new: Vec<NewPath<'_>> =
        built.iter().map(|built| NewPath { info: &built.info, outputs: BTreeMap::new() }).collect();
    job.store.database().register(&new)?;
    Ok(())
}

/// Canonicalises, scans and hashes each output.
fn examine(job: &Job<'_>) -> Result<Vec<Built>, FailureKind> {
    let builder = (job.identity.separate).then_some(job.identity.user);
    let mut seen: BTreeSet<Inode> = BTreeSet::new();
    let mut built = Vec::new();
    for (output, path) in &job.outputs {
        let place = job.built_path(path);
        let found = match fs::symlink_metadata(&place) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(FailureKind::Output(format!(
                    "the builder succeeded but did not produce the output `{output}` ({})",
                    job.store.dir().print(path)
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
        let rules = job.attributes.output_rules(output);
        let candidates = job.inputs.iter().chain(job.outputs.values()).filter(|_| !rules.discard_references);
        let scanner = ReferenceScanner::new(HashingWriter::new(io::sink(), Algorithm::Sha256), candidates);
        let buffered = tree::dump(&place, io::BufWriter::with_capacity(64 * 1024, scanner))?;
        let scanner = buffered
            .into_inner()
            .map_err(|error| Error::file("scanning output", &place)(error.into_error()))?;
        let (hasher, references) = scanner.finish();
        let (_, nar_hash, nar_size) = hasher.finish();
        let mut info = PathInfo::new(path.clone(), nar_hash, nar_size);
        info.references = references;
        info.deriver = Some(job.goal.path.clone());
        info.ultimate = true;
        info.registration_time = now();
        if let Some(Output::Fixed(address)) = job.goal.derivation.outputs.get(output) {
            check_fixed(job, &place, address, &info)?;
            info.content_address = Some(*address);
        }
        job.store.sign_new(&mut info);
        built.push(Built { output: output.clone(), info, entries });
    }
    Ok(built)
}

/// Compares a fixed output with its promise.
fn check_fixed(
    job: &Job<'_>,
    place: &Path,
    address: &ContentAddress,
    info: &PathInfo,
) -> Result<(), FailureKind> {
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
    if got != address.hash {
        return Err(FailureKind::HashMismatch { specified: Box::new(address.hash), got: Box::new(got) });
    }
    if let Some(reference) = info.references.iter().next() {
        return Err(FailureKind::Output(format!(
            "its fixed output refers to `{}`; a fixed output must stand alone",
            job.store.dir().print(reference)
        )));
    }
    Ok(())
}

/// Outputs of one derivation may refer to each other, but not in a circle.
fn check_cycles(built: &[Built]) -> Result<(), FailureKind> {
    let graph: BTreeMap<&StorePath, &PathInfo> =
        built.iter().map(|built| (&built.info.path, &built.info)).collect();
    for start in graph.keys() {
        let mut queue: Vec<&StorePath> =
            graph.get(start).into_iter().flat_map(|info| &info.references).collect();
        let mut seen = BTreeSet::new();
        queue.retain(|path| path != start);
        while let Some(path) = queue.pop() {
            if path == *start {
                return Err(FailureKind::Output(format!(
                    "cycle of references between its outputs, through `{start}`"
                )));
            }
            if seen.insert(path) {
                let next = graph.get(path).into_iter().flat_map(|info| &info.references);
                queue.extend(next.filter(|next| *next != path));
            }
        }
    }
    Ok(())
}

/// References and closures allowed, sizes.
fn check_rules(job: &Job<'_>, built: &Built, all: &[Built]) -> Result<(), FailureKind> {
    let rules: OutputRules = job.attributes.output_rules(&built.output);
    let info_of = |path: &StorePath| -> Result<PathInfo> {
        match all.iter().find(|built| built.info.path == *path) {
            Some(built) => Ok(built.info.clone()),
            None => job.store.path_info(path),
        }
    };
    let closure = || -> Result<(BTreeSet<StorePath>, u64)> {
        let (mut found, mut size) = (BTreeSet::new(), 0);
        let mut queue = vec![built.info.path.clone()];
        while let Some(path) = queue.pop() {
            if found.insert(path.clone()) {
                let info = info_of(&path)?;
                size += info.nar_size;
                queue.extend(info.references);
            }
        }
        Ok((found, size))
    };
    let named = |words: &[String]| -> Result<BTreeSet<StorePath>, FailureKind> {
        words.iter().map(|word| named_path(job, word)).collect()
    };
    let own = |path: &StorePath| rules.ignore_self && *path == built.info.path;
    let name = &built.output;
    if let Some(limit) = rules.max_size.filter(|limit| built.info.nar_size > *limit) {
        return Err(FailureKind::Output(format!(
            "output `{name}` has {} bytes; its maxSize is {limit}",
            built.info.nar_size
        )));
    }
    let needs_closure = rules.max_closure_size.is_some()
        || rules.allowed_requisites.is_some()
        || !rules.disallowed_requisites.is_empty();
    let (closure, closure_size) = if needs_closure { closure()? } else { Default::default() };
    if let Some(limit) = rules.max_closure_size.filter(|limit| closure_size > *limit) {
        return Err(FailureKind::Output(format!(
            "output `{name}` has a closure of {closure_size} bytes; its maxClosureSize is {limit}"
        )));
    }
    let refuse = |bad: Vec<&StorePath>, what: &str| match bad.as_slice() {
        [] => Ok(()),
        bad => Err(FailureKind::Output(format!(
            "output `{name}` is not allowed to {what}:{}",
            bad.iter().flat_map(|path| ["\n  ".to_owned(), job.store.dir().print(path)]).collect::<String>()
        ))),
    };
    let references = &built.info.references;
    if let Some(allowed) = &rules.allowed_references {
        let allowed = named(allowed)?;
        let bad = references.iter().filter(|path| !allowed.contains(path)).collect();
        refuse(bad, "refer to the following paths")?;
    }
    if let Some(allowed) = &rules.allowed_requisites {
        let allowed = named(allowed)?;
        let bad = closure
            .iter()
            .filter(|path| **path != built.info.path && !allowed.contains(path) && !own(path))
            .collect();
        refuse(bad, "have the following paths in its closure")?;
    }
    let forbidden = named(&rules.disallowed_references)?;
    refuse(
        references.iter().filter(|path| forbidden.contains(path)).collect(),
        "refer to the following paths",
    )?;
    let forbidden = named(&rules.disallowed_requisites)?;
    refuse(
        closure.iter().filter(|path| forbidden.contains(path)).collect(),
        "have the following paths in its closure",
    )
}

/// A path in a rule: a store path or the name of an output.
fn named_path(job: &Job<'_>, word: &str) -> Result<StorePath, FailureKind> {
    if let Some(path) = job.outputs.get(word) {
        return Ok(path.clone());
    }
    job.store.dir().parse_below(word).map(|(path, _)| path).map_err(|_| {
        FailureKind::Unsupported(format!(
            "its output checks name `{word}`, which is neither a store path nor an output"
        ))
    })
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
            tree::rename(&job.built_path(&built.info.path), &target)?;
            message = format!("{message}; the new one is kept as `{}`", target.display());
        }
        return Err(FailureKind::NotDeterministic(message));
    }
    Ok(())
}

fn move_into_place(job: &Job<'_>, path: &StorePath) -> Result<()> {
    let (from, to) = (job.built_path(path), job.store.real_path(path));
    if from == to {
        return Ok(());
    }
    tree::remove(&to)?;
    tree::rename(&from, &to)
}
