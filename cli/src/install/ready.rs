//! A system that is built and waits to be installed: what it consists of, how large that is on a disk, and what it expects of the disk.

use crate::build::Builder;
use crate::generate_config::{CONFIGURATION, DIRECTORY};
use crate::settings::Settings;
use crate::system::System;
use anyhow::{Context as _, Result, anyhow};
use clap::ArgMatches;
use formats::bootloader::Bootloader;
use formats::stage1::{Source, Stage1};
use formats::store_path::StorePath;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A block of the usual file systems.
const BLOCK: u64 = 4096;

/// A finished system in this machine's store.
#[derive(Debug)]
pub(super) struct Ready {
    /// `/nix/store/…`.
    pub(super) toplevel: PathBuf,
    /// Everything that it needs, itself too.
    pub(super) paths: BTreeSet<StorePath>,
    /// The directory below which they are here.
    pub(super) store_root: PathBuf,
    /// How it wants to be started.
    pub(super) loader: Bootloader,
    /// GRUB's boot.img and core.img here, if it wants those.
    pub(super) grub: Option<(PathBuf, PathBuf)>,
    /// What it mounts at `/`.
    pub(super) root: Option<Source>,
    /// What its fstab mounts where the boot partition belongs.
    pub(super) boot: Option<Source>,
    /// Bytes of its kernel and initrd.
    pub(super) boot_bytes: u64,
}

/// What a system is made of.
#[derive(Debug)]
pub(super) enum Origin<'a> {
    /// A configuration.
    Configuration(&'a Path),
    /// `--flake`.
    Flake,
    /// The directory that will be the new system's /etc/nixos. It is evaluated as if it were there already: places in it are
    /// part of the system, which is to be the same when it builds itself.
    OwnDirectory(&'a Path),
    /// A Nix file and the attribute in it.
    File(&'a Path, Option<&'a str>),
    /// It is there already.
    Finished(&'a str),
}

/// Runs work on the store in a thread of its own: opening a store may give the thread other mounts than the process has.
pub(super) fn with_store<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        scope.spawn(work).join().map_err(|_| anyhow!("the store's thread ended unexpectedly"))?
    })
}

impl Ready {
    /// Builds the system, if it has to be, and looks at it.
    pub(super) fn new(matches: &ArgMatches, origin: &Origin<'_>) -> Result<Self> {
        with_store(|| {
            // Before the store is opened, which may start threads.
            let own = match origin {
                Origin::OwnDirectory(directory) => Some(own_directory(directory)?),
                _ => None,
            };
            let builder = Builder::new(Some(matches))?;
            let toplevel = match origin {
                Origin::Finished(given) => return Self::of(&System::given(&builder, Path::new(given))?),
                Origin::Flake => builder.system_attribute(None, "config.system.build.toplevel")?,
                Origin::Configuration(file) => {
                    builder.system_attribute(Some(file), "config.system.build.toplevel")?
                }
                Origin::OwnDirectory(_) => {
                    builder.system_attribute(own.as_deref(), "config.system.build.toplevel")?
                }
                Origin::File(file, attribute) => {
                    let attribute = attribute.map(|path| format!("{path}.")).unwrap_or_default();
                    builder.file_attribute(file, &format!("{attribute}config.system.build.toplevel"))?
                }
            };
            Self::of(&System::built(&builder, &toplevel)?)
        })
    }

    fn of(system: &System) -> Result<Self> {
        let loader = Bootloader::parse(system.text("bootloader.json")?.as_bytes())
            .with_context(|| format!("{}/bootloader.json", system.toplevel()))?;
        let grub = match loader.grub.as_ref().map(|grub| (&grub.bios_boot, &grub.bios_core)) {
            Some((Some(boot), Some(core))) => {
                Some((system.follow(Path::new(boot))?, system.follow(Path::new(core))?))
            }
            _ => None,
        };
        let size = |name: &str| system.file(name).and_then(|path| Ok(path.metadata()?.len())).unwrap_or(0);
        Ok(Self {
            toplevel: PathBuf::from(system.toplevel()),
            paths: system.store().closure([system.store_path()?])?,
            store_root: Settings::current()?.store_root.clone(),
            root: root_source(system),
            boot: fstab_source(system, &loader.efi_sys_mount_point),
            boot_bytes: size("kernel") + size("initrd"),
            loader,
            grub,
        })
    }

