//! `firn copy`: paths with all that they need, between this store and a binary cache or another store.

use super::{given_paths, open_with, paths_argument};
use crate::family::Family;
use crate::nix_conf::NixConf;
use anyhow::{Result, bail};
use clap::{Arg, ArgAction, ArgMatches, Command};
use formats::store_path::StorePath;
use std::collections::BTreeSet;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use store::build::BuildOptions;
use store::cache::{Address, Cache, Place, Substituters};
use store::{Layout, Store};

/// The family's row.
pub(crate) const FAMILY: Family = Family { command, run };

fn command() -> Command {
    let address =
        |name: &'static str, help: &'static str| Arg::new(name).long(name).value_name("ADDRESS").help(help);
    Command::new("copy")
        .about("Copy paths to or from a binary cache or another store")
        .after_help(
            "ADDRESS is file:///DIR, https://HOST/DIR, ssh://HOST, ssh-ng://HOST or the root of another store. Behind a question mark:\n\
             compression=zstd|xz|gzip|bzip2|none, compression-level=N, secret-key=FILE (signs what goes in),\n\
             trusted=1 (what comes needs no signature).",
        )
        .arg(address("to", "Where the paths go").conflicts_with("from").required_unless_present("from"))
        .arg(address("from", "Where the paths come from"))
        .arg(
            Arg::new("no-check-sigs")
                .long("no-check-sigs")
                .action(ArgAction::SetTrue)
                .help("Take what nobody trusted has signed"),
        )
        .arg(
            Arg::new("no-recursive")
                .long("no-recursive")
                .action(ArgAction::SetTrue)
                .help("Only these paths and not what they need"),
        )
        .arg(Arg::new("all").long("all").action(ArgAction::SetTrue).help("All valid paths"))
        .arg(paths_argument(false))
}

fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let unsigned = matches.get_flag("no-check-sigs");
    match (matches.get_one::<String>("to"), matches.get_one::<String>("from")) {
        (Some(to), _) => send(&Address::parse(to)?, unsigned, matches),
        (None, Some(from)) => receive(&Address::parse(from)?, unsigned, matches),
        (None, None) => bail!("say --to or --from"),
    }
}

/// The paths named, and unless told otherwise all that they need.
fn wanted(store: &Store, matches: &ArgMatches) -> Result<BTreeSet<StorePath>> {
    let paths = if matches.get_flag("all") {
        store.all_valid()?.into_iter().collect()
    } else {
        given_paths(store, matches)?
    };
    if paths.is_empty() {
        bail!("name the paths to copy, or say --all");
    }
    if matches.get_flag("no-recursive") {
        return Ok(paths.into_iter().collect());
    }
    Ok(store.closure(paths)?)
}

fn send(address: &Address, unsigned: bool, matches: &ArgMatches) -> Result<ExitCode> {
    let store = super::open()?;
    let paths = wanted(&store, matches)?;
    let options = NixConf::load().store_options()?;
    let copied = send_paths(&store, address, &paths, unsigned, options, |root| Ok(Layout::below(root)))?;
    report(copied, paths.len())
}

/// Copies valid paths to a cache or another store; how many were not there before.
pub(crate) fn send_paths(
    store: &Store,
    address: &Address,
    paths: &BTreeSet<StorePath>,
    unsigned: bool,
    mut options: store::Options,
    layout: impl Fn(&Path) -> Result<Layout>,
) -> Result<usize> {
    let counter = AtomicUsize::new(0);
    let total = paths.len();
    let progress = |path: &StorePath| {
        let number = counter.fetch_add(1, Ordering::Relaxed) + 1;
        if std::io::stderr().is_terminal()
            && writeln!(std::io::stderr(), "[{number}/{total}] {path}").is_err()
        {
            log::debug!("nobody reads standard error");
        }
    };
    if let Place::Ssh(_) | Place::SshDaemon(_) = &address.place {
        let target = Store::over_ssh(address, store.layout().clone(), options, Vec::new())?;
        // Whom it trusts is decided there.
        return Ok(store.copy_to(&target, paths, true, &progress)?.len());
    }
    Ok(if let Place::Root(root) = &address.place {
        options.substituters = Arc::default();
        if address.parameters.contains_key("require-sigs") {
            options.trust.require_signatures = address.flag("require-sigs");
        }
        let target = Store::open_with(layout(root)?, options)?;
        store.copy_to(&target, paths, unsigned, &progress)?.len()
    } else {
        Cache::open(address, store.dir())?.upload(store, paths, &progress)?.len()
    })
}

fn receive(address: &Address, unsigned: bool, matches: &ArgMatches) -> Result<ExitCode> {
    let mut options = NixConf::load().store_options()?;
    options.trust.require_signatures &= !unsigned;
    if let Place::Root(root) = &address.place {
        let store = open_with(options)?;
        let source = Store::open(root)?;
        let paths = wanted(&source, matches)?;
        let copied = source.copy_to(&store, &paths, unsigned, &|_| {})?;
        return report(copied.len(), paths.len());
    }
    if let Place::Ssh(_) | Place::SshDaemon(_) = &address.place {
        let store = open_with(options)?;
        let source = Store::over_ssh(address, store.layout().clone(), store::Options::default(), Vec::new())?;
        let paths = wanted(&source, matches)?;
        let copied = source.copy_to(&store, &paths, unsigned, &|_| {})?;
        return report(copied.len(), paths.len());
    }
    let store = open_with(NixConf::load().store_options()?)?;
    let paths: BTreeSet<_> = given_paths(&store, matches)?.into_iter().collect();
    drop(store);
    let copied = fetch_paths(address, &paths, options, open_with)?;
    report(copied, copied.max(paths.len()))
}

/// Takes paths, with all that they need, from a cache; how many were not there before.
pub(crate) fn fetch_paths(
    address: &Address,
    paths: &BTreeSet<StorePath>,
    mut options: store::Options,
    open: impl Fn(store::Options) -> Result<Store>,
) -> Result<usize> {
    options.substituters = Arc::new(Substituters::new(vec![address.clone()], None));
    let store = open(options)?;
    // Said here with its reason and not set aside.
    drop(Cache::open(address, store.dir())?);
    let before = store.all_valid()?.len();
    let build = BuildOptions { progress: crate::progress::usual(), ..BuildOptions::default() };
    store.substitute(paths, &build)?;
    Ok(store.all_valid()?.len().saturating_sub(before))
}

fn report(copied: usize, total: usize) -> Result<ExitCode> {
    writeln!(std::io::stderr(), "{copied} paths copied, {} were there", total.saturating_sub(copied))?;
    Ok(ExitCode::SUCCESS)
}
