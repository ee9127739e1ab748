//! `firn store …`: adds, deletes and examines store objects.

use super::{checking, given_paths, open, paths_argument, resolve};
use crate::family::Family;
use crate::json;
use anyhow::{Context as _, Result};
use clap::{Arg, ArgAction, ArgMatches, Command};
use formats::content_address::Method;
use formats::hash::Algorithm;
use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use store::Store;
use store::build::{BuildOptions, Sandbox, Wanted};

/// The family's row.
pub(crate) const FAMILY: Family = Family { command, run };

fn command() -> Command {
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
    };
    let relation = |name: &'static str, about: &'static str| {
        Command::new(name).about(about).arg(paths_argument(true)).arg(json::argument())
    };
    Command::new("store")
        .about("Look into the store, add to it, check it")
        .subcommand_required(true)
        .subcommand(
            Command::new("add")
                .about("Add a file or tree")
                .arg(Arg::new("path").value_name("PATH").required(true))
                .arg(
                    Arg::new("name")
                        .long("name")
                        .value_name("NAME")
                        .help("The object's name, if not the file's"),
                )
                .arg(flag("flat", "By the hash of the file's contents and not of its NAR")),
        )
        .subcommand(relation("references", "What paths refer to"))
        .subcommand(relation("referrers", "What refers to paths"))
        .subcommand(relation("closure", "Paths and all that they need"))
        .subcommand(
            Command::new("roots")
                .about("What keeps paths alive")
                .arg(paths_argument(false))
                .arg(json::argument()),
        )
        .subcommand(checking::verify_command())
        .subcommand(super::key::sign_command())
        .subcommand(
            Command::new("usage")
                .about("Say what uses the disk: what each root keeps, and what it alone keeps")
                .arg(json::argument()),
        )
        .subcommand(checking::rebuild_command())
        .subcommand(checking::optimise_command())
        .subcommand(Command::new("delete").about("Delete paths that nothing needs").arg(paths_argument(true)))
        .subcommand(
            Command::new("dump").about("Write a path as NAR to standard output").arg(paths_argument(true)),
        )
        .subcommand(
            Command::new("realise")
                .about("Build derivations of the store")
                .arg(paths_argument(true))
                .arg(flag("keep-going", "After a failure, build what does not need it"))
                .arg(flag("keep-failed", "Leave the build directory of a failure"))
                .arg(flag("check", "Build again and compare"))
                .arg(flag("no-sandbox", "Let builders see the whole machine"))
                .arg(flag("dry-run", "Only say what would be built")),
        )
        .subcommand(
            Command::new("dump-db")
                .about("Write the descriptions of paths as text")
                .arg(paths_argument(false)),
        )
        .subcommand(
            Command::new("load-db")
                .about("Read descriptions of paths, whose files are there, from standard input"),
        )
}

fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let Some((command, matches)) = matches.subcommand() else { return Ok(ExitCode::from(2)) };
    let store = open()?;
    match command {
        "add" => add(&store, matches),
        "references" | "referrers" | "closure" => relatives(&store, command, matches),
        "roots" => roots(&store, matches),
        "verify" => checking::verify(&store, matches),
        "sign" => super::key::sign(matches),
        "usage" => super::usage::run(&store, matches),
        "rebuild" => checking::rebuild(&store, matches),
        "optimise" => checking::optimise(&store, matches),
        "delete" => delete(&store, matches),
        "dump" => dump(&store, matches),
        "realise" => realise(&store, matches),
        "dump-db" => dump_database(&store, matches),
        _ => load_database(&store),
    }
}

fn add(store: &Store, matches: &ArgMatches) -> Result<ExitCode> {
    let path = matches.get_one::<String>("path").map(String::as_str).unwrap_or_default();
    let absolute = std::path::absolute(path)?;
    let name = match matches.get_one::<String>("name") {
        Some(name) => name.clone(),
        None => absolute
            .file_name()
            .context("that path has no name; give one with --name")?
            .to_string_lossy()
            .into_owned(),
    };
    let method = if matches.get_flag("flat") { Method::Flat } else { Method::Recursive };
    let added = store.add_path(&absolute, &name, method, Algorithm::Sha256)?;
    writeln!(std::io::stdout(), "{}", store.dir().print(&added))?;
    Ok(ExitCode::SUCCESS)
}

