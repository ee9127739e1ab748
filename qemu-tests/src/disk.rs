//! Disks of a machine: files of the host, used as they are or through an overlay that is thrown away.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Error, Result};
use crate::host;

/// What the guest sees the disk as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bus {
    /// `/dev/vda`, …
    Virtio,
    /// `/dev/nvme0n1`, …
    Nvme,
    /// A CD in an IDE drive, read-only.
    Cdrom,
    /// A CD in a drive at a virtio SCSI controller, read-only.
    ScsiCdrom,
}

/// One disk.
#[derive(Debug, Clone)]
pub struct Disk {
    pub(crate) path: PathBuf,
    pub(crate) format: Format,
    pub(crate) overlay: bool,
    pub(crate) read_only: bool,
    pub(crate) bus: Bus,
    pub(crate) serial: Option<String>,
    pub(crate) write_log: Option<PathBuf>,
}

/// How the file holds the disk's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Byte for byte.
    Raw,
    /// QEMU's own format.
    Qcow2,
}

impl Format {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

impl Disk {
    /// A raw file; the guest's writes go to an overlay that ends with the machine.
    pub fn overlay(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            format: Format::Raw,
            overlay: true,
            read_only: false,
            bus: Bus::Virtio,
            serial: None,
            write_log: None,
        }
    }

    /// A raw file that the guest writes to.
    pub fn raw(path: impl Into<PathBuf>) -> Self {
        Self { overlay: false, ..Self::overlay(path) }
    }

    /// A raw file that the guest cannot write to.
    pub fn read_only(path: impl Into<PathBuf>) -> Self {
        Self { overlay: false, read_only: true, ..Self::overlay(path) }
    }

    /// The file is of this format.
    #[must_use]
    pub fn format(self, format: Format) -> Self {
        Self { format, ..self }
    }

    /// Attached in this way.
    #[must_use]
    pub fn bus(self, bus: Bus) -> Self {
        Self { bus, read_only: self.read_only || matches!(bus, Bus::Cdrom | Bus::ScsiCdrom), ..self }
    }

    /// With this serial number: `/sys/block/*/serial` in the guest.
    #[must_use]
    pub fn serial(self, serial: impl Into<String>) -> Self {
        Self { serial: Some(serial.into()), ..self }
    }

    /// Every write and flush is also written to this file; see [`crate::write_log`].
    #[must_use]
    pub fn record_writes(self, log: impl Into<PathBuf>) -> Self {
        Self { write_log: Some(log.into()), ..self }
    }
}

/// Makes a raw file of this many bytes without contents.
pub fn create_raw(path: &Path, bytes: u64) -> Result<()> {
    let file = std::fs::File::create(path).map_err(Error::file("cannot create", path))?;
    file.set_len(bytes).map_err(Error::file("cannot size", path))
}

/// Makes a qcow2 overlay over a file.
pub(crate) fn create_overlay(overlay: &Path, base: &Path, format: Format) -> Result<()> {
    let base = base.canonicalize().map_err(Error::file("cannot find the disk", base))?;
    let program = host::program("qemu-img", "qemu-utils")?;
    host::run(
        Command::new(program)
            .args(["create", "-q", "-f", "qcow2", "-F", format.name(), "-b"])
            .arg(base)
            .arg(overlay),
    )
    .map(drop)
}

/// Makes a raw copy of a disk with all that is in its overlay. The machine must not be running.
pub fn flatten(disk: &Path, format: Format, raw: &Path) -> Result<()> {
    let program = host::program("qemu-img", "qemu-utils")?;
    host::run(Command::new(program).args(["convert", "-f", format.name(), "-O", "raw"]).arg(disk).arg(raw))
        .map(drop)
}
