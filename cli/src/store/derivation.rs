//! `firn derivation show`: derivations as JSON, as `nix derivation show` prints them.

use super::{given_paths, open, paths_argument};
use crate::family::Family;
use anyhow::Result;
use clap::{Arg, ArgAction, ArgMatches, Command};
use formats::derivation::Output;
use formats::store_path::StorePath;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::ExitCode;
use store::Store;

/// The family's row.
pub(crate) const FAMILY: Family = Family { command, run };

fn command() -> Command {
    Command::new("derivation")
        .about("Show what derivations say")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("show")
                .about("Print derivations, or those that outputs were built from, as JSON")
                .arg(paths_argument(true))
                .arg(
                    Arg::new("recursive")
                        .short('r')
                        .long("recursive")
                        .action(ArgAction::SetTrue)
                        .help("Print all that they need, too"),
                ),
        )
}

fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let Some((_, matches)) = matches.subcommand() else { return Ok(ExitCode::SUCCESS) };
    let store = open()?;
    let mut derivations = BTreeSet::new();
    for path in given_paths(&store, matches)? {
        if path.is_derivation() {
            derivations.insert(path);
            continue;
        }
        match store.path_info(&path)?.deriver {
            Some(deriver) => derivations.insert(deriver),
            None => anyhow::bail!("nobody knows which derivation built {}", store.dir().print(&path)),
        };
    }
    if matches.get_flag("recursive") {
        derivations = store.closure(derivations)?.into_iter().filter(StorePath::is_derivation).collect();
    }
    writeln!(std::io::stdout(), "{:#}", as_json(&store, derivations)?)?;
    Ok(ExitCode::SUCCESS)
}

/// Derivations by their paths.
pub(crate) fn as_json(store: &Store, derivations: BTreeSet<StorePath>) -> Result<Value> {
    let mut shown = Map::new();
    for path in derivations {
        let derivation = store.read_derivation(&path)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut outputs = Map::new();
        for (name, output) in &derivation.outputs {
            let path = derivation.output_path(store.dir(), name)?.map(|path| store.dir().print(&path));
            let value = match output {
                Output::Fixed(address) => json!({
                    "path": path,
                    "hashAlgo": format!("{}{}", address.method.prefix(), address.hash.algorithm()),
                    "hash": address.hash.digits16(),
                }),
                Output::Floating { method, algorithm } => {
                    json!({"hashAlgo": format!("{}{algorithm}", method.prefix())})
                }
                Output::Impure { method, algorithm } => {
                    json!({"hashAlgo": format!("{}{algorithm}", method.prefix()), "impure": true})
                }
                Output::InputAddressed(_) => json!({"path": path}),
                Output::Deferred => json!({}),
            };
            outputs.insert(name.clone(), value);
        }
        let inputs: Map<String, Value> = derivation
            .input_drvs
            .iter()
            .map(|(path, outputs)| {
                (store.dir().print(path), json!({ "outputs": outputs, "dynamicOutputs": {} }))
            })
            .collect();
        let sources: Vec<String> = derivation.input_srcs.iter().map(|path| store.dir().print(path)).collect();
        let env: BTreeMap<String, String> =
            derivation.env.iter().map(|(name, value)| (text(name), text(value))).collect();
        let value = json!({
            "name": derivation.name,
            "outputs": outputs,
            "inputSrcs": sources,
            "inputDrvs": inputs,
            "system": text(&derivation.platform),
            "builder": text(&derivation.builder),
            "args": derivation.args.iter().map(|argument| text(argument)).collect::<Vec<_>>(),
            "env": env,
        });
        shown.insert(store.dir().print(&path), value);
    }
    Ok(Value::Object(shown))
}
