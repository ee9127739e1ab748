//! `firn generation`: lists, shows, compares and deletes the system's generations.

pub(crate) mod difference;

pub(crate) use difference::needs_reboot;

use crate::json;
use crate::machine::{Machine, say};
use crate::settings::Settings;
use anyhow::{Context as _, Result, bail};
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::UNIX_EPOCH;

/// The arguments.
pub(crate) fn command() -> Command {
    let number = |name: &'static str| Arg::new(name).value_name("N").value_parser(clap::value_parser!(u64));
    Command::new("generation")
        .about("List, show, compare and delete the system's generations")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(Command::new("list").about("List them").arg(json::argument()))
        .subcommand(
            Command::new("show")
                .about("Show one")
                .arg(number("number").help("[default: the current one]"))
                .arg(json::argument()),
        )
        .subcommand(
            Command::new("diff")
                .about("Show what lies between two: packages, services, users, files")
                .arg(number("from").required(true))
                .arg(number("to").help("[default: the current one]"))
                .arg(json::argument()),
        )
        .subcommands(crate::profile::annotations())
        .subcommand(
            Command::new("delete")
                .about(
                    "Delete generations: N …, +K to keep the newest K, or `old` for all but the current one",
                )
                .arg(Arg::new("which").value_name("WHICH").required(true).num_args(1..))
                .arg(
                    Arg::new("no-bootmenu")
                        .long("no-bootmenu")
                        .action(ArgAction::SetTrue)
                        .help("Leave the boot menu as it is"),
                ),
        )
}

/// Runs it.
pub(crate) fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let machine = Machine::of(Settings::current()?);
    match matches.subcommand() {
        Some(("show", matches)) => show(&machine, matches)?,
        Some(("diff", matches)) => diff(&machine, matches)?,
        Some(("delete", matches)) => delete(&machine, matches)?,
        Some((change @ ("pin" | "unpin" | "label"), matches)) => {
            crate::profile::annotate(&machine.profile(), change, matches)?;
        }
        Some((_, matches)) => list(&machine, matches)?,
        None => {}
    }
    Ok(ExitCode::SUCCESS)
}

fn list(machine: &Machine, matches: &ArgMatches) -> Result<()> {
    let current = machine.current_generation()?;
    let running = machine.running()?;
    let booted = std::fs::read_link(machine.place("/run/booted-system")).ok();
    let mut output = std::io::stdout().lock();
    let mut documents = Vec::new();
    for generation in machine.generations()? {
        let label = label(machine, &generation.target);
        let mut marks = Vec::new();
        if current == Some(generation.number) {
            marks.push("current");
        }
        if booted.as_ref() == Some(&generation.target) {
            marks.push("booted");
        }
        if running.as_ref() == Some(&generation.target) {
            marks.push("running");
        }
        let created =
            generation.created.duration_since(UNIX_EPOCH).map(|time| time.as_secs()).unwrap_or_default();
        if generation.pinned {
            marks.push("pinned");
        }
        let name = generation.label.as_ref().map(|name| format!("  “{name}”")).unwrap_or_default();
        if matches.get_flag("json") {
            documents.push(serde_json::json!({
                "number": generation.number, "toplevel": generation.target, "created": created, "label": label, "marks": marks,
                "name": generation.label,
            }));
        } else {
            let marks = if marks.is_empty() { String::new() } else { format!("  ({})", marks.join(", ")) };
            writeln!(
                output,
                "{:>4}  {}  {label}{name}{marks}",
                generation.number,
                difference::date_time(created)
            )?;
        }
    }
    if matches.get_flag("json") {
        json::print(&documents)?;
    }
    Ok(())
}

/// The label that the boot menu shows, or what is wrong.
fn label(machine: &Machine, toplevel: &Path) -> String {
    let place = machine.place(&toplevel.to_string_lossy()).join("boot.json");
    match std::fs::read(&place) {
        Ok(bytes) => match formats::bootspec::Bootspec::parse(&bytes) {
            Ok(document) => document.boot.label,
            Err(error) => format!("broken: {error}"),
        },
        Err(error) => format!("broken: {}: {error}", place.display()),
    }
}

