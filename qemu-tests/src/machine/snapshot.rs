//! The state of a running machine in files, and machines that go on from there: a fraction of a second instead of a
//! boot (booted guest with 512 MiB: 0.2 CPU seconds instead of 4). One snapshot can be started many times.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Builder, Machine};
use crate::disk::{Disk, Format};
use crate::error::{Error, Result};

/// A state to start machines from. The files it names must stay.
#[derive(Debug, Clone)]
pub struct Snapshot {
    description: Builder,
}

impl Machine {
    /// Stops the machine and writes its memory, its devices and the overlays of its disks to a directory. Disks that
    /// the guest writes to without an overlay cannot be part of it.
    pub fn save(self, directory: &Path) -> Result<Snapshot> {
        std::fs::create_dir_all(directory).map_err(Error::file("cannot create", directory))?;
        let mut description = self.description.clone();
        if let Some(disk) =
            description.disks.iter().find(|d| !d.read_only && !d.path.starts_with(self.directory.path()))
        {
            return Err(self.wrong(format!("writes to {} itself: use Disk::overlay", disk.path.display())));
        }
        let state = directory.join("state");
        self.qmp("stop", &json!({}))?;
        self.qmp("migrate-set-parameters", &json!({ "max-bandwidth": 1_u64 << 40 }))?;
        let quoted = state.display().to_string().replace('\'', "'\\''");
        self.qmp("migrate", &json!({ "uri": format!("exec:cat > '{quoted}'") }))?;
        self.wait_for_status("query-migrate", "completed", "failed")?;
        // Lets QEMU close its files in order.
        self.qmp("quit", &json!({}))?;
        self.wait_for_shutdown()?;
        let copies = description.disks.iter_mut().filter(|disk| !disk.read_only).map(|disk| &mut disk.path);
        for path in copies.chain(description.uefi_variables.as_mut()) {
            let copy = directory.join(path.file_name().unwrap_or_default());
            std::fs::copy(&*path, &copy).map_err(Error::file("cannot copy", &*path))?;
            *path = copy;
        }
        description.incoming = Some(state);
        Ok(Snapshot { description })
    }

    /// Waits for the incoming state, lets the guest run and asks its agent to begin anew.
    pub(super) fn resume(&self) -> Result<()> {
        self.wait_for_status("query-status", "paused", "internal-error")?;
        self.qmp("cont", &json!({}))?;
        if let Some(guest) = self.with_running("the agent", |running| running.guest.clone())? {
            guest.knock().map_err(Error::file("cannot reach the agent through", self.directory.path()))?;
        }
        Ok(())
    }

    fn wait_for_status(&self, command: &str, wanted: &str, bad: &str) -> Result<()> {
        let end = Instant::now() + self.limit();
        let mut status = String::new();
        while Instant::now() < end {
            let answer = self.qmp(command, &json!({}))?;
            answer.get("status").and_then(Value::as_str).unwrap_or_default().clone_into(&mut status);
            if status == wanted {
                return Ok(());
            }
            if status == bad {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let detail = format!("status is {status:?} and not {wanted:?}");
        Err(Error::Qmp { machine: self.name().to_owned(), command: command.to_owned(), detail })
    }
}

impl Snapshot {
    /// A machine of another name that goes on from here. What it writes to its disks ends with it.
    pub fn start(&self, name: impl Into<String>) -> Result<Machine> {
        let mut description = self.description.clone();
        description.name = name.into();
        for disk in description.disks.iter_mut().filter(|disk| !disk.read_only) {
            *disk = Disk { overlay: true, format: Format::Qcow2, ..disk.clone() };
        }
        description.start()
    }

    /// The file with the memory and the devices.
    pub fn state(&self) -> Option<&PathBuf> {
        self.description.incoming.as_ref()
    }
}
