//! `systemctl`: the supervisor under systemd's command, in the forms that scripts and modules call, with its exit codes
//! (systemctl(1), "Exit status": 0 fine, 3 not active, 4 no such unit, 5 cannot be loaded).

mod lists;
mod properties;
mod units;

use super::options::{Line, Option_, Value, flag, with_value};
use crate::family::Failure;
use crate::service::{ask, ask_states, brings_up, connect, describe, enabled, instances};
use anyhow::{Result, bail};
use formats::control::{ActiveState, Reply, Request, Shutdown, Verb};
use formats::service_graph::key::flag as unit_flag;
use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;
use units::Units;

/// How long process 1 may take to become another.
const REEXECUTION: Duration = Duration::from_secs(20);

const OPTIONS: &[Option_] = &[
    flag("quiet", 'q'),
    flag("all", 'a'),
    flag("full", 'l'),
    flag("no-block", ' '),
    flag("no-pager", ' '),
    flag("no-legend", ' '),
    flag("no-reload", ' '),
    flag("no-ask-password", ' '),
    flag("no-wall", ' '),
    flag("plain", ' '),
    flag("value", ' '),
    flag("wait", ' '),
    flag("failed", ' '),
    flag("now", ' '),
    flag("runtime", ' '),
    flag("reverse", ' '),
    flag("force", 'f'),
    flag("system", ' '),
    flag("user", ' '),
    flag("show-types", ' '),
    flag("version", ' '),
    with_value("property", 'p'),
    Option_ { long: "property-value", letter: 'P', value: Value::Needed },
    with_value("type", 't'),
    with_value("state", ' '),
    with_value("signal", 's'),
    with_value("kill-whom", ' '),
    with_value("kill-who", ' '),
    with_value("job-mode", ' '),
    with_value("lines", 'n'),
    with_value("output", 'o'),
];

const NOT_ACTIVE: u8 = 3;
const NOT_IMPLEMENTED: u8 = 3;
const NOT_PERMITTED: u8 = 4;
const NO_SUCH_UNIT: u8 = 4;
const NOT_LOADED: u8 = 5;

fn failure(code: u8, message: String) -> anyhow::Error {
    Failure { code, message }.into()
}

/// Runs it.
pub(super) fn run(arguments: &[OsString]) -> Result<ExitCode> {
    let line = Line::read("systemctl", OPTIONS, arguments, false)?;
    if line.has("version") {
        return print_version();
    }
    if line.has("user") {
        return Err(failure(
            1,
            "systemctl: there are no service managers of users here; leave --user out".into(),
        ));
    }
    let (verb, names) = match line.words.split_first() {
        Some((verb, names)) => (verb.as_str(), names),
        None => ("list-units", [].as_slice()),
    };
    match verb {
        "start" => jobs(&line, Verb::Start, names),
        "stop" => jobs(&line, Verb::Stop, names),
        "restart" => jobs(&line, Verb::Restart, names),
        "try-restart" | "condrestart" => jobs(&line, Verb::TryRestart, names),
        "reload" => jobs(&line, Verb::Reload, names),
        "reload-or-restart" | "force-reload" => jobs(&line, Verb::ReloadOrRestart, names),
        "try-reload-or-restart" | "reload-or-try-restart" => {
            let units = Units::read()?;
            let running =
                units.named(names).into_iter().filter(|name| units.active(name) == Some(ActiveState::Active));
            jobs(&line, Verb::ReloadOrRestart, &running.collect::<Vec<_>>())
        }
        "is-active" => {
            states(&line, names, |state| state == ActiveState::Active || state == ActiveState::Reloading)
        }
        "is-failed" => is_failed(&line, names),
        "is-enabled" => is_enabled(&line, names),
        "is-system-running" => is_system_running(&line),
        "status" => status(names),
        "show" => properties::show(&line, names),
        "cat" => properties::cat(names),
        "list-units" => lists::units(&line, names),
        "list-unit-files" => lists::unit_files(&line, names),
        "list-timers" => lists::timers(&line, names),
        "list-sockets" => lists::sockets(&line, names),
        "list-dependencies" => lists::dependencies(&line, names),
        "list-jobs" => print("No jobs running.\n"),
        "kill" => kill(&line, names),
        "reset-failed" => reset_failed(names),
        "get-default" => print("multi-user.target\n"),
        // The graph changes by a switch, which loads it itself; so this has nothing left to do.
        "daemon-reload" => Ok(ExitCode::SUCCESS),
        "daemon-reexec" => reexecute(),
        "soft-reboot" => shut_down(Shutdown::SoftReboot),
        "poweroff" => shut_down(Shutdown::PowerOff),
        "reboot" => shut_down(Shutdown::Reboot),
        "halt" => shut_down(Shutdown::Halt),
        "kexec" => crate::service::kexec(),
        "default" => jobs(&line, Verb::Start, &["default.target".to_owned()]),
        "rescue" => jobs(&line, Verb::Start, &["rescue.target".to_owned()]),
        "emergency" => jobs(&line, Verb::Start, &["emergency.target".to_owned()]),
        "show-environment" => {
            print("PATH=/run/wrappers/bin:/run/current-system/sw/bin:/run/current-system/sw/sbin\n")
        }
        "enable" if line.has("runtime") => {
            names.iter().try_for_each(|name| enabled::note(name))?;
            if line.has("now") { jobs(&line, Verb::Start, names) } else { Ok(ExitCode::SUCCESS) }
        }
        "disable" if line.has("runtime") => {
            names.iter().try_for_each(|name| enabled::forget(name).map(drop))?;
            if line.has("now") { jobs(&line, Verb::Stop, names) } else { Ok(ExitCode::SUCCESS) }
        }
        "enable" | "disable" | "reenable" | "mask" | "unmask" | "link" | "edit" | "preset"
        | "set-default" | "add-wants" | "add-requires" | "revert" => {
            let text = format!(
                "systemctl: `{verb}` changes files that the configuration makes; set `systemd.services.NAME.enable` or `wantedBy` there and run `firn switch`"
            );
            Err(failure(1, text))
        }
        _ => Err(failure(1, format!("systemctl: `{verb}` is not there"))),
    }
}

