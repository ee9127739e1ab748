//! The wanted state of the boot partition, computed in memory from the generations, and the steps that lead there from what
//! is there. Pure but for reading the kernels' bytes; every error comes before the first byte is written.
//!
//! The order of the steps makes every prefix bootable: new kernels and initrds under names of their own, the loaders'
//! programs, new entries with the default's last, the settings, and only then what is not wanted any more. When that does not
//! fit, what no entry needs goes first, then the oldest generations stay out; never the booted one nor the default.

use crate::boot_entry::{self, BootEntry, DataFile};
use crate::file_hashes::Hasher;
use crate::file_hashes::hex;
use crate::generations::{Generations, resolve};
use crate::partition::{PROGRAMS, Partition};
use crate::secure_boot::keys::Certificate;
use crate::secure_boot::unified_kernel::{Signing, UnifiedKernel};
use crate::systemd_boot::{Counter, ENTRIES, EntryFile, Place};
use crate::{grub, loader_conf, systemd_boot};
use formats::bootloader::Bootloader;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the plan is made from.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The directory below which store paths are read: `/` on a machine.
    pub root: &'a Path,
    /// The profile's generations.
    pub generations: &'a Generations,
    /// The one that boots by itself.
    pub default: u64,
    /// The loaders and their settings, from the default generation.
    pub loader: &'a Bootloader,
    /// This installation's name on the partition, `firn-` and eight digits.
    pub token: &'a str,
    /// The toplevel that runs now: its files are never removed.
    pub booted: Option<&'a Path>,
    /// What the partition can hold; nothing: no limit.
    pub space: Option<Space>,
    /// With Secure Boot: what signs all that the firmware starts.
    pub signing: Option<&'a Arc<Signing>>,
}

/// The partition's free space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that are free.
    pub free: u64,
    /// Bytes in a cluster: what a file takes is rounded up to it.
    pub cluster: u64,
}

/// Where a file's bytes come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contents {
    /// From here.
    Text(String),
    /// From a file of the store.
    File {
        /// Its place.
        source: PathBuf,
        /// Its size.
        size: u64,
        /// SHA-256 of its bytes.
        sha256: [u8; 32],
    },
    /// A program that was signed for this menu.
    Signed {
        /// All of it.
        bytes: Vec<u8>,
        /// SHA-256 of its bytes.
        sha256: [u8; 32],
    },
    /// A generation as one signed program, put together when it is written.
    Unified(Box<UnifiedKernel>),
}

impl Contents {
    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::Text(text) => text.len() as u64,
            Self::File { size, .. } => *size,
            Self::Signed { bytes, .. } => bytes.len() as u64,
            Self::Unified(kernel) => kernel.size,
        }
    }
}

/// One file of the wanted state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedFile {
    /// Its path on the partition, relative.
    pub path: String,
    /// Its bytes.
    pub contents: Contents,
}

/// One step towards the wanted state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Write a file whole and then give it its name.
    Write(PlannedFile),
    /// Remove a file.
    Remove {
        /// Its path.
        path: String,
    },
}

/// The plan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BootPlan {
    /// All files of this installation as they shall be, in the order of writing: what an image writer puts on a new
    /// partition.
    pub files: Vec<PlannedFile>,
    /// What is to be done, in order.
    pub steps: Vec<Step>,
    /// The generations in the menu, newest first.
    pub shown: Vec<u64>,
    /// Remarks: what was skipped or left out, and why.
    pub notices: Vec<String>,
    /// Files that are there and wanted, with what they must hold: checked against damage.
    pub expected: BTreeMap<String, Expected>,
}

