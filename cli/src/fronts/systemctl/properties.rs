//! `systemctl show` and `cat`: a unit's state and definition as properties under the names that systemd has
//! (org.freedesktop.systemd1(5)). A property that Firn does not have prints nothing, as an unknown one does with systemd.

use super::super::options::Line;
use super::units::Units;
use super::{NO_SUCH_UNIT, failure, print};
use crate::logs::format_time;
use anyhow::Result;
use formats::control::{ActiveState, MainExit};
use formats::service_graph::key::{Key, flag, restart, service_type};
use std::process::ExitCode;

/// `show`
pub(super) fn show(line: &Line, names: &[String]) -> Result<ExitCode> {
    let wanted: Vec<&str> = line
        .values("property")
        .chain(line.values("property-value"))
        .flat_map(|value| value.split(','))
        .filter(|name| !name.is_empty())
        .collect();
    let value_only = line.has("value") || line.has("property-value");
    let units = Units::read()?;
    let mut texts = Vec::new();
    if names.is_empty() {
        texts.push(select(&of_manager(&units), &wanted, value_only));
    }
    for name in units.named(names) {
        texts.push(select(&of_unit(&units, &name), &wanted, value_only));
    }
    print(&texts.join("\n"))
}

/// The order in which systemd prints what Firn has too, whatever was asked for first: what a kind of unit has of its own comes
/// before what all have. Scripts read several values by their lines.
const ORDER: &[&str] = &[
    "Type",
    "Restart",
    "MainPID",
    "StatusText",
    "Result",
    "NRestarts",
    "ExecMainPID",
    "ExecMainCode",
    "ExecMainStatus",
    "ExecStartPre",
    "ExecStart",
    "ExecReload",
    "ExecStop",
    "Slice",
    "ControlGroup",
    "MemoryCurrent",
    "MemoryPeak",
    "CPUUsageNSec",
    "TasksCurrent",
    "Environment",
    "WorkingDirectory",
    "User",
    "Group",
    "RemainAfterExit",
    "Id",
    "Names",
    "Requires",
    "Requisite",
    "Wants",
    "BindsTo",
    "RequiredBy",
    "WantedBy",
    "PartOf",
    "Conflicts",
    "Before",
    "After",
    "OnFailure",
    "Triggers",
    "TriggeredBy",
    "Description",
    "LoadState",
    "ActiveState",
    "SubState",
    "FragmentPath",
    "UnitFileState",
    "StateChangeTimestamp",
    "ActiveEnterTimestamp",
    "InactiveEnterTimestamp",
    "CanStart",
    "CanStop",
    "CanReload",
    "NeedDaemonReload",
];

/// The properties that are wanted, all when none is, in systemd's order.
fn select(properties: &[(String, String)], wanted: &[&str], value_only: bool) -> String {
    let is_wanted = |(name, _): &&(String, String)| wanted.is_empty() || wanted.contains(&name.as_str());
    let mut chosen: Vec<&(String, String)> = properties.iter().filter(is_wanted).collect();
    chosen.sort_by_key(|(name, _)| ORDER.iter().position(|known| known == name).unwrap_or(ORDER.len()));
    let mut text = String::new();
    for (name, value) in chosen {
        let parts = if value_only { [value.as_str(), "", ""] } else { [name, "=", value] };
        text.extend(parts.into_iter().chain(["\n"]));
    }
    text
}

