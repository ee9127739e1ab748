//! `journalctl`: the log store under the journal's command, with the options that scripts use.

use super::options::{Line, Option_, Value, flag, with_value};
use crate::family::Failure;
use crate::logs::output::{Form, journal_form};
use crate::logs::reading::{Filter, Reader};
use crate::logs::{find_boot, list_boots, moment, now, priorities, show};
use anyhow::{Context as _, Result};
use formats::log_record::DIRECTORY;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

const OPTIONS: &[Option_] = &[
    with_value("unit", 'u'),
    with_value("identifier", 't'),
    Option_ { long: "boot", letter: 'b', value: Value::Number },
    Option_ { long: "lines", letter: 'n', value: Value::Number },
    with_value("since", 'S'),
    with_value("until", 'U'),
    with_value("priority", 'p'),
    with_value("output", 'o'),
    with_value("grep", 'g'),
    with_value("directory", 'D'),
    flag("dmesg", 'k'),
    flag("follow", 'f'),
    flag("reverse", 'r'),
    flag("pager-end", 'e'),
    flag("quiet", 'q'),
    flag("all", 'a'),
    flag("full", 'l'),
    flag("catalog", 'x'),
    flag("merge", 'm'),
    flag("list-boots", ' '),
    flag("no-pager", ' '),
    flag("no-hostname", ' '),
    flag("no-full", ' '),
    flag("no-tail", ' '),
    flag("utc", ' '),
    flag("system", ' '),
    flag("sync", ' '),
    flag("flush", ' '),
    flag("rotate", ' '),
    flag("disk-usage", ' '),
    flag("version", ' '),
];

/// Runs it.
pub(super) fn run(arguments: &[OsString]) -> Result<ExitCode> {
    let line = Line::read("journalctl", OPTIONS, arguments, false)?;
    if line.has("version") {
        return super::systemctl::print_version();
    }
    // Written within two seconds and rotated by size, without anybody's asking; nothing waits in /run.
    if ["sync", "flush", "rotate"].iter().any(|name| line.has(name)) {
        return Ok(ExitCode::SUCCESS);
    }
    let mut reader = Reader::new(Path::new(line.value("directory").unwrap_or(DIRECTORY)));
    if line.has("list-boots") {
        return list_boots(&mut reader, matches!(line.value("output"), Some("json" | "json-pretty")));
    }
    if line.has("disk-usage") {
        return disk_usage();
    }
    let moment = |name: &str| {
        let parsed = line.value(name).map(|text| moment::parse(text, now()).map_err(anyhow::Error::msg));
        parsed.transpose()
    };
    let mut filter = Filter {
        units: line.values("unit").map(str::to_owned).collect(),
        since: moment("since")?,
        until: moment("until")?,
        priority: line.value("priority").map(priorities).transpose()?,
        kernel: line.has("dmesg"),
        identifiers: line.values("identifier").map(str::to_owned).collect(),
        grep: line.value("grep").map(str::to_owned),
        boot: None,
    };
    for word in &line.words {
        take_match(word, &mut filter, &mut reader)?;
    }
    match line.value("boot") {
        Some("all") => {}
        Some("") => filter.boot = Some(find_boot(&mut reader, "0")?),
        Some(word) => filter.boot = Some(find_boot(&mut reader, word)?),
        // -k means the present boot unless another is named.
        None if filter.kernel && filter.boot.is_none() => filter.boot = Some(find_boot(&mut reader, "0")?),
        None => {}
    }
    let follow = line.has("follow");
    let lines = match line.value("lines") {
        Some("all") => None,
        Some("") => Some(10),
        Some(count) => {
            Some(count.trim_start_matches('+').parse().with_context(|| format!("`{count}` is no count"))?)
        }
        None if follow && !line.has("no-tail") => Some(10),
        None => None,
    };
    let form = line.value("output").map_or(Ok(Form::Short), journal_form)?;
    show(&mut reader, &crate::logs::Wish { filter, lines, follow, reverse: line.has("reverse"), form })
}

/// `FIELD=VALUE`.
fn take_match(word: &str, filter: &mut Filter, reader: &mut Reader) -> Result<()> {
    match word.split_once('=') {
        Some(("_SYSTEMD_UNIT" | "UNIT", unit)) => filter.units.push(unit.to_owned()),
        Some(("SYSLOG_IDENTIFIER", name)) => filter.identifiers.push(name.to_owned()),
        Some(("_TRANSPORT", "kernel")) => filter.kernel = true,
        Some(("_BOOT_ID", id)) => filter.boot = Some(find_boot(reader, id)?),
        Some(("PRIORITY", number)) => {
            let (_, number) = priorities(number)?;
            filter.priority = Some((number, number));
        }
        _ => {
            let message = format!(
                "journalctl: cannot match `{word}`; these fields can be: _SYSTEMD_UNIT, SYSLOG_IDENTIFIER, _BOOT_ID, PRIORITY, _TRANSPORT=kernel"
            );
            return Err(Failure { code: 1, message }.into());
        }
    }
    Ok(())
}

fn disk_usage() -> Result<ExitCode> {
    use std::io::Write as _;
    let entries = std::fs::read_dir(DIRECTORY).with_context(|| format!("cannot read {DIRECTORY}"))?;
    let bytes: u64 = entries.flatten().filter_map(|entry| Some(entry.metadata().ok()?.len())).sum();
    let megabytes = bytes as f64 / 1_048_576.0;
    writeln!(std::io::stdout(), "The logs take up {megabytes:.1}M in the file system.")?;
    Ok(ExitCode::SUCCESS)
}
