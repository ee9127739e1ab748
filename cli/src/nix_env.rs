//! `nix-env`: its operations on profiles and generations. Installing by name from a channel is not among them: Firn's
//! systems and `nix build` are made from files. nix-env(1), "Operation --list-generations" and what follows.

use crate::nix_front::{Arguments, Front, print_version};
use anyhow::{Context as _, Result, bail};
use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};
use store::profile::{Generation, Profile};

/// `nix-env …`.
pub(crate) fn nix_env(arguments: &[OsString]) -> Result<ExitCode> {
    let mut arguments = Arguments::new(arguments);
    let mut front = Front::new();
    let (mut profile, mut operation, mut words, mut dry_run) = (None, None, Vec::new(), false);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--version" => {
                print_version("nix-env")?;
                return Ok(ExitCode::SUCCESS);
            }
            "-p" | "--profile" => profile = Some(PathBuf::from(arguments.value(&argument)?)),
            "--dry-run" => dry_run = true,
            "--set"
            | "--rollback"
            | "--list-generations"
            | "--switch-generation"
            | "-G"
            | "--delete-generations"
            | "--switch-profile"
            | "-S" => operation = Some(argument),
            _ if front.take(&argument, &mut arguments)? => {}
            "-i" | "-e" | "-u" | "-q" | "--install" | "--uninstall" | "--upgrade" | "--query"
            | "--set-flag" => {
                bail!(
                    "`nix-env {argument}` is not there: Firn builds environments from files, not from installed packages"
                )
            }
            // A generation such as `+5` or `30d`, or a path.
            flag if flag.starts_with('-') => bail!("unrecognised flag '{flag}'"),
            _ => words.push(argument),
        }
    }
    let profile_link = match profile {
        Some(link) => std::path::absolute(link)?,
        None => own_profile()?,
    };
    let profile = Profile::at(&profile_link);
    match operation.as_deref() {
        Some("--set") => {
            let store = front.open()?;
            let [path] = words.as_slice() else { bail!("'--set' requires one path") };
            profile.set(&store, &crate::store::resolve(&store, path)?)?;
        }
        Some("--rollback") => {
            let before = profile.current()?;
            let number = profile.rollback()?;
            writeln!(std::io::stderr(), "switching profile from version {} to {number}", shown(before))?;
        }
        Some("--list-generations") => list(&profile)?,
        Some("--switch-generation" | "-G") => {
            let [number] = words.as_slice() else { bail!("exactly one argument expected") };
            let before = profile.current()?;
            let number = number.parse().with_context(|| format!("'{number}' is not a generation"))?;
            profile.switch(number)?;
            writeln!(std::io::stderr(), "switching profile from version {} to {number}", shown(before))?;
        }
        Some("--delete-generations") => {
            let doomed = doomed(&profile, &words)?;
            for number in &doomed {
                writeln!(std::io::stderr(), "removing profile version {number}")?;
            }
            if !dry_run {
                profile.delete(&doomed)?;
            }
        }
        Some("--switch-profile" | "-S") => {
            let [link] = words.as_slice() else { bail!("exactly one argument expected") };
            let home = std::env::var_os("HOME").context("HOME is not set")?;
            let own = Path::new(&home).join(".nix-profile");
            let place = own.with_extension(format!("tmp-{}", std::process::id()));
            std::os::unix::fs::symlink(std::path::absolute(link)?, &place)
                .and_then(|()| std::fs::rename(&place, &own))
                .with_context(|| format!("linking {}", own.display()))?;
        }
        _ => bail!("no operation specified; see nix-env(1)"),
    }
    Ok(ExitCode::SUCCESS)
}

/// The profile that `~/.nix-profile` names; where there is none, the user's default.
fn own_profile() -> Result<PathBuf> {
    let home = PathBuf::from(std::env::var_os("HOME").context("HOME is not set; name a profile with -p")?);
    match std::fs::read_link(home.join(".nix-profile")) {
        Ok(target) => Ok(home.join(target)),
        Err(_) => Ok(home.join(".local/state/nix/profiles/profile")),
    }
}

fn shown(number: Option<u64>) -> String {
    number.map_or_else(|| "none".to_owned(), |number| number.to_string())
}

fn list(profile: &Profile) -> Result<()> {
    let current = profile.current()?;
    let mut out = std::io::stdout().lock();
    for generation in profile.generations()? {
        let time = generation.created.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let time = crate::generation::difference::date_time(time.as_secs());
        let mark = if Some(generation.number) == current { "   (current)" } else { "" };
        writeln!(out, "{:>4}   {time}{mark}", generation.number)?;
    }
    Ok(())
}

/// The generations that words such as `old`, `+5`, `30d` or numbers mean; never the current one.
fn doomed(profile: &Profile, words: &[String]) -> Result<Vec<u64>> {
    let current = profile.current()?;
    let generations = profile.generations()?;
    let others = || generations.iter().filter(|generation| Some(generation.number) != current);
    let numbers =
        |chosen: Vec<&Generation>| chosen.iter().map(|generation| generation.number).collect::<Vec<_>>();
    match words {
        [] => bail!("name generations to delete: numbers, `old`, `+5` or `30d`"),
        [word] if word == "old" => Ok(numbers(others().collect())),
        [word] if word.starts_with('+') => {
            let keep: usize = word.trim_start_matches('+').parse().with_context(|| format!("'{word}'"))?;
            let older =
                others().filter(|generation| current.is_none_or(|current| generation.number < current));
            let older: Vec<&Generation> = older.collect();
            Ok(numbers(older.iter().take((older.len() + 1).saturating_sub(keep)).copied().collect()))
        }
        [word] if word.ends_with('d') => {
            let days: u64 = word.trim_end_matches('d').parse().with_context(|| format!("'{word}'"))?;
            let limit = SystemTime::now().checked_sub(Duration::from_secs(days * 24 * 3600));
            let ended = |index: usize, own: &Generation| {
                generations.get(index + 1).map_or(own.created, |next: &Generation| next.created)
            };
            let chosen = generations.iter().enumerate().filter(|(index, generation)| {
                Some(generation.number) != current
                    && limit.is_some_and(|limit| ended(*index, generation) < limit)
            });
            Ok(numbers(chosen.map(|(_, generation)| generation).collect()))
        }
        words => words
            .iter()
            .map(|word| word.parse().with_context(|| format!("'{word}' is not a generation")))
            .collect(),
    }
}