/// `poweroff`
pub(super) fn poweroff(_: &[OsString]) -> Result<ExitCode> {
    shut_down(Shutdown::PowerOff)
}

/// `reboot`
pub(super) fn reboot(_: &[OsString]) -> Result<ExitCode> {
    shut_down(Shutdown::Reboot)
}

/// `halt`
pub(super) fn halt(_: &[OsString]) -> Result<ExitCode> {
    shut_down(Shutdown::Halt)
}

fn shut_down(how: Shutdown) -> Result<ExitCode> {
    ask(&mut connect()?, &Request::Shutdown { how }, |_| Ok(()))?;
    Ok(ExitCode::SUCCESS)
}

/// The version whose behaviour scripts may expect, and whose work it is.
pub(super) fn print_version() -> Result<ExitCode> {
    print(&format!("systemd 257 (Firn {})\n", env!("CARGO_PKG_VERSION")))
}

fn print(text: &str) -> Result<ExitCode> {
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// One job for each unit; all are tried.
fn jobs(line: &Line, verb: Verb, names: &[String]) -> Result<ExitCode> {
    if names.is_empty() {
        bail!("systemctl: no unit named");
    }
    let mut stream = connect()?;
    if brings_up(verb) {
        names.iter().try_for_each(|name| instances::ensure(&mut stream, name))?;
    }
    let units = Units::read()?;
    let wait = !line.has("no-block");
    let mut problems = Vec::new();
    let mut code = 1;
    for name in units.named(names) {
        if units.status(&name).is_none() {
            problems.push(format!("Failed to {} {name}: Unit {name} not found.", word(verb)));
            code = NOT_LOADED;
            continue;
        }
        match ask(&mut stream, &Request::Job { verb, unit: name.clone(), wait }, |_| Ok(())) {
            Ok(Reply::Done { result }) if matches!(result.as_str(), "done" | "queued" | "skipped") => {}
            Ok(Reply::Done { result }) => {
                problems
                    .push(format!("Job for {name} failed ({result}); `journalctl -u {name}` may say why."));
            }
            Ok(_) => bail!("the supervisor gave an answer that does not fit the question"),
            Err(error) => {
                // What systemd calls "not permitted" and "not implemented" (LSB's numbers).
                let definition = units.definition(&name);
                let has = |bit| definition.is_some_and(|unit| unit.flag(bit));
                code = match verb {
                    Verb::Start if has(unit_flag::REFUSE_MANUAL_START) => NOT_PERMITTED,
                    Verb::Stop | Verb::Restart if has(unit_flag::REFUSE_MANUAL_STOP) => NOT_PERMITTED,
                    // What is down and could be reloaded is a job that fails.
                    Verb::Reload if !definition.is_some_and(|unit| properties::can_reload(&unit)) => {
                        NOT_IMPLEMENTED
                    }
                    _ => code,
                };
                problems.push(format!("Failed to {} {name}: {error}", word(verb)));
            }
        }
    }
    if problems.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(failure(code, problems.join("\n"))) }
}

const fn word(verb: Verb) -> &'static str {
    match verb {
        Verb::Start => "start",
        Verb::Stop => "stop",
        Verb::Restart => "restart",
        Verb::Reload => "reload",
        Verb::TryRestart => "try-restart",
        Verb::ReloadOrRestart => "reload or restart",
    }
}

