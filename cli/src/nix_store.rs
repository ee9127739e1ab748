//! `nix-store`: one operation on the store. nix-store(1).

mod object;
mod query;

use crate::nix_front::{Arguments, Front, print_missing, print_version};
use anyhow::{Context as _, Result, bail};
use formats::store_path::StorePath;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use store::build::Wanted;
use store::{CollectOptions, Store};

/// What one operation does.
type Operation = fn(&mut Call) -> Result<ExitCode>;

/// One call of `nix-store`: flags that its operation takes, and its arguments.
struct Call {
    front: Front,
    /// Flags that only some operations know.
    flags: BTreeSet<String>,
    /// Flags with their values.
    values: Vec<(String, String)>,
    /// The query asked for.
    query: Option<String>,
    arguments: Vec<String>,
}

impl Call {
    fn has(&self, flag: &str) -> bool {
        self.flags.contains(flag)
    }

    fn value(&self, flag: &str) -> Option<&str> {
        self.values.iter().rev().find(|(name, _)| name == flag).map(|(_, value)| value.as_str())
    }

    /// The arguments as store paths; links are followed.
    fn paths(&self, store: &Store) -> Result<Vec<StorePath>> {
        self.arguments.iter().map(|text| crate::store::resolve(store, text)).collect()
    }

    fn options(&self) -> CollectOptions {
        CollectOptions {
            keep_outputs: self.front.conf.flag("keep-outputs", false),
            keep_derivations: self.front.conf.flag("keep-derivations", true),
            max_freed: self.value("--max-freed").and_then(|text| text.parse().ok()),
            ..CollectOptions::default()
        }
    }
}

/// Operations by their flags.
const OPERATIONS: &[(&[&str], Operation)] = &[
    (&["--realise", "--realize", "-r"], realise),
    (&["--add", "-A"], object::add),
    (&["--add-fixed"], object::add_fixed),
    (&["--print-fixed-path"], object::print_fixed_path),
    (&["--delete"], delete),
    (&["--query", "-q"], query::query),
    (&["--print-env"], object::print_env),
    (&["--read-log", "-l"], object::read_log),
    (&["--dump-db"], object::dump_database),
    (&["--load-db"], object::load_database),
    (&["--register-validity"], object::register_validity),
    (&["--check-validity"], object::check_validity),
    (&["--gc"], collect),
    (&["--dump"], object::dump),
    (&["--restore"], object::restore),
    (&["--export"], object::export),
    (&["--import"], object::import),
    (&["--init"], init),
    (&["--serve"], serve),
    (&["--verify"], object::verify),
    (&["--verify-path"], object::verify_path),
    (&["--repair-path"], object::repair_path),
    (&["--optimise", "--optimize"], optimise),
    (&["--generate-binary-cache-key"], object::generate_key),
];

/// Flags that single operations take.
const FLAGS: &[&str] = &[
    "--recursive",
    "--check-contents",
    "--repair",
    "--ignore-liveness",
    "--print-roots",
    "--print-live",
    "--print-dead",
    "--check",
    "--dry-run",
    "--indirect",
    "--use-output",
    "-u",
    "--force-realise",
    "--force-realize",
    "-f",
    "--include-outputs",
    "--reregister",
    "--hash-given",
    "--print-invalid",
    "--ignore-unknown",
    "--quiet",
    "--readonly-mode",
    "--write",
];

/// `nix-store …`.
pub(crate) fn nix_store(arguments: &[OsString]) -> Result<ExitCode> {
    let mut arguments = Arguments::new(arguments);
    let mut operation: Option<Operation> = None;
    let mut call = Call {
        front: Front::new(),
        flags: BTreeSet::new(),
        values: Vec::new(),
        query: None,
        arguments: Vec::new(),
    };
    while let Some(argument) = arguments.next() {
        let flag = argument.as_str();
        if let Some((_, found)) = OPERATIONS.iter().find(|(names, _)| names.contains(&flag)) {
            if operation.replace(*found).is_some() {
                bail!("only one operation may be specified");
            }
            continue;
        }
        match flag {
            "--version" => {
                print_version("nix-store")?;
                return Ok(ExitCode::SUCCESS);
            }
            "--add-root" | "--max-freed" => {
                let value = arguments.value(flag)?;
                call.values.push((flag.to_owned(), value));
            }
            "--binding" | "-b" => {
                call.values.push(("--binding".to_owned(), arguments.value(flag)?));
                call.query = Some("--binding".to_owned());
            }
            "--" => call.arguments.extend(arguments.rest()),
            _ if query::QUERIES.iter().any(|(names, _)| names.contains(&flag)) => {
                call.query = Some(flag.to_owned());
            }
            _ if FLAGS.contains(&flag) => drop(call.flags.insert(flag.to_owned())),
            _ if call.front.take(flag, &mut arguments)? => {}
            _ if flag.starts_with('-') && flag != "-" => bail!("unrecognised flag '{flag}'"),
            _ => call.arguments.push(argument),
        }
    }
    match operation {
        Some(operation) => operation(&mut call),
        None => bail!("no operation specified; see nix-store(1)"),
    }
}

/// A derivation with the outputs wanted of it, `….drv!out,dev`, or any other path.
fn wanted(store: &Store, text: &str) -> Result<(StorePath, Wanted)> {
    Ok(match text.split_once('!') {
        Some((path, "*")) => (crate::store::resolve(store, path)?, Wanted::All),
        Some((path, outputs)) => {
            let outputs = outputs.split(',').map(str::to_owned).collect();
            (crate::store::resolve(store, path)?, Wanted::Outputs(outputs))
        }
        None => (crate::store::resolve(store, text)?, Wanted::All),
    })
}

