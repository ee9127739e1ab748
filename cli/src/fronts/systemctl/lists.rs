//! `systemctl list-…`: tables of units.

use super::super::options::Line;
use super::print;
use super::units::Units;
use anyhow::Result;
use formats::control::{ActiveState, UnitStatus};
use formats::service_graph::key::Key;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::ExitCode;

/// Columns as wide as their widest cell.
fn table(line: &Line, head: &[&str], rows: &[Vec<String>]) -> String {
    let all: Vec<Vec<String>> = if line.has("no-legend") {
        rows.to_vec()
    } else {
        std::iter::once(head.iter().map(ToString::to_string).collect()).chain(rows.iter().cloned()).collect()
    };
    let width = |column: usize| {
        all.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut text = String::new();
    for row in &all {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(cells.join(" ").trim_end());
        text.push('\n');
    }
    text
}

/// Whether the options and patterns ask for the unit.
fn is_asked_for(line: &Line, names: &BTreeSet<String>, unit: &UnitStatus) -> bool {
    let list = |option: &'static str| -> Vec<String> {
        line.values(option).flat_map(|value| value.split(',')).map(str::to_owned).collect()
    };
    let (types, states) = (list("type"), list("state"));
    let kind = unit.name.rsplit('.').next().unwrap_or_default();
    let has_state =
        |state: &String| [unit.active.word(), unit.sub.as_str(), "loaded"].contains(&state.as_str());
    (names.is_empty() || names.contains(&unit.name))
        && (types.is_empty() || types.iter().any(|wanted| wanted == kind))
        && (states.is_empty() || states.iter().any(has_state))
        && (!line.has("failed") || unit.active == ActiveState::Failed)
}

/// `list-units`
pub(super) fn units(line: &Line, names: &[String]) -> Result<ExitCode> {
    let units = Units::read()?;
    let named: BTreeSet<String> = units.named(names).into_iter().collect();
    let all = line.has("all") || line.has("failed") || line.value("state").is_some();
    let is_shown = |unit: &&UnitStatus| {
        is_asked_for(line, &named, unit) && (all || unit.active != ActiveState::Inactive)
    };
    let rows: Vec<Vec<String>> = units
        .all()
        .filter(is_shown)
        .map(|unit| {
            vec![
                unit.name.clone(),
                "loaded".into(),
                unit.active.word().into(),
                unit.sub.clone(),
                unit.description.clone(),
            ]
        })
        .collect();
    let mut text = table(line, &["UNIT", "LOAD", "ACTIVE", "SUB", "DESCRIPTION"], &rows);
    if !line.has("no-legend") {
        write!(text, "\n{} units listed.\n", rows.len())?;
    }
    print(&text)
}

/// `list-unit-files`
pub(super) fn unit_files(line: &Line, names: &[String]) -> Result<ExitCode> {
    let units = Units::read()?;
    let named: BTreeSet<String> = units.named(names).into_iter().collect();
    let rows: Vec<Vec<String>> = units
        .all()
        .filter(|unit| is_asked_for(line, &named, unit))
        .map(|unit| {
            vec![unit.name.clone(), units.enablement(&unit.name).unwrap_or("static").into(), "-".into()]
        })
        .collect();
    print(&table(line, &["UNIT FILE", "STATE", "PRESET"], &rows))
}

/// `list-timers`
pub(super) fn timers(line: &Line, names: &[String]) -> Result<ExitCode> {
    triggers(line, names, ".timer", &["UNIT", "ACTIVATES", "STATE", "SCHEDULE"], |units, name| {
        let unit = units.definition(name)?;
        let spans = [
            (Key::OnActive, "OnActiveSec"),
            (Key::OnBoot, "OnBootSec"),
            (Key::OnStartup, "OnStartupSec"),
            (Key::OnUnitActive, "OnUnitActiveSec"),
            (Key::OnUnitInactive, "OnUnitInactiveSec"),
        ];
        let mut schedule: Vec<String> =
            unit.texts(Key::OnCalendar).map(|text| format!("OnCalendar={text}")).collect();
        for (key, word) in spans {
            schedule.extend(unit.numbers(key).map(|span| format!("{word}={}s", span / 1_000_000)));
        }
        Some(schedule.join(" "))
    })
}

