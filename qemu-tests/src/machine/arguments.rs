//! QEMU's command line for a description, and the files it needs: overlays, a copy of the UEFI variables.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::builder::{Boot, Builder};
use crate::accelerator::Accelerator;
use crate::disk::{self, Bus, Format};
use crate::error::{Error, Result};
use crate::host;

const VARIABLES: &str = "uefi-variables.fd";

/// Makes the overlays and variables of a machine in its directory; the description then names these.
pub(super) fn prepare(builder: &mut Builder, directory: &Path) -> Result<()> {
    for (index, disk) in builder.disks.iter_mut().enumerate() {
        if disk.overlay {
            let overlay = directory.join(format!("disk{index}.qcow2"));
            disk::create_overlay(&overlay, &disk.path, disk.format)?;
            (disk.path, disk.format, disk.overlay) = (overlay, Format::Qcow2, false);
        }
    }
    if matches!(builder.boot, Boot::Uefi) {
        let variables = directory.join(VARIABLES);
        let source = match builder.uefi_variables.take() {
            Some(file) => file,
            None => host::file(&["/usr/share/OVMF/OVMF_VARS_4M.fd"], "ovmf")?,
        };
        fs::copy(&source, &variables).map_err(Error::file("cannot copy", source))?;
        let mut permissions =
            fs::metadata(&variables).map_err(Error::file("cannot read", &variables))?.permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o600);
        fs::set_permissions(&variables, permissions).map_err(Error::file("cannot change", &variables))?;
        builder.uefi_variables = Some(variables);
    }
    Ok(())
}

/// The sockets that QEMU connects to, in a machine's directory.
#[derive(Debug)]
pub(super) struct Sockets {
    pub(super) console: PathBuf,
    pub(super) qmp: PathBuf,
    pub(super) agent: PathBuf,
}

impl Sockets {
    pub(super) fn of(directory: &Path) -> Self {
        let of = |name: &str| directory.join(name);
        Self { console: of("console"), qmp: of("qmp"), agent: of("agent") }
    }
}

struct Arguments(Vec<OsString>);

impl Arguments {
    fn add(&mut self, option: &str, value: impl Into<OsString>) {
        self.0.push(option.into());
        self.0.push(value.into());
    }
}

/// The whole command line after the program's name.
pub(super) fn command_line(
    machine: &Builder,
    accelerator: Accelerator,
    forwards: &[(u16, u16)],
    sockets: &Sockets,
) -> Result<Vec<OsString>> {
    let mut a = Arguments(["-nodefaults", "-no-user-config"].map(OsString::from).to_vec());
    a.add("-name", machine.name.replace(',', "_"));
    a.add("-display", "none");
    if machine.secure_boot {
        // The variables are the firmware's alone: only code in system management mode may write them.
        a.add("-M", "q35,smm=on");
        a.add("-global", "driver=cfi.pflash01,property=secure,value=on");
        a.add("-global", "ICH9-LPC.disable_s3=1");
    } else {
        a.add("-M", "q35");
    }
    a.add("-accel", accelerator.argument());
    if accelerator == Accelerator::Kvm {
        a.add("-cpu", "host");
    }
    a.add("-m", machine.memory_mib.to_string());
    a.add("-smp", machine.cpus.to_string());
    a.add("-chardev", value(&["socket,id=console,path=", &text(&sockets.console)?]));
    a.add("-serial", "chardev:console");
    a.add("-chardev", value(&["socket,id=qmp,path=", &text(&sockets.qmp)?]));
    a.add("-mon", "chardev=qmp,mode=control");
    a.add("-device", "virtio-rng-pci");
    if machine.agent {
        a.add("-chardev", value(&["socket,id=agent,path=", &text(&sockets.agent)?]));
        a.add("-device", "virtio-serial-pci");
        a.add("-device", format!("virtserialport,chardev=agent,name={}", crate::protocol::PORT_NAME));
    }
    if machine.network {
        let rules = forwards.iter().map(|(host, guest)| format!(",hostfwd=tcp:127.0.0.1:{host}-:{guest}"));
        a.add("-netdev", format!("user,id=net0{}", rules.collect::<String>()));
        a.add("-device", "virtio-net-pci,netdev=net0,romfile=");
    }
    if machine.graphics {
        a.add("-vga", "std");
    }
    if !machine.reboot {
        a.0.push("-no-reboot".into());
    }
    boot(machine, &mut a)?;
    for (index, disk) in machine.disks.iter().enumerate() {
        add_disk(disk, index, &mut a)?;
    }
    if let Some(state) = &machine.incoming {
        a.add("-incoming", value(&["exec:cat '", &text(state)?, "'"]));
    }
    a.0.extend(machine.extra.iter().map(OsString::from));
    Ok(a.0)
}

