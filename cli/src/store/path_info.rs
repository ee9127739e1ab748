//! `firn path-info`, `firn why-depends`, `firn log`: one path and what is known about it.

use super::{given_paths, open, paths_argument, resolve};
use crate::family::Family;
use crate::json;
use anyhow::{Context as _, Result, bail};
use clap::{Arg, ArgAction, ArgMatches, Command};
use formats::store_path::StorePath;
use std::collections::{BTreeMap, VecDeque};
use std::io::Write as _;
use std::process::ExitCode;
use store::Store;

/// `firn path-info`.
pub(crate) const PATH_INFO: Family = Family { command: path_info_command, run: path_info };
/// `firn why-depends`.
pub(crate) const WHY_DEPENDS: Family = Family { command: why_depends_command, run: why_depends };
/// `firn log`.
pub(crate) const LOG: Family = Family { command: log_command, run: log };

fn path_info_command() -> Command {
    let flag = |name: &'static str, short: char, help: &'static str| {
        Arg::new(name).long(name).short(short).action(ArgAction::SetTrue).help(help)
    };
    Command::new("path-info")
        .about("Sizes, hashes and references of paths")
        .arg(paths_argument(false))
        .arg(flag("recursive", 'r', "Also everything that they need"))
        .arg(flag("size", 's', "The size of each"))
        .arg(flag("closure-size", 'S', "The size of each with all that it needs"))
        .arg(Arg::new("all").long("all").action(ArgAction::SetTrue).help("All valid paths"))
        .arg(json::argument().help("Everything, as JSON"))
}

fn path_info(matches: &ArgMatches) -> Result<ExitCode> {
    let store = open()?;
    let mut paths = given_paths(&store, matches)?;
    if matches.get_flag("all") {
        paths = store.all_valid()?.into_iter().collect();
    } else if matches.get_flag("recursive") {
        paths = store.closure(paths)?.into_iter().collect();
    } else if paths.is_empty() {
        bail!("name a path, or say --all");
    }
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut objects = BTreeMap::new();
    for path in paths {
        let info = store.path_info(&path)?;
        let closure_size =
            if matches.get_flag("closure-size") { Some(closure_size(&store, &path)?) } else { None };
        if matches.get_flag("json") {
            let print = |path: &StorePath| store.dir().print(path);
            let mut value = serde_json::json!({
                "narHash": info.nar_hash.sri(),
                "narSize": info.nar_size,
                "references": info.references.iter().map(print).collect::<Vec<_>>(),
                "deriver": info.deriver.as_ref().map(print),
                "registrationTime": info.registration_time,
                "ultimate": info.ultimate,
                "signatures": info.signatures,
                "ca": info.content_address.map(|address| address.to_string()),
            });
            if let (Some(size), Some(map)) = (closure_size, value.as_object_mut()) {
                map.insert("closureSize".to_owned(), size.into());
            }
            objects.insert(print(&path), value);
            continue;
        }
        write!(out, "{}", store.dir().print(&path))?;
        if matches.get_flag("size") {
            write!(out, "\t{}", info.nar_size)?;
        }
        if let Some(size) = closure_size {
            write!(out, "\t{size}")?;
        }
        writeln!(out)?;
    }
    if matches.get_flag("json") {
        json::print(&objects)?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn closure_size(store: &Store, path: &StorePath) -> Result<u64> {
    let mut size = 0;
    for member in store.closure([path.clone()])? {
        size += store.path_info(&member)?.nar_size;
    }
    Ok(size)
}

fn why_depends_command() -> Command {
    Command::new("why-depends")
        .about("The shortest chain of references from one path to another")
        .arg(Arg::new("from").value_name("PATH").required(true))
        .arg(Arg::new("to").value_name("DEPENDENCY").required(true))
        .arg(json::argument())
}

fn why_depends(matches: &ArgMatches) -> Result<ExitCode> {
    let store = open()?;
    let text = |name: &str| matches.get_one::<String>(name).map(String::as_str).unwrap_or_default();
    let (from, to) = (resolve(&store, text("from"))?, resolve(&store, text("to"))?);
    let mut parents: BTreeMap<StorePath, StorePath> = BTreeMap::new();
    let mut queue = VecDeque::from([from.clone()]);
    while let Some(path) = queue.pop_front() {
        if path == to {
            break;
        }
        for reference in store.path_info(&path)?.references {
            if reference != from && !parents.contains_key(&reference) {
                parents.insert(reference.clone(), path.clone());
                queue.push_back(reference);
            }
        }
    }
    let mut chain = Vec::new();
    if from == to || parents.contains_key(&to) {
        chain.push(to.clone());
        while let Some(parent) = chain.last().and_then(|last| parents.get(last)) {
            chain.push(parent.clone());
        }
        chain.reverse();
    }
    let code = if chain.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    if matches.get_flag("json") {
        json::print(&json::paths(&store, &chain))?;
        return Ok(code);
    }
    let mut out = std::io::stdout().lock();
    if chain.is_empty() {
        writeln!(out, "{} does not need {}", store.dir().print(&from), store.dir().print(&to))?;
    }
    for (depth, path) in chain.iter().enumerate() {
        let arrow = if depth == 0 { String::new() } else { format!("{}└─ ", "   ".repeat(depth - 1)) };
        writeln!(out, "{arrow}{}", store.dir().print(path))?;
    }
    Ok(code)
}

fn log_command() -> Command {
    Command::new("log")
        .about("The log of a build")
        .arg(Arg::new("path").value_name("PATH").required(true).help("A derivation, or an output of one"))
}

fn log(matches: &ArgMatches) -> Result<ExitCode> {
    let store = open()?;
    let path = resolve(&store, matches.get_one::<String>("path").map(String::as_str).unwrap_or_default())?;
    let derivation = if path.is_derivation() {
        path
    } else {
        let info = store.path_info(&path)?;
        info.deriver.with_context(|| format!("what built `{path}` is not known"))?
    };
    let text = store.build_log(&derivation)?.with_context(|| format!("there is no log of `{derivation}`"))?;
    std::io::stdout().lock().write_all(&text)?;
    Ok(ExitCode::SUCCESS)
}
