//! What differs between the two, with reasons, as `docs/systemd-conformance.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use crate::data;
use crate::definitions::Cases;
use crate::sides::Seen;

/// One difference: unit, observable, what systemd and what Firn show.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Difference {
    unit: String,
    key: String,
    systemd: String,
    firn: String,
}

/// A reason for differences: patterns of unit and observable, and the text.
#[derive(Debug)]
struct Reason {
    unit: String,
    key: String,
    text: String,
}

/// Compares, writes or checks the document, and fails for what has no reason, and for reasons that nothing needs.
pub(crate) fn compare(cases: &Cases, firn: &Seen, systemd: &Seen, is_whole: bool) {
    let (found, compared) = differences(firn, systemd);
    let reasons = reasons();
    let mut by_reason: BTreeMap<usize, Vec<&Difference>> = BTreeMap::new();
    let mut open = String::new();
    for difference in &found {
        let fits = |reason: &Reason| {
            matches(&reason.unit, &difference.unit) && matches(&reason.key, &difference.key)
        };
        match reasons.iter().position(fits) {
            Some(place) => by_reason.entry(place).or_default().push(difference),
            None => writeln!(
                open,
                "{} {}: systemd `{}`, Firn `{}`",
                difference.unit, difference.key, difference.systemd, difference.firn
            )
            .unwrap(),
        }
    }
    let unused: Vec<&Reason> = reasons
        .iter()
        .enumerate()
        .filter(|(place, _)| !by_reason.contains_key(place))
        .map(|(_, reason)| reason)
        .collect();
    assert!(open.is_empty(), "differences without a reason:\n{open}");
    if !is_whole {
        return;
    }
    assert!(compared > 2000, "only {compared} observations");
    assert!(unused.is_empty(), "reasons that nothing needs: {unused:#?}");
    let document = document(cases, compared, &reasons, &by_reason);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/systemd-conformance.md");
    if std::env::var_os("FIRN_BLESS").is_some() {
        std::fs::write(&path, document).unwrap();
    } else {
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(there == document, "{} is not what was found: run with FIRN_BLESS=1", path.display());
    }
}

/// What these cases show, a line for each observation: all of what the probe `plain` shows, and what other probes show otherwise.
pub(crate) fn observed(cases: &Cases, seen: &Seen) -> String {
    let of = |name: &str| {
        let mut all = BTreeMap::new();
        for file in [
            name.to_owned(),
            format!("{name}.service"),
            format!("to.{name}.service"),
            format!("states.{name}"),
        ] {
            let found = observations(&file, seen).into_iter();
            all.extend(found.map(|((_, key), value)| (key, value.replace(name, "NAME"))));
        }
        all
    };
    let plain = of("plain");
    let mut text = String::new();
    for name in cases.owned.keys() {
        let mut shown = of(name);
        let is_probe_like_plain = name != "plain" && shown.contains_key("cgroup");
        if is_probe_like_plain {
            for key in plain.keys().filter(|key| !shown.contains_key(*key)) {
                writeln!(text, "{name} {key} –").unwrap();
            }
            shown.retain(|key, value| plain.get(key) != Some(value));
        }
        for (key, value) in shown {
            writeln!(text, "{}", format!("{name} {key} {value}").trim_end()).unwrap();
        }
    }
    text
}

/// Compares what the short part shows with what is committed, or writes it.
pub(crate) fn check_short(observed: &str, may_write: bool) {
    let path = data().join("short-expected.txt");
    if may_write && std::env::var_os("FIRN_BLESS").is_some() {
        std::fs::write(&path, observed).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let (expected, observed) = (lines(&expected), lines(observed));
    let missing: Vec<_> = expected.difference(&observed).collect();
    let new: Vec<_> = observed.difference(&expected).collect();
    assert!(
        missing.is_empty() && new.is_empty(),
        "not as in {}: expected {missing:#?}, found {new:#?}; if that is meant, `FIRN_BLESS=1 make conformance` writes it anew",
        path.display()
    );
}

/// `unit observable: reason`, where `*` stands for anything.
fn reasons() -> Vec<Reason> {
    let text = std::fs::read_to_string(data().join("accepted.txt")).unwrap();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (what, text) = line.split_once(": ").unwrap_or_else(|| panic!("no reason: {line}"));
            let (unit, key) = what.split_once(' ').unwrap_or_else(|| panic!("no observable: {line}"));
            Reason { unit: unit.to_owned(), key: key.to_owned(), text: text.to_owned() }
        })
        .collect()
}

/// Whether a pattern with `*` fits.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| {
            rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| matches(after, &rest[at..]))
        }),
    }
}

/// All differences, and how many observations there were.
fn differences(firn: &Seen, systemd: &Seen) -> (Vec<Difference>, usize) {
    let mut found = Vec::new();
    let mut compared = 0;
    let files: BTreeSet<&String> =
        firn.keys().chain(systemd.keys()).filter(|name| *name != "driver.log").collect();
    for file in files {
        let ours = observations(file, firn);
        let theirs = observations(file, systemd);
        let keys: BTreeSet<&(String, String)> = ours.keys().chain(theirs.keys()).collect();
        for key in keys {
            compared += 1;
            let value = |of: &BTreeMap<(String, String), String>| {
                of.get(key).cloned().unwrap_or_else(|| "–".to_owned())
            };
            let (firn, systemd) = (value(&ours), value(&theirs));
            if firn != systemd {
                found.push(Difference { unit: key.0.clone(), key: key.1.clone(), systemd, firn });
            }
        }
    }
    (found, compared)
}

