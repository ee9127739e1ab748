//! `systemd-cat`: a command's output, or standard input, into the log, through the socket of stdout streams.

use super::options::{Line, Option_, with_value};
use anyhow::{Context as _, Result};
use std::ffi::OsString;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode, Stdio};

const OPTIONS: &[Option_] = &[
    with_value("identifier", 't'),
    with_value("priority", 'p'),
    with_value("stderr-priority", ' '),
    with_value("level-prefix", ' '),
];

/// Where streams are taken.
const SOCKET: &str = "/run/systemd/journal/stdout";

/// Runs it.
pub(super) fn run(arguments: &[OsString]) -> Result<ExitCode> {
    let line = Line::read("systemd-cat", OPTIONS, arguments, true)?;
    let (_, priority) = crate::logs::priorities(line.value("priority").unwrap_or("info"))?;
    let prefix = line.value("level-prefix").is_none_or(|word| matches!(word, "1" | "yes" | "true" | "on"));
    let name = line.words.first().and_then(|program| program.rsplit('/').next()).unwrap_or("cat");
    let identifier = line.value("identifier").unwrap_or(name);
    let mut output = connect(identifier, priority, prefix)?;
    let Some((program, rest)) = line.words.split_first() else {
        std::io::copy(&mut std::io::stdin().lock(), &mut output).context("cannot copy standard input")?;
        return Ok(ExitCode::SUCCESS);
    };
    let errors = match line.value("stderr-priority") {
        Some(word) => connect(identifier, crate::logs::priorities(word)?.1, prefix)?,
        None => output.try_clone()?,
    };
    let mut command = Command::new(program);
    command.args(rest).stdout(Stdio::from(OwnedFd::from(output))).stderr(Stdio::from(OwnedFd::from(errors)));
    Err(command.exec()).with_context(|| format!("cannot run {program}"))
}

/// A stream with its header: identifier, unit, priority, level prefix, forwarding.
fn connect(identifier: &str, priority: u8, prefix: bool) -> Result<UnixStream> {
    let mut stream = UnixStream::connect(SOCKET).with_context(|| {
        format!("cannot reach the log collector at {SOCKET}: is this machine run by Firn?")
    })?;
    let identifier = identifier.replace('\n', " ");
    write!(stream, "{identifier}\n\n{priority}\n{}\n0\n0\n0\n", u8::from(prefix))?;
    Ok(stream)
}
