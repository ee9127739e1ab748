//! `firn hash`: hashes of files and trees, and their forms.

use crate::family::Family;
use crate::json;
use anyhow::{Context as _, Result};
use clap::{Arg, ArgMatches, Command};
use formats::hash::{Algorithm, Hash};
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

/// The family's row.
pub(crate) const FAMILY: Family = Family { command, run };

fn command() -> Command {
    let algorithm = || {
        Arg::new("algorithm")
            .long("type")
            .value_name("ALGORITHM")
            .default_value("sha256")
            .help("md5, sha1, sha256, sha512")
    };
    let form = || {
        Arg::new("form")
            .long("to")
            .value_name("FORM")
            .default_value("sri")
            .value_parser(["sri", "base16", "base32", "nix32", "base64"])
            .help("How to write it")
    };
    let paths = || Arg::new("paths").value_name("PATH").num_args(1..).required(true);
    Command::new("hash")
        .about("Hash files and trees, convert hashes")
        .subcommand_required(true)
        .subcommand(Command::new("file").about("The contents of files").args([
            algorithm(),
            form(),
            paths(),
            json::argument(),
        ]))
        .subcommand(Command::new("path").about("Files or trees as NAR").args([
            algorithm(),
            form(),
            paths(),
            json::argument(),
        ]))
        .subcommand(
            Command::new("convert")
                .about("Another form of hashes")
                .args([algorithm(), form(), json::argument()])
                .arg(
                    Arg::new("hashes")
                        .value_name("HASH")
                        .num_args(1..)
                        .required(true)
                        .help("In any form; with a bare one, --type says what it is"),
                ),
        )
}

fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let Some((command, matches)) = matches.subcommand() else { return Ok(ExitCode::from(2)) };
    let text = |name: &str| matches.get_one::<String>(name).map(String::as_str).unwrap_or_default();
    let algorithm: Algorithm = text("algorithm").parse()?;
    let mut out = std::io::stdout().lock();
    let mut values = Vec::new();
    let list = if command == "convert" { "hashes" } else { "paths" };
    for item in matches.get_many::<String>(list).into_iter().flatten() {
        let hash = match command {
            "file" => store::tree::hash_file(Path::new(item), algorithm)?,
            "path" => store::tree::hash_tree(Path::new(item), algorithm)?.0,
            _ => Hash::parse(item)
                .or_else(|_| Hash::parse_as(item, algorithm))
                .with_context(|| format!("`{item}`"))?,
        };
        let shown = match text("form") {
            "base16" => hash.digits16(),
            "base32" | "nix32" => hash.digits32(),
            "base64" => hash.digits64(),
            _ => hash.sri(),
        };
        if matches.get_flag("json") {
            let of = if command == "convert" { "given" } else { "path" };
            values.push(serde_json::json!({ of: item, "hash": shown }));
        } else {
            writeln!(out, "{shown}")?;
        }
    }
    drop(out);
    if matches.get_flag("json") {
        json::print(&values)?;
    }
    Ok(ExitCode::SUCCESS)
}
