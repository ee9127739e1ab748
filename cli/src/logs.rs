//! `firn logs`: what services, programs and the kernel said, from the log store (`reading`). `journalctl` is a front of the
//! same.

pub(crate) mod moment;
pub(crate) mod output;
pub(crate) mod reading;

pub(crate) use moment::format_time;

use crate::family::Family;
use anyhow::{Context as _, Result, bail};
use clap::{Arg, ArgAction, ArgMatches, Command};
use formats::log_record::DIRECTORY;
use output::{Form, render};
use reading::{Boot, Filter, Reader};
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `firn logs`.
pub(crate) const LOGS: Family = Family { command, run };

/// The priorities' names (syslog(3)), by number.
const PRIORITIES: [&[&str]; 8] = [
    &["emerg", "panic"],
    &["alert"],
    &["crit"],
    &["err", "error"],
    &["warning", "warn"],
    &["notice"],
    &["info"],
    &["debug"],
];

fn command() -> Command {
    let text = |id: &'static str, value: &'static str, help: &'static str| {
        Arg::new(id).long(id).value_name(value).help(help)
    };
    let flag =
        |id: &'static str, help: &'static str| Arg::new(id).long(id).action(ArgAction::SetTrue).help(help);
    Command::new("logs")
        .about("What services, programs and the kernel said")
        .arg(Arg::new("units").value_name("UNIT").num_args(0..).help("Only these units; `*` and `?` match"))
        .arg(text("unit", "UNIT", "Only this unit (may be repeated)").short('u').action(ArgAction::Append))
        .arg(flag("follow", "Go on with what is written from now on").short('f'))
        .arg(
            text("boot", "N", "Only this boot: 0 the present one, -1 the one before, 1 the first, or an id")
                .short('b')
                .num_args(0..=1)
                .allow_hyphen_values(true)
                .default_missing_value("0"),
        )
        .arg(flag("list-boots", "The boots that the logs know"))
        .arg(
            text("since", "MOMENT", "From then on: `2026-01-31 12:00`, `today`, `-2h`, `10min`")
                .allow_hyphen_values(true),
        )
        .arg(text("until", "MOMENT", "Up to then").allow_hyphen_values(true))
        .arg(text("priority", "P", "Only this urgent or more: emerg … debug, 0 … 7, or FROM..TO").short('p'))
        .arg(flag("kernel", "Only the kernel's messages").short('k'))
        .arg(
            text("identifier", "NAME", "Only of programs that call themselves so")
                .short('t')
                .action(ArgAction::Append),
        )
        .arg(text("grep", "TEXT", "Only messages with this text").short('g'))
        .arg(
            text("lines", "N", "Only the last N messages")
                .short('n')
                .value_parser(clap::value_parser!(usize)),
        )
        .arg(flag("json", "One JSON object a line"))
}

/// What is shown of what is found.
#[derive(Debug)]
pub(crate) struct Wish {
    pub(crate) filter: Filter,
    /// At most so many, the last ones.
    pub(crate) lines: Option<usize>,
    pub(crate) follow: bool,
    pub(crate) reverse: bool,
    pub(crate) form: Form,
}

/// Now, in microseconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64
}

fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let text = |id: &str| matches.get_one::<String>(id);
    let texts = |id: &str| -> Vec<String> { matches.get_many(id).into_iter().flatten().cloned().collect() };
    let moment = |id: &str| {
        let parsed = text(id).map(|text| moment::parse(text, now()).map_err(anyhow::Error::msg));
        parsed.transpose().with_context(|| format!("--{id}"))
    };
    let mut reader = Reader::new(Path::new(DIRECTORY));
    let json = matches.get_flag("json");
    if matches.get_flag("list-boots") {
        return list_boots(&mut reader, json);
    }
    let filter = Filter {
        units: texts("unit").into_iter().chain(texts("units")).collect(),
        boot: text("boot").map(|word| find_boot(&mut reader, word)).transpose()?,
        since: moment("since")?,
        until: moment("until")?,
        priority: text("priority").map(|word| priorities(word)).transpose()?,
        kernel: matches.get_flag("kernel"),
        identifiers: texts("identifier"),
        grep: text("grep").cloned(),
    };
    let wish = Wish {
        filter,
        lines: matches.get_one("lines").copied(),
        follow: matches.get_flag("follow"),
        reverse: false,
        form: if json { Form::Json } else { Form::Firn },
    };
    for unit in &wish.filter.units {
        if !reader.streams()?.iter().any(|stream| reading::is_named(unit, stream)) && !wish.follow {
            bail!("{unit} has written nothing yet");
        }
    }
    show(&mut reader, &wish)
}

