//! `firn image`: a whole disk from a configuration, as one file that a machine or an emulator boots through UEFI or a BIOS; with
//! `--format iso` a medium for CDs and sticks. Made without root rights; the same system gives the same bytes.

mod iso;

use crate::system::System;
use anyhow::{Context as _, Result, bail, ensure};
use bootgen::file_tree::{Attributes, Contents, FileTree, Kind};
use bootgen::generations::{Generation, Generations};
use bootgen::identity::Uuid;
use bootgen::image::{DiskImage, Identity, Written};
use bootgen::partition::Partition;
use bootgen::plan::{self, Request};
use bootgen::system_tree::{self, Closure};
use clap::{Arg, ArgMatches, Command, value_parser};
use formats::bootloader::Bootloader;
use formats::stage1::{Source, Stage1};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The number of the generation that an image is made with.
const GENERATION: u64 = 1;
/// The root partition's place in the table.
const ROOT_NUMBER: &str = "3";

/// The command's arguments.
pub(crate) fn command() -> Command {
    Command::new("image")
        .about("Write a configuration as a disk image that boots through UEFI and BIOS")
        .args(crate::system::arguments())
        .arg(
            Arg::new("format")
                .long("format")
                .value_name("FORMAT")
                .value_parser(["raw", "iso"])
                .default_value("raw")
                .help("raw: a disk with an installed system; iso: a medium for CDs and USB sticks that runs from memory"),
        )
        .arg(
            Arg::new("output")
                .long("output")
                .short('o')
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("The image [default: disk.img; for iso: image.fileName of the configuration]"),
        )
        .arg(
            Arg::new("size")
                .long("size")
                .value_name("MIB")
                .value_parser(value_parser!(u64).range(64..))
                .help("Size of the disk [default: what the system takes, and 1 GiB more]"),
        )
}

/// Builds the system, writes the image, says what is in it.
pub(crate) fn run(matches: &ArgMatches) -> Result<ExitCode> {
    if matches.get_one::<String>("format").is_some_and(|format| format == "iso") {
        ensure!(!matches.contains_id("size"), "--size is for disks; a medium is as large as what is on it");
        return iso::run(matches);
    }
    let system = System::from_arguments(matches)?;
    let output = matches.get_one::<PathBuf>("output").cloned().unwrap_or_else(|| PathBuf::from("disk.img"));
    let size = matches.get_one::<u64>("size").map(|mib| mib << 20);
    let written = write(&system, &output, size)?;
    let mut talk = std::io::stderr().lock();
    for partition in &written.partitions {
        writeln!(talk, "{:>8} MiB  {}", partition.length >> 20, partition.name)?;
    }
    writeln!(talk, "{} MiB are free on the root file system.", written.root_free >> 20)?;
    writeln!(std::io::stdout(), "{}", output.display())?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the system's image. An image that is there is replaced only when the new one is complete.
pub(crate) fn write(system: &System, output: &Path, size: Option<u64>) -> Result<Written> {
    let scratch = tempfile::tempdir().context("cannot make a temporary directory")?;
    let time = source_date_epoch()?;
    let closure = system.closure()?;
    let database = scratch.path().join("db.sqlite");
    system.store().export_database([system.store_path()?], &database)?;
    let schema = scratch.path().join("schema");
    std::fs::write(&schema, "10").with_context(|| format!("cannot write {}", schema.display()))?;
    let files = [("db.sqlite".to_owned(), database), ("schema".to_owned(), schema)];
    let generation = system_tree::Generation { number: GENERATION, toplevel: system.toplevel() };
    let closure = Closure { store_root: system.root(), paths: &closure };
    let root = system_tree::root(closure, &[generation], &files, time)?;
    let loader = bootloader(system)?;
    let boot = boot_files(system, &loader, time)?;
    let mut image = DiskImage::new(boot, root, system.toplevel().as_bytes());
    image.size = size;
    image.time = time;
    image.root_identity = root_identity(system)?;
    image.boot_identity = boot_identity(system, &loader);
    image.grub = grub(system, &loader)?;
    when_complete(output, |unfinished| Ok(image.write(unfinished)?))
}

/// Has a file written under another name, which then takes this one's place.
fn when_complete<T>(output: &Path, write: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    let mut unfinished = output.as_os_str().to_owned();
    unfinished.push(".unfinished");
    let unfinished = PathBuf::from(unfinished);
    let written = write(&unfinished)?;
    std::fs::rename(&unfinished, output).with_context(|| format!("cannot rename to {}", output.display()))?;
    Ok(written)
}

/// Whether the system has GRUB for a BIOS.
pub(crate) fn boots_from_bios(system: &System) -> Result<bool> {
    Ok(bootloader(system)?.grub.is_some_and(|grub| grub.bios_core.is_some()))
}

/// The time of what has none of its own, by reproducible-builds.org's variable.
fn source_date_epoch() -> Result<u64> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text.trim().parse().with_context(|| {
            format!("SOURCE_DATE_EPOCH is `{text}`; it must be a number of seconds since 1970")
        }),
        Err(_) => Ok(1),
    }
}

fn bootloader(system: &System) -> Result<Bootloader> {
    let loader = Bootloader::parse(system.text("bootloader.json")?.as_bytes())?;
    if loader.systemd_boot.is_none() && loader.grub.is_none() {
        bail!(
            "the configuration has no boot loader: set boot.loader.systemd-boot.enable (UEFI) or boot.loader.grub.enable and \
             boot.loader.grub.device (BIOS)"
        );
    }
    Ok(loader)
}

