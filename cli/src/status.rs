//! `firn status`: which generation runs, which was booted, which boots next; whether a reboot is due; how the last switch
//! went and whether one waits to be confirmed; which units have failed.

use crate::json;
use crate::machine::Machine;
use crate::settings::Settings;
use anyhow::Result;
use clap::{ArgMatches, Command};
use formats::control::{ActiveState, Message as _, Reply, Request, SOCKET};
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// The arguments.
pub(crate) fn command() -> Command {
    Command::new("status")
        .about("Show what runs, what boots next, and how the last switch went")
        .arg(json::argument())
}

#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    running: Option<PathBuf>,
    running_generation: Option<u64>,
    booted: Option<PathBuf>,
    booted_generation: Option<u64>,
    default_generation: Option<u64>,
    needs_reboot: Vec<String>,
    tries_left: Option<u32>,
    unconfirmed: Option<u64>,
    last_switch: Option<activate::switch::journal::Record>,
    failed_units: Option<Vec<String>>,
}

/// Runs it.
pub(crate) fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let machine = Machine::of(Settings::current()?);
    let status = Status::read(&machine)?;
    if matches.get_flag("json") {
        json::print(&status)?;
    } else {
        let mut output = std::io::stdout().lock();
        for line in status.lines() {
            writeln!(output, "{line}")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Status {
    fn read(machine: &Machine) -> Result<Self> {
        let generations = machine.generations()?;
        let number = |toplevel: Option<&PathBuf>| {
            let found = generations.iter().rfind(|generation| Some(&generation.target) == toplevel);
            found.map(|generation| generation.number)
        };
        let running = machine.running()?;
        let booted = std::fs::read_link(machine.place("/run/booted-system")).ok();
        let needs_reboot = match (&booted, &running) {
            (Some(booted), Some(running)) => crate::generation::needs_reboot(machine, booted, running),
            _ => Vec::new(),
        };
        let root = activate::root::Root::new(machine.root());
        Ok(Self {
            running_generation: number(running.as_ref()),
            booted_generation: number(booted.as_ref()),
            default_generation: machine.current_generation()?,
            tries_left: booted.as_ref().and_then(|booted| tries_left(machine, booted)),
            running,
            booted,
            needs_reboot,
            unconfirmed: crate::machine::unconfirmed(machine)?,
            last_switch: activate::switch::journal::last(&root)?,
            failed_units: failed_units(machine),
        })
    }

    fn lines(&self) -> Vec<String> {
        let named = |number: Option<u64>, path: &Option<PathBuf>| {
            let path = path.as_ref().map_or_else(|| "nothing".to_owned(), |path| path.display().to_string());
            number.map_or(path.clone(), |number| format!("generation {number}  {path}"))
        };
        let mut lines = vec![
            format!("running    {}", named(self.running_generation, &self.running)),
            format!("booted     {}", named(self.booted_generation, &self.booted)),
        ];
        if let Some(number) = self.default_generation {
            lines.push(format!("boots next generation {number}"));
        }
        if !self.needs_reboot.is_empty() {
            lines.push(format!("reboot     needed for: {}", self.needs_reboot.join(", ")));
        }
        if let Some(left) = self.tries_left {
            lines.push(format!("on trial   {left} tries left; `firn bootmenu --good` ends the trial"));
        }
        if let Some(number) = self.unconfirmed {
            lines.push(format!("waiting    generation {number} goes back unless `firn confirm` is run"));
        }
        if let Some(record) = &self.last_switch {
            lines.push(format!("switch     {}", record.sentence()));
        }
        match &self.failed_units {
            Some(units) if !units.is_empty() => lines.push(format!("failed     {}", units.join(" "))),
            Some(_) => lines.push("services   all well".to_owned()),
            None => {}
        }
        lines
    }
}

fn tries_left(machine: &Machine, booted: &std::path::Path) -> Option<u32> {
    let token = std::fs::read_to_string(machine.place(bootgen::menu_update::TOKEN_FILE)).ok()?;
    let partitions = crate::bootmenu::partitions_of(machine, &crate::bootmenu::booted_loader(machine).ok()?);
    let toplevel = booted.to_string_lossy();
    partitions
        .iter()
        .filter_map(|partition| bootgen::bless::tries_left(partition, token.trim(), &toplevel).ok()?)
        .min()
}

/// Units that failed; nothing when no supervisor answers.
fn failed_units(machine: &Machine) -> Option<Vec<String>> {
    let mut stream = UnixStream::connect(machine.place(SOCKET)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    Request::List.send(&mut stream).ok()?;
    match Reply::receive(&mut stream).ok()?? {
        Reply::Units(units) => Some(
            units
                .into_iter()
                .filter(|unit| unit.active == ActiveState::Failed)
                .map(|unit| unit.name)
                .collect(),
        ),
        _ => None,
    }
}
