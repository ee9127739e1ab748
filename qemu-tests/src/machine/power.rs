//! The ends of a boot: power button, reset, power cut, and waiting for what the guest does by itself.

use std::time::Duration;

use serde_json::json;

use super::{Boot, Machine};
use crate::error::{Error, Result};
use crate::protocol::Request;

/// How long a firmware may need from a reset to the start of a loader; OVMF under translation needs five seconds.
const FIRMWARE: Duration = Duration::from_secs(60);

/// What OVMF says on the console when it hands over to a loader, a loader found by itself included.
const HANDS_OVER: &str = "BdsDxe: starting";

impl Machine {
    /// Pulls the plug: QEMU is killed where it stands. Disks keep what QEMU had handed to the host; to lose unflushed
    /// writes as well, record them ([`crate::Disk::record_writes`]) and replay a part ([`crate::write_log`]).
    pub fn power_cut(&self) {
        // Dropping the process kills it and waits for its end.
        drop(self.lock().take());
    }

    /// Presses the reset button: the guest starts again from its firmware, without a warning.
    ///
    /// OVMF hangs now and then when it is reset: where it has not started a loader after a minute, it is reset once more,
    /// which is said on stderr; when that does not help either, the error says so.
    pub fn reset(&self) -> Result<()> {
        let console = self.console()?;
        for is_last in [false, true] {
            console.skip();
            self.new_boot()?;
            self.qmp("system_reset", &json!({}))?;
            if !matches!(self.description.boot, Boot::Uefi) || console.says(HANDS_OVER, FIRMWARE) {
                return Ok(());
            }
            if !is_last {
                // A stderr that nobody reads is no reason to fail.
                drop(std::io::Write::write_fmt(
                    &mut std::io::stderr(),
                    format_args!(
                        "machine {}: the firmware has started no loader {FIRMWARE:?} after a reset: once more\n",
                        self.name()
                    ),
                ));
            }
        }
        let error = self.in_vain("the firmware to start a loader after a second reset".to_owned(), &console);
        Err(match error {
            Error::Timeout { machine, waited_for, console, .. } => {
                Error::Timeout { machine, waited_for, console, limit: FIRMWARE }
            }
            other => other,
        })
    }

    /// Presses the power button (ACPI); what comes of it is up to the guest.
    pub fn power_button(&self) -> Result<()> {
        self.qmp("system_powerdown", &json!({})).map(drop)
    }

    /// Ctrl-Alt-Del on the keyboard.
    pub fn ctrl_alt_del(&self) -> Result<()> {
        let keys: Vec<_> = ["ctrl", "alt", "delete"].map(|k| json!({ "type": "qcode", "data": k })).to_vec();
        self.qmp("send-key", &json!({ "keys": keys })).map(drop)
    }

    /// Waits until the guest has powered itself off, and QEMU has ended.
    pub fn wait_for_shutdown(&self) -> Result<()> {
        let process = self.with_running("waiting for the end", |r| r.process.ended())?;
        if process.wait(self.limit()).is_some() {
            self.power_cut();
            return Ok(());
        }
        let console = self.console()?;
        Err(self.in_vain("the guest to power off".to_owned(), &console))
    }

    /// Waits until the guest has reset itself. Waits for the agent then mean the new boot's agent.
    pub fn wait_for_reset(&self) -> Result<()> {
        let (qmp, after) = self.with_running("waiting for a reset", |r| (r.qmp.clone(), r.events))?;
        qmp.wait_for_event("RESET", after, self.limit())
            .map_err(|refusal| self.refused("a RESET event", refusal))?;
        self.new_boot()
    }

    /// Whether QEMU is there. A guest that has powered off is not.
    pub fn is_running(&self) -> bool {
        self.lock().as_ref().is_some_and(|running| running.process.pid().is_some())
    }

    /// `sync(2)` in the guest.
    pub fn sync(&self) -> Result<()> {
        self.finish("sync", &Request::Sync)
    }

    /// `reboot(2)` in the guest, behind the back of its PID 1.
    pub fn reboot_at_once(&self) -> Result<()> {
        self.ask_without_answer(&Request::Reboot { power_off: false })?;
        self.wait_for_reset()
    }

    /// The same, but powering off.
    pub fn power_off_at_once(&self) -> Result<()> {
        self.ask_without_answer(&Request::Reboot { power_off: true })?;
        self.wait_for_shutdown()
    }

    /// One reboot can be several RESET events (SeaBIOS resets once more): those that came so far are not the next one.
    pub(super) fn past_resets_are_over(&self) -> Result<()> {
        self.with_running("a reset", |running| running.events = running.qmp.events_seen())
    }

    /// From here on only what the next boot says counts.
    fn new_boot(&self) -> Result<()> {
        self.with_running("a new boot", |running| {
            running.events = running.qmp.events_seen();
            if let Some(guest) = &running.guest {
                guest.forget();
                running.hellos = guest.hellos();
            }
        })
    }
}