/// `list-sockets`
pub(super) fn sockets(line: &Line, names: &[String]) -> Result<ExitCode> {
    triggers(line, names, ".socket", &["UNIT", "ACTIVATES", "STATE", "LISTEN"], |units, name| {
        let unit = units.definition(name)?;
        Some(unit.tagged(Key::Listen).map(|(_, address)| address).collect::<Vec<_>>().join(" "))
    })
}

fn triggers(
    line: &Line,
    names: &[String],
    kind: &str,
    head: &[&str],
    last: impl Fn(&Units, &str) -> Option<String>,
) -> Result<ExitCode> {
    let units = Units::read()?;
    let named: BTreeSet<String> = units.named(names).into_iter().collect();
    let rows: Vec<Vec<String>> = units
        .all()
        .filter(|unit| unit.name.ends_with(kind) && is_asked_for(line, &named, unit))
        .filter(|unit| line.has("all") || unit.active != ActiveState::Inactive)
        .map(|unit| {
            let triggered = units
                .definition(&unit.name)
                .map(|found| units.names_in(&found, Key::Triggers))
                .unwrap_or_default();
            vec![
                unit.name.clone(),
                triggered.join(" "),
                unit.sub.clone(),
                last(&units, &unit.name).unwrap_or_default(),
            ]
        })
        .collect();
    print(&table(line, head, &rows))
}

/// `list-dependencies`: what a unit starts, or with `--reverse` what starts it, as a tree.
pub(super) fn dependencies(line: &Line, names: &[String]) -> Result<ExitCode> {
    let units = Units::read()?;
    let names = if names.is_empty() { vec!["multi-user.target".to_owned()] } else { units.named(names) };
    let keys = if line.has("reverse") {
        [Key::RequiredBy, Key::RequisiteOf, Key::WantedBy, Key::BoundBy, Key::UpheldBy]
    } else {
        [Key::Requires, Key::Requisite, Key::Wants, Key::BindsTo, Key::Upholds]
    };
    let mut text = String::new();
    for name in names {
        if units.definition(&name).is_none() {
            return Err(super::failure(super::NO_SUCH_UNIT, format!("Unit {name} could not be found.")));
        }
        text.push_str(&name);
        text.push('\n');
        branch(&units, &keys, &name, "", &mut vec![name.clone()], line.has("all"), &mut text);
    }
    print(&text)
}

/// The branches below a unit; targets unfold, others too with `--all`.
fn branch(
    units: &Units,
    keys: &[Key],
    name: &str,
    indent: &str,
    path: &mut Vec<String>,
    all: bool,
    text: &mut String,
) {
    let Some(unit) = units.definition(name) else { return };
    let children: BTreeSet<&str> = keys.iter().flat_map(|key| units.names_in(&unit, *key)).collect();
    for (at, child) in children.iter().enumerate() {
        let is_last = at + 1 == children.len();
        let mark = match units.active(child) {
            Some(ActiveState::Active | ActiveState::Reloading) => "●",
            Some(ActiveState::Failed) => "×",
            _ => "○",
        };
        let knee = if is_last { "└─" } else { "├─" };
        text.extend([mark, " ", indent, knee, child, "\n"]);
        let unfolds = all || child.ends_with(".target");
        if unfolds && path.len() < 32 && !path.iter().any(|above| above == child) {
            let deeper = format!("{indent}{}", if is_last { "  " } else { "│ " });
            path.push((*child).to_owned());
            branch(units, keys, child, &deeper, path, all, text);
            path.pop();
        }
    }
}
