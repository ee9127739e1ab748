//! `firn service …`, `firn poweroff`, `firn reboot`: requests to the supervisor over its control socket
//! (`formats::control`).

mod blame;
pub(crate) mod enabled;
pub(crate) mod instances;
mod tree;

use crate::family::{Failure, Family};
use crate::json;
use anyhow::{Context as _, Result, bail};
use clap::{Arg, ArgAction, ArgMatches, Command};
use formats::control::{
    self, ActiveState, MainExit, Message as _, Reply, Request, Shutdown, UnitStatus, Verb,
};
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

/// `firn service`.
pub(crate) const SERVICE: Family = Family { command: service_command, run: run_service };
/// `firn poweroff`.
pub(crate) const POWEROFF: Family = Family { command: poweroff_command, run: poweroff };
/// `firn reboot`.
pub(crate) const REBOOT: Family = Family { command: reboot_command, run: reboot };

/// `firn soft-reboot`.
pub(crate) const SOFT_REBOOT: Family = Family {
    command: || {
        Command::new("soft-reboot").about(
            "Stop everything and begin again with the next generation's userspace, on the running kernel",
        )
    },
    run: |_| shut_down(Shutdown::SoftReboot),
};
/// `firn kexec`.
pub(crate) const KEXEC: Family = Family {
    command: || {
        Command::new("kexec")
            .about("Stop everything and execute the next generation's kernel, past firmware and boot menu")
    },
    run: |_| kexec(),
};

/// Subcommands that are one job for each unit named.
const JOBS: &[(&str, Verb, &str)] = &[
    ("start", Verb::Start, "Start units and what they need"),
    ("stop", Verb::Stop, "Stop units and what needs them"),
    ("restart", Verb::Restart, "Stop and start units"),
    ("try-restart", Verb::TryRestart, "Restart units that run"),
    ("reload", Verb::Reload, "Let units read their configuration again"),
    ("reload-or-restart", Verb::ReloadOrRestart, "Reload units that can, restart the others"),
];

fn units_argument() -> Arg {
    Arg::new("unit")
        .value_name("UNIT")
        .num_args(1..)
        .required(true)
        .help("Names; without a suffix, a service's")
}

fn service_command() -> Command {
    let mut command = Command::new("service")
        .about("Look at and change what runs")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("list")
                .about("All units with their states")
                .arg(json::argument())
                .arg(
                    Arg::new("all")
                        .long("all")
                        .short('a')
                        .action(ArgAction::SetTrue)
                        .help("Also what is down"),
                )
                .arg(Arg::new("failed").long("failed").action(ArgAction::SetTrue).help("Only what failed")),
        )
        .subcommand(
            Command::new("status").about("One unit in detail").arg(json::argument()).arg(units_argument()),
        )
        .subcommand(
            Command::new("wait")
                .about("Wait until a unit is in a state")
                .arg(Arg::new("unit").value_name("UNIT").required(true))
                .arg(Arg::new("state").long("state").value_name("STATE").default_value("active"))
                .arg(
                    Arg::new("timeout")
                        .long("timeout")
                        .value_name("SECONDS")
                        .default_value("0")
                        .value_parser(clap::value_parser!(u32)),
                ),
        )
        .subcommand(
            Command::new("kill")
                .about("Send a signal to a unit's processes")
                .arg(
                    Arg::new("signal")
                        .long("signal")
                        .short('s')
                        .value_name("NUMBER")
                        .default_value("15")
                        .value_parser(clap::value_parser!(u32)),
                )
                .arg(
                    Arg::new("main").long("main").action(ArgAction::SetTrue).help("Only to the main process"),
                )
                .arg(units_argument()),
        )
        .subcommand(
            Command::new("reset-failed")
                .about("Forget failures and rate limits")
                .arg(Arg::new("unit").value_name("UNIT").num_args(0..)),
        );
    command = command
        .subcommand(
            Command::new("enable-until-reboot")
                .about("Start units and keep them, through switches, until they are stopped or the machine starts anew")
                .arg(units_argument()),
        )
        .subcommand(Command::new("blame").about("How long each unit took to come up").arg(json::argument()))
        .subcommand(tree::command());
    for (name, _, about) in JOBS {
        command = command.subcommand(
            Command::new(*name)
                .about(*about)
                .arg(
                    Arg::new("no-wait")
                        .long("no-wait")
                        .action(ArgAction::SetTrue)
                        .help("Do not wait for the end"),
                )
                .arg(units_argument()),
        );
    }
    command
}

