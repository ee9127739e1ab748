//! The registries that explain flakes' names, the most important first: `--override-flake`, the user's file, the machine's, and
//! the one that everybody has (`flake-registry` in nix.conf(5)). nix3-registry(1).

use crate::fetch::{Fetcher, Want};
use crate::nix_conf::NixConf;
use anyhow::{Context as _, Result};
use evaluator::io::IoError;
use formats::flake::registry::look_up as look_up_in;
use formats::flake::{FlakeRef, Registry};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The registry of everybody, unless a setting names another.
const GLOBAL: &str = "https://channels.nixos.org/flake-registry.json";

/// What `--override-flake` gave.
static FLAGS: Mutex<Option<Registry>> = Mutex::new(None);

/// Which registry one is, as `nix registry list` calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Flag,
    User,
    System,
    Global,
}

impl Kind {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Flag => "flags",
            Self::User => "user",
            Self::System => "system",
            Self::Global => "global",
        }
    }
}

/// `--override-flake FROM TO`.
pub(crate) fn override_flake(from: &FlakeRef, to: &FlakeRef) {
    let mut flags = FLAGS.lock().unwrap_or_else(PoisonError::into_inner);
    flags.get_or_insert_default().add(from.input.clone(), to);
}

/// The user's own registry.
pub(crate) fn user_file() -> Result<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("XDG_CONFIG_HOME")
        .or_else(|| variable("HOME").map(|home| home.join(".config")))
        .map(|directory| directory.join("nix/registry.json"))
        .context("neither XDG_CONFIG_HOME nor HOME is set: say which file with --registry")
}

fn system_file() -> PathBuf {
    let directory = std::env::var_os("NIX_CONF_DIR").filter(|value| !value.is_empty());
    directory.map_or_else(|| PathBuf::from("/etc/nix"), PathBuf::from).join("registry.json")
}

/// Reads a registry; one that is not there is empty, and so, with a warning, is one that cannot be understood.
pub(crate) fn read(file: &Path) -> Registry {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => {
            if error.kind() != std::io::ErrorKind::NotFound {
                log::warn!("cannot read flake registry '{}': {error}", file.display());
            }
            return Registry::default();
        }
    };
    Registry::parse(&text, &file.display().to_string()).unwrap_or_else(|error| {
        log::warn!("cannot read flake registry '{}': {error}", file.display());
        Registry::default()
    })
}

/// Writes a registry; what was there is replaced at once.
pub(crate) fn write(file: &Path, registry: &Registry) -> Result<()> {
    let context = || format!("writing {}", file.display());
    if let Some(parent) = file.parent() {
        std::fs::create_dir_all(parent).with_context(context)?;
    }
    let new = file.with_extension("new");
    std::fs::write(&new, registry.to_text()).and_then(|()| std::fs::rename(&new, file)).with_context(context)
}

fn global(fetcher: &Fetcher<'_>) -> Result<Registry, IoError> {
    let conf = NixConf::load();
    let place = conf.text("flake-registry").unwrap_or(GLOBAL).to_owned();
    if place.is_empty() {
        return Ok(Registry::default());
    }
    if place.starts_with('/') {
        return Ok(read(Path::new(&place)));
    }
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .filter(|cache| !cache.is_empty())
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    let root = cache.map(|cache| cache.join("nix/flake-registry.json"));
    match fetcher.download(&place, "flake-registry.json", Want::File, false) {
        Ok(got) => {
            // Kept from the garbage collector, for when there is no network.
            if let Some(root) = root
                && let Err(error) = fetcher.store.add_permanent_root(&got.path, &root)
            {
                log::debug!("no root for the flake registry: {error}");
            }
            Ok(read(&fetcher.store.real_path(&got.path)))
        }
        Err(error) => {
            let kept = root.and_then(|root| std::fs::read_link(root).ok());
            let kept = kept.and_then(|kept| fetcher.store.dir().parse(kept.to_str()?).ok());
            match kept.map(|kept| fetcher.store.real_path(&kept)).filter(|kept| kept.exists()) {
                Some(kept) => {
                    log::warn!("{error}; using cached version");
                    Ok(read(&kept))
                }
                None => Err(error),
            }
        }
    }
}

/// All registries. Without `all`, only those that are the same for everybody who runs the same command.
pub(crate) fn registries(fetcher: &Fetcher<'_>, all: bool) -> Result<Vec<(Kind, Registry)>, IoError> {
    let flags = FLAGS.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut registries = vec![(Kind::Flag, flags.unwrap_or_default())];
    if all {
        if let Ok(file) = user_file() {
            registries.push((Kind::User, read(&file)));
        }
        registries.push((Kind::System, read(&system_file())));
    }
    registries.push((Kind::Global, global(fetcher)?));
    Ok(registries)
}

/// What a name means. The registry of everybody is asked only if no other knows the answer.
pub(crate) fn look_up(fetcher: &Fetcher<'_>, reference: &FlakeRef, all: bool) -> Result<FlakeRef, IoError> {
    let refused = |error: formats::flake::FlakeError| IoError::Unsupported(error.to_string());
    let flags = FLAGS.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default();
    let mut near = vec![flags];
    if all {
        near.extend(user_file().ok().map(|file| read(&file)));
        near.push(read(&system_file()));
    }
    let borrowed: Vec<&Registry> = near.iter().collect();
    if let Ok(found) = look_up_in(&borrowed, reference) {
        return Ok(found);
    }
    let global = global(fetcher)?;
    let borrowed: Vec<&Registry> = near.iter().chain([&global]).collect();
    look_up_in(&borrowed, reference).map_err(refused)
}
