//! `firn instantiate` and the name `nix-instantiate`: from expressions to store derivations. nix-instantiate(1).

use crate::eval::{Output, Request, print_values, read_only_io};
use anyhow::{Context as _, Result, bail};
use clap::{ArgMatches, Command};
use evaluator::{Arena, Evaluator, Handle};
use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

/// The arguments.
pub(crate) fn command() -> Command {
    Command::new("instantiate")
        .about("Make store derivations from Nix expressions and print their paths")
        .args(crate::eval::shared_arguments())
}

/// Instantiates and prints.
pub(crate) fn run(matches: &ArgMatches) -> Result<ExitCode> {
    instantiate(&Request::from_matches(matches))
}

fn instantiate(request: &Request) -> Result<ExitCode> {
    let arena = Arena::new();
    let mut evaluator = Evaluator::new(&arena, read_only_io(), request.evaluator_options()?);
    for value in request.evaluate(&mut evaluator)? {
        let mut paths = Vec::new();
        collect(&mut evaluator, value, true, &mut paths).map_err(|error| request.explain(&error))?;
        for path in paths {
            writeln!(std::io::stdout(), "{path}")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The derivations in a value: itself, or those in a list or set (and in sets that ask for it).
fn collect<'a>(
    evaluator: &mut Evaluator<'a>,
    value: Handle<'a>,
    top: bool,
    paths: &mut Vec<String>,
) -> std::result::Result<(), evaluator::EvalError> {
    if let Some(info) = evaluator.derivation_info(value)? {
        let output = if info.output == "out" { String::new() } else { format!("!{}", info.output) };
        paths.push(format!("{}{output}", info.drv_path));
        return Ok(());
    }
    if let Some(items) = evaluator.items(value)? {
        for item in items {
            collect(evaluator, item, false, paths)?;
        }
        return Ok(());
    }
    let Some(names) = evaluator.attribute_names(value) else { return Ok(()) };
    if !top {
        let recurse = evaluator.attribute(value, "recurseForDerivations")?;
        if !recurse.is_some_and(|recurse| evaluator.is_true(recurse)) {
            return Ok(());
        }
    }
    for name in names {
        if let Some(inner) = evaluator.attribute(value, &name)? {
            collect(evaluator, inner, false, paths)?;
        }
    }
    Ok(())
}

/// What `nix-instantiate` is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Instantiate,
    Eval,
    Parse,
    FindFile,
}

/// `nix-instantiate …`.
pub(crate) fn nix_instantiate(arguments: &[OsString]) -> Result<ExitCode> {
    let (request, output, mode) = read_arguments(arguments)?;
    match mode {
        Mode::Instantiate => instantiate(&request),
        Mode::Parse => crate::parse::parse_all(&request),
        Mode::Eval => {
            let arena = Arena::new();
            let mut evaluator = Evaluator::new(&arena, read_only_io(), request.evaluator_options()?);
            let values = request.evaluate(&mut evaluator)?;
            print_values(&request, &mut evaluator, &values, output)?;
            Ok(ExitCode::SUCCESS)
        }
        Mode::FindFile => {
            let arena = Arena::new();
            let mut evaluator = Evaluator::new(&arena, read_only_io(), request.evaluator_options()?);
            for source in &request.sources {
                let path = evaluator
                    .find_in_search_path(&source.to_string_lossy())
                    .map_err(|error| request.explain(&error))?;
                writeln!(std::io::stdout(), "{}", String::from_utf8_lossy(&path))?;
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn read_arguments(arguments: &[OsString]) -> Result<(Request, Output, Mode)> {
    let mut request = Request::default();
    let mut output = Output::default();
    let mut mode = Mode::Instantiate;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let text = argument.to_string_lossy();
        let mut next = || -> Result<String> {
            let value = rest.next().with_context(|| format!("flag '{text}' requires an argument"))?;
            Ok(value.to_string_lossy().into_owned())
        };
        match text.as_ref() {
            "--eval" | "--eval-only" => mode = Mode::Eval,
            "--parse" | "--parse-only" => mode = Mode::Parse,
            "--find-file" => mode = Mode::FindFile,
            "--strict" => output.strict = true,
            "--json" => output.json = true,
            "--xml" => output.xml = true,
            "--raw" => output.raw = true,
            "--no-location" => output.no_location = true,
            "--show-trace" => request.show_trace = true,
            "-E" | "--expr" => request.expressions = true,
            "-A" | "--attr" => request.attributes.push(next()?),
            "-I" | "--include" => request.search_path.push(next()?),
            "--arg" => request.arguments.push((next()?, next()?, false)),
            "--argstr" => request.arguments.push((next()?, next()?, true)),
            "--option" => request.options.push((next()?, next()?)),
            "--timeout" | "--max-silent-time" | "--builders" | "--add-root" | "--store" | "--eval-store"
            | "--log-format" | "-j" | "--max-jobs" | "--cores" => {
                next()?;
            }
            "--dry-run" | "--indirect" | "--readonly-mode" | "--read-write-mode" | "--quiet" | "-v"
            | "--verbose" | "-Q" | "-vv" | "-vvv" | "--impure" => {}
            "--version" => {
                writeln!(std::io::stdout(), "nix-instantiate (Firn) {}", env!("CARGO_PKG_VERSION"))?;
            }
            flag if flag.starts_with("-I") => request.search_path.push(flag[2..].to_owned()),
            flag if flag.starts_with("--no-") => {
                request.options.push((flag[5..].to_owned(), "false".to_owned()));
            }
            "--experimental-features"
            | "--extra-experimental-features"
            | "--eval-system"
            | "--max-call-depth" => {
                request.options.push((text[2..].to_owned(), next()?));
            }
            flag if flag.starts_with("--") => {
                request.options.push((flag[2..].to_owned(), "true".to_owned()));
            }
            flag if flag.starts_with('-') && flag != "-" => bail!("unrecognised flag '{flag}'"),
            _ => request.sources.push(argument.clone()),
        }
    }
    Ok((request, output, mode))
}
