//! `firn-tools COMMAND`: the builder of every derivation that `os/` makes. It reads the derivation's attributes from
//! `$NIX_ATTRS_JSON_FILE` (structured attributes) and writes the derivation's output.
//!
//! A command is a module of the library and a row in [`COMMANDS`].

use std::io::Write as _;
use std::process::ExitCode;
use tools::derivation::Derivation;

/// What a derivation can ask for in its `args`.
struct Command {
    /// The word in `args`.
    name: &'static str,
    /// One line for `firn-tools --help`.
    about: &'static str,
    /// Does it.
    run: fn(&Derivation) -> anyhow::Result<()>,
}

/// All commands, in the order in which the help shows them.
const COMMANDS: &[Command] = &[
    Command { name: "link-farm", about: "make a directory of named links", run: tools::link_farm::run },
    Command {
        name: "build-env",
        about: "merge store paths into one tree of links",
        run: tools::build_env::run,
    },
    Command { name: "run-script", about: "run a script in the channel's shell", run: tools::run_script::run },
    Command { name: "etc-tree", about: "make the links of /etc", run: tools::etc_tree::run },
    Command { name: "toplevel", about: "put a system together", run: tools::toplevel::run },
    Command {
        name: "unpack-deb",
        about: "unpack Debian packages and make them live in the store",
        run: tools::unpack_deb::run,
    },
    Command {
        name: "write-file",
        about: "write a text to the output, or to a file below it",
        run: tools::write_file::run,
    },
    Command {
        name: "grub-core",
        about: "make GRUB's core image for BIOS or UEFI",
        run: tools::grub_core::run,
    },
    Command { name: "initrd", about: "write an initial root", run: tools::initrd::run },
    Command {
        name: "service-graph",
        about: "compile units to the service graph",
        run: tools::service_graph::run,
    },
    Command {
        name: "kernel-modules",
        about: "gather kernel modules and write the indexes that modprobe reads",
        run: tools::kernel_modules::run,
    },
];

/// Finds the command, reads the attributes, runs, and says in one sentence what went wrong.
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let name = match arguments.as_slice() {
        [name] if name != "--help" && name != "help" => name.as_str(),
        _ => return help(),
    };
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        say(&format!("firn-tools: there is no command `{name}`; `firn-tools --help` lists them"));
        return ExitCode::from(2);
    };
    let derivation = match Derivation::from_environment() {
        Ok(derivation) => derivation,
        Err(error) => {
            say(&format!("firn-tools {name}: {error:#}"));
            return ExitCode::FAILURE;
        }
    };
    match (command.run)(&derivation) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("{}: {name}: {error:#}", derivation.name()));
            ExitCode::FAILURE
        }
    }
}

/// Lists the commands.
fn help() -> ExitCode {
    let mut lines = vec![
        "firn-tools COMMAND: the builder of Firn's derivations (reads $NIX_ATTRS_JSON_FILE)\n".to_owned(),
    ];
    lines.extend(COMMANDS.iter().map(|command| format!("  {:<16} {}", command.name, command.about)));
    say(&lines.join("\n"));
    ExitCode::SUCCESS
}

/// A line to the build log. When nobody reads it there is nobody to tell.
fn say(line: &str) {
    if writeln!(std::io::stderr(), "{line}").is_err() {
        std::process::abort();
    }
}
