//! `nix SUBCOMMAND`: the newer command line of Nix, as far as Firn has an answer.
//! nix3-build(1) and its sisters.

mod build;
mod closures;
pub(crate) mod copy;
mod develop;
mod flake;
mod hash;
mod info;
mod listing;
mod objects;
mod path_info;
pub(crate) mod prefetch;
mod profile;
mod registry;
mod repl;
mod run;
mod search;
mod settings;
mod why_depends;

use crate::nix_front::{Arguments, Front, print_version};
use anyhow::{Result, bail};
use std::ffi::OsString;
use std::process::ExitCode;

/// One subcommand.
type Subcommand = fn(&mut Front, &mut Arguments) -> Result<ExitCode>;

/// Subcommands by their words.
const SUBCOMMANDS: &[(&[&str], Subcommand)] = &[
    (&["build"], build::build),
    (&["eval"], build::eval),
    (&["develop"], develop::develop),
    (&["repl"], repl::repl),
    (&["print-dev-env"], develop::print),
    (&["log"], info::log),
    (&["path-info"], path_info::path_info),
    (&["doctor"], info::doctor),
    (&["search"], search::search),
    (&["shell"], run::shell),
    (&["run"], run::run),
    (&["fmt"], run::format),
    (&["formatter", "run"], run::format),
    (&["describe-stores"], settings::describe_stores),
    (&["flake", "archive"], flake::archive),
    (&["flake", "check"], flake::check),
    (&["flake", "clone"], flake::clone),
    (&["flake", "info"], flake::info),
    (&["flake", "init"], flake::init),
    (&["flake", "lock"], flake::lock),
    (&["flake", "metadata"], flake::metadata),
    (&["flake", "new"], flake::new),
    (&["flake", "prefetch"], flake::prefetch),
    (&["flake", "show"], flake::show),
    (&["flake", "update"], flake::update),
    (&["registry", "add"], registry::add),
    (&["registry", "list"], registry::list),
    (&["registry", "pin"], registry::pin),
    (&["registry", "remove"], registry::remove),
    (&["profile", "list"], profile::list),
    (&["profile", "install"], profile::install),
    (&["profile", "add"], profile::install),
    (&["profile", "remove"], profile::remove),
    (&["profile", "upgrade"], profile::upgrade),
    (&["profile", "history"], profile::history),
    (&["profile", "rollback"], profile::rollback),
    (&["profile", "wipe-history"], profile::wipe_history),
    (&["realisation", "info"], info::realisation_info),
    (&["store", "copy-log"], info::copy_log),
    (&["why-depends"], why_depends::why_depends),
    (&["show-derivation"], info::show_derivation),
    (&["derivation", "show"], info::show_derivation),
    (&["show-config"], settings::show),
    (&["config", "show"], settings::show),
    (&["hash", "file"], hash::file),
    (&["hash", "path"], hash::path),
    (&["hash-file"], hash::file),
    (&["hash-path"], hash::path),
    (&["hash", "to-base16"], hash::to_base16),
    (&["hash", "to-base32"], hash::to_base32),
    (&["hash", "to-base64"], hash::to_base64),
    (&["hash", "to-sri"], hash::to_sri),
    (&["hash", "convert"], hash::convert),
    (&["store", "add"], objects::add),
    (&["store", "add-path"], objects::add_path),
    (&["store", "add-file"], objects::add_file),
    (&["store", "delete"], objects::delete),
    (&["store", "gc"], objects::collect),
    (&["store", "optimise"], objects::optimise),
    (&["store", "ping"], objects::ping),
    (&["store", "info"], objects::ping),
    (&["store", "path-from-hash-part"], objects::path_from_hash_part),
    (&["store", "dump-path"], objects::dump_path),
    (&["store", "cat"], objects::cat),
    (&["store", "verify"], objects::verify),
    (&["store", "diff-closures"], closures::diff),
    (&["store", "prefetch-file"], prefetch::prefetch_file),
    (&["config", "check"], info::doctor),
    (&["store", "sign"], objects::sign),
    (&["copy"], copy::copy),
    (&["store", "ls"], listing::store_ls),
    (&["store", "repair"], objects::repair),
    (&["nar", "ls"], listing::nar_ls),
    (&["nar", "cat"], listing::nar_cat),
    (&["nar", "dump-path"], objects::dump_path),
    (&["nar", "pack"], objects::dump_path),
];

/// Words that make a subcommand together with the next.
const GROUPS: [&str; 11] = [
    "flake",
    "formatter",
    "profile",
    "registry",
    "hash",
    "store",
    "derivation",
    "config",
    "nar",
    "key",
    "realisation",
];

/// `nix …`.
pub(crate) fn nix(arguments: &[OsString]) -> Result<ExitCode> {
    let mut rest = Arguments::new(arguments);
    let mut front = Front::new();
    front.verbosity = 0;
    if std::io::IsTerminal::is_terminal(&std::io::stderr()) {
        front.log_format = crate::progress::LogFormat::Bar;
    }
    let mut words: Vec<String> = Vec::new();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--version" if words.is_empty() => {
                print_version("nix")?;
                return Ok(ExitCode::SUCCESS);
            }
            _ if front.take(&argument, &mut rest)? => continue,
            flag if flag.starts_with('-') => bail!("unrecognised flag '{flag}'"),
            _ => words.push(argument),
        }
        let is_group = words.len() == 1 && words.first().is_some_and(|word| GROUPS.contains(&word.as_str()));
        if !is_group {
            break;
        }
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if words == ["daemon"] {
        let arguments: Vec<OsString> = rest.rest().into_iter().map(Into::into).collect();
        return crate::store::daemon::nix_daemon(&arguments);
    }
    if let Some((_, run)) = SUBCOMMANDS.iter().find(|(names, _)| *names == words) {
        return run(&mut front, &mut rest);
    }
    // What Firn has under the same name.
    if words.first() == Some(&"key") {
        return crate::family::run([OsString::from("firn")].into_iter().chain(arguments.iter().cloned()));
    }
    match words.as_slice() {
        [] => bail!("no subcommand specified; `firn --help` shows Firn's own commands"),
        words => bail!("'{}' is not a subcommand of `nix` that Firn has", words.join(" ")),
    }
}
