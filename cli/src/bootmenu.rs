//! `firn bootmenu`: brings the boot partition to the state that the generations want, or shows what would be done; `--good`
//! marks the booted generation good.

use crate::json;
use crate::machine::{Machine, profile, say};
use crate::settings::Settings;
use anyhow::{Context as _, Result};
use bootgen::menu_update::{self, Options, Updates};
use clap::{Arg, ArgAction, ArgMatches, Command};
use formats::bootloader::Bootloader;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// The arguments.
pub(crate) fn command() -> Command {
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
    };
    Command::new("bootmenu")
        .about("Write the boot menu from the system's generations")
        .arg(flag("dry-run", "Only show what would be written"))
        .arg(flag("diff", "Show how the texts change"))
        .arg(flag("json", "Show the steps as JSON"))
        .arg(flag("check", "Read the kernels on the boot partition and write damaged ones again"))
        .arg(
            flag("good", "Mark the booted generation good: it has come up (boot counting)")
                .conflicts_with("dry-run"),
        )
        .arg(
            Arg::new("default")
                .long("default")
                .value_name("N")
                .value_parser(clap::value_parser!(u64))
                .help("The generation that boots by itself [default: the profile's current one]"),
        )
}

/// Runs it.
pub(crate) fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let machine = Machine::of(Settings::current()?);
    if matches.get_flag("good") {
        return mark_good(&machine);
    }
    let options = Options {
        root: machine.root().to_path_buf(),
        profile: profile::SYSTEM.to_owned(),
        default: matches.get_one::<u64>("default").copied(),
        dry_run: matches.get_flag("dry-run"),
        check: matches.get_flag("check"),
        installing: false,
        trusted: crate::secure_boot::trusted(&machine),
    };
    let updates = menu_update::update(&options)?;
    if matches.get_flag("json") {
        json::print(&as_json(&updates))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut output = std::io::stdout().lock();
    for update in &updates.partitions {
        update.plan.notices.iter().for_each(|notice| say(&format!("note: {notice}")));
        if update.plan.steps.is_empty() {
            writeln!(
                output,
                "{}: nothing to do, generation {} boots",
                update.partition.display(),
                updates.default
            )?;
            continue;
        }
        writeln!(output, "{}:", update.partition.display())?;
        for line in update.lines() {
            writeln!(output, "  {line}")?;
        }
        if matches.get_flag("diff") {
            for line in update.diff() {
                writeln!(output, "  {line}")?;
            }
        }
    }
    for disk in &updates.grub_disks {
        writeln!(output, "~ GRUB on {disk}")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn as_json(updates: &Updates) -> serde_json::Value {
    let partitions: Vec<serde_json::Value> = updates
        .partitions
        .iter()
        .map(|update| {
            serde_json::json!({
                "partition": update.partition,
                "shown": update.plan.shown,
                "steps": update.lines(),
                "notices": update.plan.notices,
            })
        })
        .collect();
    serde_json::json!({ "default": updates.default, "partitions": partitions, "grubDisks": updates.grub_disks })
}

fn mark_good(machine: &Machine) -> Result<ExitCode> {
    let booted = std::fs::read_link(machine.place("/run/booted-system"))
        .context("/run/booted-system: the machine was not booted by Firn")?;
    let loader = booted_loader(machine)?;
    let token = menu_update::token(machine.root(), &loader)?;
    for partition in partitions_of(machine, &loader) {
        let blessed = bootgen::bless::bless(&partition, &token, &booted.to_string_lossy())
            .with_context(|| format!("cannot mark the entry good on {}", partition.display()))?;
        for name in blessed {
            say(&format!("{name} is good"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The boot loader's settings in the generation that was booted.
pub(crate) fn booted_loader(machine: &Machine) -> Result<Bootloader> {
    let place = machine.place("/run/booted-system");
    let target = std::fs::read_link(&place).with_context(|| place.display().to_string())?;
    let file = machine.place(&target.to_string_lossy()).join("bootloader.json");
    let bytes = std::fs::read(&file).with_context(|| file.display().to_string())?;
    Ok(Bootloader::parse(&bytes)?)
}

/// Where its boot partitions are mounted.
pub(crate) fn partitions_of(machine: &Machine, loader: &Bootloader) -> Vec<PathBuf> {
    let points = std::iter::once(&loader.efi_sys_mount_point).chain(&loader.mirrored_mount_points);
    points.map(|point| machine.place(point)).collect()
}