    /// The loaders, for people.
    pub(super) fn loaders(&self) -> String {
        let mut names = Vec::new();
        if self.loader.systemd_boot.is_some() {
            names.push(format!("systemd-boot at {}", self.loader.efi_sys_mount_point));
        }
        if let Some(grub) = &self.loader.grub {
            if grub.efi_core.is_some() {
                names.push(format!("GRUB for UEFI at {}", self.loader.efi_sys_mount_point));
            }
            let disks: Vec<&str> =
                grub.devices.iter().map(String::as_str).filter(|disk| *disk != "nodev").collect();
            if self.grub.is_some() && !disks.is_empty() {
                names.push(format!("GRUB for a BIOS on {}", disks.join(", ")));
            }
        }
        if names.is_empty() { "none is configured".to_owned() } else { names.join(", ") }
    }

    /// Whether UEFI can start it.
    pub(super) fn starts_by_efi(&self) -> bool {
        self.loader.systemd_boot.is_some()
            || self.loader.grub.as_ref().is_some_and(|grub| grub.efi_core.is_some())
    }

    /// The paths that a store below `root` lacks, and the bytes that they take on a disk.
    pub(super) fn missing_below(&self, root: &Path) -> Result<(usize, u64)> {
        let own = self.store_root.join("nix/store");
        let there = root.join("nix/store");
        let (mut count, mut bytes) = (0, 0);
        for path in &self.paths {
            if there.join(path.base_name()).symlink_metadata().is_ok() {
                continue;
            }
            count += 1;
            bytes += occupied(&own.join(path.base_name()))?;
        }
        Ok((count, bytes))
    }
}

/// Has a directory seen as /etc/nixos by this thread, where that can be done; the configuration in it.
fn own_directory(directory: &Path) -> Result<PathBuf> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(directory.join(CONFIGURATION));
    }
    installer::enter::show_as(directory, Path::new(DIRECTORY))?;
    Ok(Path::new(DIRECTORY).join(CONFIGURATION))
}

/// What a tree takes on a file system with blocks of 4 KiB.
fn occupied(path: &Path) -> Result<u64> {
    let failed = || format!("cannot look at {}", path.display());
    let found = path.symlink_metadata().with_context(failed)?;
    if found.is_file() {
        return Ok(found.len().next_multiple_of(BLOCK));
    }
    if !found.is_dir() {
        // Short targets lie in the inode.
        return Ok(if found.len() < 60 { 0 } else { BLOCK });
    }
    let mut bytes = 0;
    let mut names = 0;
    for entry in std::fs::read_dir(path).with_context(failed)? {
        let entry = entry.with_context(failed)?;
        names += entry.file_name().len() as u64 + 12;
        bytes += occupied(&entry.path())?;
    }
    Ok(bytes + names.max(1).next_multiple_of(BLOCK))
}

/// What stage 1 mounts at `/`; nothing when there is no stage 1.
fn root_source(system: &System) -> Option<Source> {
    let path = system.file("initrd").ok()?.with_file_name("stage1.conf");
    let stage1 = Stage1::parse(&std::fs::read_to_string(path).ok()?).ok()?;
    stage1.mounts.into_iter().find(|mount| mount.target == "/").map(|mount| mount.source)
}

/// What fstab(5) has at a mount point.
fn fstab_source(system: &System, mount_point: &str) -> Option<Source> {
    let fstab = system.text("etc/etc/fstab").or_else(|_| system.text("etc/fstab")).ok()?;
    fstab.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let source = fields.next().filter(|source| !source.starts_with('#'))?;
        (fields.next()? == mount_point).then(|| Source::parse(source))
    })
}
