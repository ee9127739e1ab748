//! `firn switch --confirm TIME`: a switch that goes back by itself unless `firn confirm` is run in time. A process that
//! belongs to no terminal waits; what it waits for is a file, so that it does not matter who confirms or from where.

use super::{Machine, failure, say};
use crate::settings::Settings;
use anyhow::{Context as _, Result, bail};
use clap::{Arg, ArgMatches, Command};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

/// Present while a switch waits to be confirmed.
const PENDING: &str = "/run/firn/unconfirmed.json";

/// A switch that waits.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Pending {
    /// The new generation.
    pub(crate) number: u64,
    /// The one to go back to.
    pub(crate) before: Option<u64>,
    /// What ran before.
    pub(crate) previous: Option<PathBuf>,
    /// Seconds given.
    pub(crate) seconds: u64,
}

/// The arguments of `firn confirm`.
pub(super) fn command() -> Command {
    Command::new("confirm")
        .about("Keep what `firn switch --confirm` switched to, and make it the boot default")
        .arg(Arg::new("watch").long("watch").hide(true).num_args(0))
}

/// Runs `firn confirm`.
pub(super) fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let machine = Machine::of(Settings::current()?);
    let Some(pending) = pending(&machine)? else {
        bail!("no switch waits to be confirmed (it may have gone back already: see `firn status`)");
    };
    if matches.get_flag("watch") {
        return watch(&machine, &pending);
    }
    // The file's removal is the confirmation: who removes it first, decides.
    std::fs::remove_file(machine.place(PENDING)).context("the switch has gone back already")?;
    machine.update_menu(Some(pending.number), false)?;
    say(&format!("generation {} stays, and boots next", pending.number));
    Ok(ExitCode::SUCCESS)
}

/// The switch that waits, if any.
pub(crate) fn pending(machine: &Machine) -> Result<Option<Pending>> {
    let place = machine.place(PENDING);
    match std::fs::read(&place) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes).with_context(|| place.display().to_string())?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| place.display().to_string()),
    }
}

/// Starts the process that goes back.
pub(super) fn await_in_background(
    machine: &Machine,
    time: Duration,
    number: u64,
    before: Option<u64>,
    previous: Option<&Path>,
) -> Result<()> {
    use std::os::unix::process::CommandExt as _;
    let pending =
        Pending { number, before, previous: previous.map(Path::to_path_buf), seconds: time.as_secs().max(1) };
    let place = machine.place(PENDING);
    if let Some(parent) = place.parent() {
        std::fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
    }
    let temporary = place.with_extension("new");
    std::fs::write(&temporary, serde_json::to_vec(&pending)?)
        .with_context(|| temporary.display().to_string())?;
    std::fs::rename(&temporary, &place).with_context(|| place.display().to_string())?;
    let program = std::env::current_exe().context("cannot tell where the firn program is")?;
    let child = std::process::Command::new(program)
        .arg("--store")
        .arg(machine.root())
        .args(["confirm", "--watch"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn();
    child.map(drop).context("cannot start the process that would go back")
}

fn watch(machine: &Machine, pending: &Pending) -> Result<ExitCode> {
    let end = Instant::now() + Duration::from_secs(pending.seconds);
    while Instant::now() < end {
        if !machine.place(PENDING).exists() {
            return Ok(ExitCode::SUCCESS);
        }
        std::thread::sleep(Duration::from_millis(200).min(end.saturating_duration_since(Instant::now())));
    }
    match std::fs::remove_file(machine.place(PENDING)) {
        Ok(()) => {}
        // Confirmed at the last moment.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(ExitCode::SUCCESS),
        Err(error) => return Err(error).context(PENDING),
    }
    let Some(previous) = &pending.previous else { bail!("there is nothing to go back to") };
    let code = machine.activate(previous, "switch", true)?;
    machine.restore_profile(pending.before, pending.number)?;
    if code == 0 { Ok(ExitCode::SUCCESS) } else { Err(failure(code, "going back had failures".to_owned())) }
}

/// `60s`, `2min`, `90`.
pub(super) fn parse_time(text: &str) -> Result<Duration> {
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 =
        number.parse().with_context(|| format!("--confirm {text}: a number of seconds is expected"))?;
    let seconds = match unit {
        "" | "s" | "sec" => number,
        "m" | "min" => number.saturating_mul(60),
        "h" => number.saturating_mul(3600),
        other => bail!("--confirm {text}: `{other}` is no unit; use s, min or h"),
    };
    Ok(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, seconds) in [
            ("60s", Some(60)),
            ("2min", Some(120)),
            ("90", Some(90)),
            ("1h", Some(3600)),
            ("x", None),
            ("5d", None),
        ] {
            assert_eq!(parse_time(text).ok().map(|time| time.as_secs()), seconds, "{text}");
        }
    }
}