fn poweroff_command() -> Command {
    Command::new("poweroff").about("Stop everything and power the machine off")
}

fn reboot_command() -> Command {
    Command::new("reboot").about("Stop everything and boot again")
}

/// Connects to the supervisor.
pub(crate) fn connect() -> Result<UnixStream> {
    UnixStream::connect(control::SOCKET).with_context(|| {
        format!("cannot reach the supervisor at {}: is this machine run by Firn?", control::SOCKET)
    })
}

/// One request and its last answer; answers before it go to `each`.
pub(crate) fn ask(
    stream: &mut UnixStream,
    request: &Request,
    mut each: impl FnMut(&Reply) -> Result<()>,
) -> Result<Reply> {
    request.send(stream).context("cannot talk to the supervisor")?;
    loop {
        match Reply::receive(stream).context("cannot read the supervisor's answer")? {
            None => bail!("the supervisor closed the connection; it may have been restarted: try again"),
            Some(Reply::Refused { reason }) => return Err(Failure { code: 1, message: reason }.into()),
            Some(reply) if reply.is_last() => return Ok(reply),
            Some(reply) => each(&reply)?,
        }
    }
}

/// The states that a request is answered with.
pub(crate) fn ask_states(stream: &mut UnixStream, request: &Request) -> Result<Vec<UnitStatus>> {
    match ask(stream, request, |_| Ok(()))? {
        Reply::Units(units) => Ok(units),
        _ => bail!("the supervisor gave an answer that does not fit the question"),
    }
}

