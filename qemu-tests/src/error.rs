//! What can go wrong between a test and its machine. Every error says which machine, what was tried, and carries the
//! last lines of the console where these can explain it.

use std::path::PathBuf;
use std::time::Duration;

/// The result of everything that touches a machine.
pub type Result<T> = std::result::Result<T, Error>;

/// See the variants.
#[expect(clippy::error_impl_error, reason = "the crate's one error, named by its path: qemu_tests::Error")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file of the host could not be used.
    #[error("{action} {}: {source}", path.display())]
    File {
        /// "cannot read", "cannot create", …
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A program or file that the driver needs is not installed.
    #[error("{what} not found; install the Debian package {package}")]
    Missing {
        /// Program or file.
        what: String,
        /// Which package has it.
        package: &'static str,
    },
    /// A helper program (qemu-img, …) failed.
    #[error("{program} failed: {detail}")]
    Program {
        /// Which.
        program: String,
        /// What it said.
        detail: String,
    },
    /// A file is not what it should be.
    #[error("{}: {detail}", path.display())]
    Format {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// Something did not happen in time.
    #[error("machine {machine}: waited {limit:?} in vain for {waited_for}{console}")]
    Timeout {
        /// The machine's name.
        machine: String,
        /// What should have happened.
        waited_for: String,
        /// How long.
        limit: Duration,
        /// Last lines of the console.
        console: ConsoleTail,
    },
    /// QEMU ended while something was waited for.
    #[error("machine {machine}: QEMU ended ({status}) while waiting for {waited_for}{stderr}{console}")]
    Ended {
        /// The machine's name.
        machine: String,
        /// Its exit status.
        status: String,
        /// What should have happened.
        waited_for: String,
        /// What QEMU said, with a line break before it; or nothing.
        stderr: String,
        /// Last lines of the console.
        console: ConsoleTail,
    },
    /// The agent speaks another version of the protocol.
    #[error(
        "machine {machine}: firn-agent in the guest speaks protocol {found}, this driver {}",
        crate::protocol::VERSION
    )]
    Version {
        /// The machine's name.
        machine: String,
        /// The agent's version.
        found: u32,
    },
    /// The agent could not do what it was asked.
    #[error("machine {machine}: {request}: {message}")]
    Agent {
        /// The machine's name.
        machine: String,
        /// What it was asked.
        request: String,
        /// The guest's errno; 0 when there was none.
        errno: i32,
        /// What it answered.
        message: String,
    },
    /// The guest went away (reset, power cut, new boot) in the middle of a request.
    #[error("machine {machine}: the guest went away during {request}{console}")]
    GuestGone {
        /// The machine's name.
        machine: String,
        /// What it was asked.
        request: String,
        /// Last lines of the console.
        console: ConsoleTail,
    },
    /// A command in the guest ended otherwise than was asked for.
    #[error("machine {machine}: {command}: {outcome}\n--- stdout\n{stdout}--- stderr\n{stderr}---")]
    Command {
        /// The machine's name.
        machine: String,
        /// The command's words.
        command: String,
        /// "exit code 1", "killed by signal 9", "succeeded, but should have failed".
        outcome: String,
        /// All of it.
        stdout: String,
        /// All of it.
        stderr: String,
    },
    /// QEMU refused a command.
    #[error("machine {machine}: QMP {command}: {detail}")]
    Qmp {
        /// The machine's name.
        machine: String,
        /// The command's name.
        command: String,
        /// QEMU's words.
        detail: String,
    },
    /// The machine was described in a way that cannot work.
    #[error("machine {machine}: {detail}")]
    Description {
        /// The machine's name.
        machine: String,
        /// What to change.
        detail: String,
    },
    /// The menu has no such entry.
    #[error("machine {machine}: no menu entry {entry:?} could be selected; the screen shows:\n{screen}")]
    Menu {
        /// The machine's name.
        machine: String,
        /// What was looked for.
        entry: String,
        /// The screen's text.
        screen: String,
    },
}

/// The last lines of a console, for an error message.
#[derive(Debug, Clone, Default)]
pub struct ConsoleTail(pub Vec<String>);

impl std::fmt::Display for ConsoleTail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return write!(f, "; the console is empty");
        }
        write!(f, "; the console ends with:")?;
        self.0.iter().try_for_each(|line| write!(f, "\n    {line}"))
    }
}

impl Error {
    /// For `map_err` of file operations.
    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }
}
