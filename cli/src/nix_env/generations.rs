//! What `nix-env` says and does about a profile's generations. nix-env(1), "Operation --list-generations" and
//! "Operation --delete-generations".

use anyhow::{Context as _, Result, bail};
use std::io::Write as _;
use std::time::{Duration, SystemTime};
use store::profile::{Generation, Profile};

/// A generation's number for a message.
pub(super) fn shown(number: Option<u64>) -> String {
    number.map_or_else(|| "none".to_owned(), |number| number.to_string())
}

/// Lists the generations.
pub(crate) fn list(profile: &Profile) -> Result<()> {
    let current = profile.current()?;
    let mut out = std::io::stdout().lock();
    for generation in profile.generations()? {
        let time = generation.created.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let (seconds, time) = (time.as_secs() % 60, crate::generation::difference::date_time(time.as_secs()));
        let mark = if Some(generation.number) == current { "(current)" } else { "" };
        writeln!(out, "{:>4}   {time}:{seconds:02}   {mark}", generation.number)?;
    }
    Ok(())
}

/// The generations that words such as `old`, `+5`, `30d` or numbers mean; never the current one.
pub(super) fn doomed(profile: &Profile, words: &[String]) -> Result<Vec<u64>> {
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
