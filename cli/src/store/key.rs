//! `firn key`: makes the keys with which caches sign, and signs paths of the store. The files are Nix's (`nix key`,
//! `nix-store --generate-binary-cache-key`).

use super::{given_paths, open, paths_argument};
use crate::family::Family;
use anyhow::{Context as _, Result};
use clap::{Arg, ArgMatches, Command};
use formats::signature::SecretKey;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

/// The family's row.
pub(crate) const FAMILY: Family = Family { command, run };

fn command() -> Command {
    Command::new("key")
        .about("Make signing keys, sign paths")
        .subcommand_required(true)
        .subcommand(
            Command::new("generate-secret").about("Write a new secret key to standard output").arg(
                Arg::new("key-name")
                    .long("key-name")
                    .value_name("NAME")
                    .required(true)
                    .help("Its name, such as cache.example.org-1: signatures carry it"),
            ),
        )
        .subcommand(
            Command::new("convert-secret-to-public")
                .about("Read a secret key from standard input, write its public key to standard output"),
        )
        .subcommand(sign_command())
}

/// The arguments of `firn key sign` and `firn store sign`.
pub(super) fn sign_command() -> Command {
    Command::new("sign")
        .about("Sign paths")
        .arg(
            Arg::new("key-file")
                .long("key-file")
                .short('k')
                .value_name("FILE")
                .required(true)
                .help("The secret key's file"),
        )
        .arg(
            Arg::new("recursive")
                .long("recursive")
                .short('r')
                .action(clap::ArgAction::SetTrue)
                .help("Also everything that they need"),
        )
        .arg(paths_argument(true))
}

fn run(matches: &ArgMatches) -> Result<ExitCode> {
    match matches.subcommand() {
        Some(("generate-secret", matches)) => {
            let name = matches.get_one::<String>("key-name").map(String::as_str).unwrap_or_default();
            write!(std::io::stdout(), "{}", store::trust::generate_key(name)?.reveal())?;
            Ok(ExitCode::SUCCESS)
        }
        Some(("sign", matches)) => sign(matches),
        _ => {
            let mut text = String::new();
            std::io::stdin().lock().take(4096).read_to_string(&mut text).context("reading the secret key")?;
            let key: SecretKey = text.parse()?;
            write!(std::io::stdout(), "{}", key.public())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Signs paths: `firn key sign` and `firn store sign`.
pub(super) fn sign(matches: &ArgMatches) -> Result<ExitCode> {
    let file = matches.get_one::<String>("key-file").map(String::as_str).unwrap_or_default();
    let key = store::trust::read_secret_key(Path::new(file))?;
    let store = open()?;
    let mut paths = given_paths(&store, matches)?;
    if matches.get_flag("recursive") {
        paths = store.closure(paths)?.into_iter().collect();
    }
    for path in &paths {
        store.sign_path(path, &key)?;
    }
    writeln!(std::io::stderr(), "{} paths signed with {}", paths.len(), key.name())?;
    Ok(ExitCode::SUCCESS)
}