fn relatives(store: &Store, command: &str, matches: &ArgMatches) -> Result<ExitCode> {
    let paths = given_paths(store, matches)?;
    let mut found = BTreeSet::new();
    match command {
        "closure" => found = store.closure(paths)?,
        "references" => {
            for path in paths {
                found.extend(store.path_info(&path)?.references);
            }
        }
        _ => {
            for path in paths {
                store.path_info(&path)?;
                found.extend(store.referrers(&path)?);
            }
        }
    }
    if matches.get_flag("json") {
        json::print(&json::paths(store, &found))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for path in found {
        writeln!(out, "{}", store.dir().print(&path))?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn roots(store: &Store, matches: &ArgMatches) -> Result<ExitCode> {
    let wanted = given_paths(store, matches)?;
    let mut roots = store.find_roots()?;
    if !wanted.is_empty() {
        let mut keeping = BTreeSet::new();
        for root in roots {
            if store.is_valid(&root.target)? {
                let closure = store.closure([root.target.clone()])?;
                if wanted.iter().any(|path| closure.contains(path)) {
                    keeping.insert(root);
                }
            }
        }
        roots = keeping;
    }
    if matches.get_flag("json") {
        let print = |path| store.dir().print(path);
        let roots: Vec<_> = roots
            .iter()
            .map(|root| serde_json::json!({ "root": root.link, "path": print(&root.target) }))
            .collect();
        json::print(&roots)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut out = std::io::stdout().lock();
    for root in roots {
        writeln!(out, "{} -> {}", root.link.display(), store.dir().print(&root.target))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn delete(store: &Store, matches: &ArgMatches) -> Result<ExitCode> {
    let paths = given_paths(store, matches)?.into_iter().collect();
    let collected = store.delete_paths(&paths)?;
    let mib = collected.freed as f64 / (1024.0 * 1024.0);
    writeln!(std::io::stderr(), "{} paths deleted, {mib:.2} MiB freed", collected.paths.len())?;
    Ok(ExitCode::SUCCESS)
}

fn dump(store: &Store, matches: &ArgMatches) -> Result<ExitCode> {
    let out = std::io::BufWriter::new(std::io::stdout().lock());
    let path = matches.get_one::<String>("paths").map(String::as_str).unwrap_or_default();
    let place = match resolve(store, path) {
        Ok(found) => store.real_path(&found),
        Err(_) => Path::new(path).to_owned(),
    };
    store::tree::dump(&place, out)?.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn realise(store: &Store, matches: &ArgMatches) -> Result<ExitCode> {
    let mut requests = Vec::new();
    for text in matches.get_many::<String>("paths").into_iter().flatten() {
        let (path, wanted) = match text.rsplit_once(['!', '^']) {
            Some((path, "*")) => (path, Wanted::All),
            Some((path, outputs)) => (path, Wanted::Outputs(outputs.split(',').map(str::to_owned).collect())),
            None => (text.as_str(), Wanted::All),
        };
        requests.push((resolve(store, path)?, wanted));
    }
    let mut out = std::io::stdout().lock();
    if matches.get_flag("dry-run") {
        for path in store.missing(&requests)?.build {
            writeln!(out, "{}", store.dir().print(&path))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    // What is no derivation can only come from a cache.
    let plain: BTreeSet<_> =
        requests.iter().map(|(path, _)| path).filter(|path| !path.is_derivation()).cloned().collect();
    requests.retain(|(path, _)| path.is_derivation());
    let mut options = BuildOptions {
        fallback: crate::nix_conf::NixConf::load().flag("fallback", false),
        keep_going: matches.get_flag("keep-going"),
        keep_failed: matches.get_flag("keep-failed"),
        check: matches.get_flag("check"),
        progress: std::sync::Arc::new(crate::progress::Lines {
            store_dir: store.dir().to_string(),
            show_logs: true,
        }),
        ..BuildOptions::default()
    };
    if matches.get_flag("no-sandbox") {
        options.sandbox = Sandbox::Off;
    }
    store.substitute(&plain, &options)?;
    for path in &plain {
        writeln!(out, "{}", store.dir().print(path))?;
    }
    let report = store.build(&requests, &options).map_err(|error| match &error {
        store::Error::Build(failed) => anyhow::Error::new(crate::family::Failure {
            code: failed.exit_code(),
            message: error.to_string(),
        }),
        _ => error.into(),
    })?;
    for (request, _) in &requests {
        for path in report.outputs.get(request).into_iter().flat_map(|outputs| outputs.values()) {
            writeln!(out, "{}", store.dir().print(path))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn dump_database(store: &Store, matches: &ArgMatches) -> Result<ExitCode> {
    let paths: BTreeSet<_> = given_paths(store, matches)?.into_iter().collect();
    let text = store.dump_database((!paths.is_empty()).then_some(&paths))?;
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn load_database(store: &Store) -> Result<ExitCode> {
    let mut text = String::new();
    std::io::stdin().lock().read_to_string(&mut text)?;
    store.load_registrations(&text, true, false)?;
    Ok(ExitCode::SUCCESS)
}
