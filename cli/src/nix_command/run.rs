//! `nix shell`, `nix run`, `nix fmt`: programs with packages before all others in PATH, and a package's own
//! program. nix3-shell(1), nix3-run(1).

use super::build::{Installables, Program};
use super::info::outputs;
use crate::flakes::outputs::Purpose;
use crate::nix_env::split_name;
use crate::nix_front::{Arguments, Front};
use anyhow::{Context as _, Result, bail};
use formats::store_path::StorePath;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::rc::Rc;
use store::Store;

/// Builds what is named; the paths.
fn built(front: &Front, store: &Rc<Store>, installables: &mut Installables) -> Result<Vec<StorePath>> {
    let requests = installables.requests(front, store)?;
    let builds: Vec<_> = requests.iter().filter(|(path, _)| path.is_derivation()).cloned().collect();
    let report = Front::build(store, &builds, &front.build_options(store))?;
    let mut paths = Vec::new();
    for (path, wanted) in requests {
        match report.outputs.get(&path) {
            Some(outputs) => {
                paths.extend(
                    outputs.iter().filter(|(name, _)| wanted.contains(name)).map(|(_, path)| path.clone()),
                );
            }
            None => paths.push(path),
        }
    }
    if paths.is_empty() {
        paths = outputs(front, store, installables)?;
    }
    Ok(paths)
}

/// Programs name their own files by the paths of the store: they run where the store is at its place.
fn check_place(store: &Store) -> Result<()> {
    if store.layout().real_store == Path::new(store.dir().as_str()) {
        return Ok(());
    }
    bail!(
        "programs of `{}` cannot run from `{}`: they look for their files at the first",
        store.dir(),
        store.layout().real_store.display()
    )
}

/// `nix shell`.
pub(super) fn shell(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let mut installables = Installables::default();
    let mut command = Vec::new();
    front.show_logs = false;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "-c" | "--command" => command = arguments.rest(),
            _ if installables.take(front, &argument, arguments)? => {}
            other => bail!("unrecognised flag '{other}'"),
        }
    }
    let store = Rc::new(front.open()?);
    check_place(&store)?;
    let paths = built(front, &store, &mut installables)?;
    let mut search: Vec<PathBuf> = Vec::new();
    // What a package wants beside itself in PATH, it says in a file.
    let mut queue: Vec<PathBuf> = paths.iter().rev().map(|path| store.real_path(path)).collect();
    while let Some(place) = queue.pop() {
        if search.contains(&place.join("bin")) {
            continue;
        }
        let more = std::fs::read_to_string(place.join("nix-support/propagated-user-env-packages"));
        queue.extend(more.unwrap_or_default().split_ascii_whitespace().map(PathBuf::from));
        search.push(place.join("bin"));
    }
    search.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let search = std::env::join_paths(search).context("PATH")?;
    if command.is_empty() {
        command = vec![std::env::var("SHELL").unwrap_or_else(|_| "bash".to_owned())];
    }
    become_program(&command, Some(search))
}

/// Builds what a program needs, and becomes it.
fn start(front: &Front, store: &Store, program: &Program, rest: Vec<String>) -> Result<ExitCode> {
    let report = Front::build(store, &program.requests, &front.build_options(store))?;
    let mut name = program.file.clone();
    if let Some((derivation, output)) = &program.output {
        let made = report.outputs.get(derivation).and_then(|outputs| outputs.get(output));
        let made = made.with_context(|| format!("'{derivation}' has no output '{output}'"))?;
        name = Path::new(&store.dir().print(made)).join(name);
    }
    let file = store.layout().real_of_logical(&name);
    if !file.is_file() {
        bail!("unable to execute '{}': No such file or directory", name.display());
    }
    let mut command = vec![file.to_string_lossy().into_owned()];
    command.extend(rest);
    become_program(&command, None)
}

/// `nix fmt [ARGUMENT…]`: the formatter of the flake of the current directory.
pub(super) fn format(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let mut installables = Installables::of(Purpose::Formatter);
    let mut rest = Vec::new();
    front.show_logs = false;
    while let Some(argument) = arguments.next() {
        if argument == "--" {
            rest = arguments.rest();
        } else if !argument.starts_with('-') {
            rest = vec![argument];
            rest.extend(arguments.rest());
        } else if !installables.take(front, &argument, arguments)? {
            bail!("unrecognised flag '{argument}'");
        }
    }
    let store = Rc::new(front.open()?);
    check_place(&store)?;
    match installables.program(front, &store)? {
        Some(program) => start(front, &store, &program, rest),
        None => bail!("'nix fmt' starts the formatter of a flake: it does not take -f or --expr"),
    }
}

/// `nix run`.
pub(super) fn run(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let mut installables = Installables::of(Purpose::Apps);
    let mut rest = Vec::new();
    front.show_logs = false;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--" => rest = arguments.rest(),
            _ if installables.take(front, &argument, arguments)? => {}
            other => bail!("unrecognised flag '{other}'"),
        }
        // One package; what follows is its own.
        if rest.is_empty() && !installables.words().is_empty() {
            rest = arguments.rest();
            if rest.first().is_some_and(|word| word == "--") {
                rest.remove(0);
            }
            break;
        }
    }
    let store = Rc::new(front.open()?);
    check_place(&store)?;
    if let Some(program) = installables.program(front, &store)? {
        return start(front, &store, &program, rest);
    }
    let paths = built(front, &store, &mut installables)?;
    let [path, ..] = paths.as_slice() else {
        bail!("name a package with -f FILE ATTRIBUTE, or a store path")
    };
    let directory = store.real_path(path).join("bin");
    let name = path.name();
    let (short, _) = split_name(name);
    let short = short.as_str();
    let Some(program) =
        [short, name].into_iter().map(|name| directory.join(name)).find(|program| program.is_file())
    else {
        bail!("`{}` has no program called {short}; start it with `nix shell -c`", directory.display());
    };
    let mut command = vec![program.to_string_lossy().into_owned()];
    command.extend(rest);
    become_program(&command, None)
}

fn become_program(words: &[String], search: Option<OsString>) -> Result<ExitCode> {
    let Some((program, rest)) = words.split_first() else { bail!("nothing to start") };
    // It is looked for in the new PATH.
    let mut place = PathBuf::from(program);
    if let Some(search) = &search
        && !program.contains('/')
        && let Some(found) =
            std::env::split_paths(search).map(|directory| directory.join(program)).find(|file| file.is_file())
    {
        place = found;
    }
    let mut command = Command::new(&place);
    command.args(rest);
    if let Some(search) = search {
        command.env("PATH", search);
    }
    let error = command.exec();
    Err(error).with_context(|| format!("starting {program}"))
}
