//! `firn-activate`: the program behind `TOPLEVEL/activate`. PID 1 calls it with `boot`; `firn switch` and
//! `firn test` with `switch` and `test`; `dry-activate` shows the plan. Exit codes are NixOS's: 0 done, 1 not begun, 2 the
//! activation had failures, 4 units failed, 100 the generation needs another init.

use activate::error::Error;
use activate::root::Root;
use activate::steps::{self, Action, Report};
use activate::toplevel::{self, Toplevel};
use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str =
    "usage: activate boot|switch|test|dry-activate [--toplevel PATH] [--root DIR] [--verbose] [--json]
       activate tmpfiles-clean [--toplevel PATH] [--root DIR]
       activate recover [--root DIR]";

#[derive(Debug)]
struct Arguments {
    action: String,
    toplevel: PathBuf,
    root: PathBuf,
    verbose: bool,
    json: bool,
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
    let (mut verbose, mut json) = (false, false);
    while let Some(argument) = arguments.next() {
        let mut value = |flag: &str| arguments.next().ok_or_else(|| format!("{flag} needs a value"));
        match argument.to_string_lossy().as_ref() {
            "--toplevel" => toplevel = Some(PathBuf::from(value("--toplevel")?)),
            "--root" => root = PathBuf::from(value("--root")?),
            "--verbose" | "-v" => verbose = true,
            "--json" => json = true,
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
    Ok(Arguments { action, toplevel, root, verbose, json })
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
    match action {
        Action::DryActivate => {
            let report = steps::preview(root, &toplevel)?;
            show(&report, Path::new("would activate"), true);
            Ok(0)
        }
        Action::Boot | Action::Switch | Action::Test => {
            let _lock = activate::lock::take(root)?;
            let report = steps::run(root, &toplevel, action);
            show(&report, &toplevel.path, arguments.verbose || action != Action::Boot);
            Ok(if report.problems.is_empty() { 0 } else { 2 })
        }
    }
}

fn clean(root: &Root, toplevel: &Toplevel) -> u8 {
    use activate::accounts::{Names, observe};
    use activate::tmpfiles::{Occasion, apply};
    let names = observe(root).map(|accounts| Names::of(&accounts)).unwrap_or_default();
    let activation = &toplevel.activation;
    let outcome = apply(root, &activation.tmpfiles, &names, &activation.host_name, Occasion::Clean);
    let report = Report { changes: outcome.changed, notices: Vec::new(), problems: outcome.problems };
    show(&report, &toplevel.path, true);
    u8::from(!report.problems.is_empty())
}

fn show(report: &Report, _title: &Path, with_changes: bool) {
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
