//! `nix copy`: paths with all that they need, from and to stores and caches. nix3-copy(1).

use super::build::Installables;
use super::info::outputs;
use crate::nix_front::{Arguments, Front, as_nix, layout, print_version};
use crate::store::copy::{fetch_paths, send_paths};
use anyhow::{Result, bail};
use formats::store_path::StorePath;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use store::cache::{Address, Cache, Place};

/// What is to be copied, and how.
#[derive(Debug, Default)]
struct Call {
    installables: Installables,
    /// Every path that there is.
    all: bool,
    /// Take what nobody trusted has signed.
    unsigned: bool,
    /// Only the paths, and not what they need.
    alone: bool,
}

/// `nix-copy-closure`: the same with a machine that is reached by ssh(1).
pub(crate) fn nix_copy_closure(arguments: &[OsString]) -> Result<ExitCode> {
    let mut arguments = Arguments::new(arguments);
    let mut front = Front::new();
    let mut call = Call { unsigned: true, ..Call::default() };
    let (mut receives, mut machine) = (false, None);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--version" => {
                print_version("nix-copy-closure")?;
                return Ok(ExitCode::SUCCESS);
            }
            "--to" => receives = false,
            "--from" => receives = true,
            "--gzip" | "--include-outputs" | "-s" | "--use-substitutes" => {}
            _ if machine.is_none() && !argument.starts_with('-') => machine = Some(argument),
            _ if call.installables.take(&mut front, &argument, &mut arguments)? => {}
            other => bail!("unrecognised flag '{other}'"),
        }
    }
    let Some(machine) = machine else { bail!("'nix-copy-closure' needs a machine, as in `--to user@host`") };
    let address = if machine.contains("://") { machine } else { format!("ssh://{machine}") };
    if receives {
        receive(&front, call, &address)?;
    } else {
        send(&front, call, &address)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `nix copy`.
pub(super) fn copy(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let mut call = Call::default();
    let (mut to, mut from) = (None, None);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--to" => to = Some(arguments.value(&argument)?),
            "--from" => from = Some(arguments.value(&argument)?),
            "--all" => call.all = true,
            "--no-check-sigs" => call.unsigned = true,
            "--no-recursive" => call.alone = true,
            "-r" | "--recursive" | "-s" | "--substitute-on-destination" => {}
            _ if call.installables.take(front, &argument, arguments)? => {}
            other => bail!("unrecognised flag '{other}'"),
        }
    }
    call.unsigned |= !front.conf.flag("require-sigs", true);
    match (to, from) {
        (Some(to), None) => send(front, call, &to)?,
        (None, Some(from)) => {
            let address = address(&from)?;
            match address.place {
                Place::Directory(_) | Place::Server(_) => receive_from_cache(front, call, &from, &address)?,
                _ => receive(front, call, &from)?,
            }
        }
        _ => bail!("'nix copy' needs --to or --from: the other side is the store in use"),
    }
    Ok(ExitCode::SUCCESS)
}

fn send(front: &Front, mut call: Call, text: &str) -> Result<()> {
    let to = as_nix(address(text)?);
    let store = Rc::new(front.open()?);
    let mut realisations = Vec::new();
    let paths: BTreeSet<StorePath> = if call.all {
        store.all_valid()?
    } else {
        // What is not built yet is built first.
        let requests = call.installables.requests(front, &store)?;
        let builds: Vec<_> = requests.iter().filter(|(path, _)| path.is_derivation()).cloned().collect();
        Front::build(&store, &builds, &front.build_options(&store))?;
        if front.conf.settings().has_feature("ca-derivations") {
            for (derivation, _) in &builds {
                realisations.extend(store.realisations_of(derivation)?);
            }
        }
        outputs(front, &store, &mut call.installables)?.into_iter().collect()
    };
    let paths = if call.alone { paths } else { store.closure(paths)? };
    let mut options = front.conf.store_options()?;
    if let Place::Directory(_) | Place::Server(_) = to.place {
        let below = |root: &Path| layout(root.to_str());
        send_paths(&store, &to, &paths, call.unsigned, options, below)?;
        let cache = Cache::open(&to, store.dir())?;
        return Ok(realisations.iter().try_for_each(|one| cache.put_realisation(one))?);
    }
    options.substituters = std::sync::Arc::default();
    if to.parameters.contains_key("require-sigs") {
        options.trust.require_signatures = to.flag("require-sigs");
    }
    let target = front.open_at(text, options)?;
    // Who keeps a store elsewhere decides there whom it trusts.
    store.copy_to(&target, &paths, call.unsigned || !target.has_files(), &|_| {})?;
    Ok(realisations.iter().try_for_each(|one| target.register_realisation(one))?)
}

