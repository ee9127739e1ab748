//! A message on its way to people or programs: the forms of `journalctl -o`, and Firn's own JSON.

use super::moment::{date_of, format_time};
use super::reading::Entry;
use anyhow::{Result, bail};
use serde_json::{Map, Value};
use std::fmt::Write as _;

/// A form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// `2026-11-23 03:46:00 unit: text`.
    Firn,
    /// One object a line, Firn's keys.
    Json,
    /// `Nov 23 03:46:00 host identifier[pid]: text`.
    Short,
    /// The same with `2026-11-23T03:46:00+0000`.
    ShortIso,
    /// The same with microseconds.
    ShortPrecise,
    /// The same with seconds since the boot.
    ShortMonotonic,
    /// The same with seconds since 1970.
    ShortUnix,
    /// The text alone.
    Cat,
    /// One object a line, the journal's field names.
    JournalJson,
    /// The same over several lines.
    JournalJsonPretty,
    /// All fields, a line each, and an empty line.
    Export,
    /// All fields, indented.
    Verbose,
}

/// Reads journalctl's word.
pub(crate) fn journal_form(word: &str) -> Result<Form> {
    Ok(match word {
        "short" | "short-full" | "with-unit" => Form::Short,
        "short-iso" | "short-iso-precise" => Form::ShortIso,
        "short-precise" => Form::ShortPrecise,
        "short-monotonic" | "short-delta" => Form::ShortMonotonic,
        "short-unix" => Form::ShortUnix,
        "cat" => Form::Cat,
        "json" => Form::JournalJson,
        "json-pretty" => Form::JournalJsonPretty,
        "export" => Form::Export,
        "verbose" => Form::Verbose,
        _ => bail!(
            "output `{word}` is not there; these are: short, short-iso, short-precise, short-monotonic, short-unix, verbose, export, json, json-pretty, cat"
        ),
    })
}

/// The entry in a form, with the end of its line.
pub(crate) fn render(entry: &Entry, form: Form, host: &str) -> Result<String> {
    let record = &entry.record;
    let text = entry.text();
    Ok(match form {
        Form::Firn => format!("{} {}: {text}\n", format_time(record.time), entry.unit),
        Form::Cat => format!("{text}\n"),
        Form::Json => format!("{}\n", firn_object(entry)),
        Form::JournalJson => format!("{}\n", Value::Object(journal_object(entry))),
        Form::JournalJsonPretty => format!("{}\n", serde_json::to_string_pretty(&journal_object(entry))?),
        Form::Export | Form::Verbose => {
            let mut lines = String::new();
            let indent = if form == Form::Verbose {
                writeln!(lines, "{} [{}]", format_time(record.time), entry.unit)?;
                "    "
            } else {
                ""
            };
            for (name, value) in journal_object(entry) {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                writeln!(lines, "{indent}{name}={value}")?;
            }
            lines.push('\n');
            lines
        }
        _ => {
            let identifier = if record.identifier.is_empty() { &entry.unit } else { &record.identifier };
            let process = if record.pid == 0 { String::new() } else { format!("[{}]", record.pid) };
            format!("{} {host} {identifier}{process}: {text}\n", stamp(entry, form))
        }
    })
}

fn stamp(entry: &Entry, form: Form) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let time = entry.record.time;
    let (_, month, day) = date_of(time / 86_400_000_000);
    let full = format_time(time);
    let (date, clock) = full.split_once(' ').unwrap_or((&full, ""));
    let name = MONTHS.get(month as usize - 1).copied().unwrap_or_default();
    let fraction = time % 1_000_000;
    match form {
        Form::ShortIso => format!("{date}T{clock}+0000"),
        Form::ShortPrecise => format!("{name} {day:02} {clock}.{fraction:06}"),
        Form::ShortUnix => format!("{}.{fraction:06}", time / 1_000_000),
        Form::ShortMonotonic => {
            let since = entry.record.since_boot;
            format!("[{:5}.{:06}]", since / 1_000_000, since % 1_000_000)
        }
        _ => format!("{name} {day:02} {clock}"),
    }
}

