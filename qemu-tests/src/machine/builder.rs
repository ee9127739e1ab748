//! The description of a machine: what it is made of and how it boots.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Machine;
use crate::accelerator::{self, Accelerator};
use crate::disk::Disk;
use crate::error::{Error, Result};

/// How a machine comes to its kernel.
#[derive(Debug, Clone)]
pub enum Boot {
    /// QEMU loads the kernel itself.
    Direct {
        /// A bzImage, or an ELF kernel with a PVH entry ([`crate::kernel::for_direct_boot`]).
        kernel: PathBuf,
        /// Loaded beside it.
        initrd: Option<PathBuf>,
        /// The kernel's command line.
        command_line: String,
    },
    /// OVMF looks for a loader on the disks.
    Uefi,
    /// `SeaBIOS` starts the first disk's first sector.
    Bios,
}

/// See [`Machine::builder`].
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "independent parts that a machine has or has not")]
pub struct Builder {
    pub(crate) name: String,
    pub(crate) memory_mib: u32,
    pub(crate) cpus: u32,
    pub(crate) boot: Boot,
    pub(crate) disks: Vec<Disk>,
    pub(crate) forwards: Vec<(Option<u16>, u16)>,
    pub(crate) network: bool,
    pub(crate) agent: bool,
    pub(crate) graphics: bool,
    pub(crate) reboot: bool,
    pub(crate) limit: Option<Duration>,
    pub(crate) accelerator: Option<Accelerator>,
    pub(crate) logs: Option<PathBuf>,
    pub(crate) uefi_variables: Option<PathBuf>,
    pub(crate) secure_boot: bool,
    pub(crate) extra: Vec<String>,
    /// A state to restore instead of booting.
    pub(crate) incoming: Option<PathBuf>,
}

