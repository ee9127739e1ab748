//! `firn gc`: deletes what no root needs, after old generations if asked.

use crate::family::Family;
use crate::json;
use anyhow::{Context as _, Result};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use store::profile::Profile;
use store::{CollectOptions, Store};

/// The family's row.
pub(crate) const FAMILY: Family = Family { command, run };

fn command() -> Command {
    Command::new("gc")
        .about("Delete what nothing needs any more")
        .arg(
            Arg::new("dry-run")
                .long("dry-run")
                .action(ArgAction::SetTrue)
                .help("Say what would go, delete nothing"),
        )
        .arg(
            Arg::new("max-freed")
                .long("max-freed")
                .value_name("BYTES")
                .value_parser(value_parser!(u64))
                .help("Stop when this many bytes are free"),
        )
        .arg(Arg::new("older-than").long("delete-older-than").value_name("DAYS").help(
            "First delete generations of all profiles older than this, such as 30d; never the current ones",
        ))
        .arg(
            Arg::new("old")
                .long("delete-old")
                .short('d')
                .action(ArgAction::SetTrue)
                .help("First delete all generations but the current ones"),
        )
        .arg(
            Arg::new("keep-outputs")
                .long("keep-outputs")
                .action(ArgAction::SetTrue)
                .help("Keep the outputs of derivations that are needed"),
        )
        .arg(json::argument())
}

fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let store = super::open()?;
    let dry_run = matches.get_flag("dry-run");
    let age = match matches.get_one::<String>("older-than") {
        Some(text) => Some(parse_age(text)?),
        None => matches.get_flag("old").then_some(Duration::ZERO),
    };
    let generations = match age {
        Some(age) => delete_generations(&store, Some(age).filter(|age| !age.is_zero()), dry_run)?,
        None => Vec::new(),
    };
    let options = CollectOptions {
        dry_run,
        max_freed: matches.get_one::<u64>("max-freed").copied(),
        keep_outputs: matches.get_flag("keep-outputs"),
        keep_derivations: true,
    };
    let collected = store.collect_garbage(&options)?;
    if matches.get_flag("json") {
        let generations: Vec<_> = generations
            .iter()
            .map(|(profile, number)| serde_json::json!({ "profile": profile, "generation": number }))
            .collect();
        json::print(&serde_json::json!({
            "dryRun": dry_run,
            "generations": generations,
            "paths": json::paths(&store, &collected.paths),
            "bytesFreed": collected.freed,
            "alive": collected.alive,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for (profile, number) in &generations {
        writeln!(out, "generation {number} of {}", profile.display())?;
    }
    for path in &collected.paths {
        writeln!(out, "{}", store.dir().print(path))?;
    }
    out.flush()?;
    let mib = collected.freed as f64 / (1024.0 * 1024.0);
    let words = if dry_run { "would be deleted" } else { "deleted" };
    let mut talk = std::io::stderr();
    write!(talk, "{} paths {words}", collected.paths.len())?;
    if dry_run {
        writeln!(talk, ", {} are needed", collected.alive)?;
    } else {
        writeln!(talk, ", {mib:.1} MiB freed, {} are needed", collected.alive)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Deletes the old generations of all profiles, or only says which they are: the link and number of each.
fn delete_generations(store: &Store, age: Option<Duration>, dry_run: bool) -> Result<Vec<(PathBuf, u64)>> {
    let mut deleted = Vec::new();
    for profile in profiles(store)? {
        let old = profile.old_generations(age)?;
        deleted.extend(old.iter().map(|number| (profile.link().to_owned(), *number)));
        if !dry_run {
            profile.delete(&old)?;
        }
    }
    Ok(deleted)
}

/// An age such as `30d`.
fn parse_age(text: &str) -> Result<Duration> {
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u64>().ok());
    let days = days.with_context(|| format!("`{text}` is not an age; write days as in 30d"))?;
    Ok(Duration::from_secs(days * 24 * 60 * 60))
}

/// All profiles of the store: each link beside which there are generations.
fn profiles(store: &Store) -> Result<Vec<Profile>> {
    let mut profiles = Vec::new();
    let mut directories = vec![store.layout().profiles()];
    while let Some(directory) = directories.pop() {
        for entry in
            std::fs::read_dir(&directory).with_context(|| format!("reading {}", directory.display()))?
        {
            let path = entry?.path();
            let found = std::fs::symlink_metadata(&path)?;
            if found.is_dir() {
                directories.push(path);
            } else if found.is_symlink() && is_profile(&path) {
                profiles.push(Profile::at(&path));
            }
        }
    }
    Ok(profiles)
}

fn is_profile(link: &Path) -> bool {
    Profile::at(link).current().is_ok_and(|current| current.is_some())
}
