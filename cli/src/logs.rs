//! `firn logs`: what services wrote, from the files of the log collector (`init/src/log_collector.rs`): for each unit
//! `UNIT.log` and, older, `UNIT.log.1`, with lines `MICROSECONDS BOOT TEXT`.

use crate::family::Family;
use anyhow::{Context as _, Result, bail};
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `firn logs`.
pub(crate) const LOGS: Family = Family { command, run };

/// Where the collector writes.
const DIRECTORY: &str = "/var/log/firn";

fn command() -> Command {
    Command::new("logs")
        .about("What services wrote")
        .arg(
            Arg::new("unit")
                .long("unit")
                .short('u')
                .value_name("UNIT")
                .action(ArgAction::Append)
                .help("Only this unit (may be repeated)"),
        )
        .arg(
            Arg::new("follow")
                .long("follow")
                .short('f')
                .action(ArgAction::SetTrue)
                .help("Go on with what is written from now on"),
        )
        .arg(Arg::new("boot").long("boot").short('b').action(ArgAction::SetTrue).help("Only since this boot"))
        .arg(Arg::new("since").long("since").value_name("AGO").help("Only the last AGO: 30s, 10min, 2h, 1d"))
        .arg(
            Arg::new("lines")
                .long("lines")
                .short('n')
                .value_name("N")
                .value_parser(clap::value_parser!(usize))
                .help("Only the last N lines"),
        )
        .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("One JSON object a line"))
}

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    time: u64,
    unit: String,
    boot: String,
    text: String,
}

/// What is asked for.
#[derive(Debug, Clone, Default)]
struct Filter {
    units: Vec<String>,
    boot: Option<String>,
    since: u64,
}

impl Filter {
    fn takes(&self, entry: &Entry) -> bool {
        entry.time >= self.since && self.boot.as_ref().is_none_or(|boot| *boot == entry.boot)
    }

    fn takes_unit(&self, unit: &str) -> bool {
        self.units.is_empty()
            || self.units.iter().any(|wanted| wanted == unit || format!("{wanted}.service") == unit)
    }
}

/// Reads `MICROSECONDS BOOT TEXT`; a torn line is nothing.
fn parse(unit: &str, line: &str) -> Option<Entry> {
    let (time, rest) = line.split_once(' ')?;
    let (boot, text) = rest.split_once(' ')?;
    Some(Entry {
        time: time.parse().ok()?,
        unit: unit.to_owned(),
        boot: boot.to_owned(),
        text: text.to_owned(),
    })
}

/// The units that have a log, with their files, the older one first.
fn files(directory: &Path) -> Result<BTreeMap<String, Vec<PathBuf>>> {
    let mut found: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    let entries = std::fs::read_dir(directory)
        .with_context(|| format!("cannot read the logs in {}", directory.display()))?;
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(unit) = name.strip_suffix(".log").or_else(|| name.strip_suffix(".log.1")) {
            found.entry(unit.to_owned()).or_default().push(path);
        }
    }
    for list in found.values_mut() {
        list.sort_by_key(|path| std::cmp::Reverse(path.clone()));
    }
    Ok(found)
}

/// All entries that a filter takes, by time, and how far each current file was read.
fn read_all(directory: &Path, filter: &Filter) -> Result<(Vec<Entry>, BTreeMap<String, u64>)> {
    let mut entries = Vec::new();
    let mut read = BTreeMap::new();
    for (unit, paths) in files(directory)? {
        if !filter.takes_unit(&unit) {
            continue;
        }
        for path in paths {
            let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let text = String::from_utf8_lossy(bytes.get(..whole).unwrap_or_default());
            entries.extend(
                text.lines().filter_map(|line| parse(&unit, line)).filter(|entry| filter.takes(entry)),
            );
            if path.extension().is_some_and(|ending| ending == "log") {
                read.insert(unit.clone(), whole as u64);
            }
        }
    }
    entries.sort();
    Ok((entries, read))
}

fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64;
    let mut filter = Filter {
        units: matches.get_many::<String>("unit").into_iter().flatten().cloned().collect(),
        ..Filter::default()
    };
    if matches.get_flag("boot") {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .context("cannot tell this boot's id")?;
        filter.boot = id.get(..8).map(str::to_owned);
    }
    if let Some(ago) = matches.get_one::<String>("since") {
        let span =
            units::value::time_span(ago).map_err(|reason| anyhow::anyhow!("--since {ago}: {reason}"))?;
        filter.since = now.saturating_sub(span);
    }
    let json = matches.get_flag("json");
    let directory = Path::new(DIRECTORY);
    let (entries, mut read) = read_all(directory, &filter)?;
    if entries.is_empty() && !filter.units.is_empty() && read.is_empty() {
        bail!("{} has written nothing yet", filter.units.join(", "));
    }
    let skipped = matches.get_one::<usize>("lines").map_or(0, |count| entries.len().saturating_sub(*count));
    for entry in entries.iter().skip(skipped) {
        print(entry, json)?;
    }
    while matches.get_flag("follow") {
        std::thread::sleep(Duration::from_millis(200));
        for entry in read_news(directory, &filter, &mut read)? {
            print(&entry, json)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What was written since the last look.
fn read_news(directory: &Path, filter: &Filter, read: &mut BTreeMap<String, u64>) -> Result<Vec<Entry>> {
    let mut news = Vec::new();
    for unit in files(directory)?.into_keys().filter(|unit| filter.takes_unit(unit)) {
        let Ok(mut file) = File::open(directory.join(format!("{unit}.log"))) else { continue };
        let length = file.metadata()?.len();
        let at = read.entry(unit.clone()).or_insert(0);
        if length < *at {
            // The file was put aside and begun anew.
            *at = 0;
        }
        if length == *at {
            continue;
        }
        file.seek(SeekFrom::Start(*at))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        *at += whole as u64;
        let text = String::from_utf8_lossy(bytes.get(..whole).unwrap_or_default());
        news.extend(text.lines().filter_map(|line| parse(&unit, line)).filter(|entry| filter.takes(entry)));
    }
    news.sort();
    Ok(news)
}

fn print(entry: &Entry, json: bool) -> Result<()> {
    let mut output = std::io::stdout().lock();
    if json {
        let object = serde_json::json!({ "time": entry.time, "unit": entry.unit, "boot": entry.boot, "text": entry.text });
        writeln!(output, "{object}")?;
    } else {
        writeln!(output, "{} {}: {}", format_time(entry.time), entry.unit, entry.text)?;
    }
    Ok(())
}

/// The last lines of a unit, for its status.
pub(crate) fn last_lines(unit: &str, count: usize) -> Vec<String> {
    let filter = Filter { units: vec![unit.to_owned()], ..Filter::default() };
    let entries = read_all(Path::new(DIRECTORY), &filter).map(|(entries, _)| entries).unwrap_or_default();
    let skipped = entries.len().saturating_sub(count);
    entries.iter().skip(skipped).map(|entry| format!("{} {}", format_time(entry.time), entry.text)).collect()
}

/// Microseconds since 1970 as `2026-01-31 12:00:00` in UTC (days by Howard Hinnant's civil_from_days).
pub(crate) fn format_time(microseconds: u64) -> String {
    let seconds = microseconds / 1_000_000;
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates() {
        assert_eq!(format_time(0), "1970-01-01 00:00:00");
        assert_eq!(format_time(1_709_210_096_000_000), "2024-02-29 12:34:56");
        assert_eq!(format_time(1_795_400_553_859_164), "2026-11-23 02:22:33");
    }

    #[test]
    fn logs_are_merged_by_time_and_torn_lines_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
        write("a.service.log.1", "1 b00t first\n");
        write("a.service.log", "3 b00t third\nnonsense\n5 b00t torn");
        write("b.service.log", "2 b00t second\n4 0ther fourth\n");
        let texts = |filter: &Filter| {
            let (entries, _) = read_all(directory.path(), filter).unwrap();
            entries.into_iter().map(|entry| entry.text).collect::<Vec<_>>()
        };
        assert_eq!(texts(&Filter::default()), ["first", "second", "third", "fourth"]);
        assert_eq!(texts(&Filter { units: vec!["a".into()], ..Filter::default() }), ["first", "third"]);
        assert_eq!(
            texts(&Filter { boot: Some("b00t".into()), since: 2, ..Filter::default() }),
            ["second", "third"]
        );
        let mut read = read_all(directory.path(), &Filter::default()).unwrap().1;
        write("a.service.log", "3 b00t third\nnonsense\n5 b00t torn no more\n");
        let news = read_news(directory.path(), &Filter::default(), &mut read).unwrap();
        assert_eq!(news.len(), 1);
    }
}
