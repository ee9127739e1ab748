//! `nix registry`: short names for flakes, in the files that Nix reads. nix3-registry(1).

use crate::eval_io::StoreIo;
use crate::flakes::registries::{self, Kind};
use crate::nix_front::{Arguments, Front};
use anyhow::{Result, bail};
use evaluator::io::{TreeAttribute, TreeInput};
use formats::flake::{FlakeRef, Input};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;

/// The words that are no flags, and the file that is meant.
fn read(front: &mut Front, arguments: &mut Arguments) -> Result<(Vec<String>, PathBuf)> {
    let (mut words, mut file) = (Vec::new(), None);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--registry" => file = Some(PathBuf::from(arguments.value(&argument)?)),
            _ if front.take(&argument, arguments)? => {}
            flag if flag.starts_with('-') => bail!("unrecognised flag '{flag}'"),
            _ => words.push(argument),
        }
    }
    let file = file.map_or_else(registries::user_file, Ok)?;
    Ok((words, file))
}

fn reference(text: &str) -> Result<FlakeRef> {
    Ok(FlakeRef::parse(text, true, false)?)
}

fn door(front: &Front) -> Result<StoreIo> {
    let store = Rc::new(front.open()?);
    let options = front.build_options(&store);
    Ok(StoreIo::new(store, options))
}

/// `nix registry add NAME URL`.
pub(super) fn add(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let (words, file) = read(front, arguments)?;
    let [name, url] = words.as_slice() else { bail!("'nix registry add' needs a name and where it leads") };
    let (from, to) = (reference(name)?, reference(url)?);
    let mut registry = registries::read(&file);
    registry.remove(&from.input);
    registry.add(from.input, &to);
    registries::write(&file, &registry)?;
    Ok(ExitCode::SUCCESS)
}

/// `nix registry remove NAME`: what is not there need not go.
pub(super) fn remove(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let (words, file) = read(front, arguments)?;
    let [name] = words.as_slice() else { bail!("'nix registry remove' needs a name") };
    let mut registry = registries::read(&file);
    registry.remove(&reference(name)?.input);
    registries::write(&file, &registry)?;
    Ok(ExitCode::SUCCESS)
}

/// `nix registry pin NAME [URL]`: the name means from now on the tree that it means now.
pub(super) fn pin(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let (words, file) = read(front, arguments)?;
    let (name, url) = match words.as_slice() {
        [name] => (name, name),
        [name, url] => (name, url),
        _ => bail!("'nix registry pin' needs a name, and perhaps what to pin it to"),
    };
    let (from, to) = (reference(name)?, reference(url)?);
    let io = door(front)?;
    let fetcher = io.fetcher();
    let resolved = registries::look_up(&fetcher, &to, true)?;
    let tree = fetcher.fetch_tree(&TreeInput::of(&resolved.input, false))?;
    let mut attributes = tree.attributes;
    attributes.insert("type".to_owned(), TreeAttribute::from(resolved.input.kind()));
    let locked = Input::from_attributes(attributes)?;
    if !locked.is_locked() {
        log::warn!("flake '{locked}' is not locked");
    }
    let mut registry = registries::read(&file);
    registry.remove(&from.input);
    registry.add(from.input, &FlakeRef { input: locked, subdir: resolved.subdir });
    registries::write(&file, &registry)?;
    Ok(ExitCode::SUCCESS)
}

/// `nix registry list`.
pub(super) fn list(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    read(front, arguments)?;
    let io = door(front)?;
    let mut out = std::io::stdout().lock();
    for (kind, registry) in registries::registries(&io.fetcher(), true)? {
        for entry in registry.entries {
            writeln!(out, "{:6} {} {}", Kind::word(kind), entry.from, entry.target())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