/// Firn's JSON: camelCase keys, times in microseconds.
fn firn_object(entry: &Entry) -> Value {
    let record = &entry.record;
    let fields: Map<String, Value> =
        record.fields.iter().map(|(name, value)| (name.clone(), bytes_value(value))).collect();
    serde_json::json!({
        "time": record.time, "sinceBoot": record.since_boot, "boot": entry.boot(), "unit": entry.unit,
        "priority": record.priority, "facility": record.facility, "source": record.source.word(),
        "identifier": record.identifier, "pid": record.pid, "uid": record.uid, "text": entry.text(), "fields": fields,
    })
}

/// The journal's fields (systemd.journal-fields(7)), as text, as journalctl has them.
fn journal_object(entry: &Entry) -> Map<String, Value> {
    let record = &entry.record;
    let mut object = Map::new();
    let mut put = |name: &str, value: Value| drop(object.insert(name.to_owned(), value));
    put("__REALTIME_TIMESTAMP", record.time.to_string().into());
    put("__MONOTONIC_TIMESTAMP", record.since_boot.to_string().into());
    put("_BOOT_ID", entry.boot().into());
    put("PRIORITY", record.priority.to_string().into());
    put("SYSLOG_FACILITY", record.facility.to_string().into());
    put("_TRANSPORT", record.source.word().into());
    if !record.identifier.is_empty() {
        put("SYSLOG_IDENTIFIER", record.identifier.clone().into());
    }
    if record.pid != 0 {
        put("_PID", record.pid.to_string().into());
        put("_UID", record.uid.to_string().into());
    }
    if entry.unit.contains('.') {
        put("_SYSTEMD_UNIT", entry.unit.clone().into());
    }
    put("MESSAGE", bytes_value(&record.message));
    for (name, value) in &record.fields {
        object.entry(name.clone()).or_insert_with(|| bytes_value(value));
    }
    object
}

/// Text as text, anything else as a list of numbers, as journalctl does.
fn bytes_value(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => bytes.to_vec().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use formats::log_record::{Record, Source};

    #[test]
    fn forms() {
        let record = Record {
            time: 1_795_400_553_859_164,
            since_boot: 12_345_678,
            boot: [0xab; 16],
            source: Source::Syslog,
            priority: 4,
            facility: 10,
            pid: 812,
            uid: 0,
            identifier: "sshd".into(),
            message: b"hello".to_vec(),
            fields: vec![("BLOB".into(), vec![0xff])],
        };
        let entry = Entry { unit: "sshd.service".into(), record };
        for (form, expected) in [
            (Form::Firn, "2026-11-23 02:22:33 sshd.service: hello\n"),
            (Form::Short, "Nov 23 02:22:33 box sshd[812]: hello\n"),
            (Form::ShortIso, "2026-11-23T02:22:33+0000 box sshd[812]: hello\n"),
            (Form::ShortPrecise, "Nov 23 02:22:33.859164 box sshd[812]: hello\n"),
            (Form::ShortMonotonic, "[   12.345678] box sshd[812]: hello\n"),
            (Form::ShortUnix, "1795400553.859164 box sshd[812]: hello\n"),
            (Form::Cat, "hello\n"),
        ] {
            assert_eq!(render(&entry, form, "box").unwrap(), expected);
        }
        let json: Value = serde_json::from_str(&render(&entry, Form::JournalJson, "box").unwrap()).unwrap();
        assert_eq!(json["_SYSTEMD_UNIT"], "sshd.service");
        assert_eq!(json["PRIORITY"], "4");
        assert_eq!(json["BLOB"], serde_json::json!([255]));
        let json: Value = serde_json::from_str(&render(&entry, Form::Json, "box").unwrap()).unwrap();
        assert_eq!((&json["pid"], &json["text"]), (&812.into(), &"hello".into()));
    }
}
