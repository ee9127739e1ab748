//! `nix log`, `nix realisation info`, `nix derivation show`, `nix doctor`: what is known of builds and of this program.

use super::build::Installables;
use crate::nix_front::{Arguments, Front};
use anyhow::{Context as _, Result, bail};
use formats::store_path::StorePath;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::ExitCode;
use std::rc::Rc;
use store::Store;

/// Takes flags of the subcommand's own and installables, and opens the store.
pub(super) fn read(
    front: &mut Front,
    arguments: &mut Arguments,
    own: &[&str],
) -> Result<(Rc<Store>, Installables, BTreeSet<String>)> {
    let (installables, flags) = parse(front, arguments, own)?;
    Ok((Rc::new(front.open()?), installables, flags))
}

pub(super) fn parse(
    front: &mut Front,
    arguments: &mut Arguments,
    own: &[&str],
) -> Result<(Installables, BTreeSet<String>)> {
    let mut installables = Installables::default();
    let mut flags = BTreeSet::new();
    while let Some(argument) = arguments.next() {
        if own.contains(&argument.as_str()) {
            flags.insert(argument);
        } else if !installables.take(front, &argument, arguments)? {
            bail!("unrecognised flag '{argument}'");
        }
    }
    Ok((installables, flags))
}

/// The paths that installables stand for: of a derivation, its outputs.
pub(super) fn outputs(
    front: &Front,
    store: &Rc<Store>,
    installables: &mut Installables,
) -> Result<Vec<StorePath>> {
    let mut paths = Vec::new();
    for (path, wanted) in installables.requests(front, store)? {
        if !path.is_derivation() {
            paths.push(path);
            continue;
        }
        for (output, known) in store.known_outputs(&store.read_derivation(&path)?)? {
            paths.extend(known.filter(|_| wanted.contains(&output)));
        }
    }
    Ok(paths)
}

/// The derivation that a path is or was built by, as far as the store or the caches in use know.
fn derivation_of(store: &Store, path: StorePath) -> Result<Option<StorePath>> {
    if path.is_derivation() {
        return Ok(Some(path));
    }
    if let Some(info) = store.query_path_info(&path)? {
        return Ok(info.deriver);
    }
    let asked = BTreeSet::from([path.clone()]);
    let mut offers = store.options().substituters.query(store, &asked);
    Ok(offers.remove(&path).and_then(|offer| offer.narinfo.info.deriver))
}

/// `nix log`: of a build here, or that a cache has.
pub(super) fn log(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let (store, mut installables, _) = read(front, arguments, &[])?;
    for (path, _) in installables.requests(front, &store)? {
        let derivation = derivation_of(&store, path.clone())?;
        let mut log = None;
        if let Some(derivation) = &derivation {
            log = store.build_log(derivation)?;
            for address in front.conf.words("substituters") {
                if log.is_none() {
                    log = front.open_at(address, store::Options::default())?.build_log(derivation)?;
                }
            }
        }
        let log =
            log.with_context(|| format!("build log of '{}' is not available", store.dir().print(&path)))?;
        std::io::stdout().lock().write_all(&log)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `nix store copy-log`.
pub(super) fn copy_log(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let mut installables = Installables::default();
    let (mut to, mut from) = (None, None);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--to" => to = Some(arguments.value(&argument)?),
            "--from" => from = Some(arguments.value(&argument)?),
            _ if installables.take(front, &argument, arguments)? => {}
            other => bail!("unrecognised flag '{other}'"),
        }
    }
    let ours = Rc::new(front.open()?);
    let open = |address: &str| front.open_at(address, store::Options::default()).map(Rc::new);
    let (source, target) = match (&from, &to) {
        (Some(from), None) => (open(from)?, Rc::clone(&ours)),
        (None, Some(to)) => (Rc::clone(&ours), open(to)?),
        (Some(from), Some(to)) => (open(from)?, open(to)?),
        (None, None) => bail!("'nix store copy-log' needs --to or --from"),
    };
    for (path, _) in installables.requests(front, &ours)? {
        let derivation = derivation_of(&ours, path.clone())?.unwrap_or_else(|| path.clone());
        let log = source.build_log(&derivation)?;
        let log =
            log.with_context(|| format!("build log of '{}' is not available", ours.dir().print(&path)))?;
        target.add_build_log(&derivation, &mut log.as_slice())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `nix realisation info`: which paths outputs of content-addressed derivations got.
pub(super) fn realisation_info(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let (store, mut installables, flags) = read(front, arguments, &["--json"])?;
    let mut out = std::io::stdout().lock();
    let mut values = Vec::new();
    for (path, wanted) in installables.requests(front, &store)? {
        if !path.is_derivation() {
            values.push(json!({"opaquePath": store.dir().print(&path)}));
            continue;
        }
        let derivation = store.read_derivation(&path)?;
        for output in derivation.outputs.keys().filter(|output| wanted.contains(output)) {
            let id = store.realisation_id(&derivation, output)?;
            let found = store.realisation(&id)?;
            let found = found.with_context(|| format!("cannot find a realisation of '{id}'"))?;
            if flags.contains("--json") {
                values.push(found.to_json());
            } else {
                writeln!(out, "{id} {}", found.path)?;
            }
        }
    }
    if flags.contains("--json") {
        writeln!(out, "{}", Value::Array(values))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `nix doctor`: whether this program and the store in use go together.
pub(super) fn doctor(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    while let Some(argument) = arguments.next() {
        if !front.take(&argument, arguments)? {
            bail!("unrecognised flag '{argument}'");
        }
    }
    let mut well = true;
    let mut out = std::io::stdout().lock();
    match front.open() {
        Ok(store) => writeln!(out, "[PASS] The store {} answers ({})", front.store_address(), store.dir())?,
        Err(error) => {
            well = false;
            writeln!(out, "[FAIL] The store {} cannot be used: {error:#}", front.store_address())?;
        }
    }
    let found: Vec<std::path::PathBuf> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .map(|directory| directory.join("nix-env"))
        .filter(|program| program.exists())
        .filter_map(|program| program.canonicalize().ok())
        .collect();
    let different: BTreeSet<_> = found.iter().collect();
    if different.len() > 1 {
        // As in Nix a warning and not a failure.
        writeln!(out, "[WARN] Several programs called nix-env are in PATH: the first is used")?;
    } else {
        writeln!(out, "[PASS] PATH has one nix-env at most")?;
    }
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

/// `nix derivation show`.
pub(super) fn show_derivation(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let (store, mut installables, flags) = read(front, arguments, &["-r", "--recursive"])?;
    let mut derivations = BTreeSet::new();
    for (path, _) in installables.requests(front, &store)? {
        if path.is_derivation() {
            derivations.insert(path);
        } else {
            derivations.extend(store.path_info(&path)?.deriver);
        }
    }
    if flags.contains("-r") || flags.contains("--recursive") {
        derivations = store.closure(derivations)?.into_iter().filter(StorePath::is_derivation).collect();
    }
    writeln!(std::io::stdout(), "{:#}", crate::store::derivation::as_json(&store, derivations)?)?;
    Ok(ExitCode::SUCCESS)
}
