//! `firn enter`: a shell or a command inside an installed system that is mounted somewhere; nixos-enter(8).

use crate::machine::{Machine, say};
use activate::switch::exit;
use anyhow::{Context as _, Result, anyhow, ensure};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The generation that is entered unless another is named.
const PROFILE: &str = "/nix/var/nix/profiles/system";
/// What a system's programs are found by.
const SEARCH_PATH: &str =
    "/run/wrappers/bin:/root/.nix-profile/bin:/nix/var/nix/profiles/default/bin:/run/current-system/sw/bin";

/// The arguments.
pub(crate) fn command() -> Command {
    Command::new("enter")
        .about("Run a shell or a command inside an installed system that is mounted")
        .arg(
            Arg::new("root")
                .long("root")
                .value_name("DIR")
                .default_value("/mnt")
                .value_parser(value_parser!(PathBuf))
                .help("Where it is mounted"),
        )
        .arg(
            Arg::new("system")
                .long("system")
                .value_name("PATH")
                .help("The generation to enter, as a path in the system [default: the one that would boot]"),
        )
        .arg(
            Arg::new("command")
                .long("command")
                .short('c')
                .value_name("TEXT")
                .conflicts_with("words")
                .help("Have the system's shell run this"),
        )
        .arg(
            Arg::new("silent")
                .long("silent")
                .action(ArgAction::SetTrue)
                .help("Say nothing of what was prepared"),
        )
        .arg(
            Arg::new("words")
                .value_name("COMMAND")
                .num_args(1..)
                .last(true)
                .value_parser(value_parser!(OsString))
                .help("A program and its arguments [default: a login shell]"),
        )
}

/// Runs it: in the end this process is the command.
pub(crate) fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let root = matches.get_one::<PathBuf>("root").cloned().unwrap_or_else(|| PathBuf::from("/mnt"));
    let root = root.canonicalize().with_context(|| format!("--root {}", root.display()))?;
    ensure!(root != Path::new("/"), "--root / is this machine: there is nothing to enter");
    let machine = Machine::being_installed(&root);
    let system = matches.get_one::<String>("system").map_or(PROFILE, String::as_str);
    let system = machine
        .system_inside(Path::new(system))
        .with_context(|| format!("there is no system in {}", root.display()))?;
    installer::enter::prepare(&root)?;
    // It makes /etc, the wrappers and /run/current-system.
    let code = machine.activate(&system, "boot", false)?;
    if code != exit::DONE && !matches.get_flag("silent") {
        say("note: not everything of the system could be prepared");
    }
    installer::enter::share_kernel(&root)?;
    installer::enter::share_name_servers(&root)?;
    installer::enter::change_root(&root)?;
    let shell = shell();
    let mut command = if let Some(text) = matches.get_one::<String>("command") {
        let mut command = std::process::Command::new(shell);
        command.arg("-c").arg(text);
        command
    } else if let Some(words) = matches.get_many::<OsString>("words") {
        let mut words = words.cloned();
        let mut command = std::process::Command::new(words.next().unwrap_or_default());
        command.args(words);
        command
    } else {
        let mut command = std::process::Command::new(shell);
        command.arg("--login");
        command
    };
    for variable in ["TMPDIR", "LOCALE_ARCHIVE", "FIRN_STORE", "FIRN_DIST", "FIRN_CHANNEL", "NIX_PATH"] {
        command.env_remove(variable);
    }
    command.env("PATH", SEARCH_PATH).env("HOME", "/root").env("USER", "root");
    let program = command.get_program().to_owned();
    let error = command.exec();
    Err(anyhow!(error).context(format!("cannot run {} in {}", program.to_string_lossy(), root.display())))
}

/// The system's bash, or whatever it has as a shell.
fn shell() -> &'static str {
    let bash = "/run/current-system/sw/bin/bash";
    if Path::new(bash).exists() { bash } else { "/bin/sh" }
}