/// From a store in a directory or on another machine.
fn receive(front: &Front, mut call: Call, text: &str) -> Result<()> {
    let mut options = front.conf.store_options()?;
    options.trust.require_signatures &= !call.unsigned;
    let source = front.open_at(text, store::Options::default())?;
    let store = Rc::new(front.open_with(options)?);
    let paths: BTreeSet<StorePath> = if call.all {
        source.all_valid()?
    } else {
        outputs(front, &store, &mut call.installables)?.into_iter().collect()
    };
    let paths = if call.alone { paths } else { source.closure(paths)? };
    source.copy_to(&store, &paths, call.unsigned, &|_| {})?;
    Ok(())
}

fn receive_from_cache(front: &Front, mut call: Call, text: &str, from: &Address) -> Result<()> {
    let mut options = front.conf.store_options()?;
    options.trust.require_signatures &= !call.unsigned;
    let known = Rc::new(front.open()?);
    let cache = Cache::open(from, known.dir())?;
    let mut paths = BTreeSet::new();
    let mut realisations = Vec::new();
    if call.all {
        paths = front.open_at(text, store::Options::default())?.all_valid()?;
    }
    let requests = if call.all { Vec::new() } else { call.installables.requests(front, &known)? };
    for (path, wanted) in requests {
        if !path.is_derivation() {
            paths.insert(path);
            continue;
        }
        let outputs = known.known_outputs(&known.read_derivation(&path)?)?;
        for (output, place) in outputs.into_iter().filter(|(output, _)| wanted.contains(output)) {
            if let Some(place) = place {
                paths.insert(place);
                continue;
            }
            let realisation = known.realisation_from(&cache, &path, &output, call.unsigned)?;
            paths.insert(realisation.path.clone());
            realisations.push(realisation);
        }
    }
    drop(known);
    fetch_paths(from, &paths, options, |options| front.open_with(options))?;
    let known = front.open()?;
    Ok(realisations.iter().try_for_each(|one| known.register_realisation(one))?)
}

/// An address as Nix takes it: also `file:relative/directory`.
fn address(text: &str) -> Result<Address> {
    let (place, parameters) = text
        .split_once('?')
        .map_or((text, String::new()), |(place, parameters)| (place, format!("?{parameters}")));
    let directory = place.strip_prefix("file://").or_else(|| place.strip_prefix("file:"));
    Ok(match directory {
        Some(directory) => {
            let directory = std::path::absolute(directory)?;
            Address::parse(&format!("file://{}{parameters}", directory.display()))?
        }
        None if place.starts_with("./") || (!place.contains(':') && place.contains('/')) => {
            Address::parse(&format!("{}{parameters}", std::path::absolute(place)?.display()))?
        }
        None => Address::parse(text)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_may_be_relative() {
        for text in ["file:cache?compression=zstd", "file://cache?compression=zstd"] {
            let found = address(text).unwrap();
            assert_eq!(found.place, Place::Directory(std::env::current_dir().unwrap().join("cache")));
            assert_eq!(found.parameters["compression"], "zstd");
        }
        assert_eq!(address("https://h/x").unwrap().place, Place::Server("https://h/x".to_owned()));
    }
}
