//! The whole way from the profile to the boot partition: reads the generations, the default's settings and what is on the
//! partition, plans, and on request applies: first the boot partition, then its mirrors, then GRUB on BIOS disks.

use crate::apply::{self, ApplyError, unobserved};
use crate::esp::{self, EspError};
use crate::file_hashes::{Hasher, REMEMBERED};
use crate::generations::{Generations, in_root, resolve};
use crate::grub;
use crate::grub_bios::{self, GrubBiosError};
use crate::partition::Partition;
use crate::plan::{self, BootPlan, PlanError, Request, Step, token_of};
use crate::secure_boot::key_bundle;
use crate::secure_boot::keys::{Certificate, leads_to};
use crate::secure_boot::unified_kernel::Signing;
use crate::systemd_boot::{ENTRIES, EntryFile};
use formats::bootloader::Bootloader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the installation's name on the boot partition is kept.
pub const TOKEN_FILE: &str = "/var/lib/firn/entry-token";

/// What to do.
#[derive(Debug, Clone)]
pub struct Options {
    /// The system's root directory.
    pub root: PathBuf,
    /// The profile's name.
    pub profile: String,
    /// The default generation; nothing: the profile's current one.
    pub default: Option<u64>,
    /// Only plan.
    pub dry_run: bool,
    /// Read every kernel on the partition and write damaged ones again.
    pub check: bool,
    /// The root is a system that is being installed, mounted on this machine: its boot partition has to be a mount of its own,
    /// and the disks for GRUB are this machine's.
    pub installing: bool,
    /// The certificates that the machine's firmware trusts, when it starts signed programs only; nothing: it starts any.
    pub trusted: Option<Vec<Certificate>>,
}

impl Options {
    /// Whether boot partition and disks are those of a machine, and no directories that stand for them.
    fn is_mounted(&self) -> bool {
        self.installing || self.root == Path::new("/")
    }
}

/// What was or would be done on one partition.
#[derive(Debug)]
pub struct Update {
    /// The partition's mount point.
    pub partition: PathBuf,
    /// The plan.
    pub plan: BootPlan,
    /// Settings as they were, for a diff.
    pub before: Partition,
}

/// Everything that was or would be done.
#[derive(Debug)]
pub struct Updates {
    /// The default generation.
    pub default: u64,
    /// Partition by partition.
    pub partitions: Vec<Update>,
    /// Disks on which GRUB was (or would be) written.
    pub grub_disks: Vec<String>,
}

/// Why the menu was not updated.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// The profile cannot be read.
    #[error("cannot read the generations in {}: {source}", path.display())]
    Profile {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The default generation has no usable `bootloader.json`.
    #[error("generation {number}: {reason}")]
    Settings {
        /// Its number.
        number: u64,
        /// Why.
        reason: String,
    },
    /// The directory is not the boot partition.
    #[error(transparent)]
    Esp(#[from] EspError),
    /// The boot partition or the token cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// What.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Secure Boot is wanted and there is nothing to sign with.
    #[error("boot.lanzaboote.enable is set, and {reason}; the boot menu is left as it is")]
    Signing {
        /// What is missing.
        reason: String,
    },
    /// The firmware would start nothing of it.
    #[error(
        "Secure Boot is on, and the new generation's boot menu would not be signed, so the firmware would start nothing of it; the boot menu is left as it is. Set boot.lanzaboote.enable, or turn Secure Boot off in the firmware's setup first"
    )]
    Unsigned,
    /// The firmware would refuse it.
    #[error(
        "Secure Boot is on, and the key that would sign the boot menu ({0}) is not enrolled in the firmware, so it would start nothing of it; the boot menu is left as it is. Bring the enrolled key back, or turn Secure Boot off in the firmware's setup first"
    )]
    NotEnrolled(String),
    /// There is no plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The plan could not be carried out.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// GRUB could not be installed on a disk.
    #[error(transparent)]
    Grub(#[from] GrubBiosError),
}

