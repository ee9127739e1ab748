//! The hardware watchdog in process 1's hands: armed by `firn.watchdog=SECONDS` on the kernel's command line, fed three times
//! within its time as long as process 1 goes round, so that a machine that hangs resets itself.

use crate::console::{self, Level};
use crate::kernel_command_line::KernelCommandLine;
use std::path::Path;
use std::time::{Duration, Instant};
use sys::watchdog::Watchdog as Device;

const DEVICES: [&str; 2] = ["/dev/watchdog0", "/dev/watchdog"];

/// So long the end of the machine may take with an armed watchdog.
const AT_THE_END: Duration = Duration::from_secs(60);

/// The watchdog, wanted or armed.
#[derive(Debug)]
pub(super) struct Watchdog {
    timeout: Duration,
    device: Option<Device>,
    fed: Instant,
}

impl Watchdog {
    /// As the kernel's command line says; `None` when it says nothing.
    pub(super) fn of_this_machine() -> Option<Self> {
        let seconds = KernelCommandLine::of_this_machine().watchdog.filter(|seconds| *seconds > 0)?;
        Some(Self { timeout: Duration::from_secs(seconds), device: None, fed: Instant::now() })
    }

    /// How long process 1 may sleep.
    pub(super) fn patience(&self) -> Duration {
        self.timeout / 3
    }

    /// Feeds it; opens it first when it has only just appeared.
    pub(super) fn feed(&mut self) {
        if self.device.is_none() {
            self.device = DEVICES.iter().find_map(|path| Device::open(Path::new(path)).ok());
            if let Some(device) = &self.device {
                match device.set_timeout(self.timeout) {
                    Ok(timeout) => self.timeout = timeout.max(Duration::from_secs(1)),
                    Err(error) => {
                        console::log(Level::Warning, &format!("watchdog: cannot set its time: {error}"));
                    }
                }
                let text = format!("the hardware watchdog is armed: {} s", self.timeout.as_secs());
                console::log(Level::Info, &text);
            }
        }
        let is_due = self.fed.elapsed() >= self.patience() / 2;
        if let Some(device) = &mut self.device
            && is_due
        {
            crate::best_effort::tolerate(device.feed());
            self.fed = Instant::now();
        }
    }

    /// The last meal: the end of the machine must not hang either.
    pub(super) fn feed_for_the_end(&mut self) {
        if let Some(device) = &mut self.device {
            crate::best_effort::tolerate(device.set_timeout(AT_THE_END));
            crate::best_effort::tolerate(device.feed());
        }
    }

    /// For a machine that stays without process 1.
    pub(super) fn disarm(&mut self) {
        if let Some(device) = self.device.take() {
            crate::best_effort::tolerate(device.disarm());
        }
    }
}
