//! The table of subcommand families and of the Nix tools' names. A family is one module: its `clap` command and what
//! runs it. Adding one is a module and a line here.

use anyhow::Result;
use clap::{ArgMatches, Command};
use std::ffi::OsString;
use std::process::ExitCode;

/// A top-level subcommand.
pub(crate) struct Family {
    /// Its arguments, as `clap` sees them; the command's name selects the family.
    pub(crate) command: fn() -> Command,
    /// Runs it with the parsed arguments.
    pub(crate) run: fn(&ArgMatches) -> Result<ExitCode>,
}

/// What a Nix tool's name runs: the arguments without `argv[0]`, in Nix's own syntax.
pub(crate) type NixTool = fn(&[OsString]) -> Result<ExitCode>;

/// An error that wants an exit code of its own (100 build failed, 4 a unit failed, …).
#[derive(Debug)]
pub(crate) struct Failure {
    /// The process's exit code.
    pub(crate) code: u8,
    /// What is printed.
    pub(crate) message: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// All families, in the order in which `firn --help` shows them.
const FAMILIES: &[Family] = &[
    crate::build::FAMILY,
    Family { command: crate::vm::command, run: crate::vm::run },
    Family { command: crate::image::command, run: crate::image::run },
    Family { command: crate::channel::command, run: crate::channel::run },
    Family { command: crate::eval::command, run: crate::eval::run },
    Family { command: crate::instantiate::command, run: crate::instantiate::run },
    Family { command: crate::parse::command, run: crate::parse::run },
    Family { command: crate::repl::command, run: crate::repl::run },
    crate::store::STORE,
    crate::store::COLLECT,
    crate::store::PATH_INFO,
    crate::store::WHY_DEPENDS,
    crate::store::LOG,
    crate::store::HASH,
    crate::store::COPY,
    crate::store::KEY,
    crate::store::DERIVATION,
    crate::profile::FAMILY,
    crate::store::daemon::FAMILY,
    Family { command: crate::machine::switch_command, run: crate::machine::switch },
    Family { command: crate::machine::boot_command, run: crate::machine::boot },
    Family { command: crate::machine::test_command, run: crate::machine::test },
    Family { command: crate::machine::dry_activate_command, run: crate::machine::dry_activate },
    Family { command: crate::machine::rollback_command, run: crate::machine::rollback },
    Family { command: crate::machine::confirm_command, run: crate::machine::confirm },
    Family { command: crate::generation::command, run: crate::generation::run },
    Family { command: crate::install::command, run: crate::install::run },
    Family { command: crate::enter::command, run: crate::enter::run },
    Family { command: crate::generate_config::command, run: crate::generate_config::run },
    Family { command: crate::bootmenu::command, run: crate::bootmenu::run },
    Family { command: crate::secure_boot::command, run: crate::secure_boot::run },
    Family { command: crate::status::command, run: crate::status::run },
    crate::service::SERVICE,
    crate::logs::LOGS,
    crate::service::POWEROFF,
    crate::service::REBOOT,
    crate::service::SOFT_REBOOT,
    crate::service::KEXEC,
];

/// The Nix tool of that name, if Firn stands in for it.
pub(crate) fn nix_tool(name: &str) -> Option<NixTool> {
    match name {
        "nix-instantiate" => Some(crate::instantiate::nix_instantiate),
        "nix" => Some(crate::nix_command::nix),
        "nix-build" => Some(crate::nix_build::nix_build),
        "nix-collect-garbage" => Some(crate::nix_collect_garbage::nix_collect_garbage),
        "nix-env" => Some(crate::nix_env::nix_env),
        "nix-hash" => Some(crate::nix_hash::nix_hash),
        "nix-channel" => Some(crate::nix_channel::nix_channel),
        "nix-prefetch-url" => Some(crate::nix_command::prefetch::nix_prefetch_url),
        "nix-shell" => Some(crate::nix_shell::nix_shell),
        "nix-store" => Some(crate::nix_store::nix_store),
        "nix-copy-closure" => Some(crate::nix_command::copy::nix_copy_closure),
        "nix-daemon" => Some(crate::store::daemon::nix_daemon),
        _ => crate::fronts::of_name(name),
    }
}

/// Parses `firn …` and runs the family named.
pub(crate) fn run(arguments: impl Iterator<Item = OsString>) -> Result<ExitCode> {
    let mut command = Command::new("firn")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A whole machine from one declarative file, in generations that you can go back to")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .args(crate::settings::global_arguments());
    for family in FAMILIES {
        command = command.subcommand((family.command)());
    }
    let matches = command.try_get_matches_from(arguments)?;
    crate::settings::Settings::from_matches(&matches)?.install();
    let Some((name, matches)) = matches.subcommand() else {
        anyhow::bail!("no subcommand given; `firn --help` lists them");
    };
    match FAMILIES.iter().find(|family| (family.command)().get_name() == name) {
        Some(family) => (family.run)(matches),
        None => anyhow::bail!("`firn {name}` is not a command; `firn --help` lists them"),
    }
}