/// Plans and, unless it is a dry run, applies.
///
/// # Errors
/// See [`UpdateError`]. Everything that can be wrong is found before the first byte is written; a mirror is written only
/// after the partition before it is complete.
pub fn update(options: &Options) -> Result<Updates, UpdateError> {
    let profiles = in_root(&options.root, Path::new(crate::generations::PROFILES));
    let generations = Generations::read(&options.root, &options.profile)
        .map_err(|source| UpdateError::Profile { path: profiles.clone(), source })?;
    let default = match options.default.or_else(|| current(&profiles, &options.profile)) {
        Some(default) => default,
        None => generations.good.last().map(|generation| generation.number).unwrap_or_default(),
    };
    let loader = settings(options, &generations, default)?;
    let signing = signing(&options.root, &loader)?;
    if let (Some(trusted), Some(_)) = (&options.trusted, &loader.systemd_boot) {
        let certificate = signing.as_ref().ok_or(UpdateError::Unsigned)?.key().certificate();
        if !leads_to(std::slice::from_ref(certificate), trusted) {
            return Err(UpdateError::NotEnrolled(certificate.name()));
        }
    }
    let token = token(&options.root, &loader)?;
    let booted = std::fs::read_link(in_root(&options.root, Path::new("/run/booted-system"))).ok();
    let mut partitions = Vec::new();
    let remembered = in_root(&options.root, Path::new(REMEMBERED));
    // A check trusts nothing.
    let mut hasher = if options.check { Hasher::default() } else { Hasher::remembering(&remembered) };
    let mount_points = std::iter::once(&loader.efi_sys_mount_point).chain(&loader.mirrored_mount_points);
    for mount_point in mount_points {
        let partition = in_root(&options.root, Path::new(mount_point));
        let request = Request {
            root: &options.root,
            generations: &generations,
            default,
            loader: &loader,
            token: &token,
            booted: booted.as_deref(),
            space: apply::space(&partition).ok(),
            signing: signing.as_ref(),
        };
        partitions.push(plan_partition(options, &request, partition, &mut hasher)?);
    }
    hasher.save(&remembered);
    if !options.dry_run {
        for update in &partitions {
            apply::apply(&update.plan, &update.partition, &mut unobserved)?;
        }
    }
    let grub_disks = grub_disks(options, &loader)?;
    Ok(Updates { default, partitions, grub_disks })
}

/// Checks, reads and plans one partition.
fn plan_partition(
    options: &Options,
    request: &Request<'_>,
    partition: PathBuf,
    hasher: &mut Hasher,
) -> Result<Update, UpdateError> {
    let loader = request.loader;
    if options.is_mounted() {
        let efi =
            loader.systemd_boot.is_some() || loader.grub.as_ref().is_some_and(|grub| grub.efi_core.is_some());
        esp::check(&partition, efi)?;
    }
    let read = |source| UpdateError::Read { path: partition.clone(), source };
    let mut before = Partition::read(&partition, request.token).map_err(read)?;
    let mut plan = plan::plan_with(request, &before, hasher)?;
    if options.check {
        before.forget_damaged(&partition, &plan.expected).map_err(read)?;
        plan = plan::plan_with(request, &before, hasher)?;
    }
    Ok(Update { partition, plan, before })
}

fn settings(options: &Options, generations: &Generations, default: u64) -> Result<Bootloader, UpdateError> {
    if let Some(generation) = generations.get(default) {
        return generation
            .bootloader(&options.root)
            .map_err(|reason| UpdateError::Settings { number: default, reason });
    }
    let broken = generations.broken.iter().find(|generation| generation.number == default);
    let reason =
        broken.map_or_else(|| "it does not exist".to_owned(), |generation| generation.reason.clone());
    Err(UpdateError::Plan(PlanError::DefaultBroken { number: default, reason }))
}

