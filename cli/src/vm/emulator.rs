//! QEMU's command line for a machine.

use super::forward::Forward;
use anyhow::{Context as _, Result, bail};
use qemu_tests::Accelerator;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How the machine comes to its kernel.
#[derive(Debug, Clone)]
pub(super) enum Boot {
    /// The emulator loads it.
    Direct {
        /// bzImage or ELF.
        kernel: PathBuf,
        /// Both archives.
        initrd: PathBuf,
        /// The kernel's command line.
        command_line: String,
    },
    /// OVMF, with a copy of its variables that can be written.
    Uefi {
        /// The copy.
        variables: PathBuf,
    },
    /// SeaBIOS, which is in QEMU.
    Bios,
}

/// A disk.
#[derive(Debug, Clone)]
pub(super) struct Drive {
    pub(super) file: PathBuf,
    pub(super) read_only: bool,
    pub(super) serial: &'static str,
}

/// The machine.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    pub(super) name: String,
    pub(super) memory_mib: u32,
    pub(super) cpus: u32,
    pub(super) accelerator: Accelerator,
    pub(super) boot: Boot,
    pub(super) drives: Vec<Drive>,
    pub(super) forwards: Vec<Forward>,
    /// Cut off from everything but the forwarded ports.
    pub(super) restricted: bool,
    pub(super) graphics: bool,
    /// Further arguments, as the configuration has them.
    pub(super) options: Vec<String>,
}

/// Where distributions put OVMF: the code and the variables that go with it.
const FIRMWARE: &[(&str, &str)] = &[
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
    ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
    ("/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),
];

fn firmware() -> Result<(&'static Path, &'static Path)> {
    FIRMWARE
        .iter()
        .map(|(code, variables)| (Path::new(*code), Path::new(*variables)))
        .find(|(code, variables)| code.is_file() && variables.is_file())
        .context("no UEFI firmware for virtual machines was found; install the package `ovmf`")
}

/// A fresh copy of the firmware's variables in a directory.
pub(super) fn new_variables(directory: &Path) -> Result<PathBuf> {
    let (_, variables) = firmware()?;
    let copy = directory.join("variables.fd");
    let bytes = std::fs::read(variables).with_context(|| format!("cannot read {}", variables.display()))?;
    std::fs::write(&copy, bytes).with_context(|| format!("cannot write {}", copy.display()))?;
    Ok(copy)
}

/// The emulator's program.
fn program() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|directory| directory.join("qemu-system-x86_64"))
        .find(|candidate| candidate.is_file());
    match found {
        Some(program) => Ok(program),
        None => bail!("qemu-system-x86_64 is not installed; on Debian: apt-get install qemu-system-x86"),
    }
}

/// A comma in a value of QEMU's options is written twice.
fn quoted(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

impl Machine {
    /// The command that runs it in this terminal.
    pub(super) fn command(&self) -> Result<Command> {
        let mut command = Command::new(program()?);
        command.args(self.arguments()?);
        Ok(command)
    }

    fn arguments(&self) -> Result<Vec<String>> {
        let mut arguments: Vec<String> = Vec::new();
        let mut add = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
        add("-name", self.name.clone());
        add("-machine", "q35".to_owned());
        add("-accel", self.accelerator.argument().to_owned());
        add("-cpu", if self.accelerator == Accelerator::Kvm { "host" } else { "max" }.to_owned());
        add("-m", self.memory_mib.to_string());
        add("-smp", self.cpus.to_string());
        add("-device", "virtio-rng-pci".to_owned());
        let mut forwards = String::new();
        for forward in &self.forwards {
            forwards.push(',');
            forwards.push_str(&forward.rule());
        }
        let restricted = if self.restricted { ",restrict=on" } else { "" };
        add("-netdev", format!("user,id=net0{restricted}{forwards}"));
        add("-device", "virtio-net-pci,netdev=net0,romfile=".to_owned());
        for (number, drive) in self.drives.iter().enumerate() {
            let read_only = if drive.read_only { ",read-only=on" } else { "" };
            let file = quoted(&drive.file);
            // Discarded blocks become holes again.
            add(
                "-blockdev",
                format!(
                    "raw,node-name=disk{number},discard=unmap,file.driver=file,file.filename={file}{read_only}"
                ),
            );
            add("-device", format!("virtio-blk-pci,drive=disk{number},serial={}", drive.serial));
        }
        match &self.boot {
            Boot::Direct { kernel, initrd, command_line } => {
                add("-kernel", kernel.display().to_string());
                add("-initrd", initrd.display().to_string());
                add("-append", command_line.clone());
            }
            Boot::Uefi { variables } => {
                let (code, _) = firmware()?;
                add("-drive", format!("if=pflash,format=raw,readonly=on,file={}", quoted(code)));
                add("-drive", format!("if=pflash,format=raw,file={}", quoted(variables)));
            }
            Boot::Bios => {}
        }
        if !self.graphics {
            add("-display", "none".to_owned());
            // A screen is there all the same: firmware and GRUB want one.
            add("-vga", if matches!(self.boot, Boot::Direct { .. }) { "none" } else { "std" }.to_owned());
        }
        add("-serial", "mon:stdio".to_owned());
        arguments.extend(self.options.iter().cloned());
        Ok(arguments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_direct_boot() {
        let machine = Machine {
            name: "x".to_owned(),
            memory_mib: 512,
            cpus: 2,
            accelerator: Accelerator::Tcg,
            boot: Boot::Direct {
                kernel: "/k".into(),
                initrd: "/i".into(),
                command_line: "init=/x a".to_owned(),
            },
            drives: vec![Drive { file: "/a,b.img".into(), read_only: true, serial: "store" }],
            forwards: vec![Forward::parse("8080:80").unwrap(), Forward::parse("2222:22").unwrap()],
            restricted: false,
            graphics: false,
            options: Vec::new(),
        };
        let arguments = machine.arguments().unwrap();
        for expected in [
            "user,id=net0,hostfwd=tcp:127.0.0.1:8080-:80,hostfwd=tcp:127.0.0.1:2222-:22",
            "raw,node-name=disk0,discard=unmap,file.driver=file,file.filename=/a,,b.img,read-only=on",
            "init=/x a",
            "mon:stdio",
        ] {
            assert!(arguments.iter().any(|argument| argument == expected), "{expected}: {arguments:?}");
        }
    }
}
