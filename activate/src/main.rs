//! `firn-activate`: the program behind `TOPLEVEL/activate`. PID 1 calls it with `boot`; `firn switch` and
//! `firn test` with `switch` and `test`; `dry-activate` shows the plan. Exit codes are NixOS's: 0 done, 1 not begun, 2 the
//! activation had failures, 4 units failed, 100 the generation needs another init.

use activate::error::Error;
use activate::root::Root;
use activate::steps::{self, Action, Report};
use activate::switch;
use activate::switch::supervisor::{ControlSocket, Supervisor};
use activate::toplevel::{self, Toplevel};
use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str =
    "usage: activate boot|switch|test|dry-activate [--toplevel PATH] [--root DIR] [--verbose] [--json] [--no-revert]
       activate tmpfiles-clean [--toplevel PATH] [--root DIR]";

#[derive(Debug)]
struct Arguments {
    action: String,
    toplevel: PathBuf,
    root: PathBuf,
    verbose: bool,
    json: bool,
    no_revert: bool,
}

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::new().filter_or("FIRN_LOG", "warn"))
        .format_timestamp(None)
        .init();
    let arguments = match parse(std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(problem) => {
            say(&format!("activate: {problem}\n{USAGE}"));
            return ExitCode::FAILURE;
        }
    };
    let root = Root::new(&arguments.root);
    match run(&root, &arguments) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            say(&format!("activate: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn parse(mut arguments: impl Iterator<Item = OsString>) -> Result<Arguments, String> {
    let program = PathBuf::from(arguments.next().unwrap_or_default());
    let (mut action, mut toplevel, mut root) = (None, None, PathBuf::from("/"));
    let (mut verbose, mut json, mut no_revert) = (false, false, false);
    while let Some(argument) = arguments.next() {
        let mut value = |flag: &str| arguments.next().ok_or_else(|| format!("{flag} needs a value"));
        match argument.to_string_lossy().as_ref() {
            "--toplevel" => toplevel = Some(PathBuf::from(value("--toplevel")?)),
            "--root" => root = PathBuf::from(value("--root")?),
            "--verbose" | "-v" => verbose = true,
            "--json" => json = true,
            "--no-revert" => no_revert = true,
            word if !word.starts_with('-') && action.is_none() => action = Some(word.to_owned()),
            other => return Err(format!("`{other}` is not understood")),
        }
    }
    let action = action.ok_or("what is to be done?")?;
    let toplevel = toplevel
        .or_else(|| toplevel::of_program_name(&program))
        .or_else(|| {
            (action == "tmpfiles-clean" || action == "recover")
                .then(|| PathBuf::from(toplevel::CURRENT_SYSTEM))
        })
        .ok_or("it was not started as TOPLEVEL/activate; say which generation with --toplevel PATH")?;
    let root = std::path::absolute(&root).map_err(|error| format!("--root {}: {error}", root.display()))?;
    Ok(Arguments { action, toplevel, root, verbose, json, no_revert })
}

fn run(root: &Root, arguments: &Arguments) -> Result<u8, Error> {
    let toplevel = Toplevel::read(root, &arguments.toplevel)?;
    if arguments.action == "tmpfiles-clean" {
        return Ok(clean(root, &toplevel));
    }
    let Some(action) = Action::of_word(&arguments.action) else {
        say(&format!("activate: `{}` is no action\n{USAGE}", arguments.action));
        return Ok(1);
    };
    let mut socket = ControlSocket::connect(root)?;
    let supervisor = socket.as_mut().map(|socket| socket as &mut dyn Supervisor);
    match action {
        Action::DryActivate => {
            let plan = switch::plan(root, &toplevel, supervisor)?;
            show_plan(&plan, arguments.json);
            Ok(switch::exit::DONE)
        }
        Action::Boot => {
            let _lock = activate::lock::take(root)?;
            if let Some(record) = switch::journal::close_at_boot(root)? {
                say(&format!("note: {}", record.sentence()));
            }
            let report = steps::run(root, &toplevel, action);
            show(&report, arguments.verbose);
            Ok(if report.problems.is_empty() { switch::exit::DONE } else { switch::exit::ACTIVATION_FAILED })
        }
        Action::Switch | Action::Test => {
            let _lock = activate::lock::take(root)?;
            ignore_interruptions()?;
            let finished = switch::run(root, &toplevel, action, supervisor, arguments.no_revert)?;
            show(&finished.activation, true);
            for step in &finished.units {
                let result = if step.failed() { format!(": {}", step.result) } else { String::new() };
                say(&format!("{} {} ({}){result}", step.action, step.unit, step.reason));
            }
            finished.remarks.iter().for_each(|remark| say(&format!("note: {remark}")));
            Ok(finished.code)
        }
    }
}

/// A switch is finished whatever becomes of the terminal that it was started from.
fn ignore_interruptions() -> Result<(), Error> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGPIPE, SIGTERM};
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    for signal in [SIGHUP, SIGINT, SIGPIPE, SIGTERM] {
        signal_hook::flag::register(signal, std::sync::Arc::clone(&asked))
            .map_err(|source| Error::Kernel { doing: format!("set signal {signal} aside"), source })?;
    }
    Ok(())
}

fn show_plan(plan: &switch::Plan, json: bool) {
    if json {
        let document = serde_json::json!({
            "changes": plan.activation.changes, "notices": plan.activation.notices,
            "units": plan.units, "needsReboot": plan.needs_reboot,
        });
        if let Err(error) = writeln!(std::io::stdout(), "{document:#}") {
            log::debug!("stdout: {error}");
        }
        return;
    }
    show(&plan.activation, true);
    plan.units.iter().for_each(|unit| say(&format!("would {} {} ({})", unit.action, unit.unit, unit.reason)));
    if !plan.needs_reboot.is_empty() {
        say(&format!("only a reboot brings about: {}", plan.needs_reboot.join(", ")));
    }
}

fn clean(root: &Root, toplevel: &Toplevel) -> u8 {
    use activate::accounts::{Names, observe};
    use activate::tmpfiles::{Occasion, apply};
    let names = observe(root).map(|accounts| Names::of(&accounts)).unwrap_or_default();
    let activation = &toplevel.activation;
    let outcome = apply(root, &activation.tmpfiles, &names, &activation.host_name, Occasion::Clean);
    let report = Report { changes: outcome.changed, notices: Vec::new(), problems: outcome.problems };
    show(&report, true);
    u8::from(!report.problems.is_empty())
}

fn show(report: &Report, with_changes: bool) {
    if with_changes {
        report.changes.iter().for_each(|change| say(change));
    }
    report.notices.iter().for_each(|notice| say(&format!("note: {notice}")));
    report.problems.iter().for_each(|problem| say(&format!("error: {problem}")));
}

/// Talk goes to stderr; that nobody listens is no failure (the terminal of a switch may be gone).
fn say(text: &str) {
    let written = writeln!(std::io::stderr(), "{text}");
    if let Err(error) = written {
        log::trace!("stderr: {error}");
    }
}