/// The stub and the key that sign the menu, when the settings want it signed.
///
/// # Errors
/// When one of them is missing or damaged.
pub fn signing(root: &Path, loader: &Bootloader) -> Result<Option<Arc<Signing>>, UpdateError> {
    let Some(settings) = loader.systemd_boot.as_ref().and_then(|settings| settings.secure_boot.as_ref())
    else {
        return Ok(None);
    };
    let place = |path: &str| resolve(root, Path::new(path));
    let stub = place(&settings.stub);
    let stub = std::fs::read(&stub).map_err(|source| UpdateError::Read { path: stub, source })?;
    let key = key_bundle::read_pair(&place(&settings.private_key_file), &place(&settings.public_key_file))
        .map_err(|error| UpdateError::Signing { reason: error.to_string() })?;
    Ok(Some(Arc::new(Signing::new(stub, key))))
}

/// The generation that the profile's own link names.
pub fn current(profiles: &Path, profile: &str) -> Option<u64> {
    let link = std::fs::read_link(profiles.join(profile)).ok()?;
    link.file_name()?.to_str()?.strip_prefix(profile)?.strip_prefix('-')?.strip_suffix("-link")?.parse().ok()
}

/// The installation's name. When it is not written down (a new machine from an image, a /var that was lost), it is that of
/// the entries on the boot partition which boot systems of this store; without any, it is made from the machine's id.
///
/// # Errors
/// When it can be neither read nor written.
pub fn token(root: &Path, loader: &Bootloader) -> Result<String, UpdateError> {
    let place = resolve(root, Path::new(TOKEN_FILE));
    let failed = |source| UpdateError::Read { path: place.clone(), source };
    match std::fs::read_to_string(&place) {
        Ok(text) if is_token(text.trim()) => return Ok(text.trim().to_owned()),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let partition = in_root(root, Path::new(&loader.efi_sys_mount_point));
    let token = if let Some(token) = token_on(root, &partition) {
        token
    } else {
        let machine = resolve(root, Path::new("/etc/machine-id"));
        let seed = std::fs::read(&machine).map_err(|source| UpdateError::Read { path: machine, source })?;
        token_of(&seed)
    };
    if let Some(parent) = place.parent() {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    std::fs::write(&place, format!("{token}\n")).map_err(failed)?;
    std::fs::File::open(&place).and_then(|file| file.sync_all()).map_err(failed)?;
    Ok(token)
}

/// The token of entries whose systems are in this store.
fn token_on(root: &Path, partition: &Path) -> Option<String> {
    let ours = |toplevel: Option<&str>| toplevel.is_some_and(|path| in_root(root, Path::new(path)).exists());
    let token_in = |id: &str| id.rsplitn(3, '-').nth(2).filter(|token| is_token(token)).map(str::to_owned);
    if let Ok(files) = std::fs::read_dir(partition.join(ENTRIES)) {
        for file in files.flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            let text = std::fs::read_to_string(file.path()).unwrap_or_default();
            let entry = EntryFile::parse(&name, text).filter(|entry| ours(entry.toplevel()));
            if let Some(token) =
                entry.filter(|entry| entry.stem.starts_with("firn-")).and_then(|entry| token_in(&entry.stem))
            {
                return Some(token);
            }
        }
    }
    let text = std::fs::read_to_string(partition.join(grub::PATH)).unwrap_or_default();
    grub::blocks(&text).into_iter().find(|block| ours(block.toplevel())).and_then(|block| token_in(&block.id))
}

/// What may stand in names on the boot partition.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 40
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

/// Writes GRUB to the BIOS disks. Names the disks that were not right before.
fn grub_disks(options: &Options, loader: &Bootloader) -> Result<Vec<String>, UpdateError> {
    let mut written = Vec::new();
    let Some(grub) = &loader.grub else { return Ok(written) };
    let (Some(boot), Some(core)) = (&grub.bios_boot, &grub.bios_core) else { return Ok(written) };
    let file = |path: &str| resolve(&options.root, Path::new(path));
    for disk in grub.devices.iter().filter(|disk| *disk != "nodev") {
        let place =
            if options.is_mounted() { PathBuf::from(disk) } else { in_root(&options.root, Path::new(disk)) };
        if grub_bios::install(&place, &file(boot), &file(core), options.dry_run)?
            == grub_bios::Outcome::Written
        {
            written.push(disk.clone());
        }
    }
    Ok(written)
}

impl Update {
    /// One line for each step: `+` new, `~` replaced, `-` removed.
    pub fn lines(&self) -> Vec<String> {
        let there = |path: &str| {
            self.before.settings.contains_key(path)
                || self.before.programs.contains_key(path)
                || self.before.data.contains_key(path)
        };
        self.plan
            .steps
            .iter()
            .map(|step| match step {
                Step::Write(file) => {
                    let sign = if there(&file.path) { '~' } else { '+' };
                    format!("{sign} {} ({} bytes)", file.path, file.contents.size())
                }
                Step::Remove { path } => format!("- {path}"),
            })
            .collect()
    }

    /// The texts that change, line by line, as `diff` shows them.
    pub fn diff(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for step in &self.plan.steps {
            let (path, after) = match step {
                Step::Write(file) => match &file.contents {
                    plan::Contents::Text(text) => (&file.path, Some(text.as_str())),
                    _ => continue,
                },
                Step::Remove { path } => (path, None),
            };
            let entry = self.before.entries.iter().find(|entry| path.ends_with(&entry.file_name()));
            let before =
                self.before.settings.get(path).map(String::as_str).or(entry.map(|entry| entry.text.as_str()));
            if before.is_none() && after.is_none() {
                continue;
            }
            lines.push(format!("--- {path}"));
            lines.extend(line_diff(before.unwrap_or_default(), after.unwrap_or_default()));
        }
        lines
    }
}

/// A line-by-line difference by longest common subsequence: the texts are short.
fn line_diff(before: &str, after: &str) -> Vec<String> {
    let (a, b): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let mut common = vec![vec![0u32; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            common[i][j] =
                if a[i] == b[j] { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut lines = Vec::new();
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            lines.push(format!("  {}", a[i]));
            (i, j) = (i + 1, j + 1);
        } else if j >= b.len() || (i < a.len() && common[i + 1][j] >= common[i][j + 1]) {
            lines.push(format!("- {}", a[i]));
            i += 1;
        } else {
            lines.push(format!("+ {}", b[j]));
            j += 1;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_by_line() {
        assert_eq!(line_diff("a\nb\nc\n", "a\nx\nc\nd\n"), ["  a", "- b", "+ x", "  c", "+ d"]);
        assert_eq!(line_diff("", "a\n"), ["+ a"]);
        assert_eq!(line_diff("a\n", ""), ["- a"]);
    }

    #[test]
    fn the_token_is_made_once() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("etc")).unwrap();
        std::fs::write(directory.path().join("etc/machine-id"), "0123456789abcdef0123456789abcdef\n")
            .unwrap();
        let loader = Bootloader::parse(br#"{"version":1}"#).unwrap();
        let token = |root: &Path| token(root, &loader);
        let first = token(directory.path()).unwrap();
        assert!(first.starts_with("firn-") && first.len() == 13, "{first}");
        std::fs::write(directory.path().join("etc/machine-id"), "another\n").unwrap();
        assert_eq!(token(directory.path()).unwrap(), first);
        std::fs::write(directory.path().join("var/lib/firn/entry-token"), "../evil\n").unwrap();
        assert_ne!(token(directory.path()).unwrap(), "../evil");
        // Lost, but the boot partition knows it.
        std::fs::remove_file(directory.path().join("var/lib/firn/entry-token")).unwrap();
        std::fs::create_dir_all(directory.path().join("boot/loader/entries")).unwrap();
        std::fs::create_dir_all(directory.path().join("nix/store/mine")).unwrap();
        for (name, toplevel) in
            [("firn-aaaaaaaa-1-12345678", "theirs"), ("firn-bbbbbbbb-7-12345678+2-1", "mine")]
        {
            let path = directory.path().join(format!("boot/loader/entries/{name}.conf"));
            std::fs::write(path, format!("options init=/nix/store/{toplevel}/init\n")).unwrap();
        }
        assert_eq!(token(directory.path()).unwrap(), "firn-bbbbbbbb");
    }
}
