//! A virtual machine: described by a [`Builder`], started, waited for, looked into, cut off.
//!
//! A [`Machine`] outlives its boots: [`Machine::power_cut`] and [`Machine::start`] are pulling the plug and pressing
//! the button, the disks' overlays and the UEFI variables stay. When the value is dropped QEMU is killed; when that
//! happens in a panic (a failed test) the logs are kept and their place is said.

mod arguments;
mod boots;
mod builder;
mod commands;
mod menu;
mod power;
mod snapshot;
mod sockets;
mod units;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::accelerator::Accelerator;
use crate::console::Console;
use crate::error::{Error, Result};
use crate::guest::Guest;
use crate::process::Process;
use crate::qmp::{Qmp, Refusal};
use crate::screen::Screen;

pub use builder::{Boot, Builder};
pub use commands::{Command, Mount, Output, Running as RunningCommand};
pub use menu::Key;
pub use snapshot::Snapshot;
pub use sockets::GuestStream;

/// See the module's head.
#[derive(Debug)]
pub struct Machine {
    description: Builder,
    accelerator: Accelerator,
    /// Sockets, overlays, UEFI variables.
    directory: tempfile::TempDir,
    logs: PathBuf,
    /// Host and guest ports.
    forwards: Vec<(u16, u16)>,
    limit: AtomicU64,
    keep_logs: AtomicBool,
    running: Mutex<Option<Running>>,
    /// The console outlives QEMU, so that it can be read after the end.
    last_console: Mutex<Option<Console>>,
}

#[derive(Debug)]
struct Running {
    process: Process,
    qmp: Qmp,
    guest: Option<Guest>,
    /// How many hellos had come when the current boot began.
    hellos: u32,
    /// How many QMP events had come when the current boot began.
    events: usize,
}

impl Machine {
    /// A machine of this name, to be described further. Names the log directory, so it should be unique in a test run.
    pub fn builder(name: impl Into<String>) -> Builder {
        Builder::new(name.into())
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.description.name
    }

    /// Where its logs are: `console.log`, `qemu.log`, `command-line`.
    pub fn logs(&self) -> &Path {
        &self.logs
    }

    /// Whether it runs by KVM or by translation.
    pub fn accelerator(&self) -> Accelerator {
        self.accelerator
    }

    /// From now on every wait ends after this time. The default is one minute, three without KVM.
    pub fn set_limit(&self, limit: Duration) {
        self.limit.store(limit.as_millis() as u64, Ordering::Relaxed);
    }

    /// How long every wait may take.
    pub fn limit(&self) -> Duration {
        Duration::from_millis(self.limit.load(Ordering::Relaxed))
    }

    /// The host's port that leads to this port of the guest.
    pub fn forwarded(&self, guest: u16) -> Option<u16> {
        self.forwards.iter().find(|(_, to)| *to == guest).map(|(from, _)| *from)
    }

    /// Keeps the logs even when nothing fails.
    pub fn keep_logs(&self) {
        self.keep_logs.store(true, Ordering::Relaxed);
    }

    /// Waits until the console says this, after what the last wait found.
    pub fn wait_for_console(&self, text: &str) -> Result<()> {
        let console = self.console()?;
        if console.wait_for_text(text, self.limit()) {
            return Ok(());
        }
        Err(self.in_vain(format!("the console to say {text:?}"), &console))
    }

    /// Everything the console said in this run of QEMU, without escape sequences.
    pub fn console_text(&self) -> String {
        self.console().map(|console| console.text()).unwrap_or_default()
    }

    /// Counts all that the console said so far as read: waits look only at what comes.
    pub fn skip_console(&self) -> Result<()> {
        self.console()?.skip();
        Ok(())
    }

    /// Types text on the serial console; `\n` is Enter.
    pub fn type_text(&self, text: &str) -> Result<()> {
        let path = self.logs.join("console.log");
        self.console()?.send(text.replace('\n', "\r").as_bytes()).map_err(Error::file("cannot type on", path))
    }