fn boot(machine: &Builder, a: &mut Arguments) -> Result<()> {
    match &machine.boot {
        Boot::Bios => {}
        Boot::Direct { kernel, initrd, command_line } => {
            a.add("-kernel", kernel);
            a.add("-append", command_line);
            if let Some(initrd) = initrd {
                a.add("-initrd", initrd);
            }
        }
        Boot::Uefi => {
            let code = if machine.secure_boot {
                host::file(&["/usr/share/OVMF/OVMF_CODE_4M.secboot.fd"], "ovmf")?
            } else {
                host::file(&["/usr/share/OVMF/OVMF_CODE_4M.fd"], "ovmf")?
            };
            a.add("-drive", value(&["if=pflash,format=raw,unit=0,readonly=on,file=", &text(&code)?]));
            let variables = machine.uefi_variables.as_deref().unwrap_or(Path::new(VARIABLES));
            a.add("-drive", value(&["if=pflash,format=raw,unit=1,file=", &text(variables)?]));
        }
    }
    Ok(())
}

fn add_disk(disk: &disk::Disk, index: usize, a: &mut Arguments) -> Result<()> {
    let read_only = if disk.read_only { "on" } else { "off" };
    let file = text(&disk.path)?;
    // Discards go through, so that overlays stay small; the host's cache holds what the guest has not flushed.
    a.add(
        "-blockdev",
        value(&[
            &format!("driver=file,node-name=file{index},read-only={read_only},discard=unmap,filename="),
            &file,
        ]),
    );
    let mut node = format!("disk{index}");
    let format = disk.format.name();
    a.add(
        "-blockdev",
        format!("driver={format},node-name={node},file=file{index},read-only={read_only},discard=unmap"),
    );
    if let Some(log) = &disk.write_log {
        std::fs::write(log, []).map_err(Error::file("cannot create", log))?;
        a.add("-blockdev", value(&[&format!("driver=file,node-name=log{index},filename="), &text(log)?]));
        a.add(
            "-blockdev",
            format!(
                "driver=blklogwrites,node-name=logged{index},file={node},log=log{index},log-sector-size=512"
            ),
        );
        node = format!("logged{index}");
    }
    let serial = disk.serial.clone().unwrap_or_else(|| format!("disk{index}"));
    // 0 is the kernel's, when QEMU loads one.
    let bootindex = index + 1;
    let device = match disk.bus {
        Bus::Virtio => "virtio-blk-pci",
        Bus::Nvme => "nvme",
        Bus::Cdrom => "ide-cd",
        Bus::ScsiCdrom => {
            a.add("-device", format!("virtio-scsi-pci,id=scsi{index}"));
            "scsi-cd"
        }
    };
    a.add("-device", value(&[device, &format!(",drive={node},bootindex={bootindex},serial="), &serial]));
    Ok(())
}

fn value(parts: &[&str]) -> String {
    parts.concat()
}

/// A path inside of an option: UTF-8, with its commas doubled as QEMU wants it.
fn text(path: &Path) -> Result<String> {
    let text = path.to_str().ok_or_else(|| Error::Format {
        path: path.to_owned(),
        detail: "QEMU needs paths in UTF-8".to_owned(),
    })?;
    Ok(text.replace(',', ",,"))
}
