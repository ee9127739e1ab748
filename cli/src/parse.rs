//! `firn parse`: the syntax tree of a Nix file, or the first thing that is wrong with it.

use crate::eval::{Request, current_directory, read_only_io, standard_input};
use anyhow::{Context as _, Result};
use clap::{ArgMatches, Command};
use evaluator::{Arena, Evaluator};
use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::ExitCode;

/// The arguments.
pub(crate) fn command() -> Command {
    Command::new("parse")
        .about("Check Nix files and print what they say")
        .args(crate::eval::shared_arguments())
}

/// Parses and prints.
pub(crate) fn run(matches: &ArgMatches) -> Result<ExitCode> {
    parse_all(&Request::from_matches(matches))
}

/// Parses every source of a request.
pub(crate) fn parse_all(request: &Request) -> Result<ExitCode> {
    let arena = Arena::new();
    let mut evaluator = Evaluator::new(&arena, read_only_io(), request.evaluator_options()?);
    let here = current_directory()?;
    for source in &request.sources {
        let mut text = parse_one(request, &mut evaluator, source, &here)?;
        text.push(b'\n');
        std::io::stdout().write_all(&text)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn parse_one(
    request: &Request,
    evaluator: &mut Evaluator<'_>,
    source: &OsStr,
    here: &Path,
) -> Result<Vec<u8>> {
    let here_bytes = here.as_os_str().as_bytes();
    let result = if request.expressions {
        evaluator.parse_to_text(source.as_bytes(), None, here_bytes)
    } else if source == "-" {
        evaluator.parse_to_text(&standard_input()?, None, here_bytes)
    } else {
        let path = here.join(source);
        let path = if path.is_dir() { path.join("default.nix") } else { path };
        let text = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let directory = path.parent().unwrap_or(here).as_os_str().as_bytes().to_vec();
        evaluator.parse_to_text(&text, Some(path.as_os_str().as_bytes()), &directory)
    };
    result.map_err(|error| request.explain(&error))
}