fn show(machine: &Machine, matches: &ArgMatches) -> Result<()> {
    let number = match matches.get_one::<u64>("number") {
        Some(number) => *number,
        None => machine.current_generation()?.context("there is no generation yet")?,
    };
    let toplevel = machine.toplevel_of(number)?;
    let place = machine.place(&toplevel.to_string_lossy());
    let file = place.join("boot.json");
    let bytes = std::fs::read(&file).with_context(|| file.display().to_string())?;
    let boot = formats::bootspec::Bootspec::parse(&bytes)?;
    let closure = machine.closure(&toplevel)?;
    if matches.get_flag("json") {
        let document = serde_json::json!({
            "number": number, "toplevel": toplevel, "closure": closure.len(), "boot": serde_json::to_value(&boot)?,
        });
        return json::print(&document);
    }
    let mut output = std::io::stdout().lock();
    writeln!(output, "generation  {number}")?;
    writeln!(output, "toplevel    {}", toplevel.display())?;
    writeln!(output, "label       {}", boot.boot.label)?;
    writeln!(output, "kernel      {}", boot.boot.kernel)?;
    if let Some(initrd) = &boot.boot.initrd {
        writeln!(output, "initrd      {initrd}")?;
    }
    writeln!(output, "parameters  {}", boot.boot.kernel_params.join(" "))?;
    writeln!(output, "store paths {}", closure.len())?;
    for name in boot.specialisations.keys() {
        writeln!(output, "variant     {name}")?;
    }
    Ok(())
}

fn diff(machine: &Machine, matches: &ArgMatches) -> Result<()> {
    let from = *matches.get_one::<u64>("from").context("which generation?")?;
    let to = match matches.get_one::<u64>("to") {
        Some(number) => *number,
        None => machine.current_generation()?.context("there is no generation yet")?,
    };
    let difference = difference::between(machine, &machine.toplevel_of(from)?, &machine.toplevel_of(to)?)?;
    if matches.get_flag("json") {
        return json::print(&difference);
    }
    let mut output = std::io::stdout().lock();
    let lines = difference.lines();
    if lines.is_empty() {
        say(&format!("generations {from} and {to} are the same"));
    }
    for line in lines {
        writeln!(output, "{line}")?;
    }
    Ok(())
}

fn delete(machine: &Machine, matches: &ArgMatches) -> Result<()> {
    let generations = machine.generations()?;
    let current = machine.current_generation()?;
    let running = machine.running()?;
    let booted = std::fs::read_link(machine.place("/run/booted-system")).ok();
    let needed = |number: u64| {
        let target = generations
            .iter()
            .find(|generation| generation.number == number)
            .map(|generation| &generation.target);
        generations.iter().any(|generation| generation.number == number && generation.pinned)
            || current == Some(number)
            || (target.is_some() && (target == running.as_ref() || target == booted.as_ref()))
    };
    let mut numbers: Vec<u64> = Vec::new();
    for which in matches.get_many::<String>("which").into_iter().flatten() {
        let all = generations.iter().map(|generation| generation.number);
        if which == "old" {
            numbers.extend(all.filter(|number| !needed(*number)));
        } else if let Some(keep) = which.strip_prefix('+').and_then(|keep| keep.parse::<usize>().ok()) {
            // The newest K of those up to the current one, and the newer ones that a rollback left behind are not "newest".
            let kept: Vec<u64> = all
                .clone()
                .filter(|number| current.is_none_or(|current| *number <= current))
                .rev()
                .take(keep)
                .collect();
            numbers.extend(all.filter(|number| !kept.contains(number) && !needed(*number)));
        } else {
            let number: u64 =
                which.parse().with_context(|| format!("`{which}` is no generation's number"))?;
            if !all.into_iter().any(|known| known == number) {
                bail!("there is no generation {number}");
            }
            if needed(number) {
                bail!(
                    "generation {number} is the current, the running, the booted or a pinned one and stays"
                );
            }
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    numbers.dedup();
    if numbers.is_empty() {
        say("nothing to delete");
        return Ok(());
    }
    machine.delete_generations(&numbers)?;
    let names: Vec<String> = numbers.iter().map(u64::to_string).collect();
    say(&format!("deleted {}; `firn gc` frees what only they needed", names.join(", ")));
    if !matches.get_flag("no-bootmenu") {
        machine.update_menu(None, false)?;
    }
    Ok(())
}
