//! Runs the emulator with this terminal as the machine's console, and puts the terminal back as it was whatever happens to it.

use anyhow::{Context as _, Result};
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use std::io::{IsTerminal as _, Write as _};
use std::process::{Command, ExitStatus};

/// The terminal's settings, restored when this goes out of scope.
struct Restored(Option<Termios>);

impl Restored {
    fn new() -> Self {
        let stdin = std::io::stdin();
        Self(if stdin.is_terminal() { tcgetattr(&stdin).ok() } else { None })
    }
}

impl Drop for Restored {
    fn drop(&mut self) {
        let Some(settings) = &self.0 else { return };
        if let Err(error) = tcsetattr(std::io::stdin(), SetArg::TCSANOW, settings) {
            log::warn!("the terminal could not be restored ({error}); `reset` does it");
        }
        // Colours off, cursor shown, line wrap on: firmware and menus leave these behind.
        let mut stdout = std::io::stdout();
        if stdout.is_terminal()
            && let Err(error) =
                stdout.write_all(b"\x1b[0m\x1b[?25h\x1b[?7h\r\n").and_then(|()| stdout.flush())
        {
            log::debug!("terminal: {error}");
        }
    }
}

/// Runs the command to its end.
pub(super) fn run(mut command: Command) -> Result<ExitStatus> {
    let restored = Restored::new();
    let status = command
        .status()
        .with_context(|| format!("cannot run {}", command.get_program().to_string_lossy()))?;
    drop(restored);
    Ok(status)
}