fn realise(call: &mut Call) -> Result<ExitCode> {
    let store = call.front.open()?;
    let mut requests = Vec::new();
    let mut plain = Vec::new();
    for text in &call.arguments {
        let (path, wanted) = wanted(&store, text)?;
        if path.is_derivation() {
            requests.push((path, wanted));
        } else {
            plain.push(path);
        }
    }
    let mut absent = BTreeSet::new();
    for path in &plain {
        if !store.is_valid(path)? {
            absent.insert(path.clone());
        }
    }
    if !call.has("--quiet") {
        print_missing(&store, &requests)?;
    }
    if call.has("--dry-run") {
        return Ok(ExitCode::SUCCESS);
    }
    let mut options = call.front.build_options(&store);
    options.check = call.has("--check");
    if !absent.is_empty() {
        store.substitute(&absent, &options)?;
    }
    let report = Front::build(&store, &requests, &options)?;
    if call.has("--repair") {
        let made = report.outputs.values().flat_map(|outputs| outputs.values().cloned());
        store.repair_closure(made.chain(plain.iter().cloned()), &options)?;
    }
    let mut out = std::io::stdout().lock();
    let mut show = |number: usize, path: &StorePath, output: &str| -> Result<()> {
        let Some(root) = call.value("--add-root") else {
            writeln!(out, "{}", store.dir().print(path))?;
            return Ok(());
        };
        let mut link = root.to_owned();
        if number > 1 {
            link = format!("{link}-{number}");
        }
        if output != "out" {
            link = format!("{link}-{output}");
        }
        let link = std::path::absolute(link)?;
        store.add_permanent_root(path, &link)?;
        writeln!(out, "{}", link.display())?;
        Ok(())
    };
    for (index, (request, _)) in requests.iter().enumerate() {
        for (output, path) in report.outputs.get(request).into_iter().flatten() {
            show(index + 1, path, output)?;
        }
    }
    for (index, path) in plain.iter().enumerate() {
        show(requests.len() + index + 1, path, "out")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn init(call: &mut Call) -> Result<ExitCode> {
    call.front.open()?;
    Ok(ExitCode::SUCCESS)
}

fn serve(call: &mut Call) -> Result<ExitCode> {
    let store = call.front.open()?;
    // Standard output is the conversation; on standard error is what builders say and nothing else: who asked keeps it.
    let progress = std::sync::Arc::new(crate::progress::OnlyBuilders);
    let options = store::build::BuildOptions { progress, ..call.front.build_options(&store) };
    store.serve(call.has("--write"), &options, std::io::stdin().lock(), std::io::stdout().lock())?;
    Ok(ExitCode::SUCCESS)
}

fn optimise(call: &mut Call) -> Result<ExitCode> {
    let done = call.front.open()?.optimise(&|path| log::debug!("optimising {path}"))?;
    let mib = done.bytes as f64 / (1024.0 * 1024.0);
    writeln!(std::io::stderr(), "{mib:.2} MiB freed by hard-linking {} files", done.files)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints what a collection did, as Nix does.
pub(crate) fn print_collected(store: &Store, collected: &store::Collected) -> Result<()> {
    for path in &collected.paths {
        writeln!(std::io::stderr(), "deleting '{}'", store.dir().print(path))?;
    }
    let mib = collected.freed as f64 / (1024.0 * 1024.0);
    writeln!(std::io::stdout(), "{} store paths deleted, {mib:.2} MiB freed", collected.paths.len())?;
    Ok(())
}

/// The same of paths that somebody named: where one of them is needed, Nix says how many it deleted all the same.
pub(crate) fn print_deleted(store: &Store, collected: store::Result<store::Collected>) -> Result<()> {
    if collected.is_err() {
        print_collected(store, &store::Collected::default())?;
    }
    print_collected(store, &collected?)
}

fn delete(call: &mut Call) -> Result<ExitCode> {
    let store = call.front.open()?;
    let paths: BTreeSet<StorePath> = call.paths(&store)?.into_iter().collect();
    let collected = store.delete_paths_with(&paths, &call.options());
    print_deleted(&store, collected)?;
    Ok(ExitCode::SUCCESS)
}

fn collect(call: &mut Call) -> Result<ExitCode> {
    let store = call.front.open()?;
    let mut out = std::io::stdout().lock();
    if call.has("--print-roots") {
        for root in store.find_roots()? {
            writeln!(out, "{} -> {}", root.link.display(), store.dir().print(&root.target))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut options = call.options();
    if call.has("--print-dead") || call.has("--print-live") {
        options.dry_run = true;
        let dead: BTreeSet<StorePath> = store.collect_garbage(&options)?.paths.into_iter().collect();
        let shown = if call.has("--print-dead") {
            dead
        } else {
            store.all_valid()?.difference(&dead).cloned().collect()
        };
        for path in shown {
            writeln!(out, "{}", store.dir().print(&path))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    drop(out);
    print_collected(&store, &store.collect_garbage(&options)?)?;
    Ok(ExitCode::SUCCESS)
}

/// All of standard input as text.
fn standard_input() -> Result<String> {
    let mut text = String::new();
    std::io::stdin().lock().read_to_string(&mut text).context("reading standard input")?;
    Ok(text)
}

/// A path of the machine, or of the store where the store really keeps it.
fn real(store: &Store, text: &str) -> PathBuf {
    store.layout().real_of_logical(Path::new(text))
}