/// What a file on the partition must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// Bytes with this SHA-256.
    Sha256([u8; 32]),
    /// A program of this size with a signature by the key of this certificate.
    Signed(u64, Box<Certificate>),
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Nothing to boot: writing would leave an empty menu.
    #[error("there is no generation that can boot; the boot partition is left as it is ({})", reasons.join("; "))]
    NoGeneration {
        /// What is wrong with those that are there.
        reasons: Vec<String>,
    },
    /// The default cannot boot.
    #[error("generation {number} was asked for and cannot boot: {reason}")]
    DefaultBroken {
        /// Its number.
        number: u64,
        /// Why not.
        reason: String,
    },
    /// No loader is configured.
    #[error("no boot loader is configured: enable boot.loader.systemd-boot or boot.loader.grub")]
    NoLoader,
    /// A file of the loader's cannot be read.
    #[error("the boot loader's own file cannot be read: {0}")]
    LoaderFile(String),
    /// A file of the loader's cannot be signed.
    #[error("{0} cannot be signed: {1}")]
    Unsigned(String, String),
    /// It does not fit, whatever is left out.
    #[error(
        "the boot partition is too small: {needed} bytes are needed at the fullest moment and {free} are free, even with only the running and the new generation; nothing was written. Delete files that are not Firn's from it, or make it larger"
    )]
    NoSpace {
        /// At the peak.
        needed: u64,
        /// Free now and by removing what nobody needs.
        free: u64,
    },
}

/// Computes the plan.
///
/// # Errors
/// See [`PlanError`]; nothing was written.
pub fn plan(request: &Request<'_>, present: &Partition) -> Result<BootPlan, PlanError> {
    plan_with(request, present, &mut Hasher::default())
}

/// The same, with a hasher that may know some files already.
///
/// # Errors
/// See [`PlanError`]; nothing was written.
pub fn plan_with(
    request: &Request<'_>,
    present: &Partition,
    hasher: &mut Hasher,
) -> Result<BootPlan, PlanError> {
    if request.loader.systemd_boot.is_none() && request.loader.grub.is_none() {
        return Err(PlanError::NoLoader);
    }
    let mut notices: Vec<String> = Vec::new();
    let mut broken: BTreeSet<u64> = BTreeSet::new();
    for generation in &request.generations.broken {
        broken.insert(generation.number);
        notices.push(skipped(generation.number, &generation.reason));
    }
    let mut menu: BTreeMap<u64, Vec<BootEntry>> = BTreeMap::new();
    for generation in &request.generations.good {
        match boot_entry::of_generation(request.root, request.token, generation, request.signing, hasher) {
            Ok(entries) => {
                menu.insert(generation.number, entries);
            }
            Err(reason) => {
                notices.push(skipped(generation.number, &reason));
                broken.insert(generation.number);
            }
        }
    }
    if menu.is_empty() {
        return Err(PlanError::NoGeneration { reasons: notices });
    }
    if !menu.contains_key(&request.default) {
        let reason =
            notices.iter().find(|notice| notice.contains(&format!("generation {} ", request.default)));
        let reason = reason.cloned().unwrap_or_else(|| "it does not exist".to_owned());
        return Err(PlanError::DefaultBroken { number: request.default, reason });
    }
    let booted =
        request.generations.good.iter().find(|generation| Some(&*generation.toplevel) == request.booted);
    let booted = booted.map(|generation| generation.number);
    let known_good = menu.range(..request.default).next_back().map(|(number, _)| *number);
    limit(request, &mut menu, booted);
    let programs = programs(request, hasher)?;
    loop {
        let draft = Draft::of(request, present, &menu, &broken, &programs);
        match draft.fits(request.space) {
            Ok(early) => {
                notices.extend(draft.notices.clone());
                return Ok(draft.finish(present, early, &menu, notices));
            }
            Err((needed, free)) => {
                let spare = menu.keys().copied().find(|number| {
                    *number != request.default && Some(*number) != booted && Some(*number) != known_good
                });
                let spare = spare
                    .or(known_good.filter(|number| Some(*number) != booted && menu.contains_key(number)));
                let Some(number) = spare else { return Err(PlanError::NoSpace { needed, free }) };
                menu.remove(&number);
                notices.push(format!(
                    "generation {number} is left out of the menu: the boot partition is too small for it"
                ));
            }
        }
    }
}