/// The boot partition as the planner wants it to be for this one generation.
fn boot_files(system: &System, loader: &Bootloader, time: u64) -> Result<FileTree> {
    let generation = Generation::of_toplevel(system.root(), GENERATION, Path::new(system.toplevel()), None)
        .map_err(anyhow::Error::msg)?;
    let generations = Generations { good: vec![generation], broken: Vec::new() };
    let token = plan::token_of(system.toplevel().as_bytes());
    let request = Request {
        root: system.root(),
        generations: &generations,
        default: GENERATION,
        loader,
        token: &token,
        booted: None,
        space: None,
        // An image holds no secrets: the machine makes its keys, and its first `firn bootmenu` signs.
        signing: None,
    };
    if loader.systemd_boot.as_ref().is_some_and(|settings| settings.secure_boot.is_some()) {
        crate::machine::say(
            "note: the image's boot menu is not signed, since an image holds no keys; the machine makes them (`firn secure-boot create-keys`) and signs (`firn bootmenu`)",
        );
    }
    let planned = plan::plan(&request, &Partition::empty())?;
    for notice in &planned.notices {
        log::warn!("{notice}");
    }
    let mut tree = FileTree::new(Attributes::root(0o755, time));
    for file in planned.files {
        let contents = match file.contents {
            plan::Contents::Text(text) => Contents::Bytes(text.into_bytes()),
            plan::Contents::File { source, size, .. } => Contents::Host { path: source, size, data: None },
            plan::Contents::Signed { bytes, .. } => Contents::Bytes(bytes),
            plan::Contents::Unified(kernel) => Contents::Bytes(kernel.bytes()?),
        };
        tree.add(&file.path, Kind::File(contents), Attributes::root(0o755, time))?;
    }
    Ok(tree)
}

/// GRUB's two files for a BIOS, if the configuration has it.
fn grub(system: &System, loader: &Bootloader) -> Result<Option<(PathBuf, PathBuf)>> {
    let Some((Some(boot), Some(core))) = loader.grub.as_ref().map(|grub| (&grub.bios_boot, &grub.bios_core))
    else {
        return Ok(None);
    };
    Ok(Some((system.follow(Path::new(boot))?, system.follow(Path::new(core))?)))
}

/// The root partition as the generation's stage 1 will look for it.
fn root_identity(system: &System) -> Result<Identity> {
    let path = system.file("initrd")?.with_file_name("stage1.conf");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let stage1 = Stage1::parse(&text)?;
    let root =
        stage1.mounts.iter().find(|mount| mount.target == "/").context("stage 1 mounts nothing at /")?;
    if !matches!(root.fs_type.as_str(), "ext4" | "auto") {
        bail!("the configuration's root is {}; disk images have an ext4 root", root.fs_type);
    }
    identity(&root.source, Identity::new("firn", "root")).with_context(|| {
        format!(
            "fileSystems.\"/\".device is {}; write /dev/disk/by-label/NAME to have it found on any disk",
            root.source
        )
    })
}

/// The identity that a source wants; what it does not say is as in `usual`.
fn identity(source: &Source, usual: Identity) -> Result<Identity> {
    let uuid = |text: &str| Uuid::parse(text).with_context(|| format!("`{text}` is not a UUID"));
    Ok(match source {
        Source::Label(label) => Identity { label: label.clone(), ..usual },
        Source::PartLabel(name) => Identity { partition_name: name.clone(), ..usual },
        Source::Uuid(text) => Identity { uuid: Some(uuid(text)?), ..usual },
        Source::PartUuid(text) => Identity { partition_uuid: Some(uuid(text)?), ..usual },
        Source::Device(path) if path.ends_with(ROOT_NUMBER) => usual,
        Source::Device(path) => bail!("{path} is not the third partition, which is the root of an image"),
        Source::Other(other) => bail!("`{other}` is not a disk"),
    })
}

/// The boot partition as the generation's fstab will look for it.
fn boot_identity(system: &System, loader: &Bootloader) -> Identity {
    let usual = Identity::new("ESP", "esp");
    let Ok(fstab) = system.text("etc/etc/fstab").or_else(|_| system.text("etc/fstab")) else { return usual };
    let source = fstab.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let source = fields.next().filter(|source| !source.starts_with('#'))?;
        (fields.next()? == loader.efi_sys_mount_point).then(|| Source::parse(source))
    });
    match source {
        Some(Source::Label(label)) => Identity { label, ..usual },
        Some(Source::PartLabel(partition_name)) => Identity { partition_name, ..usual },
        Some(Source::PartUuid(text)) => Identity { partition_uuid: Uuid::parse(&text), ..usual },
        // A FAT file system's number is shown as XXXX-XXXX.
        Some(Source::Uuid(text)) => {
            let serial = u32::from_str_radix(&text.replace('-', ""), 16).ok();
            let uuid = serial.map(|serial| {
                let mut bytes = [0; 16];
                bytes[..4].copy_from_slice(&serial.to_be_bytes());
                Uuid(bytes)
            });
            Identity { uuid, ..usual }
        }
        _ => usual,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stage_1_looks_for_is_what_is_written() {
        let usual = || Identity::new("firn", "root");
        let of = |text: &str| identity(&Source::parse(text), usual());
        assert_eq!(of("/dev/disk/by-label/nixos").unwrap().label, "nixos");
        assert_eq!(of("PARTLABEL=system").unwrap().partition_name, "system");
        let text = "01234567-89ab-cdef-0123-456789abcdef";
        assert_eq!(of(&format!("UUID={text}")).unwrap().uuid.unwrap().to_string(), text);
        assert_eq!(of("/dev/vda3").unwrap(), usual());
        for text in ["/dev/vda1", "tmpfs", "UUID=ABCD-1234"] {
            assert!(of(text).is_err(), "{text}");
        }
    }
}