/// The lines of a file as (unit, observable) → value, without what differs from run to run.
fn observations(file: &str, seen: &Seen) -> BTreeMap<(String, String), String> {
    let mut out = BTreeMap::new();
    let lines = seen.get(file).map(Vec::as_slice).unwrap_or_default();
    if let Some(unit) = file.strip_prefix("states.") {
        for (key, value) in
            lines.iter().filter_map(|line| line.split_once('=')).filter(|(key, _)| *key != "Id")
        {
            out.insert((unit.to_owned(), key.to_owned()), value.to_owned());
        }
        return out;
    }
    if let Some(case) = file.strip_prefix("case.") {
        for (number, line) in lines.iter().enumerate() {
            out.insert((case.to_owned(), format!("line {:02}", number + 1)), line.clone());
        }
        return out;
    }
    let unit = file.trim_start_matches("to.").trim_end_matches(".service");
    let mut arguments = 0;
    for line in lines {
        let (mut key, value) = match line.split_once(' ') {
            Some((key, value)) => (key.to_owned(), value.to_owned()),
            None => (line.clone(), String::new()),
        };
        if key == "argument" {
            arguments += 1;
            key = format!("argument.{arguments}");
        }
        let value = match key.as_str() {
            "environment.INVOCATION_ID" | "environment.JOURNAL_STREAM" => "set".to_owned(),
            _ if key.starts_with("descriptor.")
                && (value.starts_with("socket:") || value.starts_with("pipe:")) =>
            {
                "log".to_owned()
            }
            // By the machine's memory.
            "limit.Max-pending-signals" | "limit.Max-processes" if is_by_memory(&value) => {
                "default".to_owned()
            }
            _ => value.split(' ').map(without_dynamic_user).collect::<Vec<_>>().join(" "),
        };
        out.insert((unit.to_owned(), key), value);
    }
    out
}

fn is_by_memory(limit: &str) -> bool {
    let mut numbers = limit.split(' ').take(2).map(|word| word.parse::<u32>().unwrap_or(0));
    numbers.all(|number| (5000..7000).contains(&number))
}

/// Dynamic users have any number of theirs.
fn without_dynamic_user(word: &str) -> &str {
    match word.parse() {
        Ok(61184..=65519_u32) => "dynamic",
        _ => word,
    }
}

fn document(
    cases: &Cases,
    compared: usize,
    reasons: &[Reason],
    by_reason: &BTreeMap<usize, Vec<&Difference>>,
) -> String {
    let differing: usize = by_reason.values().map(Vec::len).sum();
    let mut out = format!(
        "# Conformance with systemd\n\nWritten by `make conformance` (`qemu-tests/tests/conformance`), which fails when it is not true any more.\n\n\
         {} unit definitions, {} of them started once with a probe that writes down what it sees of itself, the others in {} scenarios, on \
         Firn and on Debian's systemd 252, each booted once under the same kernel. {compared} observations, {differing} of them different, for \
         these reasons:\n\n| units | observable | differences | for instance: systemd | Firn | why |\n|---|---|---|---|---|---|\n",
        cases.units.len(),
        cases.probes.len(),
        cases.scripts.len()
    );
    let cell = |text: &str| {
        if text.is_empty() {
            "(empty)".to_owned()
        } else {
            format!("`{}`", text.replace('|', "\\|").replace('`', "'"))
        }
    };
    for (place, list) in by_reason {
        let Some(first) = list.first() else { continue };
        writeln!(
            out,
            "| `{}` | `{}` | {} | {} | {} | {} |",
            reasons[*place].unit,
            reasons[*place].key,
            list.len(),
            cell(&first.systemd),
            cell(&first.firn),
            reasons[*place].text
        )
        .unwrap();
    }
    out += "\n## Directives\n\nEvery directive that Firn knows, with a unit of this test that has it.\n";
    for (section, directives) in directives(cases) {
        writeln!(out, "\n### [{section}]\n\n| directive | units | for instance |\n|---|---|---|").unwrap();
        for (directive, units) in directives {
            writeln!(out, "| `{directive}=` | {} | `{}` |", units.len(), units[0]).unwrap();
        }
    }
    out
}

/// Section → directive → the units that have it.
fn directives(cases: &Cases) -> BTreeMap<String, BTreeMap<String, Vec<&str>>> {
    let mut found: BTreeMap<String, BTreeMap<String, Vec<&str>>> = BTreeMap::new();
    for (name, text) in &cases.units {
        for (section, directives) in units::unit_file::parse(text).unwrap() {
            let of_section = found.entry(section).or_default();
            for directive in directives.into_keys() {
                of_section.entry(directive).or_default().push(name);
            }
        }
    }
    found
}