fn skipped(number: u64, reason: &str) -> String {
    format!("generation {number} is skipped, its files on the boot partition stay: {reason}")
}

/// Keeps the newest generations up to the limit, and always the default and the booted one.
fn limit(request: &Request<'_>, menu: &mut BTreeMap<u64, Vec<BootEntry>>, booted: Option<u64>) {
    let limits = [
        request.loader.systemd_boot.as_ref().and_then(|settings| settings.configuration_limit),
        request.loader.grub.as_ref().and_then(|settings| settings.configuration_limit),
    ];
    let Some(limit) = limits.into_iter().flatten().max().map(|limit| (limit as usize).max(1)) else { return };
    let newest: BTreeSet<u64> = menu.keys().rev().take(limit).copied().collect();
    menu.retain(|number, _| newest.contains(number) || *number == request.default || Some(*number) == booted);
}

/// The loaders' programs: path on the partition and what they hold.
fn programs(request: &Request<'_>, hasher: &mut Hasher) -> Result<Vec<PlannedFile>, PlanError> {
    let mut programs = Vec::new();
    let mut add = |paths: &[&str], source: &str| {
        let source = resolve(request.root, Path::new(source));
        let contents = program(request, source, hasher)?;
        for path in paths {
            programs.push(PlannedFile { path: (*path).to_owned(), contents: contents.clone() });
        }
        Ok(())
    };
    let [systemd_boot, grub, fallback] = PROGRAMS;
    if let Some(settings) = &request.loader.systemd_boot {
        add(&[systemd_boot, fallback], &settings.efi)?;
    }
    if let Some(core) = request.loader.grub.as_ref().and_then(|settings| settings.efi_core.as_deref()) {
        let paths: &[&str] = if request.loader.systemd_boot.is_some() { &[grub] } else { &[grub, fallback] };
        add(paths, core)?;
    }
    Ok(programs)
}

/// A program of a loader's: as it is, or signed.
fn program(request: &Request<'_>, source: PathBuf, hasher: &mut Hasher) -> Result<Contents, PlanError> {
    let unreadable = |error| PlanError::LoaderFile(format!("{}: {error}", source.display()));
    let Some(signing) = request.signing else {
        let (sha256, size) = hasher.hash(&source).map_err(unreadable)?;
        return Ok(Contents::File { source, size, sha256 });
    };
    let bytes = std::fs::read(&source).map_err(unreadable)?;
    let bytes = signing
        .program(&bytes)
        .map_err(|error| PlanError::Unsigned(source.display().to_string(), error.to_string()))?;
    let sha256 = Sha256::digest(&bytes).into();
    Ok(Contents::Signed { bytes, sha256 })
}

/// A candidate for the wanted state.
#[derive(Debug)]
struct Draft {
    /// Everything that is wanted, in the order of writing.
    files: Vec<PlannedFile>,
    /// Those that must be written.
    writes: Vec<PlannedFile>,
    /// What is there and not wanted, entries before data.
    removals: Vec<String>,
    /// Removals that may come first: no entry that could be booted now needs them.
    removable_early: BTreeMap<String, u64>,
    leftovers: Vec<String>,
    expected: BTreeMap<String, Expected>,
    notices: Vec<String>,
}

