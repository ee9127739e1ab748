//! `firn store …`, and the commands that look at single paths: `path-info`, `why-depends`, `log`, `hash`, `gc`.

mod checking;
mod collect;
pub(crate) mod copy;
pub(crate) mod daemon;
pub(crate) mod derivation;
mod hash;
mod key;
mod objects;
mod path_info;
mod usage;

pub(crate) use collect::FAMILY as COLLECT;
pub(crate) use copy::FAMILY as COPY;
pub(crate) use derivation::FAMILY as DERIVATION;
pub(crate) use hash::FAMILY as HASH;
pub(crate) use key::FAMILY as KEY;
pub(crate) use objects::FAMILY as STORE;
pub(crate) use path_info::{LOG, PATH_INFO, WHY_DEPENDS};

use crate::nix_conf::NixConf;
use crate::settings::Settings;
use anyhow::{Context as _, Result};
use clap::{Arg, ArgMatches};
use formats::store_path::StorePath;
use std::path::Path;
use store::{Layout, Store};

/// The store that the settings name.
pub(crate) fn open() -> Result<Store> {
    open_with(NixConf::load().store_options()?)
}

/// The same with other options.
pub(super) fn open_with(options: store::Options) -> Result<Store> {
    let root = &Settings::current()?.store_root;
    // Nix's variables say where a store is that nobody named, as for Nix's own commands.
    let named = std::env::var_os("NIX_STORE_DIR").is_some_and(|directory| !directory.is_empty());
    let layout = if named && crate::settings::store_root().is_ok_and(|default| default == *root) {
        daemon::layout_from_environment()
    } else {
        Layout::below(root)
    };
    if let Some(socket) = crate::nix_front::daemon_socket(None, &layout) {
        return Store::connect(layout, options, &socket, Vec::new())
            .with_context(|| format!("cannot use the daemon of the store below `{}`", root.display()));
    }
    Store::open_with(layout, options)
        .with_context(|| format!("cannot open the store below `{}`", root.display()))
}

/// A store path from what a user types: the path, something below it, its base name, a link to it, or its real place.
pub(crate) fn resolve(store: &Store, text: &str) -> Result<StorePath> {
    if let Ok((path, _)) = store.dir().parse_below(text) {
        return Ok(path);
    }
    if let Ok(path) = StorePath::from_base_name(text) {
        return Ok(path);
    }
    let mut place = std::path::absolute(text)?;
    for _ in 0..40 {
        if let Ok(inside) = place.strip_prefix(&store.layout().real_store)
            && let Some(first) = inside.components().next()
        {
            return Ok(StorePath::from_base_name(&first.as_os_str().to_string_lossy())?);
        }
        if let Some(Ok((path, _))) = place.to_str().map(|text| store.dir().parse_below(text)) {
            return Ok(path);
        }
        let Ok(target) = std::fs::read_link(&place) else { break };
        place = place.parent().unwrap_or(Path::new("/")).join(target);
    }
    anyhow::bail!("`{text}` is neither a path of the store `{}` nor a link to one", store.dir())
}

/// The positional argument of paths.
pub(super) fn paths_argument(required: bool) -> Arg {
    Arg::new("paths")
        .value_name("PATH")
        .num_args(1..)
        .required(required)
        .help("Store paths, or links to them")
}

/// The paths given.
pub(super) fn given_paths(store: &Store, matches: &ArgMatches) -> Result<Vec<StorePath>> {
    matches.get_many::<String>("paths").into_iter().flatten().map(|text| resolve(store, text)).collect()
}