impl Builder {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            memory_mib: 512,
            cpus: 1,
            boot: Boot::Bios,
            disks: Vec::new(),
            forwards: Vec::new(),
            network: false,
            agent: false,
            graphics: false,
            reboot: true,
            limit: None,
            accelerator: None,
            logs: None,
            uefi_variables: None,
            secure_boot: false,
            extra: Vec::new(),
            incoming: None,
        }
    }

    /// Memory; 512 MiB unless said.
    #[must_use]
    pub fn memory_mib(self, memory_mib: u32) -> Self {
        Self { memory_mib, ..self }
    }

    /// Processors; one unless said. Under translation a second one costs more than it brings.
    #[must_use]
    pub fn cpus(self, cpus: u32) -> Self {
        Self { cpus, ..self }
    }

    /// Boots this kernel directly.
    #[must_use]
    pub fn kernel(self, kernel: impl Into<PathBuf>, initrd: Option<&Path>, command_line: &str) -> Self {
        let (kernel, initrd) = (kernel.into(), initrd.map(Path::to_owned));
        Self { boot: Boot::Direct { kernel, initrd, command_line: command_line.to_owned() }, ..self }
    }

    /// Boots by UEFI firmware (OVMF) with its own copy of the variables.
    #[must_use]
    pub fn uefi(self) -> Self {
        Self { boot: Boot::Uefi, ..self }
    }

    /// UEFI firmware that enforces Secure Boot, with the machine that it needs; no keys are enrolled, so it is in setup mode
    /// and starts everything until some are.
    #[must_use]
    pub fn secure_boot(self) -> Self {
        Self { secure_boot: true, ..self.uefi() }
    }

    /// Boots by BIOS firmware (`SeaBIOS`).
    #[must_use]
    pub fn bios(self) -> Self {
        Self { boot: Boot::Bios, ..self }
    }

    /// Adds a disk; firmware tries them in order.
    #[must_use]
    pub fn disk(mut self, disk: Disk) -> Self {
        self.disks.push(disk);
        self
    }

    /// A network card behind QEMU's user network.
    #[must_use]
    pub fn network(self) -> Self {
        Self { network: true, ..self }
    }

    /// Leads a free port of the host to this port of the guest; see [`Machine::forwarded`].
    #[must_use]
    pub fn forward(mut self, guest: u16) -> Self {
        self.forwards.push((None, guest));
        self.network()
    }

    /// Leads this port of the host (on the loopback address) to this port of the guest.
    #[must_use]
    pub fn forward_from(mut self, host: u16, guest: u16) -> Self {
        self.forwards.push((Some(host), guest));
        self.network()
    }

    /// A virtio-serial port on which `firn-agent` in the guest is expected.
    #[must_use]
    pub fn agent(self) -> Self {
        Self { agent: true, ..self }
    }

    /// A VGA card, for [`Machine::screenshot`].
    #[must_use]
    pub fn graphics(self) -> Self {
        Self { graphics: true, ..self }
    }

    /// QEMU ends when the guest resets, instead of booting again.
    #[must_use]
    pub fn no_reboot(self) -> Self {
        Self { reboot: false, ..self }
    }

    /// How long each wait may take; see [`Machine::set_limit`].
    #[must_use]
    pub fn limit(self, limit: Duration) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// Uses this accelerator instead of [`accelerator::detect`].
    #[must_use]
    pub fn accelerator(self, accelerator: Accelerator) -> Self {
        Self { accelerator: Some(accelerator), ..self }
    }

    /// Where logs go; otherwise `VM_LOGS` or the `target/vm-logs` of the workspace around, and there a directory of the machine's name.
    #[must_use]
    pub fn logs(self, directory: impl Into<PathBuf>) -> Self {
        Self { logs: Some(directory.into()), ..self }
    }

    /// Starts from these UEFI variables (copied) instead of OVMF's empty ones.
    #[must_use]
    pub fn uefi_variables(self, file: impl Into<PathBuf>) -> Self {
        Self { uefi_variables: Some(file.into()), ..self }
    }

    /// An argument of QEMU that this driver has no name for.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<String>) -> Self {
        self.extra.push(argument.into());
        self
    }

    /// Makes the machine's overlays and starts it.
    pub fn start(self) -> Result<Machine> {
        let machine = self.build()?;
        // Without a machine the error is all that is left: its logs are kept.
        machine.keep_logs();
        machine.start()?;
        machine.keep_logs.store(false, Ordering::Relaxed);
        Ok(machine)
    }

    /// Makes the machine without starting it.
    pub fn build(mut self) -> Result<Machine> {
        let accelerator = self.accelerator.unwrap_or_else(accelerator::detect);
        // A short path: the name of a Unix socket has at most 107 bytes.
        let directory = tempfile::Builder::new()
            .prefix("vm-")
            .tempdir_in("/tmp")
            .or_else(|_| tempfile::tempdir())
            .map_err(Error::file("cannot create a directory in", "/tmp"))?;
        let logs = self.logs.clone().unwrap_or_else(default_logs).join(&self.name);
        std::fs::create_dir_all(&logs).map_err(Error::file("cannot create", &logs))?;
        let console = logs.join("console.log");
        if console.exists() {
            std::fs::remove_file(&console).map_err(Error::file("cannot remove", &console))?;
        }
        let forwards =
            self.forwards.iter().map(|(host, guest)| Ok((host.map_or_else(free_port, Ok)?, *guest)));
        let forwards = forwards.collect::<Result<Vec<_>>>()?;
        let limit = self.limit.unwrap_or(Duration::from_secs(60) * accelerator.slowness());
        super::arguments::prepare(&mut self, directory.path())?;
        Ok(Machine {
            description: self,
            accelerator,
            directory,
            logs,
            forwards,
            limit: (limit.as_millis() as u64).into(),
            keep_logs: false.into(),
            running: None.into(),
            last_console: None.into(),
        })
    }
}

/// Bound and given back: somebody else could take it in between, which QEMU would then say.
fn free_port() -> Result<u16> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    listener.map(|address| address.port()).map_err(Error::file("cannot find a free port on", "127.0.0.1"))
}

fn default_logs() -> PathBuf {
    if let Some(directory) = std::env::var_os("VM_LOGS") {
        return directory.into();
    }
    let here = std::env::current_dir().unwrap_or_default();
    let target = here.ancestors().map(|directory| directory.join("target")).find(|target| target.is_dir());
    target.unwrap_or_else(std::env::temp_dir).join("vm-logs")
}
