//! Into file systems that are mounted: the closure into their store, the profile, /etc and accounts, the boot menu, root's password.

use super::ready::{Origin, Ready, with_store};
use super::{describe, password, root, show};
use crate::generate_config::{CONFIGURATION, DIRECTORY};
use crate::machine::{Machine, say};
use crate::nix_conf::NixConf;
use activate::switch::exit;
use anyhow::{Context as _, Result, bail, ensure};
use bootgen::{esp, grub_bios};
use clap::ArgMatches;
use formats::store_path::StorePath;
use std::cell::Cell;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::{Layout, Store};

/// Left free beside what is copied: the database, /etc, the first logs.
const SPARE: u64 = 64 << 20;

/// Runs `firn install` without `--disk`.
pub(super) fn run(matches: &ArgMatches) -> Result<()> {
    let root = root(matches)?;
    ensure!(
        root.is_dir(),
        "{} is no directory: mount the new system's file systems there, or say where they are with --root",
        root.display()
    );
    let directory = root.join(DIRECTORY.trim_start_matches('/'));
    let configuration = directory.join(CONFIGURATION);
    let given = |name: &str| matches.get_one::<PathBuf>(name);
    let attribute = matches.get_one::<String>("attr").map(String::as_str);
    let origin = match (matches.get_one::<String>("system"), given("file"), given("config")) {
        (Some(system), _, _) => Origin::Finished(system),
        (None, Some(file), _) => Origin::File(file, attribute),
        (None, None, Some(file)) => Origin::Configuration(file),
        (None, None, None) if matches.contains_id("flake") => Origin::Flake,
        (None, None, None) => {
            ensure!(
                configuration.exists(),
                "there is no {}: `firn generate-config --root {}` writes a first one",
                configuration.display(),
                root.display()
            );
            say(&format!(
                "evaluating {}, which is called {DIRECTORY} as in the new system",
                directory.display()
            ));
            Origin::OwnDirectory(&directory)
        }
    };
    let ready = Ready::new(matches, &origin)?;
    let with_loader = !matches.get_flag("no-bootloader");
    if with_loader {
        check_boot(&ready, &root)?;
    }
    let (count, bytes) = ready.missing_below(&root)?;
    let room = room(&root)?;
    let mut lines = describe(&ready, count, bytes);
    lines.push(format!("Target     {}, {} MiB free", root.display(), room >> 20));
    if !with_loader {
        lines.push("           the boot partition is left alone".to_owned());
    }
    ensure!(
        ready.store_root == root || bytes + SPARE <= room,
        "{} has {} MiB free, and the system takes {} MiB: nothing was written",
        root.display(),
        room >> 20,
        (bytes + SPARE).div_ceil(1 << 20)
    );
    show(&lines, matches.get_flag("plan"))?;
    if matches.get_flag("plan") {
        return Ok(());
    }
    let machine = install(&ready, &root, with_loader)?;
    ask_for_password(matches, machine.root())?;
    say(&format!(
        "installed in {}: reboot to start it, or look around in it with `firn enter --root {0}`",
        root.display()
    ));
    Ok(())
}

/// Bytes that can still be written to the file system of a directory.
fn room(root: &Path) -> Result<u64> {
    let found =
        nix::sys::statvfs::statvfs(root).with_context(|| format!("cannot look at {}", root.display()))?;
    Ok(found.blocks_available() * found.fragment_size())
}

/// Whether the loaders that the system wants have their places, before anything is copied.
fn check_boot(ready: &Ready, root: &Path) -> Result<()> {
    let below = |path: &str| root.join(path.trim_start_matches('/'));
    let loader = &ready.loader;
    if loader.systemd_boot.is_some() || loader.grub.is_some() {
        for point in std::iter::once(&loader.efi_sys_mount_point).chain(&loader.mirrored_mount_points) {
            let place = below(point);
            if !ready.starts_by_efi() {
                std::fs::create_dir_all(&place)
                    .with_context(|| format!("cannot make {}", place.display()))?;
            }
            esp::check(&place, ready.starts_by_efi()).context("the boot partition")?;
        }
    }
    if let (Some((boot, core)), Some(grub)) = (&ready.grub, &loader.grub) {
        for disk in grub.devices.iter().filter(|disk| *disk != "nodev") {
            let _ =
                grub_bios::install(Path::new(disk), boot, core, true).context("boot.loader.grub.devices")?;
        }
    }
    Ok(())
}