fn of_manager(units: &Units) -> Vec<(String, String)> {
    let failed = units.all().filter(|unit| unit.active == ActiveState::Failed).count();
    [
        ("Version", format!("257 (Firn {})", env!("CARGO_PKG_VERSION"))),
        ("SystemState", units.system_state().to_owned()),
        ("NNames", units.all().count().to_string()),
        ("NFailedUnits", failed.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

fn of_unit(units: &Units, name: &str) -> Vec<(String, String)> {
    let mut list: Vec<(String, String)> = Vec::new();
    let mut put = |name: &str, value: String| list.push((name.to_owned(), value));
    let Some(status) = units.status(name) else {
        put("Id", name.to_owned());
        put("Names", name.to_owned());
        put("LoadState", "not-found".into());
        put("ActiveState", "inactive".into());
        put("SubState", "dead".into());
        put("MainPID", "0".into());
        return list;
    };
    put("Id", name.to_owned());
    put("Description", status.description.clone());
    put("LoadState", "loaded".into());
    put("ActiveState", status.active.word().into());
    put("SubState", status.sub.clone());
    put("Result", status.result.clone());
    put("MainPID", status.main_pid.to_string());
    put("ExecMainPID", status.main_pid.to_string());
    // As waitid(2) has it: exited, killed, dumped.
    let (code, exit) = match status.main_exit().filter(|_| status.main_pid == 0) {
        None => (0, 0),
        Some(MainExit::Code(code)) => (1, code),
        Some(MainExit::Signal(signal)) => (2, signal),
        Some(MainExit::CoreDump(signal)) => (3, signal),
    };
    put("ExecMainCode", code.to_string());
    put("ExecMainStatus", exit.to_string());
    put("NRestarts", status.restarts.to_string());
    put("StatusText", status.status_text.clone());
    put("ControlGroup", status.cgroup.clone());
    let stamp = |time: u64| if time == 0 { String::new() } else { format!("{} UTC", format_time(time)) };
    put("StateChangeTimestamp", stamp(status.since));
    let is_up = matches!(status.active, ActiveState::Active | ActiveState::Reloading);
    put("ActiveEnterTimestamp", stamp(if is_up { status.since } else { 0 }));
    put("InactiveEnterTimestamp", stamp(if is_up { 0 } else { status.since }));
    put("FragmentPath", status.defined_at.split(':').next().unwrap_or_default().to_owned());
    put("UnitFileState", units.enablement(name).unwrap_or_default().to_owned());
    put("NeedDaemonReload", "no".into());
    let measure =
        |file: &str| std::fs::read_to_string(format!("/sys/fs/cgroup{}/{file}", status.cgroup)).ok();
    let number =
        |file: &str| measure(file).map_or_else(|| "[not set]".to_owned(), |text| text.trim().to_owned());
    if !status.cgroup.is_empty() {
        put("MemoryCurrent", number("memory.current"));
        put("MemoryPeak", number("memory.peak"));
        put("TasksCurrent", number("pids.current"));
        let usage = measure("cpu.stat").and_then(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
            Some(format!("{line}000"))
        });
        put("CPUUsageNSec", usage.unwrap_or_else(|| "[not set]".into()));
    }
    if let Some(unit) = units.definition(name) {
        definition(units, &unit, &mut put);
    }
    list
}

/// Whether there is a way to reload it.
pub(super) fn can_reload(unit: &formats::service_graph::view::Unit<'_>) -> bool {
    unit.has(Key::ExecReload) || unit.number(Key::Type) == Some(service_type::NOTIFY_RELOAD)
}

/// What the service graph says of it.
fn definition(
    units: &Units,
    unit: &formats::service_graph::view::Unit<'_>,
    put: &mut impl FnMut(&str, String),
) {
    let mut names = vec![unit.name()];
    names.extend(unit.texts(Key::Aliases));
    put("Names", names.join(" "));
    for (key, name) in [
        (Key::Requires, "Requires"),
        (Key::Requisite, "Requisite"),
        (Key::Wants, "Wants"),
        (Key::BindsTo, "BindsTo"),
        (Key::PartOf, "PartOf"),
        (Key::Conflicts, "Conflicts"),
        (Key::Before, "Before"),
        (Key::After, "After"),
        (Key::OnFailure, "OnFailure"),
        (Key::RequiredBy, "RequiredBy"),
        (Key::WantedBy, "WantedBy"),
        (Key::Triggers, "Triggers"),
        (Key::TriggeredBy, "TriggeredBy"),
    ] {
        put(name, units.names_in(unit, key).join(" "));
    }
    let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
    put("CanStart", yes(!unit.flag(flag::REFUSE_MANUAL_START) && !Units::is_template(unit)));
    put("CanStop", yes(!unit.flag(flag::REFUSE_MANUAL_STOP)));
    put("CanReload", yes(can_reload(unit)));
    put("RemainAfterExit", yes(unit.flag(flag::REMAIN_AFTER_EXIT)));
    if unit.name().ends_with(".service") {
        let kind = match unit.number(Key::Type) {
            Some(service_type::EXEC) => "exec",
            Some(service_type::FORKING) => "forking",
            Some(service_type::ONESHOT) => "oneshot",
            Some(service_type::NOTIFY) => "notify",
            Some(service_type::NOTIFY_RELOAD) => "notify-reload",
            Some(service_type::DBUS) => "dbus",
            Some(service_type::IDLE) => "idle",
            _ => "simple",
        };
        put("Type", kind.into());
        let again = match unit.number(Key::Restart) {
            Some(restart::ON_SUCCESS) => "on-success",
            Some(restart::ON_FAILURE) => "on-failure",
            Some(restart::ON_ABNORMAL) => "on-abnormal",
            Some(restart::ON_WATCHDOG) => "on-watchdog",
            Some(restart::ON_ABORT) => "on-abort",
            Some(restart::ALWAYS) => "always",
            _ => "no",
        };
        put("Restart", again.into());
        for (key, name) in [
            (Key::ExecStartPre, "ExecStartPre"),
            (Key::ExecStart, "ExecStart"),
            (Key::ExecReload, "ExecReload"),
            (Key::ExecStop, "ExecStop"),
        ] {
            for line in unit.commands(key) {
                put(name, words_of(&line));
            }
        }
        let text = |key| unit.text(key).unwrap_or_default().to_owned();
        put("User", text(Key::User));
        put("Group", text(Key::Group));
        put("WorkingDirectory", text(Key::WorkingDirectory));
        put("Environment", unit.texts(Key::Environment).collect::<Vec<_>>().join(" "));
    }
    put("Slice", unit.text(Key::Slice).unwrap_or("system.slice").to_owned());
}

fn words_of(line: &formats::service_graph::view::Command<'_>) -> String {
    let words: Vec<String> = line
        .arguments()
        .map(|word| word.to_string_lossy().into_owned())
        .map(|word| if word.is_empty() || word.contains(' ') { format!("\"{word}\"") } else { word })
        .collect();
    let rest = words.get(1..).unwrap_or_default().join(" ");
    format!("{} {rest}", line.program().to_string_lossy()).trim_end().to_owned()
}

/// `cat`: where a unit is defined, and its settings; there is no unit file to print.
pub(super) fn cat(names: &[String]) -> Result<ExitCode> {
    let units = Units::read()?;
    let mut text = String::new();
    for name in units.named(names) {
        let Some(unit) = units.definition(&name) else {
            return Err(failure(NO_SUCH_UNIT, format!("No files found for {name}.")));
        };
        let place = unit.text(Key::DefinedAt).unwrap_or("?");
        text.extend([
            "# ",
            unit.name(),
            " (compiled; defined at ",
            place,
            ")
",
        ]);
        let mut put = |name: &str, value: String| {
            if !value.is_empty() {
                text.extend([name, "=", value.as_str(), "\n"]);
            }
        };
        put("Description", unit.text(Key::Description).unwrap_or_default().to_owned());
        definition(&units, &unit, &mut put);
        text.push('\n');
    }
    print(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_come_in_systemds_order() {
        let list = [
            ("Id", "a"),
            ("SubState", "dead"),
            ("ActiveState", "inactive"),
            ("Result", "success"),
            ("Else", "x"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(select(&list, &["ActiveState", "SubState", "Result"], true), "success\ninactive\ndead\n");
        assert_eq!(select(&list, &["SubState"], false), "SubState=dead\n");
        assert_eq!(select(&list, &[], true), "success\na\ninactive\ndead\nx\n");
    }
}
