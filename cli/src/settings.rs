//! Where things are: the store's root, Firn's own files (`os/` and the static binaries), the channel. Each comes from
//! a flag, an environment variable or the place that a user expects, in that order.

use anyhow::{Context as _, Result};
use clap::{Arg, ArgMatches};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The settings that every family shares.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The directory below which the store's `/nix` lies: `/` on a machine that runs Firn.
    pub(crate) store_root: PathBuf,
    /// Firn's distribution: `bin/` with the static binaries, `os/` with the Nix code.
    pub(crate) distribution: PathBuf,
    /// The channel directory (an index written by `firn channel add`), if there is one.
    pub(crate) channel: Option<PathBuf>,
}

static SETTINGS: OnceLock<Settings> = OnceLock::new();

/// The flags that stand before any subcommand.
pub(crate) fn global_arguments() -> [Arg; 4] {
    [
        Arg::new("store").long("store").value_name("ROOT").global(true).help(
            "Use the store below ROOT (ROOT/nix/store) [env FIRN_STORE; default: / if there is a /nix, else one of your own]",
        ),
        Arg::new("firn-dist")
            .long("firn-dist")
            .value_name("DIR")
            .global(true)
            .help("Firn's own files: DIR/bin and DIR/os [env FIRN_DIST; default: beside this program]"),
        Arg::new("channel")
            .long("channel")
            .value_name("DIR")
            .global(true)
            .help("The package channel's index [env FIRN_CHANNEL; default: the one added last]"),
        Arg::new("option")
            .long("option")
            .num_args(2)
            .value_names(["NAME", "VALUE"])
            .action(clap::ArgAction::Append)
            .global(true)
            .help("A setting of nix.conf, over those of the files"),
    ]
}

impl Settings {
    /// Reads flags, then the environment, then the defaults.
    pub(crate) fn from_matches(matches: &ArgMatches) -> Result<Self> {
        crate::nix_conf::take_options(matches.get_many::<String>("option").into_iter().flatten().cloned())?;
        let given = |flag: &str, variable: &str| -> Option<PathBuf> {
            matches
                .get_one::<String>(flag)
                .map(PathBuf::from)
                .or_else(|| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from))
        };
        let store_root = match given("store", "FIRN_STORE") {
            Some(root) => {
                std::path::absolute(&root).with_context(|| format!("--store {}", root.display()))?
            }
            None => default_store_root()?,
        };
        let distribution = match given("firn-dist", "FIRN_DIST") {
            Some(directory) => directory,
            None => default_distribution()?,
        };
        let channel = given("channel", "FIRN_CHANNEL").or_else(|| default_channel(&store_root));
        Ok(Self { store_root, distribution, channel })
    }

    /// The settings of the process. They are there once `family::run` has parsed the command line.
    pub(crate) fn current() -> Result<&'static Self> {
        SETTINGS.get().context("the settings were not read yet")
    }

    /// Makes these the settings of the process. The first call wins.
    pub(crate) fn install(self) {
        if SETTINGS.set(self).is_err() {
            log::debug!("settings were installed before");
        }
    }
}

/// The store that nobody named on a command line: `$FIRN_STORE`, or the default.
pub(crate) fn store_root() -> Result<PathBuf> {
    match std::env::var_os("FIRN_STORE").filter(|root| !root.is_empty()) {
        Some(root) => Ok(std::path::absolute(root)?),
        None => default_store_root(),
    }
}

/// `/` where a Nix store already lives and can be written or has a daemon, else a directory of the user's own.
fn default_store_root() -> Result<PathBuf> {
    // Ours to write, or kept by a daemon that does it for us.
    if owns(Path::new("/nix/var/nix/db")) || Path::new("/nix/var/nix/daemon-socket/socket").exists() {
        return Ok(PathBuf::from("/"));
    }
    let state = std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/state")))
        .context("neither XDG_STATE_HOME nor HOME is set: say where the store is with --store ROOT")?;
    Ok(state.join("firn/root"))
}

/// Whether this directory is there and ours: root's, for root.
fn owns(directory: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let own = std::fs::metadata("/proc/self").map(|found| found.uid());
    let found = std::fs::metadata(directory).map(|found| found.uid());
    matches!((own, found), (Ok(own), Ok(owner)) if own == owner)
}

/// The distribution beside the running program: `<dist>/bin/firn` means `<dist>`.
fn default_distribution() -> Result<PathBuf> {
    let program = std::env::current_exe().context("cannot tell where the firn program is")?;
    let candidate = program.parent().and_then(Path::parent).map(Path::to_path_buf).unwrap_or_default();
    Ok(candidate)
}

/// The channel that `firn channel add` made the current one, a link to a path of the store, which lies below its root;
/// else the one that the running system brings along (`firn.channel.enable`).
fn default_channel(store_root: &Path) -> Option<PathBuf> {
    let added = std::fs::read_link(store_root.join("nix/var/firn/channel"))
        .map(|target| store_root.join(target.strip_prefix("/").unwrap_or(&target)));
    added.into_iter().chain([PathBuf::from("/etc/firn/channel")]).find(|index| index.exists())
}
