//! Starting QEMU and connecting to it; waiting for the agent.

use std::fmt::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::arguments::{self, Sockets};
use super::{Machine, Running};
use crate::console::Console;
use crate::error::{ConsoleTail, Error, Result};
use crate::guest::{Guest, Lost};
use crate::host;
use crate::process::Process;
use crate::qmp::Qmp;

/// QEMU connects to all its sockets before the guest runs; this is for a busy host.
const CONNECT: Duration = Duration::from_secs(60);

impl Machine {
    /// Presses the button. Does nothing when the machine is running.
    pub fn start(&self) -> Result<()> {
        let mut slot = self.lock();
        if slot.as_ref().is_some_and(|running| running.process.pid().is_some()) {
            return Ok(());
        }
        // An ended QEMU's sockets go first.
        drop(slot.take());
        let program = host::program("qemu-system-x86_64", "qemu-system-x86")?;
        let sockets = Sockets::of(self.directory.path());
        let line = arguments::command_line(&self.description, self.accelerator, &self.forwards, &sockets)?;
        self.keep_command_line(&program, &line)?;
        let listeners = [listen(&sockets.console)?, listen(&sockets.qmp)?];
        let agent = if self.description.agent { Some(listen(&sockets.agent)?) } else { None };
        let process = Process::start(&program, line, &self.logs.join("qemu.log"))?;
        let [console, qmp] = &listeners;
        let console = Console::attach(self.accept(console, &process)?, &self.logs.join("console.log"))?;
        *self.last_console.lock().unwrap_or_else(PoisonError::into_inner) = Some(console);
        let qmp =
            Qmp::attach(self.accept(qmp, &process)?, CONNECT).map_err(|_| self.not_started(&process))?;
        let restored = self.description.incoming.is_some();
        let guest = match agent {
            Some(listener) => {
                let stream = self.accept(&listener, &process)?;
                Some(Guest::attach(stream).map_err(Error::file("cannot use", &sockets.agent))?)
            }
            None => None,
        };
        *slot = Some(Running { process, qmp, guest, hellos: 0, events: 0 });
        drop(slot);
        if restored { self.resume() } else { Ok(()) }
    }

    /// Waits until the agent in the guest answers, in the current boot.
    pub fn wait_for_agent(&self) -> Result<()> {
        let (guest, hellos) = self.guest("the agent")?;
        guest
            .wait_for_agent(hellos, self.limit())
            .map_err(|lost| self.lost(lost, "firn-agent to say hello"))?;
        self.past_resets_are_over()
    }

    /// The boot id of the guest's kernel, as the agent told it: another one after each boot.
    pub fn boot_id(&self) -> Result<String> {
        self.wait_for_agent()?;
        Ok(self.guest("the boot id")?.0.boot_id())
    }

    pub(super) fn guest(&self, what: &str) -> Result<(Guest, u32)> {
        let found = self.with_running(what, |r| r.guest.clone().map(|guest| (guest, r.hellos)))?;
        found.ok_or_else(|| self.wrong(format!("has no agent port: {what} needs Builder::agent")))
    }

    pub(super) fn lost(&self, lost: Lost, request: &str) -> Error {
        let (machine, request) = (self.name().to_owned(), request.to_owned());
        let console = match self.console() {
            Ok(console) if matches!(lost, Lost::NoAgent | Lost::Timeout) || console.closed() => {
                return self.in_vain(request, &console);
            }
            Ok(console) => console.tail(),
            Err(_) => ConsoleTail::default(),
        };
        match lost {
            Lost::Version(found) => Error::Version { machine, found },
            Lost::TooLong => {
                let message = format!("more than {} bytes of words", crate::protocol::MAX_PAYLOAD);
                Error::Agent { machine, request, errno: 0, message }
            }
            Lost::NoAgent | Lost::Timeout | Lost::Gone => Error::GuestGone { machine, request, console },
        }
    }

    fn keep_command_line(&self, program: &Path, arguments: &[std::ffi::OsString]) -> Result<()> {
        let mut text = program.display().to_string();
        for word in arguments {
            let word = word.to_string_lossy();
            let separator = if word.starts_with('-') { " \\\n  " } else { " " };
            // Writing to a string cannot fail.
            write!(text, "{separator}'{}'", word.replace('\'', "'\\''")).unwrap_or_default();
        }
        text.push('\n');
        let path = self.logs.join("command-line");
        std::fs::write(&path, text).map_err(Error::file("cannot write", path))
    }

    /// QEMU connects, or ends and has said why.
    fn accept(&self, listener: &UnixListener, process: &Process) -> Result<UnixStream> {
        let end = Instant::now() + CONNECT;
        while Instant::now() < end {
            let mut fds = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
            if matches!(poll(&mut fds, PollTimeout::from(100_u8)), Ok(1..)) {
                let accepted = listener.accept().map(|(stream, _)| stream);
                return accepted
                    .map_err(Error::file("cannot accept QEMU's connection on", self.directory.path()));
            }
            if process.wait(Duration::ZERO).is_some() {
                break;
            }
        }
        Err(self.not_started(process))
    }

    /// The error for a QEMU that did not come up.
    fn not_started(&self, process: &Process) -> Error {
        let machine = self.name().to_owned();
        let console = ConsoleTail::default();
        match process.wait(Duration::from_secs(2)) {
            Some(status) => Error::Ended {
                machine,
                status: status.to_string(),
                waited_for: "its start".to_owned(),
                stderr: self.stderr(),
                console,
            },
            None => Error::Timeout {
                machine,
                waited_for: "QEMU to connect to the driver".to_owned(),
                limit: CONNECT,
                console,
            },
        }
    }
}

fn listen(path: &Path) -> Result<UnixListener> {
    if path.exists() {
        std::fs::remove_file(path).map_err(Error::file("cannot remove", path))?;
    }
    UnixListener::bind(path).map_err(Error::file("cannot listen on", path))
}