/// Copies, registers, activates, and writes the boot menu. Each step finds what an earlier run did and leaves it.
pub(super) fn install(ready: &Ready, root: &Path, with_loader: bool) -> Result<Machine> {
    let root = root.canonicalize().with_context(|| root.display().to_string())?;
    copy(ready, &root)?;
    let machine = Machine::being_installed(&root);
    let number = machine.set_profile(&ready.toplevel)?;
    say("accounts and /etc");
    match activate(&machine, &ready.toplevel)? {
        exit::DONE => {}
        // What only a running system can do is done again when it boots.
        exit::ACTIVATION_FAILED => {
            say("note: not everything could be done here; it is tried again at the first boot");
        }
        code => bail!("the activation ended with {code}"),
    }
    if with_loader {
        say("boot menu");
        match machine.update_menu(Some(number), false)? {
            None => say("note: no boot loader is configured: the machine will not start by itself"),
            Some(updates) => {
                for disk in updates.grub_disks {
                    say(&format!("GRUB is on {disk}"));
                }
            }
        }
    }
    nix::unistd::sync();
    Ok(machine)
}

/// Runs the system's activation in a place of its own, with devices and a /run that is not on the disk.
fn activate(machine: &Machine, toplevel: &Path) -> Result<u8> {
    // The thread's mounts are its own; without root's rights there are none, and none are needed.
    with_store(|| {
        if nix::unistd::geteuid().is_root() {
            installer::enter::prepare(machine.root())?;
        }
        machine.activate(toplevel, "boot", false)
    })
}

fn copy(ready: &Ready, root: &Path) -> Result<()> {
    if ready.store_root.canonicalize().is_ok_and(|own| own == root) {
        return Ok(());
    }
    let total = ready.paths.len().max(1);
    let is_terminal = std::io::stderr().is_terminal();
    with_store(|| {
        let from = crate::store::open()?;
        let mut options = NixConf::load().store_options()?;
        options.substituters = Arc::default();
        let to = Store::open_with(Layout::below(root), options)
            .with_context(|| format!("cannot make a store in {}", root.display()))?;
        let present = ready.paths.iter().filter(|path| to.is_valid(path).unwrap_or(false)).count();
        let shown = Cell::new(present);
        let show = |_: &StorePath| {
            let before = shown.replace(shown.get() + 1);
            if is_terminal {
                if write!(std::io::stderr(), "\rcopying {}/{total}", shown.get()).is_err() {
                    log::debug!("nobody reads standard error");
                }
            } else if (before * 10 / total) < shown.get() * 10 / total {
                // A line for every tenth where lines stay.
                say(&format!("copying: {} of {total} store paths", shown.get()));
            }
        };
        let copied = from.copy_to(&to, &ready.paths, true, &show)?;
        say(&format!("{}copied {} store paths", if is_terminal { "\r" } else { "" }, copied.len()));
        Ok(())
    })
}

/// Asks for root's password where somebody sits.
pub(super) fn ask_for_password(matches: &ArgMatches, root: &Path) -> Result<()> {
    if matches.get_flag("no-root-password") || !std::io::stdin().is_terminal() {
        return Ok(());
    }
    match password::ask("root")? {
        Some(password) => {
            let root = activate::root::Root::new(root);
            activate::accounts::set_password(&root, "root", &password)?;
            nix::unistd::sync();
        }
        None => say("note: root has no password from here; `firn enter -- passwd` sets one"),
    }
    Ok(())
}