/// Prints each unit's state; 0 when one is as asked, 3 when none is, 4 when none is known.
fn states(line: &Line, names: &[String], fits: impl Fn(ActiveState) -> bool) -> Result<ExitCode> {
    let units = Units::read()?;
    let (mut any, mut known, mut text) = (false, false, String::new());
    for name in units.named(names) {
        let state = units.active(&name);
        known |= state.is_some();
        any |= state.is_some_and(&fits);
        text.push_str(state.map_or("inactive", ActiveState::word));
        text.push('\n');
    }
    if !line.has("quiet") {
        print(&text)?;
    }
    Ok(match (any, known) {
        (true, _) => ExitCode::SUCCESS,
        (false, true) => ExitCode::from(NOT_ACTIVE),
        (false, false) => ExitCode::from(NO_SUCH_UNIT),
    })
}

fn is_failed(line: &Line, names: &[String]) -> Result<ExitCode> {
    let names = if names.is_empty() { vec!["*".to_owned()] } else { names.to_vec() };
    let code = states(line, &names, |state| state == ActiveState::Failed)?;
    Ok(if code == ExitCode::SUCCESS { code } else { ExitCode::FAILURE })
}

fn is_enabled(line: &Line, names: &[String]) -> Result<ExitCode> {
    let units = Units::read()?;
    let (mut any, mut known, mut text) = (false, false, String::new());
    for name in units.named(names) {
        let word = units.enablement(&name);
        known |= word.is_some();
        any |= matches!(word, Some("enabled" | "enabled-runtime" | "static" | "alias"));
        text.push_str(word.unwrap_or("not-found"));
        text.push('\n');
    }
    if !line.has("quiet") {
        print(&text)?;
    }
    Ok(match (any, known) {
        (true, _) => ExitCode::SUCCESS,
        (false, true) => ExitCode::FAILURE,
        (false, false) => ExitCode::from(NO_SUCH_UNIT),
    })
}

fn is_system_running(line: &Line) -> Result<ExitCode> {
    let units = Units::read()?;
    let word = units.system_state();
    if !line.has("quiet") {
        print(&format!("{word}\n"))?;
    }
    Ok(if word == "running" { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn status(names: &[String]) -> Result<ExitCode> {
    let units = Units::read()?;
    if names.is_empty() {
        let failed = units.all().filter(|unit| unit.active == ActiveState::Failed).count();
        return print(&format!(
            "State: {}\nUnits: {} in all\nFailed: {failed} units\n",
            units.system_state(),
            units.all().count()
        ));
    }
    let mut code = 0;
    let mut texts = Vec::new();
    for name in units.named(names) {
        if let Some(unit) = units.status(&name) {
            texts.push(describe(unit));
            let is_up = matches!(unit.active, ActiveState::Active | ActiveState::Reloading);
            if !is_up && code != NO_SUCH_UNIT {
                code = NOT_ACTIVE;
            }
        } else {
            writeln!(std::io::stderr(), "Unit {name} could not be found.")?;
            code = NO_SUCH_UNIT;
        }
    }
    print(&texts.join("\n"))?;
    Ok(ExitCode::from(code))
}

/// Process 1 becomes its successor. As systemd's command, this one is over when that is: the supervisor that took the
/// request is gone, and another one answers.
fn reexecute() -> Result<ExitCode> {
    let mut stream = connect()?;
    ask(&mut stream, &Request::Reexec, |_| Ok(()))?;
    stream.set_read_timeout(Some(REEXECUTION))?;
    if let Err(error) = stream.read(&mut [0])
        && matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
    {
        bail!("process 1 goes on with the program that it has: `firn logs kernel` may say why");
    }
    ask_states(&mut connect()?, &Request::List)?;
    Ok(ExitCode::SUCCESS)
}

fn kill(line: &Line, names: &[String]) -> Result<ExitCode> {
    let word = line.value("signal").unwrap_or("TERM");
    let signal =
        ::units::value::signal(word).map_err(|_| failure(1, format!("systemctl: `{word}` is no signal")))?;
    let whom = line.value("kill-whom").or(line.value("kill-who")).unwrap_or("all");
    let main_only = match whom {
        "all" | "cgroup" => false,
        "main" => true,
        _ => return Err(failure(1, format!("systemctl: cannot signal `{whom}`; `main` and `all` can be"))),
    };
    let units = Units::read()?;
    let mut stream = connect()?;
    for name in units.named(names) {
        if units.status(&name).is_none() {
            return Err(failure(NOT_LOADED, format!("Failed to kill unit {name}: Unit {name} not loaded.")));
        }
        ask(&mut stream, &Request::Kill { unit: name, signal: signal as u32, main_only }, |_| Ok(()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn reset_failed(names: &[String]) -> Result<ExitCode> {
    let mut stream = connect()?;
    let names = if names.is_empty() { vec![String::new()] } else { Units::read()?.named(names) };
    for unit in names {
        ask(&mut stream, &Request::ResetFailed { unit }, |_| Ok(()))?;
    }
    Ok(ExitCode::SUCCESS)
}