impl Draft {
    fn of(
        request: &Request<'_>,
        present: &Partition,
        menu: &BTreeMap<u64, Vec<BootEntry>>,
        broken: &BTreeSet<u64>,
        programs: &[PlannedFile],
    ) -> Self {
        let mut needed: BTreeSet<String> = BTreeSet::new();
        let mut files: Vec<PlannedFile> = data_files(menu);
        needed.extend(files.iter().map(|file| file.path.clone()));
        let expected = files
            .iter()
            .filter_map(|file| {
                let expected = match &file.contents {
                    Contents::File { sha256, .. } | Contents::Signed { sha256, .. } => {
                        Expected::Sha256(*sha256)
                    }
                    Contents::Unified(kernel) => {
                        Expected::Signed(kernel.size, Box::new(kernel.key().certificate().clone()))
                    }
                    Contents::Text(_) => return None,
                };
                Some((file.path.clone(), expected))
            })
            .collect();
        files.extend(programs.iter().cloned());
        let mut entry_names: BTreeSet<String> = BTreeSet::new();
        let mut protected: BTreeSet<String> = BTreeSet::new();
        if request.loader.systemd_boot.is_some() {
            let chosen = systemd_boot_files(request, present, menu, broken);
            for kept in &chosen.kept {
                entry_names.insert(kept.file_name());
                needed.extend(kept.data_paths());
            }
            entry_names.extend(chosen.wanted.iter().map(EntryFile::file_name));
            files.extend(chosen.wanted.iter().map(|file| PlannedFile {
                path: format!("{ENTRIES}/{}", file.file_name()),
                contents: Contents::Text(file.text.clone()),
            }));
            protected.extend(bootable_now(present));
        }
        files.extend(settings(request, present, menu, broken, &mut needed));
        if let Some(text) = present.settings.get(grub::PATH) {
            let default = grub::default_id(text);
            let block = grub::blocks(text).into_iter().find(|block| Some(block.id.as_str()) == default);
            protected.extend(block.map(|block| block.data_paths()).unwrap_or_default());
        }
        let writes = files.iter().filter(|file| !is_present(file, present)).cloned().collect();
        let stale_entries: Vec<&EntryFile> =
            present.entries.iter().filter(|file| !entry_names.contains(&file.file_name())).collect();
        let mut removals: Vec<String> =
            stale_entries.iter().map(|file| format!("{ENTRIES}/{}", file.file_name())).collect();
        let mut removable_early = BTreeMap::new();
        for file in stale_entries {
            let path = format!("{ENTRIES}/{}", file.file_name());
            if !protected.contains(&path) {
                removable_early.insert(path, file.text.len() as u64);
            }
        }
        for (path, size) in present.data.iter().filter(|(path, _)| !needed.contains(*path)) {
            removals.push(path.clone());
            if !protected.contains(path) {
                removable_early.insert(path.clone(), *size);
            }
        }
        let leftovers = present.leftovers.iter().cloned().collect();
        Self { files, writes, removals, removable_early, leftovers, expected, notices: Vec::new() }
    }