    /// What the terminal on the serial line shows.
    pub fn screen(&self) -> Result<Screen> {
        Ok(self.console()?.screen())
    }

    /// Waits until the terminal shows this text somewhere, and returns the screen.
    pub fn wait_for_screen(&self, text: &str) -> Result<Screen> {
        let console = self.console()?;
        console
            .wait_for_screen(self.limit(), |screen| screen.row_with(text).map(|_| screen.clone()))
            .ok_or_else(|| self.in_vain(format!("the screen to show {text:?}"), &console))
    }

    /// Asks QEMU itself (QMP); returns the answer's value.
    pub fn qmp(&self, command: &str, arguments: &serde_json::Value) -> Result<serde_json::Value> {
        let qmp = self.with_running("a QMP command", |running| running.qmp.clone())?;
        qmp.command(command, arguments, self.limit()).map_err(|refusal| self.refused(command, refusal))
    }

    /// Writes what the graphics card shows to a PNG file; needs [`Builder::graphics`].
    pub fn screenshot(&self, png: &Path) -> Result<()> {
        self.qmp("screendump", &serde_json::json!({ "filename": png, "format": "png" })).map(drop)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with_running<T>(&self, what: &str, look: impl FnOnce(&mut Running) -> T) -> Result<T> {
        match self.lock().as_mut() {
            Some(running) => Ok(look(running)),
            None => Err(self.wrong(format!("is not running: {what} needs Machine::start first"))),
        }
    }

    fn console(&self) -> Result<Console> {
        let last = self.last_console.lock().unwrap_or_else(PoisonError::into_inner);
        last.clone().ok_or_else(|| self.wrong("was never started".to_owned()))
    }

    fn wrong(&self, detail: String) -> Error {
        Error::Description { machine: self.name().to_owned(), detail }
    }

    /// The error for something that did not happen: QEMU's end explains it, or the time is over.
    fn in_vain(&self, waited_for: String, console: &Console) -> Error {
        let machine = self.name().to_owned();
        let grace = if console.closed() { Duration::from_secs(5) } else { Duration::from_millis(200) };
        let ended = self.lock().as_ref().map(|running| running.process.ended());
        let ended = ended.and_then(|process| process.wait(grace));
        if ended.is_some() || console.closed() {
            let status =
                ended.map_or_else(|| "stopped by the driver".to_owned(), |status| status.to_string());
            return Error::Ended {
                machine,
                status,
                waited_for,
                stderr: self.stderr(),
                console: console.tail(),
            };
        }
        Error::Timeout { machine, waited_for, limit: self.limit(), console: console.tail() }
    }

    /// What QEMU said, for an error: behind a line break, or nothing.
    fn stderr(&self) -> String {
        let text = std::fs::read_to_string(self.logs.join("qemu.log")).unwrap_or_default();
        if text.trim().is_empty() { String::new() } else { format!("\n{}", text.trim()) }
    }

    fn refused(&self, command: &str, refusal: Refusal) -> Error {
        match (refusal, self.console()) {
            (Refusal::Error(detail), _) => {
                Error::Qmp { machine: self.name().to_owned(), command: command.to_owned(), detail }
            }
            (_, Ok(console)) => self.in_vain(format!("QEMU to answer {command}"), &console),
            (_, Err(error)) => error,
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Kills QEMU and waits for its end.
        drop(self.lock().take());
        if std::thread::panicking() {
            let place = self.logs.display();
            // Under `cargo test` this is shown with the failure; without a stderr nobody is there to read it.
            drop(std::io::Write::write_fmt(
                &mut std::io::stderr(),
                format_args!("machine {}: logs are kept in {place}\n", self.name()),
            ));
        } else if !self.keep_logs.load(Ordering::Relaxed) {
            // They are of no more use; what cannot be removed does no harm.
            drop(std::fs::remove_dir_all(&self.logs));
        }
    }
}
