//! `nix-collect-garbage`: old generations go if asked, then what nothing needs. nix-collect-garbage(1).

use crate::nix_front::{Arguments, Front, print_version};
use crate::nix_store::print_collected;
use anyhow::{Context as _, Result, bail};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use store::CollectOptions;
use store::profile::Profile;

/// `nix-collect-garbage …`.
pub(crate) fn nix_collect_garbage(arguments: &[OsString]) -> Result<ExitCode> {
    let mut arguments = Arguments::new(arguments);
    let mut front = Front::new();
    let (mut old, mut older_than, mut dry_run, mut max_freed) = (false, None, false, None);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "-d" | "--delete-old" => old = true,
            "--delete-older-than" => {
                (old, older_than) = (true, Some(age(&arguments.value(&argument)?)?));
            }
            "--dry-run" => dry_run = true,
            "--max-freed" => max_freed = Some(arguments.value(&argument)?.parse()?),
            "--version" => {
                print_version("nix-collect-garbage")?;
                return Ok(ExitCode::SUCCESS);
            }
            _ if front.take(&argument, &mut arguments)? => {}
            other => bail!("unrecognised flag '{other}'"),
        }
    }
    let store = front.open()?;
    if old {
        let home = std::env::var_os("XDG_STATE_HOME")
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/state")));
        let own = home.map(|home| home.join("nix/profiles"));
        for directory in own.iter().chain([&store.layout().profiles()]) {
            remove_old(directory, older_than, dry_run)?;
        }
    }
    if dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    let options = CollectOptions {
        max_freed,
        keep_outputs: front.conf.flag("keep-outputs", false),
        keep_derivations: front.conf.flag("keep-derivations", true),
        ..CollectOptions::default()
    };
    print_collected(&store, &store.collect_garbage(&options)?)?;
    Ok(ExitCode::SUCCESS)
}

/// An age such as `30d`.
fn age(text: &str) -> Result<Duration> {
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u64>().ok());
    let days = days.with_context(|| {
        format!("invalid number of days specifier '{text}', expected something like '14d'")
    })?;
    Ok(Duration::from_secs(days * 24 * 3600))
}

/// Removes the generations of all profiles below a directory but the current one of each; with an age, those that were
/// not current at any time since then.
fn remove_old(directory: &Path, older_than: Option<Duration>, dry_run: bool) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Ok(()) };
    for entry in entries {
        let entry = entry.with_context(|| format!("reading {}", directory.display()))?;
        let path = entry.path();
        let kind = entry.file_type()?;
        if kind.is_dir() {
            remove_old(&path, older_than, dry_run)?;
            continue;
        }
        let target = if kind.is_symlink() { std::fs::read_link(&path).ok() } else { None };
        if !target.is_some_and(|target| target.to_string_lossy().contains("link")) {
            continue;
        }
        let profile = Profile::at(&path);
        if profile.current()?.is_none() {
            continue;
        }
        let doomed = profile.old_generations(older_than)?;
        for number in &doomed {
            eprintln_line(&format!("removing profile version {number}"))?;
        }
        if !dry_run {
            profile.delete(&doomed)?;
        }
    }
    Ok(())
}

fn eprintln_line(text: &str) -> Result<()> {
    use std::io::Write as _;
    writeln!(std::io::stderr(), "{text}")?;
    Ok(())
}