    /// Whether the fullest moment fits. Ok(true): only if what nobody needs goes first. Err: needed and available bytes.
    fn fits(&self, space: Option<Space>) -> Result<bool, (u64, u64)> {
        let Some(Space { free, cluster }) = space else { return Ok(false) };
        let cluster = cluster.max(1);
        let rounded = |size: u64| size.div_ceil(cluster) * cluster;
        let mut needed: u64 = self.writes.iter().map(|file| rounded(file.contents.size().max(1))).sum();
        // Names need room too: 32 bytes for each 13 characters and one for the file, twice while it is renamed.
        let mut directories: BTreeMap<&str, u64> = BTreeMap::new();
        for file in &self.writes {
            let (directory, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
            *directories.entry(directory).or_default() += 64 * (1 + (name.len() as u64 + 9).div_ceil(13));
        }
        needed += directories.values().map(|bytes| rounded(*bytes)).sum::<u64>();
        if needed <= free {
            return Ok(false);
        }
        let gained: u64 = self.removable_early.values().map(|size| rounded((*size).max(1))).sum();
        if needed <= free + gained { Ok(true) } else { Err((needed, free + gained)) }
    }

    fn finish(
        self,
        present: &Partition,
        early: bool,
        menu: &BTreeMap<u64, Vec<BootEntry>>,
        notices: Vec<String>,
    ) -> BootPlan {
        let remove = |path: &String| Step::Remove { path: path.clone() };
        let mut steps: Vec<Step> = self.leftovers.iter().map(remove).collect();
        let (first, last): (Vec<_>, Vec<_>) =
            self.removals.iter().partition(|path| early && self.removable_early.contains_key(*path));
        steps.extend(first.into_iter().map(remove));
        steps.extend(self.writes.into_iter().map(Step::Write));
        steps.extend(last.into_iter().map(remove));
        let mut expected = self.expected;
        expected.retain(|path, _| present.data.contains_key(path));
        BootPlan { files: self.files, steps, shown: menu.keys().rev().copied().collect(), notices, expected }
    }
}

/// Kernels and initrds of all entries, or the programs that hold both, once each.
fn data_files(menu: &BTreeMap<u64, Vec<BootEntry>>) -> Vec<PlannedFile> {
    let mut files = BTreeMap::new();
    for entry in menu.values().flatten() {
        if let Some(unified) = &entry.unified {
            files.insert(unified.path.clone(), Contents::Unified(Box::new(unified.clone())));
            continue;
        }
        for DataFile { path, source, size, sha256 } in std::iter::once(&entry.kernel).chain(&entry.initrd) {
            let contents = Contents::File { source: source.clone(), size: *size, sha256: *sha256 };
            files.insert(path.clone(), contents);
        }
    }
    files.into_iter().map(|(path, contents)| PlannedFile { path, contents }).collect()
}

fn is_present(file: &PlannedFile, present: &Partition) -> bool {
    match &file.contents {
        Contents::File { size, sha256, .. } => {
            present.data.get(&file.path) == Some(size) || present.programs.get(&file.path) == Some(sha256)
        }
        Contents::Signed { sha256, .. } => present.programs.get(&file.path) == Some(sha256),
        Contents::Unified(kernel) => present.data.get(&file.path) == Some(&kernel.size),
        Contents::Text(text) => {
            present.settings.get(&file.path) == Some(text)
                || present.entries.iter().any(|entry| {
                    entry.text == *text && file.path == format!("{ENTRIES}/{}", entry.file_name())
                })
        }
    }
}

struct EntryChoice {
    /// In the order of writing: the default's last.
    wanted: Vec<EntryFile>,
    /// Entries that stay although they are not planned: of the booted system, of generations that cannot be read.
    kept: Vec<EntryFile>,
}

fn systemd_boot_files(
    request: &Request<'_>,
    present: &Partition,
    menu: &BTreeMap<u64, Vec<BootEntry>>,
    broken: &BTreeSet<u64>,
) -> EntryChoice {
    let booted = request.booted.and_then(Path::to_str);
    let is_kept = |file: &EntryFile| {
        let of_broken = file.generation().is_some_and(|number| broken.contains(&number));
        let of_booted = booted.is_some() && file.toplevel() == booted;
        let planned = file.generation().is_some_and(|number| menu.contains_key(&number));
        (of_broken || of_booted) && !planned
    };
    let kept: Vec<EntryFile> = present.entries.iter().filter(|file| is_kept(file)).cloned().collect();
    let newest = menu.keys().copied().chain(kept.iter().filter_map(EntryFile::generation)).max();
    let mut wanted = Vec::new();
    let (others, default): (Vec<_>, Vec<_>) =
        menu.iter().partition(|(number, _)| **number != request.default);
    for (number, entries) in others.into_iter().chain(default) {
        // The generation's own entry after its specialisations: it is the default.
        for entry in entries.iter().rev() {
            let first =
                *number == request.default && newest != Some(*number) && entry.specialisation.is_none();
            let place = if first { Place::First } else { Place::ByVersion };
            let mut file = systemd_boot::render(entry, request.token, place);
            file.counter = counter(request, present, &file, entry);
            wanted.push(file);
        }
    }
    EntryChoice { wanted, kept }
}

/// The counter that an entry has: what is left of it when it is there already, a new one when it is new.
fn counter(
    request: &Request<'_>,
    present: &Partition,
    file: &EntryFile,
    entry: &BootEntry,
) -> Option<Counter> {
    let tries = request.loader.systemd_boot.as_ref()?.tries.filter(|tries| *tries > 0)?;
    let same = |there: &&EntryFile| {
        there.stem == file.stem
            || (there.value("options") == file.value("options")
                && there.data_paths() == file.data_paths()
                && there.value("title") == file.value("title"))
    };
    let there: Vec<&EntryFile> = present.entries.iter().filter(same).collect();
    // Both names there (systemd#33504): the good one counts.
    if there.iter().any(|file| file.counter.is_none()) {
        return None;
    }
    if let Some(present) = there.first() {
        return present.counter;
    }
    let runs_now = request.booted.and_then(Path::to_str).is_some_and(|booted| {
        entry.options.split(' ').any(|word| {
            word.strip_prefix("init=").and_then(|init| init.strip_suffix("/init")) == Some(booted)
        })
    });
    (!runs_now).then_some(Counter { left: tries, done: 0 })
}

/// The entry that systemd-boot would choose now, with its files: not to be taken away before the new one is there.
fn bootable_now(present: &Partition) -> Vec<String> {
    let mut entries: Vec<&EntryFile> =
        present.entries.iter().filter(|entry| entry.counter.is_none_or(|counter| counter.left > 0)).collect();
    entries.sort_by_key(|entry| {
        (entry.value("sort-key").map(str::to_owned), std::cmp::Reverse(entry.generation()))
    });
    entries.first().map_or_else(Vec::new, |entry| {
        let mut paths = entry.data_paths();
        paths.push(format!("{ENTRIES}/{}", entry.file_name()));
        paths
    })
}

/// loader.conf and grub.cfg.
fn settings(
    request: &Request<'_>,
    present: &Partition,
    menu: &BTreeMap<u64, Vec<BootEntry>>,
    broken: &BTreeSet<u64>,
    needed: &mut BTreeSet<String>,
) -> Vec<PlannedFile> {
    let mut files = Vec::new();
    let mut add = |path: &str, text: String| {
        files.push(PlannedFile { path: path.to_owned(), contents: Contents::Text(text) });
    };
    if let Some(settings) = &request.loader.systemd_boot {
        add("loader/entries.srel", "type1\n".to_owned());
        add(loader_conf::PATH, loader_conf::render(request.loader, settings, request.token));
    }
    if let Some(settings) = &request.loader.grub {
        let before = present.settings.get(grub::PATH).map(|text| grub::blocks(text)).unwrap_or_default();
        let booted = request.booted.and_then(Path::to_str);
        let kept = before.into_iter().filter(|block| {
            let wanted =
                broken.contains(&block.generation) || (booted.is_some() && block.toplevel() == booted);
            wanted && !menu.contains_key(&block.generation)
        });
        let mut blocks: Vec<grub::Block> = kept.collect();
        for block in &blocks {
            needed.extend(block.data_paths());
        }
        let entries = menu.values().flatten();
        blocks.extend(entries.map(|entry| grub::Block::of(entry, request.token)));
        // Newest first; a generation's own entry before its specialisations (a stable sort keeps their order).
        blocks.sort_by_key(|block| std::cmp::Reverse(block.generation));
        let own = menu.get(&request.default).and_then(|entries| entries.first());
        let default = own.map(|entry| grub::Block::of(entry, request.token).id).unwrap_or_default();
        let serial = own.is_some_and(|entry| entry.options.contains("console=ttyS0"));
        add(grub::PATH, grub::render(request.loader, settings, &default, &blocks, serial));
    }
    files
}

/// An installation's token from bytes that are its own (a machine id, a partition's UUID, a toplevel's path).
pub fn token_of(seed: &[u8]) -> String {
    format!("firn-{}", hex(&Sha256::digest(seed)[..4]))
}
