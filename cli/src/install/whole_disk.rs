//! Onto a whole disk: the disk's identifiers are chosen first, so that the configuration can name them and be built before
//! the first byte is written; then partitions and file systems by Firn's own writers, and the rest as into mounted ones.

use super::mounted::{ask_for_password, install};
use super::ready::{Origin, Ready};
use super::{confirm, describe, may_ask, root, show};
use crate::generate_config::{CONFIGURATION, DIRECTORY, HARDWARE, read_hardware, release};
use crate::machine::say;
use anyhow::{Context as _, Result, bail, ensure};
use bootgen::grub_bios;
use clap::ArgMatches;
use formats::stage1::Source;
use installer::disk::{self, Disk};
use installer::layout::{LAYOUTS, Layout, Plan};
use installer::places::Places;
use installer::{configuration, hardware_configuration, whole_disk};
use std::path::{Path, PathBuf};

/// Left free beside the system: a second generation, logs.
const SPARE: u64 = 128 << 20;

/// Runs `firn install --disk`.
pub(super) fn run(matches: &ArgMatches, node: &str) -> Result<()> {
    let places = Places::of_the_machine();
    let root = root(matches)?;
    let disk = disk::examine(&places, node)?;
    may_ask(matches, &disk.device.path())?;
    let layout = layout(matches, &places);
    let seed = sys::random::Identifiers::new().draw();
    let time =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |time| time.as_secs());
    let plan = Plan::new(layout, &disk.device.path(), disk.device.size, seed.as_bytes(), time)
        .with_context(|| disk.device.path())?;

    let staging =
        tempfile::Builder::new().prefix("firn-install-").tempdir().context("a temporary directory")?;
    stage(staging.path(), matches.get_one::<PathBuf>("config").map(PathBuf::as_path), &plan, &places)?;
    let ready = Ready::new(matches, &Origin::OwnDirectory(staging.path()))?;
    let with_loader = !matches.get_flag("no-bootloader");
    check(&ready, &plan, &disk, with_loader)?;
    let (count, bytes) = ready.missing_below(Path::new("/does/not/exist"))?;
    let room = plan.room()?;
    ensure!(
        bytes + SPARE <= room,
        "{} has room for {} MiB of files, and the system takes {} MiB: nothing was written",
        disk.device.path(),
        room >> 20,
        (bytes + SPARE).div_ceil(1 << 20)
    );

    let mut lines = vec!["This will be lost:".to_owned()];
    lines.extend(disk.contents(&places));
    lines.push("This will be there:".to_owned());
    lines.extend(plan.lines().iter().map(|line| format!("  {line}")));
    lines.extend(describe(&ready, count, bytes));
    show(&lines, matches.get_flag("plan"))?;
    if matches.get_flag("plan") {
        return Ok(());
    }
    confirm(matches, &disk.device.path())?;

    say(&format!("writing {}", disk.device.path()));
    whole_disk::write(&plan, &disk)?;
    std::fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
    let mounted = whole_disk::mount_at(&places, &disk, &root)?;
    let configurations = root.join(DIRECTORY.trim_start_matches('/'));
    copy_tree(staging.path(), &configurations)?;
    let machine = install(&ready, &root, with_loader)?;
    ask_for_password(matches, machine.root())?;
    mounted.unmount().with_context(|| format!("cannot unmount {}", root.display()))?;
    nix::unistd::sync();
    say(&format!(
        "installed on {}: reboot to start it. Its configuration is {DIRECTORY}/{CONFIGURATION} there.",
        disk.device.path()
    ));
    Ok(())
}

/// The layout that was named, or the one that suits how this machine was started.
fn layout(matches: &ArgMatches, places: &Places) -> Layout {
    let named = matches.get_one::<String>("layout");
    let named = named.and_then(|wanted| LAYOUTS.iter().find(|(name, _)| name == wanted));
    match named {
        Some((_, layout)) => *layout,
        None if places.sys.join("firmware/efi").exists() => Layout::EfiExt4,
        None => Layout::BiosExt4,
    }
}

