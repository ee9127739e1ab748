//! `firn service blame`: how long each unit took from the beginning of its last start until it was up, the slowest first
//! (as systemd-analyze(1) has it). What a unit waited before it began, for others, does not count.

use super::ask_states;
use crate::json;
use anyhow::Result;
use formats::control::{Request, UnitStatus};
use formats::service_graph::UnitKind;
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

/// Prints the times.
pub(super) fn blame(stream: &mut UnixStream, as_json: bool) -> Result<ExitCode> {
    let units = slowest_first(ask_states(stream, &Request::List)?);
    if as_json {
        let one = |unit: &UnitStatus| serde_json::json!({ "name": unit.name, "microseconds": unit.took });
        let list: Vec<serde_json::Value> = units.iter().map(one).collect();
        json::print(&list)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = String::new();
    for unit in &units {
        writeln!(text, "{:>10} {}", span(unit.took), unit.name)?;
    }
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Units with a way to come up; targets and slices have none.
fn slowest_first(mut units: Vec<UnitStatus>) -> Vec<UnitStatus> {
    units.retain(|unit| {
        unit.took > 0 && !matches!(UnitKind::of_name(&unit.name), Some(UnitKind::Target | UnitKind::Slice))
    });
    units.sort_by(|left, right| right.took.cmp(&left.took).then_with(|| left.name.cmp(&right.name)));
    units
}

/// A span for people, with three digits that mean something.
pub(super) fn span(microseconds: u64) -> String {
    let (value, unit) = match microseconds {
        0..1000 => return format!("{microseconds}us"),
        1000..1_000_000 => (microseconds as f64 / 1e3, "ms"),
        1_000_000..60_000_000 => (microseconds as f64 / 1e6, "s"),
        _ => return format!("{}min {}s", microseconds / 60_000_000, microseconds / 1_000_000 % 60),
    };
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.digits$}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use formats::control::ActiveState;

    #[test]
    fn spans_for_people() {
        for (microseconds, text) in [
            (7, "7us"),
            (1500, "1.50ms"),
            (40_123, "40.1ms"),
            (999_000, "999ms"),
            (1_250_000, "1.25s"),
            (61_000_000, "1min 1s"),
        ] {
            assert_eq!(span(microseconds), text);
        }
    }

    #[test]
    fn the_slowest_comes_first() {
        let unit = |name: &str, took| UnitStatus {
            name: name.into(),
            description: String::new(),
            active: ActiveState::Active,
            sub: "running".into(),
            result: "success".into(),
            main_pid: 0,
            exit_status: 0,
            restarts: 0,
            since: 0,
            took,
            status_text: String::new(),
            cgroup: String::new(),
            defined_at: String::new(),
        };
        let units = ["a.service 5", "b.mount 70", "c.target 90", "d.service 0", "e.socket 5"].map(|line| {
            let (name, took) = line.split_once(' ').unwrap();
            unit(name, took.parse().unwrap())
        });
        let names: Vec<String> = slowest_first(units.to_vec()).into_iter().map(|unit| unit.name).collect();
        assert_eq!(names, ["b.mount", "a.service", "e.socket"]);
    }
}