fn run_service(matches: &ArgMatches) -> Result<ExitCode> {
    let mut stream = connect()?;
    let Some((name, matches)) = matches.subcommand() else { bail!("no subcommand given") };
    let names = |id: &str| -> Vec<String> {
        matches.try_get_many::<String>(id).ok().flatten().into_iter().flatten().cloned().collect()
    };
    match name {
        "list" => list(&mut stream, matches),
        "status" => status(&mut stream, &names("unit"), matches.get_flag("json")),
        "wait" => {
            let word = matches.get_one::<String>("state").map_or("active", String::as_str);
            let state =
                ActiveState::from_word(word).with_context(|| format!("`{word}` is no state of a unit"))?;
            let timeout = matches.get_one::<u32>("timeout").copied().unwrap_or(0).saturating_mul(1000);
            let unit = names("unit").into_iter().next().unwrap_or_default();
            let found = ask_states(&mut stream, &Request::Wait { unit, state, timeout })?;
            let is_there = found.first().is_some_and(|unit| unit.active == state);
            Ok(if is_there { ExitCode::SUCCESS } else { ExitCode::from(3) })
        }
        "kill" => {
            let signal = matches.get_one::<u32>("signal").copied().unwrap_or(15);
            for unit in names("unit") {
                let request = Request::Kill { unit, signal, main_only: matches.get_flag("main") };
                ask(&mut stream, &request, |_| Ok(()))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        "reset-failed" => {
            let mut units = names("unit");
            if units.is_empty() {
                units.push(String::new());
            }
            for unit in units {
                ask(&mut stream, &Request::ResetFailed { unit }, |_| Ok(()))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        "blame" => blame::blame(&mut stream, matches.get_flag("json")),
        "graph" => tree::graph(&mut stream, matches),
        "enable-until-reboot" => {
            let code = jobs(&mut stream, Verb::Start, names("unit"), true)?;
            names("unit").iter().try_for_each(|name| enabled::note(name))?;
            Ok(code)
        }
        job => {
            let Some((_, verb, _)) = JOBS.iter().find(|(name, ..)| *name == job) else {
                bail!("no such subcommand")
            };
            jobs(&mut stream, *verb, names("unit"), !matches.get_flag("no-wait"))
        }
    }
}

/// Whether a job of that kind begins with a unit that may not be there yet.
pub(crate) fn brings_up(verb: Verb) -> bool {
    matches!(verb, Verb::Start | Verb::Restart | Verb::ReloadOrRestart)
}

/// One job for each unit; all are tried, the exit code is 4 when one failed, as NixOS has it.
fn jobs(stream: &mut UnixStream, verb: Verb, units: Vec<String>, wait: bool) -> Result<ExitCode> {
    let mut failed = Vec::new();
    for unit in units {
        if brings_up(verb) {
            instances::ensure(stream, &unit)?;
        }
        if verb == Verb::Stop {
            enabled::forget(&unit)?;
        }
        let request = Request::Job { verb, unit: unit.clone(), wait };
        match ask(stream, &request, |_| Ok(()))? {
            Reply::Done { result } if matches!(result.as_str(), "done" | "queued" | "skipped") => {}
            Reply::Done { result } => {
                failed.push(format!("{unit}: {result}; `firn logs -u {unit}` may say why"));
            }
            _ => bail!("the supervisor gave an answer that does not fit the question"),
        }
    }
    if failed.is_empty() {
        Ok(ExitCode::SUCCESS)
    } else {
        Err(Failure { code: 4, message: failed.join("\n") }.into())
    }
}

fn list(stream: &mut UnixStream, matches: &ArgMatches) -> Result<ExitCode> {
    let mut units = ask_states(stream, &Request::List)?;
    units.sort_by(|left, right| left.name.cmp(&right.name));
    let all = matches.get_flag("all") || matches.get_flag("json");
    units.retain(|unit| {
        let is_failed = unit.active == ActiveState::Failed;
        if matches.get_flag("failed") { is_failed } else { all || unit.active != ActiveState::Inactive }
    });
    if matches.get_flag("json") {
        print_json(&units)?;
        return Ok(ExitCode::SUCCESS);
    }
    let width = units.iter().map(|unit| unit.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for unit in &units {
        writeln!(
            text,
            "{:width$}  {:12} {:13} {}",
            unit.name,
            unit.active.word(),
            unit.sub,
            unit.description
        )?;
    }
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn status(stream: &mut UnixStream, names: &[String], json: bool) -> Result<ExitCode> {
    let mut units = Vec::new();
    for unit in names {
        units.extend(ask_states(stream, &Request::Status { unit: unit.clone() })?);
    }
    if json {
        print_json(&units)?;
    } else {
        let text: Vec<String> = units.iter().map(describe).collect();
        std::io::stdout().write_all(text.join("\n").as_bytes())?;
    }
    let up = units.iter().all(|unit| matches!(unit.active, ActiveState::Active | ActiveState::Reloading));
    Ok(if up { ExitCode::SUCCESS } else { ExitCode::from(3) })
}

/// A unit for people, with its memory and its last lines.
pub(crate) fn describe(unit: &UnitStatus) -> String {
    let mut text = format!("{} - {}\n", unit.name, unit.description);
    let mut line = |name: &str, value: String| {
        let line = format!("  {name:>10}: {value}\n");
        text.push_str(&line);
    };
    line("state", format!("{} ({})", unit.active.word(), unit.sub));
    if unit.since != 0 {
        line("since", crate::logs::format_time(unit.since));
    }
    if unit.took != 0 {
        line("came up in", blame::span(unit.took));
    }
    if unit.result != "success" {
        line("result", unit.result.clone());
    }
    match unit.main_exit() {
        None | Some(MainExit::Code(0)) => {}
        Some(MainExit::Signal(signal)) => line("ended by", format!("signal {signal}")),
        Some(MainExit::CoreDump(signal)) => line("ended by", format!("signal {signal}, core dumped")),
        Some(MainExit::Code(code)) => line("exit code", code.to_string()),
    }
    if unit.main_pid != 0 {
        line("main pid", unit.main_pid.to_string());
    }
    if unit.restarts != 0 {
        line("restarts", unit.restarts.to_string());
    }
    if !unit.status_text.is_empty() {
        line("says", unit.status_text.clone());
    }
    let memory = std::fs::read_to_string(format!("/sys/fs/cgroup{}/memory.current", unit.cgroup));
    if let Some(bytes) = memory.ok().and_then(|text| text.trim().parse::<u64>().ok()) {
        line("memory", format!("{:.1} MiB", bytes as f64 / 1_048_576.0));
    }
    if !unit.defined_at.is_empty() {
        line("defined", unit.defined_at.clone());
    }
    for entry in crate::logs::last_lines(&unit.name, 8) {
        let line = format!("  | {entry}\n");
        text.push_str(&line);
    }
    text
}

fn print_json(units: &[UnitStatus]) -> Result<()> {
    let list: Vec<serde_json::Value> = units
        .iter()
        .map(|unit| {
            serde_json::json!({
                "name": unit.name, "description": unit.description, "active": unit.active.word(), "sub": unit.sub,
                "result": unit.result, "mainPid": unit.main_pid,
                "exitStatus": unit.main_exit().map(|_| unit.exit_status & 511),
                "restarts": unit.restarts, "since": unit.since, "took": unit.took, "statusText": unit.status_text,
                "cgroup": unit.cgroup, "definedAt": unit.defined_at,
            })
        })
        .collect();
    json::print(&list)
}

fn shut_down(how: Shutdown) -> Result<ExitCode> {
    ask(&mut connect()?, &Request::Shutdown { how }, |_| Ok(()))?;
    Ok(ExitCode::SUCCESS)
}

/// Makes the next generation's kernel ready and ends the machine into it.
pub(crate) fn kexec() -> Result<ExitCode> {
    const NEXT: &str = "/nix/var/nix/profiles/system/boot.json";
    let bytes = std::fs::read(NEXT).with_context(|| format!("cannot read {NEXT}"))?;
    let next = formats::bootspec::Bootspec::parse(&bytes).with_context(|| NEXT.to_owned())?.boot;
    let open = |path: &str| std::fs::File::open(path).with_context(|| format!("cannot open {path}"));
    let initrd = next.initrd.as_deref().with_context(|| format!("{NEXT} names no initrd"))?;
    let line = format!("init={} {}", next.init, next.kernel_params.join(" "));
    let line = std::ffi::CString::new(line).context("the kernel's parameters hold a NUL byte")?;
    sys::kexec::load(&open(&next.kernel)?, &open(initrd)?, &line)
        .with_context(|| format!("the kernel does not take {}", next.kernel))?;
    shut_down(Shutdown::Kexec)
}

fn poweroff(_: &ArgMatches) -> Result<ExitCode> {
    shut_down(Shutdown::PowerOff)
}

fn reboot(_: &ArgMatches) -> Result<ExitCode> {
    shut_down(Shutdown::Reboot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        for command in [service_command(), poweroff_command(), reboot_command()] {
            command.debug_assert();
        }
    }

    #[test]
    fn a_unit_is_described() {
        let text = describe(&UnitStatus {
            name: "a.service".into(),
            description: "A".into(),
            active: ActiveState::Failed,
            sub: "failed".into(),
            result: "signal".into(),
            main_pid: 0,
            exit_status: 256 + 9,
            restarts: 2,
            since: 0,
            took: 2500,
            status_text: String::new(),
            cgroup: "/none".into(),
            defined_at: "c.nix:3".into(),
        });
        assert_eq!(
            text,
            "a.service - A\n       state: failed (failed)\n  came up in: 2.50ms\n      result: signal\n    ended by: signal 9\n    restarts: 2\n     defined: c.nix:3\n"
        );
    }
}
