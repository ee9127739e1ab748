//! What a test does inside the guest, through the agent: commands, files, waits. All of them wait for the agent first.

mod files;

use std::time::Instant;

use super::Machine;
use crate::error::{Error, Result};
use crate::guest::{Lost, Pending};
use crate::protocol::message::CHUNK;
use crate::protocol::{Reply, Request};

pub use files::Mount;

/// A command to be run in the guest.
#[derive(Debug, Clone, Default)]
pub struct Command {
    argv: Vec<Vec<u8>>,
    env: Vec<(Vec<u8>, Vec<u8>)>,
    clear_env: bool,
    cwd: Vec<u8>,
    stdin: Option<Vec<u8>>,
}

/// How a command ended, and what it said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its exit code, when it exited.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Whether it exited with 0.
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }

    /// Standard output as text.
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

impl Command {
    /// A command of these words; the first is looked for in the guest's PATH.
    pub fn new<W: AsRef<[u8]>>(words: impl IntoIterator<Item = W>) -> Self {
        Self { argv: words.into_iter().map(|word| word.as_ref().to_vec()).collect(), ..Self::default() }
    }

    /// A line for the guest's `sh`.
    pub fn shell(line: &str) -> Self {
        Self::new(["sh", "-c", line])
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.env.push((name.as_ref().to_vec(), value.as_ref().to_vec()));
        self
    }

    /// Starts from an empty environment instead of the agent's.
    #[must_use]
    pub fn clear_env(self) -> Self {
        Self { clear_env: true, ..self }
    }

    /// Runs in this directory.
    #[must_use]
    pub fn directory(self, path: impl AsRef<[u8]>) -> Self {
        Self { cwd: path.as_ref().to_vec(), ..self }
    }

    /// Gets this as standard input, otherwise nothing.
    #[must_use]
    pub fn stdin(self, bytes: impl Into<Vec<u8>>) -> Self {
        Self { stdin: Some(bytes.into()), ..self }
    }

    fn describe(&self) -> String {
        let words: Vec<_> = self.argv.iter().map(|word| String::from_utf8_lossy(word)).collect();
        words.join(" ")
    }
}

/// A command that runs. Dropping it kills the command.
#[derive(Debug)]
pub struct Running<'a> {
    machine: &'a Machine,
    pending: Pending,
    description: String,
    output: Output,
    over: bool,
}

