//! `nix-channel`: named addresses of package collections (`~/.nix-channels`), fetched into generations of the profile
//! `channels`. nix-channel(1).

use crate::fetch::Fetcher;
use crate::nix_env::{install_channels, own_collection, profiles_directory};
use crate::nix_front::{Arguments, Front, print_version};
use anyhow::{Context as _, Result, bail};
use evaluator::io::Fetch;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use store::profile::Profile;

/// Channels by name: their addresses.
type Channels = BTreeMap<String, String>;

/// `nix-channel …`.
pub(crate) fn nix_channel(words: &[OsString]) -> Result<ExitCode> {
    let mut arguments = Arguments::new(words);
    let mut front = Front::new();
    let (mut operation, mut words) = (None, Vec::new());
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--version" => {
                print_version("nix-channel")?;
                return Ok(ExitCode::SUCCESS);
            }
            "--add" | "--remove" | "--list" | "--update" | "--rollback" | "--list-generations" => {
                operation = Some(argument);
            }
            _ if front.take(&argument, &mut arguments)? => {}
            flag if flag.starts_with('-') => bail!("unrecognised flag '{flag}'"),
            _ => words.push(argument),
        }
    }
    let profile = profiles_directory()?.join("channels");
    match operation.as_deref() {
        Some("--add") => {
            let (url, name) = match words.as_slice() {
                [url] => (url, default_name(url)),
                [url, name] => (url, name.clone()),
                _ => bail!("'--add' requires one or two arguments: the address and the name"),
            };
            if !is_name(&name) {
                bail!("invalid channel identifier '{name}'");
            }
            let mut channels = read()?;
            channels.insert(name, url.clone());
            write(&channels)?;
        }
        Some("--remove") => {
            let [name] = words.as_slice() else { bail!("'--remove' requires one argument") };
            let mut channels = read()?;
            channels.remove(name);
            write(&channels)?;
        }
        Some("--list") => {
            let mut out = std::io::stdout().lock();
            for (name, url) in read()? {
                writeln!(out, "{name} {url}")?;
            }
        }
        Some("--update") => update(front, &profile, &words)?,
        Some("--rollback") => {
            let profile = Profile::at(&profile);
            match words.as_slice() {
                [] => drop(profile.rollback()?),
                [number] => {
                    profile
                        .switch(number.parse().with_context(|| format!("'{number}' is not a generation"))?)?;
                }
                _ => bail!("'--rollback' has at most one argument"),
            }
        }
        Some("--list-generations") => crate::nix_env::list_generations(&Profile::at(&profile))?,
        _ => bail!("no command specified; see nix-channel(1)"),
    }
    Ok(ExitCode::SUCCESS)
}

/// The name of a channel that nobody gave one: the last part of its address, without what says that it is unstable.
fn default_name(url: &str) -> String {
    let name = url.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    name.trim_end_matches("-unstable").trim_end_matches("-stable").to_owned()
}

fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_')
        && name.chars().all(|other| other.is_ascii_alphanumeric() || "_.+-".contains(other))
}

fn list_file() -> Result<PathBuf> {
    let home = std::env::var_os("HOME").context("HOME is not set: there is no list of channels")?;
    Ok(Path::new(&home).join(".nix-channels"))
}

/// The lines `ADDRESS [NAME]`.
fn read() -> Result<Channels> {
    let file = list_file()?;
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Channels::new()),
        Err(error) => return Err(error).with_context(|| format!("reading {}", file.display())),
    };
    let mut channels = Channels::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        let url = words.next().unwrap_or_default().trim_end_matches('/').to_owned();
        let name = words.next().map_or_else(|| default_name(&url), str::to_owned);
        channels.insert(name, url);
    }
    Ok(channels)
}

fn write(channels: &Channels) -> Result<()> {
    let file = list_file()?;
    let text: String = channels.iter().flat_map(|(name, url)| [url, " ", name, "\n"]).collect();
    let directory = file.parent().unwrap_or(Path::new("/"));
    let draft = tempfile::NamedTempFile::new_in(directory)
        .with_context(|| format!("writing in {}", directory.display()))?;
    std::fs::write(draft.path(), text).with_context(|| format!("writing {}", file.display()))?;
    draft.persist(&file).with_context(|| format!("writing {}", file.display()))?;
    Ok(())
}

/// Fetches channels (all, or those named) and makes them the next generation.
fn update(front: Front, profile: &Path, names: &[String]) -> Result<()> {
    own_collection()?;
    let store = front.open()?;
    let channels = read()?;
    let mut kept = BTreeSet::new();
    let mut packages = Vec::new();
    for (name, url) in &channels {
        if !names.is_empty() && !names.contains(name) && profile.join(name).exists() {
            kept.insert(name.clone());
            continue;
        }
        let archive = archive(&Fetcher { store: &store, time_to_live: 0 }, url)
            .with_context(|| format!("channel '{name}'"))?;
        let quoted = crate::eval::Request::quoted;
        packages.push(format!(
            "derivation {{ name = {0}; channelName = {0}; builder = \"builtin:unpack-channel\"; system = \"builtin\"; \
             preferLocalBuild = true; src = builtins.storePath {1}; }}",
            quoted(name),
            quoted(&store.dir().print(&archive)),
        ));
    }
    writeln!(std::io::stderr(), "unpacking {} channels...", packages.len())?;
    install_channels(front, profile, &packages, &kept)
}

/// The archive that a channel's address is, or the one below it.
fn archive(fetcher: &Fetcher<'_>, url: &str) -> Result<formats::store_path::StorePath> {
    let direct = [".tar.gz", ".tar.xz", ".tar.bz2", ".tar.zst"].iter().any(|ending| url.ends_with(ending));
    let places = if direct {
        vec![url.to_owned()]
    } else {
        vec![format!("{url}/nixexprs.tar.xz"), format!("{url}/nixexprs.tar.bz2")]
    };
    let mut errors = Vec::new();
    for url in places {
        let name = url.rsplit('/').next().unwrap_or_default().to_owned();
        match fetcher.fetch(&Fetch { url, name, unpack: false, hash: None }) {
            Ok(path) => return Ok(path),
            Err(error) => errors.push(error.to_string()),
        }
    }
    bail!("{}", errors.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_addresses() {
        assert_eq!(default_name("https://nixos.org/channels/nixpkgs-unstable"), "nixpkgs");
        assert_eq!(default_name("file:///tmp/foo/"), "foo");
        assert!(is_name("nixos-24.05") && is_name("_x"));
        assert!(!is_name("../x") && !is_name("") && !is_name(".a"));
    }
}