/// Prints what a wish asks for.
pub(crate) fn show(reader: &mut Reader, wish: &Wish) -> Result<ExitCode> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    let mut entries = reader.all(&wish.filter)?;
    let is_empty = entries.is_empty();
    entries.drain(..wish.lines.map_or(0, |count| entries.len().saturating_sub(count)));
    if wish.reverse {
        entries.reverse();
    }
    let mut output = std::io::stdout().lock();
    for entry in &entries {
        output.write_all(render(entry, wish.form, host)?.as_bytes())?;
    }
    if wish.follow {
        loop {
            output.flush()?;
            std::thread::sleep(Duration::from_millis(200));
            for entry in reader.news(&wish.filter)? {
                output.write_all(render(&entry, wish.form, host)?.as_bytes())?;
            }
        }
    }
    output.flush()?;
    Ok(if is_empty && wish.filter.grep.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// `P` or `FROM..TO` as a range of numbers.
pub(crate) fn priorities(text: &str) -> Result<(u8, u8)> {
    let one = |word: &str| {
        let number = PRIORITIES.iter().position(|names| names.contains(&word)).or_else(|| word.parse().ok());
        let number = number.filter(|number| *number < 8).map(|number| number as u8);
        number.with_context(|| {
            format!(
                "`{word}` is no priority: emerg, alert, crit, err, warning, notice, info, debug or 0 to 7"
            )
        })
    };
    match text.split_once("..") {
        Some((from, to)) => {
            let (from, to) = (one(from)?, one(to)?);
            Ok((from.min(to), from.max(to)))
        }
        None => Ok((0, one(text)?)),
    }
}

/// The running boot's id.
fn present_boot() -> Result<[u8; 16]> {
    let id =
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id").context("cannot tell this boot's id")?;
    parse_boot(id.trim()).context("cannot tell this boot's id")
}

fn parse_boot(text: &str) -> Option<[u8; 16]> {
    let digits = text.replace('-', "");
    let number = (digits.len() == 32).then(|| u128::from_str_radix(&digits, 16).ok())??;
    Some(number.to_be_bytes())
}

/// The boot that a word means: an id, 0 or less counted from the present one, 1 or more from the first.
pub(crate) fn find_boot(reader: &mut Reader, word: &str) -> Result<[u8; 16]> {
    if let Some(id) = parse_boot(word) {
        return Ok(id);
    }
    let number: i64 =
        word.parse().with_context(|| format!("`{word}` is neither a boot's number nor its id"))?;
    if number == 0 {
        return present_boot();
    }
    let boots = reader.boots()?;
    let last = boots.len() as i64 - 1;
    let last = match boots.last() {
        // A boot that has not logged yet.
        Some(boot) if present_boot().is_ok_and(|present| present != boot.id) => last + 1,
        _ => last,
    };
    let at = if number > 0 { number - 1 } else { last + number };
    let found = usize::try_from(at).ok().and_then(|at| boots.get(at));
    let found = found.with_context(|| format!("there is no boot {word}; the logs know {}", boots.len()))?;
    Ok(found.id)
}

/// The boots, numbered as `-b` counts them.
pub(crate) fn list_boots(reader: &mut Reader, json: bool) -> Result<ExitCode> {
    let boots = reader.boots()?;
    let id = |boot: &Boot| format!("{:032x}", u128::from_be_bytes(boot.id));
    let mut output = std::io::stdout().lock();
    let numbered = boots.iter().enumerate().map(|(at, boot)| (at as i64 + 1 - boots.len() as i64, boot));
    if json {
        let list: Vec<serde_json::Value> = numbered
            .map(|(index, boot)| {
                serde_json::json!({ "index": index, "boot_id": id(boot), "first_entry": boot.first, "last_entry": boot.last })
            })
            .collect();
        writeln!(output, "{}", serde_json::Value::from(list))?;
    } else {
        for (index, boot) in numbered {
            writeln!(
                output,
                "{index:3} {} {} — {}",
                id(boot),
                format_time(boot.first),
                format_time(boot.last)
            )?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The last lines of a unit, for its status.
pub(crate) fn last_lines(unit: &str, count: usize) -> Vec<String> {
    let filter = Filter { units: vec![unit.to_owned()], ..Filter::default() };
    let entries = Reader::new(Path::new(DIRECTORY)).all(&filter).unwrap_or_default();
    let skipped = entries.len().saturating_sub(count);
    let line = |entry: &reading::Entry| format!("{} {}", format_time(entry.record.time), entry.text());
    entries.iter().skip(skipped).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_are_ranges() {
        assert_eq!(priorities("err").unwrap(), (0, 3));
        assert_eq!(priorities("4").unwrap(), (0, 4));
        assert_eq!(priorities("warning..crit").unwrap(), (2, 4));
        assert!(priorities("8").is_err() && priorities("loud").is_err());
    }

    #[test]
    fn the_command_is_whole() {
        command().debug_assert();
        let matches =
            command().try_get_matches_from(["logs", "-b", "-1", "-p", "err", "--since", "-2h", "nginx"]);
        let matches = matches.unwrap();
        assert_eq!(matches.get_one::<String>("boot").unwrap(), "-1");
    }
}
