//! `firn install`: puts a system into file systems that are mounted somewhere, as nixos-install(8), or onto a whole disk. Whatever can
//! fail without touching the target is done first: the system is built and its needs are compared with the room that there is.
//! Everything after that can be cut off and run again.

mod mounted;
mod password;
mod ready;
mod whole_disk;

use crate::machine::say;
use anyhow::{Context as _, Result, ensure};
use clap::{Arg, ArgAction, ArgMatches, Command, builder::PossibleValuesParser, value_parser};
use installer::layout::LAYOUTS;
use ready::Ready;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The arguments.
pub(crate) fn command() -> Command {
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
    };
    let path = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).value_parser(value_parser!(PathBuf)).help(help)
    };
    Command::new("install")
        .about("Install a system into mounted file systems, or onto a whole disk")
        .after_help(
            "The system is built in this machine's store and copied. Where that has no room (a live medium's is in memory), it can be\n\
             built on the target: `firn --store /mnt install --root /mnt`. What is cut off is completed by running it again.",
        )
        .arg(path("root", "DIR", "Where the file systems are mounted, and with --disk where they will be").default_value("/mnt"))
        .arg(path(
            "config",
            "FILE",
            "The configuration [default: ROOT/etc/nixos/configuration.nix]. With --disk it becomes the new system's: a file, or a directory with all that belongs to it [default: a first one that boots]",
        ))
        .arg(
            Arg::new("system")
                .long("system")
                .visible_alias("toplevel")
                .value_name("PATH")
                .conflicts_with_all(["config", "file", "disk", "flake"])
                .help("Install this finished system instead of building one"),
        )
        .arg(
            path("file", "FILE", "Build the system that a Nix file evaluates to")
                .short('f')
                .conflicts_with_all(["config", "disk", "flake"]),
        )
        .arg(Arg::new("attr").long("attr").short('A').value_name("PATH").requires("file").help("The attribute of --file that is the system"))
        .arg(
            Arg::new("disk")
                .long("disk")
                .value_name("DEVICE")
                // Its configuration has to name file systems that do not exist yet.
                .conflicts_with("flake")
                .help("Lay this disk out anew and install there; everything on it is lost"),
        )
        .arg(
            Arg::new("layout")
                .long("layout")
                .value_name("LAYOUT")
                .requires("disk")
                .value_parser(PossibleValuesParser::new(LAYOUTS.map(|(name, _)| name)))
                .help("How the disk is laid out and started [default: as this machine was started]"),
        )
        .arg(flag("plan", "Say what would be done and do nothing"))
        .arg(flag("yes", "Do not ask before the disk is written").short('y'))
        .arg(flag("no-root-password", "Do not ask for a password for root"))
        .arg(flag("no-bootloader", "Leave the boot partition and the disk's first sector alone"))
        .arg(flag("no-channel-copy", "Accepted: a system has its channel where firn.channel.enable says so").hide(true))
        .args(crate::build::build_arguments())
}

/// Runs it.
pub(crate) fn run(matches: &ArgMatches) -> Result<ExitCode> {
    match matches.get_one::<String>("disk") {
        Some(disk) => whole_disk::run(matches, disk)?,
        None => mounted::run(matches)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The directory that is the new system's root.
fn root(matches: &ArgMatches) -> Result<PathBuf> {
    let given = matches.get_one::<PathBuf>("root").cloned().unwrap_or_else(|| PathBuf::from("/mnt"));
    let root = std::path::absolute(&given).with_context(|| format!("--root {}", given.display()))?;
    ensure!(root != Path::new("/"), "--root / is this machine: `firn switch` changes it");
    Ok(root)
}

/// Shows a plan: as the command's output when it was all that was asked for, else as talk.
fn show(lines: &[String], as_output: bool) -> Result<()> {
    let mut text = lines.join("\n");
    text.push('\n');
    if as_output {
        std::io::stdout().write_all(text.as_bytes())?;
    } else {
        say(text.trim_end());
    }
    Ok(())
}

/// What is said of a system in a plan.
fn describe(ready: &Ready, copied: usize, bytes: u64) -> Vec<String> {
    let there = ready.paths.len() - copied;
    let there = if there > 0 { format!("; {there} are there already") } else { String::new() };
    vec![
        format!("System     {}", ready.toplevel.display()),
        format!("           {copied} store paths, {} MiB, will be copied{there}", bytes >> 20),
        format!("Boot menu  {}", ready.loaders()),
    ]
}

/// Whether the disk may be written after all: the answer was given beforehand, or there is somebody to ask.
fn may_ask(matches: &ArgMatches, disk: &str) -> Result<()> {
    let can = matches.get_flag("yes") || matches.get_flag("plan") || std::io::stdin().is_terminal();
    ensure!(
        can,
        "everything on {disk} would be lost, and there is nobody to ask: say --yes if that is meant"
    );
    Ok(())
}

/// Asks for the disk's name, unless the answer was given beforehand.
fn confirm(matches: &ArgMatches, disk: &str) -> Result<()> {
    if matches.get_flag("yes") {
        return Ok(());
    }
    write!(std::io::stderr(), "Everything on {disk} will be lost. Type its name to go on: ")?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).context("cannot read the answer")?;
    let answer = answer.trim();
    ensure!(
        answer == disk || Some(answer) == disk.strip_prefix("/dev/"),
        "that is not its name: nothing was written"
    );
    Ok(())
}
