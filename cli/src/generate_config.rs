//! `firn generate-config`: writes what the machine is made of, and a first configuration if there is none; nixos-generate-config(8).

use crate::machine::say;
use crate::settings::Settings;
use anyhow::{Context as _, Result, bail};
use bootgen::module_tree::ModuleTree;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use installer::block_device::BlockDevice;
use installer::configuration::{self, Loader};
use installer::file_systems::{self, Found};
use installer::hardware::{self, Hardware};
use installer::hardware_configuration;
use installer::places::Places;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Where a system's configuration lies in it.
pub(crate) const DIRECTORY: &str = "/etc/nixos";
/// What the machine is made of.
pub(crate) const HARDWARE: &str = "hardware-configuration.nix";
/// What it is to be.
pub(crate) const CONFIGURATION: &str = "configuration.nix";

/// The arguments.
pub(crate) fn command() -> Command {
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
    };
    Command::new("generate-config")
        .about("Write hardware-configuration.nix for this machine, and a first configuration.nix")
        .arg(
            Arg::new("root")
                .long("root")
                .value_name("DIR")
                .default_value("/")
                .value_parser(value_parser!(PathBuf))
                .help("Where the file systems of the system to be are mounted"),
        )
        .arg(
            Arg::new("dir")
                .long("dir")
                .value_name("DIR")
                .default_value(DIRECTORY)
                .value_parser(value_parser!(PathBuf))
                .help("Where the files go, below --root"),
        )
        .arg(flag("force", "Write configuration.nix anew though there is one"))
        .arg(flag("no-filesystems", "Leave file systems and swap devices out"))
        .arg(flag("show-hardware-config", "Print hardware-configuration.nix and write nothing"))
}

/// Runs it.
pub(crate) fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let places = Places::of_the_machine();
    let path = |name: &str| matches.get_one::<PathBuf>(name).cloned().unwrap_or_default();
    let root = path("root");
    let root = root.canonicalize().with_context(|| format!("--root {}", root.display()))?;
    let found =
        (!matches.get_flag("no-filesystems")).then(|| read_file_systems(&places, &root)).transpose()?;
    let hardware = read_hardware(&places, found.as_ref());
    let text = hardware_configuration::text(&hardware, found.as_ref());
    if matches.get_flag("show-hardware-config") {
        std::io::stdout().write_all(text.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let directory = root.join(path("dir").strip_prefix("/").unwrap_or(&path("dir")));
    write_file(&directory.join(HARDWARE), &text)?;
    let place = directory.join(CONFIGURATION);
    if place.exists() && !matches.get_flag("force") {
        say(&format!("{} is there and was left as it is; --force writes it anew", place.display()));
        return Ok(ExitCode::SUCCESS);
    }
    let loader = if hardware.efi {
        Loader::Efi
    } else {
        let device = found.and_then(|found| BlockDevice::named(&places, &found.root_device?));
        Loader::Bios { disk: device.and_then(|device| Some(device.disk(&places)?.path())) }
    };
    write_file(&place, &configuration::text(&loader, &release()?))?;
    Ok(ExitCode::SUCCESS)
}

fn read_file_systems(places: &Places, root: &Path) -> Result<Found> {
    let found = file_systems::read(places, root).context("cannot read what is mounted")?;
    found.notes.iter().for_each(|note| say(&format!("note: {note}")));
    for encrypted in &found.encrypted {
        say(&format!(
            "note: `{}` is encrypted; Firn's stage 1 cannot open it, so the machine would not boot from it",
            encrypted.name
        ));
    }
    if !found.file_systems.iter().any(|file_system| file_system.mount_point == "/") {
        say(&format!(
            "note: nothing is mounted at {}: fileSystems.\"/\" has to be written by hand",
            root.display()
        ));
    }
    Ok(found)
}

/// The machine's hardware, with the modules of the running kernel to look drivers up in.
pub(crate) fn read_hardware(places: &Places, found: Option<&Found>) -> Hardware {
    let tree = running_modules();
    let aliases = |alias: &str| {
        let Some(tree) = &tree else { return Vec::new() };
        tree.by_alias(alias).unwrap_or_else(|error| {
            log::warn!("{error}");
            Vec::new()
        })
    };
    let none = Vec::new();
    hardware::read(places, found.map_or(&none, |found| &found.devices), &aliases)
}

/// The modules of the kernel that runs: of the generation that was booted, or where other systems have them.
fn running_modules() -> Option<ModuleTree> {
    let version = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let places =
        [PathBuf::from("/run/booted-system/kernel-modules"), Path::new("/lib/modules").join(version.trim())];
    places.iter().find_map(|place| ModuleTree::open(place).ok())
}

/// The release of Firn's modules, which new systems begin with.
pub(crate) fn release() -> Result<String> {
    let place = Settings::current()?.distribution.join("os/lib/trivial.nix");
    let text = std::fs::read_to_string(&place).with_context(|| format!("cannot read {}", place.display()))?;
    let value = text.lines().find_map(|line| line.trim().strip_prefix("release = \"")?.strip_suffix("\";"));
    match value {
        Some(release) => Ok(release.to_owned()),
        None => bail!("{} does not say which release it is", place.display()),
    }
}

/// Writes a file of the configuration whole or not at all, and says so.
pub(crate) fn write_file(place: &Path, text: &str) -> Result<()> {
    let directory = place.parent().context("a file has a directory")?;
    std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let write = || -> std::io::Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        let mut file = tempfile::Builder::new()
            .permissions(std::fs::Permissions::from_mode(0o644))
            .tempfile_in(directory)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(place)?;
        std::fs::File::open(directory)?.sync_all()
    };
    write().with_context(|| format!("cannot write {}", place.display()))?;
    say(&format!("wrote {}", place.display()));
    Ok(())
}