/// The new system's /etc/nixos: the user's files, and what the machine with this disk is made of.
fn stage(directory: &Path, given: Option<&Path>, plan: &Plan, places: &Places) -> Result<()> {
    let place = directory.join(CONFIGURATION);
    match given {
        Some(given) if given.is_dir() => {
            ensure!(
                given.join(CONFIGURATION).is_file(),
                "--config {}: there is no {CONFIGURATION} in it",
                given.display()
            );
            copy_tree(given, directory)?;
        }
        Some(given) => {
            let copied = std::fs::copy(given, &place);
            copied.with_context(|| format!("--config {}", given.display()))?;
        }
        None => std::fs::write(&place, configuration::text(&plan.loader(), &release()?))
            .with_context(|| place.display().to_string())?,
    }
    let found = plan.file_systems();
    let hardware = read_hardware(places, Some(&found));
    write_quietly(&directory.join(HARDWARE), &hardware_configuration::text(&hardware, Some(&found)))
}

fn write_quietly(place: &Path, text: &str) -> Result<()> {
    std::fs::write(place, text).with_context(|| format!("cannot write {}", place.display()))
}

/// Whether the system that was built is one for this disk.
fn check(ready: &Ready, plan: &Plan, disk: &Disk, with_loader: bool) -> Result<()> {
    let is = |source: &Option<Source>, uuid: &str| matches!(source, Some(Source::Uuid(found)) if found.eq_ignore_ascii_case(uuid));
    let not_this = |what: &str| {
        format!(
            "the configuration's {what} is not on the disk that is to be made: let it import ./{HARDWARE} and leave fileSystems to that"
        )
    };
    ensure!(is(&ready.root, &plan.root_uuid()), not_this("fileSystems.\"/\""));
    if !with_loader {
        return Ok(());
    }
    ensure!(is(&ready.boot, &plan.boot_uuid()), not_this("boot partition"));
    // Twice: an update writes the new ones before the old ones go.
    let boot = plan.image().layout()?.1.get(1).map_or(0, |partition| partition.length);
    ensure!(
        2 * ready.boot_bytes < boot,
        "the boot partition of {} MiB is too small for kernels and initrds of {} MiB",
        boot >> 20,
        ready.boot_bytes >> 20
    );
    let is_this = |device: &str| Path::new(device).canonicalize().is_ok_and(|device| device == disk.node);
    let devices = ready.loader.grub.iter().flat_map(|grub| &grub.devices).filter(|device| *device != "nodev");
    let devices: Vec<&String> = if ready.grub.is_some() { devices.collect() } else { Vec::new() };
    match plan.layout {
        Layout::EfiExt4 => ensure!(
            ready.starts_by_efi(),
            "the configuration has no boot loader for UEFI: set boot.loader.systemd-boot.enable"
        ),
        Layout::BiosExt4 => ensure!(
            devices.iter().any(|device| is_this(device)),
            "the configuration has no boot loader for a BIOS on this disk: set boot.loader.grub.enable and \
             boot.loader.grub.device = \"{}\"",
            plan.disk
        ),
    }
    // Others get GRUB as well, so they need a place for it.
    if let Some((boot, core)) = &ready.grub {
        for device in devices.into_iter().filter(|device| !is_this(device)) {
            grub_bios::install(Path::new(device), boot, core, true).with_context(|| {
                format!("boot.loader.grub.devices has {device}, which is not the disk that is to be made")
            })?;
        }
    }
    Ok(())
}

/// Copies files, directories and links.
fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    for entry in std::fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry.with_context(|| format!("cannot read {}", from.display()))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().with_context(|| source.display().to_string())?;
        if kind.is_dir() {
            copy_tree(&source, &target)?;
        } else if kind.is_symlink() {
            let link = std::fs::read_link(&source).with_context(|| source.display().to_string())?;
            std::os::unix::fs::symlink(link, &target).with_context(|| target.display().to_string())?;
        } else if kind.is_file() {
            // By its text: what is read-only in a store or on a medium is to be changed there.
            let bytes = std::fs::read(&source).with_context(|| source.display().to_string())?;
            std::fs::write(&target, bytes).with_context(|| format!("cannot write {}", target.display()))?;
        } else {
            bail!("{} is neither a file nor a directory", source.display());
        }
    }
    Ok(())
}
