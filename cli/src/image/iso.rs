//! `firn image --format iso`: a medium with a live system, by `isoImage.*` (os/modules/installer/cd-dvd/iso-image.nix). Its root is in
//! memory; its store is the medium's, below a layer in memory.

use crate::system::System;
use anyhow::{Context as _, Result};
use bootgen::file_tree::{Attributes, Contents, FileTree, HardLinks, Kind, Ownership};
use bootgen::iso_image::{BiosLoader, IsoImage};
use bootgen::medium_menu;
use bootgen::system_tree::{self, Closure};
use clap::ArgMatches;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What the configuration says about its medium: `config.system.build.isoImage`.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Described {
    /// Read by [`System`].
    #[serde(rename = "toplevel")]
    _toplevel: String,
    volume_id: String,
    file_name: String,
    menu_title: String,
    bios: Option<DescribedBios>,
    /// GRUB as an EFI program.
    efi: Option<String>,
    usb: bool,
    store_contents: Vec<String>,
    contents: Vec<DescribedFile>,
}

/// GRUB for a BIOS.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DescribedBios {
    el_torito: String,
    boot_sector: String,
}

/// An entry of `isoImage.contents`.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct DescribedFile {
    source: String,
    target: String,
}

/// Where the configuration describes its medium.
const ATTRIBUTE: &str = "config.system.build.isoImage";

/// Builds the system, writes the medium, says where it is.
pub(super) fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let (system, described) = System::machine_from_arguments(matches, ATTRIBUTE)?;
    let described = described
        .context("--format iso needs a configuration, not --toplevel: what is on a medium is said there")?;
    let described: Described =
        serde_json::from_value(described).with_context(|| format!("{ATTRIBUTE} of the configuration"))?;
    let output = match matches.get_one::<PathBuf>("output") {
        Some(output) => output.clone(),
        None => PathBuf::from(&described.file_name),
    };
    let image = image(&system, &described)?;
    let size = super::when_complete(&output, |unfinished| Ok(image.write(unfinished)?))?;
    writeln!(std::io::stderr().lock(), "{:>8} MiB  {}", size >> 20, described.volume_id)?;
    writeln!(std::io::stdout(), "{}", output.display())?;
    Ok(ExitCode::SUCCESS)
}

/// The medium of a system that was built.
fn image(system: &System, described: &Described) -> Result<IsoImage> {
    let store = system.store();
    let time = super::source_date_epoch()?;
    let mut wanted = vec![system.store_path()?];
    for path in &described.store_contents {
        wanted.push(store.dir().parse(path).with_context(|| format!("isoImage.storeContents: {path}"))?);
    }
    let paths = store.closure(wanted)?;
    let closure: Vec<String> = paths.iter().map(|path| store.dir().print(path)).collect();
    let registration = store.dump_database(Some(&paths))?;
    let closure = Closure { store_root: system.root(), paths: &closure };
    let mut files = system_tree::medium(closure, registration.as_bytes(), time)?;
    for file in &described.contents {
        let source = system.follow(Path::new(&file.source))?;
        let target = file.target.trim_start_matches('/');
        files
            .add_from_host(target, &source, Ownership::Root { mtime: time }, &mut HardLinks::default())
            .with_context(|| format!("isoImage.contents: {}", file.target))?;
    }
    let menu = medium_menu::text(system.root(), Path::new(system.toplevel()), &described.menu_title)
        .map_err(anyhow::Error::msg)?;
    let menu = Kind::File(Contents::Bytes(menu.into_bytes()));
    files.add(medium_menu::PATH, menu, Attributes::root(0o444, time))?;
    let bios = match &described.bios {
        Some(bios) => Some(BiosLoader {
            el_torito: system.follow(Path::new(&bios.el_torito))?,
            boot_sector: system.follow(Path::new(&bios.boot_sector))?,
        }),
        None => None,
    };
    let efi = match &described.efi {
        Some(program) => Some(efi_files(&system.follow(Path::new(program))?, time)?),
        None => None,
    };
    Ok(IsoImage {
        files,
        volume_id: described.volume_id.clone(),
        bios,
        efi,
        usb: described.usb,
        seed: system.toplevel().as_bytes().to_vec(),
        time,
    })
}

/// The EFI system partition of a medium: GRUB at the place that firmware looks for on what it does not know.
fn efi_files(program: &Path, time: u64) -> Result<FileTree> {
    let mut tree = FileTree::new(Attributes::root(0o755, time));
    let place = "EFI/BOOT/BOOTX64.EFI";
    tree.add_from_host(place, program, Ownership::Root { mtime: time }, &mut HardLinks::default())?;
    Ok(tree)
}