impl Machine {
    /// Starts a command and does not wait for it.
    pub fn spawn(&self, command: Command) -> Result<Running<'_>> {
        let description = command.describe();
        let Command { argv, env, clear_env, cwd, stdin } = command;
        let request = Request::Run { argv, env, clear_env, cwd, stdin: stdin.is_some() };
        let pending = self.ask(&description, &request)?;
        if let Some(bytes) = stdin {
            self.send_data(&description, &pending, &bytes)?;
        }
        let output = Output { code: None, signal: None, stdout: Vec::new(), stderr: Vec::new() };
        Ok(Running { machine: self, pending, description, output, over: false })
    }

    /// Runs a command to its end, whatever that is.
    pub fn run(&self, command: Command) -> Result<Output> {
        self.spawn(command)?.wait()
    }

    /// Runs a line in the guest's shell, which must succeed; its standard output.
    pub fn succeed(&self, line: &str) -> Result<String> {
        let output = self.run(Command::shell(line))?;
        if output.success() { Ok(output.stdout_text()) } else { Err(self.unexpected(line, &output)) }
    }

    /// Runs a line in the guest's shell, which must not succeed; all of its output.
    pub fn fail(&self, line: &str) -> Result<Output> {
        let output = self.run(Command::shell(line))?;
        if output.success() { Err(self.unexpected(line, &output)) } else { Ok(output) }
    }

    /// The error for an output that was not what the test wanted.
    pub fn unexpected(&self, command: &str, output: &Output) -> Error {
        let outcome = match (output.code, output.signal) {
            (Some(0), _) => "succeeded, but should have failed".to_owned(),
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("killed by signal {signal}"),
            (None, None) => "ended in an unknown way".to_owned(),
        };
        Error::Command {
            machine: self.name().to_owned(),
            command: command.to_owned(),
            outcome,
            stdout: with_newline(output.stdout_text()),
            stderr: with_newline(output.stderr_text()),
        }
    }

    /// Asks the agent, once it is there.
    pub(super) fn ask(&self, description: &str, request: &Request) -> Result<Pending> {
        self.wait_for_agent()?;
        let (guest, _) = self.guest(description)?;
        guest.ask(request).map_err(|lost| self.lost(lost, description))
    }

    fn send_data(&self, description: &str, pending: &Pending, bytes: &[u8]) -> Result<()> {
        let pieces = bytes.chunks(CHUNK).map(|piece| Request::Data(piece.to_vec()));
        for message in pieces.chain([Request::End]) {
            pending.say(&message).map_err(|lost| self.lost(lost, description))?;
        }
        Ok(())
    }

    /// The final reply to a request; pieces of data go to `data`.
    fn answer(&self, description: &str, pending: &mut Pending, data: &mut Vec<u8>) -> Result<Reply> {
        let end = Instant::now() + self.limit();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match pending.next(left).map_err(|lost| self.lost(lost, description))? {
                Reply::Data(bytes) => data.extend(bytes),
                Reply::Failed { errno, message } => {
                    let (machine, request) = (self.name().to_owned(), description.to_owned());
                    return Err(Error::Agent { machine, request, errno, message });
                }
                reply => return Ok(reply),
            }
        }
    }

    /// A request whose answer is only that it is done.
    pub(super) fn finish(&self, description: &str, request: &Request) -> Result<()> {
        let mut pending = self.ask(description, request)?;
        self.answer(description, &mut pending, &mut Vec::new()).map(drop)
    }

    pub(super) fn ask_without_answer(&self, request: &Request) -> Result<()> {
        self.ask("reboot", request).map(drop)
    }
}

impl Running<'_> {
    /// Waits for its end.
    pub fn wait(mut self) -> Result<Output> {
        let end = Instant::now() + self.machine.limit();
        while !self.over {
            self.step(end)?;
        }
        Ok(self.output.clone())
    }

    /// Waits until its standard output contains this; all of the output so far.
    pub fn wait_for_stdout(&mut self, text: &str) -> Result<String> {
        let end = Instant::now() + self.machine.limit();
        while !self.output.stdout_text().contains(text) {
            if self.over {
                return Err(self.machine.unexpected(&self.description, &self.output));
            }
            self.step(end)?;
        }
        Ok(self.output.stdout_text())
    }

    /// Sends a signal to its process group.
    pub fn signal(&self, number: i32) -> Result<()> {
        self.pending.say(&Request::Signal(number)).map_err(|lost| self.machine.lost(lost, &self.description))
    }

    fn step(&mut self, end: Instant) -> Result<()> {
        let left = end.saturating_duration_since(Instant::now());
        match self.pending.next(left) {
            Ok(Reply::Stdout(bytes)) => self.output.stdout.extend(bytes),
            Ok(Reply::Stderr(bytes)) => self.output.stderr.extend(bytes),
            Ok(Reply::Exit { code, signal }) => {
                (self.output.code, self.output.signal) = (code, signal);
                self.over = true;
            }
            Ok(Reply::Failed { errno, message }) => {
                let (machine, request) = (self.machine.name().to_owned(), self.description.clone());
                return Err(Error::Agent { machine, request, errno, message });
            }
            Ok(_) => {}
            Err(Lost::Timeout) => {
                let so_far = String::from_utf8_lossy(&self.output.stdout);
                let errors = String::from_utf8_lossy(&self.output.stderr);
                let what =
                    format!("the end of {:?} (so far it said {so_far:?}, {errors:?})", self.description);
                return Err(self.machine.lost(Lost::Timeout, &what));
            }
            Err(lost) => return Err(self.machine.lost(lost, &self.description)),
        }
        Ok(())
    }
}

fn with_newline(mut text: String) -> String {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text
}
