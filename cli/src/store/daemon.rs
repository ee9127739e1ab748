//! `firn daemon` and `nix-daemon`: serves the store to Nix's clients. Reads the few settings of `nix.conf` that a store
//! has a use for; where the store is comes from Nix's own variables (`NIX_STORE_DIR`, `NIX_STATE_DIR`, …) or `--store`.

use crate::family::Family;
use crate::nix_conf::NixConf;
use anyhow::{Result, bail};
use clap::{Arg, ArgAction, ArgMatches, Command};
use formats::store_path::StoreDir;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use store::Layout;
use store::daemon::{Settings, Trust, listen, serve};

/// The family's row.
pub(crate) const FAMILY: Family = Family { command, run };

fn command() -> Command {
    Command::new("daemon")
        .about("Serve the store to other users and to Nix's own clients")
        .arg(
            Arg::new("stdio")
                .long("stdio")
                .action(ArgAction::SetTrue)
                .help("Serve standard input and output"),
        )
        .arg(Arg::new("socket").long("socket").value_name("PATH").help("Where to listen"))
}

fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let layout = Layout::below(&crate::settings::Settings::current()?.store_root);
    let socket = matches.get_one::<String>("socket").map(PathBuf::from);
    start(&layout, socket, matches.get_flag("stdio").then_some(Trust::Trusted))
}

/// `nix-daemon [--stdio] [--daemon] [--version]`.
pub(crate) fn nix_daemon(arguments: &[OsString]) -> Result<ExitCode> {
    if arguments.iter().any(|argument| argument == "--version") {
        writeln!(std::io::stdout(), "nix-daemon (Firn) {VERSION}")?;
        return Ok(ExitCode::SUCCESS);
    }
    let stdio = arguments.iter().any(|argument| argument == "--stdio");
    let trust = match arguments.iter().any(|argument| argument == "--force-untrusted") {
        true if !stdio => {
            bail!("--force-untrusted is for --stdio; whom a socket trusts, `trusted-users` says")
        }
        true => Trust::NotTrusted,
        false => Trust::Trusted,
    };
    let store = arguments.iter().position(|argument| argument == "--store");
    let layout = match store.and_then(|at| arguments.get(at + 1)).and_then(|store| store.to_str()) {
        Some(store) => {
            if let Some(features) = crate::nix_front::features_of(store) {
                NixConf::override_with("system-features", &features);
            }
            crate::nix_front::layout(Some(store))?
        }
        None => layout_from_environment(),
    };
    start(&layout, None, stdio.then_some(trust))
}

/// The version of Nix that we behave as: clients ask for it to know what a daemon can do.
pub(crate) const VERSION: &str = store::daemon::NIX_VERSION;

/// Serves who is at the other end of standard input and output, trusted or not, or listens.
fn start(layout: &Layout, socket: Option<PathBuf>, stdio: Option<Trust>) -> Result<ExitCode> {
    let configuration = NixConf::load();
    let settings = Settings {
        build: crate::nix_conf::default_build(),
        nix: configuration.settings().clone(),
        store_options: crate::nix_conf::options_of,
        version: VERSION.to_owned(),
        restriction: None,
    };
    let options = configuration.store_options()?;
    if let Some(trust) = stdio {
        serve(std::io::stdin(), std::io::stdout(), None, trust, layout, &options, &settings)?;
        return Ok(ExitCode::SUCCESS);
    }
    let socket = socket
        .or_else(|| std::env::var_os("NIX_DAEMON_SOCKET_PATH").map(PathBuf::from))
        .unwrap_or_else(|| layout.state.join("daemon-socket/socket"));
    listen(&socket, layout, &options, &settings)?;
    Ok(ExitCode::SUCCESS)
}

/// Where Nix's variables say that the store is.
pub(crate) fn layout_from_environment() -> Layout {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let mut layout = Layout::below(Path::new("/"));
    if let Some(store) = variable("NIX_STORE_DIR").or_else(|| variable("NIX_STORE")) {
        let store = std::fs::canonicalize(store.parent().unwrap_or(Path::new("/")))
            .map(|parent| parent.join(store.file_name().unwrap_or_default()))
            .unwrap_or(store);
        layout.store_dir = StoreDir::new(&store.to_string_lossy());
        layout.real_store = store;
    }
    if let Some(state) = variable("NIX_STATE_DIR") {
        layout.state = state;
    }
    if let Some(log) = variable("NIX_LOG_DIR") {
        layout.log = log;
    }
    layout
}
