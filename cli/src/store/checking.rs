//! `firn store verify`, `rebuild` and `optimise`: the whole store looked at, and put right.

use crate::json;
use anyhow::Result;
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::Value;
use std::io::Write as _;
use std::process::ExitCode;
use store::{Problem, Store};

fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

/// The arguments of `firn store verify`.
pub(super) fn verify_command() -> Command {
    Command::new("verify")
        .about("Compare the store with its database")
        .arg(flag("contents", "Also hash every path"))
        .arg(flag("repair", "Mend what is damaged or gone, from caches or by building it again"))
        .arg(
            Arg::new("signatures")
                .long("signatures")
                .value_name("COUNT")
                .value_parser(clap::value_parser!(usize))
                .help("Name the paths that were not made here and have fewer signatures by trusted keys"),
        )
        .arg(json::argument())
}

/// The arguments of `firn store rebuild`.
pub(super) fn rebuild_command() -> Command {
    Command::new("rebuild")
        .about("Make a lost database again: register what is whole in the store directory and not in the database")
        .arg(json::argument())
}

/// The arguments of `firn store optimise`.
pub(super) fn optimise_command() -> Command {
    Command::new("optimise").about("Make equal files one by hard links").arg(json::argument())
}

/// What a verification found.
#[derive(Debug, Default)]
struct Findings {
    /// Each with what hinders mending it, if that was tried.
    problems: Vec<(Problem, Option<String>)>,
    mended: Vec<formats::store_path::StorePath>,
    /// What was looked for signatures of, and has too few.
    unsigned: Vec<formats::store_path::StorePath>,
}

impl Findings {
    fn look(store: &Store, matches: &ArgMatches) -> Result<Self> {
        let progress = |path: &formats::store_path::StorePath| log::debug!("checking {path}");
        let contents = matches.get_flag("contents");
        let mut findings = Self::default();
        if matches.get_flag("repair") {
            let options = crate::nix_conf::NixConf::load().build_options();
            let done = store.verify_and_repair(contents, &options, &progress)?;
            findings.mended = done.repaired;
            findings.problems =
                done.left.into_iter().map(|(problem, error)| (problem, Some(error.to_string()))).collect();
        } else {
            let problems = store.verify(contents, &progress)?;
            findings.problems = problems.into_iter().map(|problem| (problem, None)).collect();
        }
        if let Some(wanted) = matches.get_one::<usize>("signatures") {
            findings.unsigned = store.lacking_signatures(*wanted)?.into_iter().collect();
        }
        Ok(findings)
    }

    fn left(&self) -> usize {
        self.problems.len() + self.unsigned.len()
    }

    fn to_json(&self, store: &Store) -> Value {
        let problems: Vec<_> = self
            .problems
            .iter()
            .map(|(problem, error)| {
                let (kind, path) = match problem {
                    Problem::Missing(path) => ("missing", path),
                    Problem::MissingButReferred(path) => ("missingButReferred", path),
                    Problem::Modified { path, .. } => ("modified", path),
                    Problem::Unreadable(path, _) => ("unreadable", path),
                };
                let mut value =
                    serde_json::json!({ "path": store.dir().print(path), "problem": kind, "message": problem.to_string() });
                if let Problem::Modified { expected, got, .. } = problem {
                    value["expected"] = expected.sri().into();
                    value["got"] = got.sri().into();
                }
                if let Some(error) = error {
                    value["notMended"] = error.as_str().into();
                }
                value
            })
            .collect();
        serde_json::json!({
            "problems": problems,
            "mended": json::paths(store, &self.mended),
            "unsigned": json::paths(store, &self.unsigned),
        })
    }
}

/// Runs `firn store verify`.
pub(super) fn verify(store: &Store, matches: &ArgMatches) -> Result<ExitCode> {
    let findings = Findings::look(store, matches)?;
    let code = if findings.left() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if matches.get_flag("json") {
        json::print(&findings.to_json(store))?;
        return Ok(code);
    }
    let mut out = std::io::stdout().lock();
    for path in &findings.mended {
        writeln!(out, "path `{path}` was damaged and is mended")?;
    }
    for (problem, error) in &findings.problems {
        match error {
            Some(error) => writeln!(out, "{problem}: {error}")?,
            None => writeln!(out, "{problem}")?,
        }
    }
    let wanted = matches.get_one::<usize>("signatures").copied().unwrap_or_default();
    for path in &findings.unsigned {
        writeln!(out, "path `{}` has fewer than {wanted} trusted signatures", store.dir().print(path))?;
    }
    let mut talk = std::io::stderr();
    if matches.get_flag("repair") {
        writeln!(talk, "{} paths mended, {} left", findings.mended.len(), findings.left())?;
    } else {
        writeln!(talk, "{} problems found", findings.left())?;
    }
    Ok(code)
}

/// Runs `firn store rebuild`.
pub(super) fn rebuild(store: &Store, matches: &ArgMatches) -> Result<ExitCode> {
    let rebuilt = store.rebuild_database(&|path| log::debug!("reading {path}"))?;
    let code = if rebuilt.left.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if matches.get_flag("json") {
        let left: Vec<_> = rebuilt
            .left
            .iter()
            .map(|(path, why)| serde_json::json!({ "path": path.to_string(), "message": why }))
            .collect();
        json::print(&serde_json::json!({
            "registered": json::paths(store, &rebuilt.registered),
            "proved": json::paths(store, &rebuilt.proved),
            "left": left,
        }))?;
        return Ok(code);
    }
    let mut out = std::io::stdout().lock();
    for (path, why) in &rebuilt.left {
        writeln!(out, "path `{path}` is left as it is: {why}")?;
    }
    writeln!(
        std::io::stderr(),
        "{} paths are valid again, {} of them proved to be right by their names; {} left",
        rebuilt.registered.len(),
        rebuilt.proved.len(),
        rebuilt.left.len()
    )?;
    Ok(code)
}

/// Runs `firn store optimise`.
pub(super) fn optimise(store: &Store, matches: &ArgMatches) -> Result<ExitCode> {
    let done = store.optimise(&|path| log::debug!("optimising {path}"))?;
    if matches.get_flag("json") {
        json::print(&serde_json::json!({ "files": done.files, "bytesFreed": done.bytes }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mib = done.bytes as f64 / (1024.0 * 1024.0);
    writeln!(std::io::stderr(), "{mib:.2} MiB freed by hard-linking {} files", done.files)?;
    Ok(ExitCode::SUCCESS)
}
