//! `firn profile`: the generations of any profile, a user's own if none is named: list, set, switch, roll back, delete,
//! compare, pin and label. The links are Nix's (`nix-env --profile`, Nix manual, "Profiles").

use crate::family::Family;
use crate::generation::difference;
use crate::json;
use crate::machine::say;
use crate::store::{open, resolve};
use anyhow::{Context as _, Result, bail};
use clap::{Arg, ArgMatches, Command};
use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::UNIX_EPOCH;
use store::Store;
use store::profile::{Generation, Profile};

/// The family's row.
pub(crate) const FAMILY: Family = Family { command, run };

fn number(name: &'static str) -> Arg {
    Arg::new(name).value_name("N").value_parser(clap::value_parser!(u64))
}

/// The commands that `firn generation` has as well.
pub(crate) fn annotations() -> [Command; 3] {
    let generation = || number("number").required(true);
    [
        Command::new("pin").about("Keep a generation from being deleted").arg(generation()),
        Command::new("unpin").about("Let a generation be deleted again").arg(generation()),
        Command::new("label")
            .about("Give a generation a name")
            .arg(generation())
            .arg(Arg::new("text").value_name("TEXT").help("[default: none, takes the name away]")),
    ]
}

fn command() -> Command {
    Command::new("profile")
        .about("List, set, switch, compare and delete the generations of a profile")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .arg(
            Arg::new("profile")
                .short('p')
                .long("profile")
                .value_name("LINK")
                .global(true)
                .help("The profile [default: the one that ~/.nix-profile names]"),
        )
        .subcommand(Command::new("list").about("List its generations").arg(json::argument()))
        .subcommand(
            Command::new("set")
                .about("Make a store path the current generation")
                .arg(Arg::new("path").value_name("PATH").required(true)),
        )
        .subcommand(
            Command::new("switch")
                .about("Make a generation the current one")
                .arg(number("number").required(true)),
        )
        .subcommand(Command::new("rollback").about("Make the generation before the current one current"))
        .subcommand(
            Command::new("delete")
                .about("Delete generations: N …, or `old` for all but the current and the pinned ones")
                .arg(Arg::new("which").value_name("WHICH").required(true).num_args(1..)),
        )
        .subcommand(
            Command::new("diff")
                .about("Show what lies between two generations: packages with their versions")
                .arg(number("from").required(true))
                .arg(number("to").help("[default: the current one]"))
                .arg(json::argument()),
        )
        .subcommands(annotations())
}

fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let Some((name, matches)) = matches.subcommand() else { return Ok(ExitCode::SUCCESS) };
    let link = match matches.get_one::<String>("profile") {
        Some(link) => std::path::absolute(link)?,
        None => crate::nix_env::own_profile()?,
    };
    let profile = Profile::at(&link);
    match name {
        "list" => list(&profile, matches)?,
        "set" => {
            let store = open()?;
            let path = matches.get_one::<String>("path").context("which path?")?;
            let number = profile.set(&store, &resolve(&store, path)?)?;
            say(&format!("generation {number} is the current one"));
        }
        "switch" => {
            let number = *matches.get_one::<u64>("number").context("which generation?")?;
            profile.switch(number)?;
            say(&format!("generation {number} is the current one"));
        }
        "rollback" => say(&format!("generation {} is the current one", profile.rollback()?)),
        "delete" => delete(&profile, matches)?,
        "diff" => diff(&open()?, &profile, matches)?,
        change => annotate(&profile, change, matches)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Pins, unpins or labels a generation.
pub(crate) fn annotate(profile: &Profile, change: &str, matches: &ArgMatches) -> Result<()> {
    let number = *matches.get_one::<u64>("number").context("which generation?")?;
    match change {
        "label" => profile.set_label(number, matches.get_one::<String>("text").map(String::as_str))?,
        _ => profile.pin(number, change == "pin")?,
    }
    Ok(())
}

fn list(profile: &Profile, matches: &ArgMatches) -> Result<()> {
    let current = profile.current()?;
    let mut output = std::io::stdout().lock();
    let mut documents = Vec::new();
    for Generation { number, target, created, pinned, label, .. } in profile.generations()? {
        let created = created.duration_since(UNIX_EPOCH).map(|time| time.as_secs()).unwrap_or_default();
        let is_current = current == Some(number);
        if matches.get_flag("json") {
            documents.push(serde_json::json!({
                "number": number, "path": target, "created": created, "current": is_current, "pinned": pinned, "label": label,
            }));
            continue;
        }
        let marks = [(is_current, "current"), (pinned, "pinned")];
        let marks: Vec<&str> = marks.into_iter().filter_map(|(set, mark)| set.then_some(mark)).collect();
        let marks = if marks.is_empty() { String::new() } else { format!("  ({})", marks.join(", ")) };
        let label = label.map(|label| format!("  “{label}”")).unwrap_or_default();
        let date = difference::date_time(created);
        writeln!(output, "{number:>4}  {date}  {}{label}{marks}", target.display())?;
    }
    if matches.get_flag("json") {
        json::print(&documents)?;
    }
    Ok(())
}

fn delete(profile: &Profile, matches: &ArgMatches) -> Result<()> {
    let mut numbers = BTreeSet::new();
    let known: BTreeSet<u64> =
        profile.generations()?.into_iter().map(|generation| generation.number).collect();
    for which in matches.get_many::<String>("which").into_iter().flatten() {
        if which == "old" {
            numbers.extend(profile.old_generations(None)?);
            continue;
        }
        let number = which.parse().with_context(|| format!("`{which}` is no generation's number"))?;
        if !known.contains(&number) {
            bail!("profile `{}` has no generation {number}", profile.link().display());
        }
        numbers.insert(number);
    }
    let numbers: Vec<u64> = numbers.into_iter().collect();
    profile.delete(&numbers)?;
    if numbers.is_empty() {
        say("nothing to delete");
    } else {
        let names: Vec<String> = numbers.iter().map(u64::to_string).collect();
        say(&format!("deleted {}; `firn gc` frees what only they needed", names.join(", ")));
    }
    Ok(())
}

fn diff(store: &Store, profile: &Profile, matches: &ArgMatches) -> Result<()> {
    let generations = profile.generations()?;
    let closure = |number: u64| -> Result<BTreeSet<String>> {
        let found = generations.iter().find(|generation| generation.number == number);
        let generation = found.with_context(|| format!("there is no generation {number}"))?;
        let path = store.dir().parse(&Path::new(&generation.target).to_string_lossy())?;
        Ok(store.closure([path])?.iter().map(|path| path.base_name().to_owned()).collect())
    };
    let from = *matches.get_one::<u64>("from").context("which generation?")?;
    let to = match matches.get_one::<u64>("to") {
        Some(number) => *number,
        None => profile.current()?.context("there is no generation yet")?,
    };
    let packages = difference::packages(&closure(from)?, &closure(to)?);
    if matches.get_flag("json") {
        return json::print(&serde_json::json!({ "packages": packages }));
    }
    let mut output = std::io::stdout().lock();
    for line in packages {
        writeln!(output, "{line}")?;
    }
    Ok(())
}
