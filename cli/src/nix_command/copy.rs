//! `nix copy`: paths with all that they need, from and to stores and caches. nix3-copy(1).

use super::build::Installables;
use super::info::outputs;
use crate::nix_front::{Arguments, Front, layout};
use crate::store::copy::{fetch_paths, send_paths};
use anyhow::{Result, bail};
use formats::store_path::StorePath;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use store::cache::{Address, Cache, Place};

/// `nix copy`.
pub(super) fn copy(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let mut installables = Installables::default();
    let (mut to, mut from, mut all, mut unsigned, mut recursive) = (None, None, false, false, true);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--to" => to = Some(arguments.value(&argument)?),
            "--from" => from = Some(arguments.value(&argument)?),
            "--all" => all = true,
            "--no-check-sigs" => unsigned = true,
            "--no-recursive" => recursive = false,
            "-r" | "--recursive" | "-s" | "--substitute-on-destination" => {}
            _ if installables.take(front, &argument, arguments)? => {}
            other => bail!("unrecognised flag '{other}'"),
        }
    }
    unsigned |= !front.conf.flag("require-sigs", true);
    match (to, from) {
        (Some(text), None) => {
            let to = address(&text)?;
            let store = Rc::new(front.open()?);
            let mut realisations = Vec::new();
            let paths: BTreeSet<StorePath> = if all {
                store.all_valid()?
            } else {
                // What is not built yet is built first.
                let requests = installables.requests(front, &store)?;
                let builds: Vec<_> =
                    requests.iter().filter(|(path, _)| path.is_derivation()).cloned().collect();
                Front::build(&store, &builds, &front.build_options(&store))?;
                if front.conf.settings().has_feature("ca-derivations") {
                    for (derivation, _) in &builds {
                        realisations.extend(store.realisations_of(derivation)?);
                    }
                }
                outputs(front, &store, &mut installables)?.into_iter().collect()
            };
            let paths = if recursive { store.closure(paths)? } else { paths };
            if let Place::Directory(_) | Place::Server(_) = to.place {
                let below = |root: &Path| layout(root.to_str());
                send_paths(&store, &to, &paths, unsigned, front.conf.store_options()?, below)?;
                let cache = Cache::open(&to, store.dir())?;
                realisations.iter().try_for_each(|one| cache.put_realisation(one))?;
                return Ok(ExitCode::SUCCESS);
            }
            let mut options = front.conf.store_options()?;
            options.substituters = std::sync::Arc::default();
            if to.parameters.contains_key("require-sigs") {
                options.trust.require_signatures = to.flag("require-sigs");
            }
            let target = front.open_at(&text, options)?;
            // Who keeps a store elsewhere decides there whom it trusts.
            store.copy_to(&target, &paths, unsigned || !target.has_files(), &|_| {})?;
            realisations.iter().try_for_each(|one| target.register_realisation(one))?;
        }
        (None, Some(text)) => {
            let from = address(&text)?;
            let mut options = front.conf.store_options()?;
            options.trust.require_signatures &= !unsigned;
            if !matches!(from.place, Place::Directory(_) | Place::Server(_)) {
                let source = front.open_at(&text, store::Options::default())?;
                let store = Rc::new(front.open_with(options)?);
                let paths: BTreeSet<StorePath> = if all {
                    source.all_valid()?
                } else {
                    outputs(front, &store, &mut installables)?.into_iter().collect()
                };
                let paths = if recursive { source.closure(paths)? } else { paths };
                source.copy_to(&store, &paths, unsigned, &|_| {})?;
                return Ok(ExitCode::SUCCESS);
            }
            let known = Rc::new(front.open()?);
            let requests = installables.requests(front, &known)?;
            let mut paths = BTreeSet::new();
            let mut realisations = Vec::new();
            let cache = Cache::open(&from, known.dir())?;
            for (path, wanted) in requests {
                if !path.is_derivation() {
                    paths.insert(path);
                    continue;
                }
                for (output, place) in known.known_outputs(&known.read_derivation(&path)?)? {
                    if !wanted.contains(&output) {
                        continue;
                    }
                    let Some(place) = place else {
                        let realisation = known.realisation_from(&cache, &path, &output, unsigned)?;
                        paths.insert(realisation.path.clone());
                        realisations.push(realisation);
                        continue;
                    };
                    paths.insert(place);
                }
            }
            drop(known);
            fetch_paths(&from, &paths, options, |options| front.open_with(options))?;
            let known = front.open()?;
            for realisation in &realisations {
                known.register_realisation(realisation)?;
            }
        }
        _ => bail!("'nix copy' needs --to or --from: the other side is the store in use"),
    }
    Ok(ExitCode::SUCCESS)
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
