//! What the machine is made of, as far as a configuration has to say it: the drivers without which stage 1 would not find its disks
//! and nobody could type, the processor's kind, and whether the machine is one of software.

use crate::block_device::BlockDevice;
use crate::places::{Places, entries, line, link_name};
use std::collections::BTreeSet;
use std::path::Path;

/// Whose processor it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Processor {
    /// Intel's.
    Intel,
    /// AMD's, or Hygon's.
    Amd,
}

/// What the machine runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Platform {
    /// Hardware.
    Bare,
    /// QEMU, with or without KVM, or another emulator with its devices.
    Qemu,
    /// Another emulator or hypervisor, by name.
    Other(&'static str),
}

/// What there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hardware {
    /// Modules of what disks hang on, of USB and of keyboards.
    pub initrd_modules: Vec<String>,
    /// Modules that nothing would load by itself.
    pub kernel_modules: Vec<String>,
    /// The processor's maker.
    pub processor: Option<Processor>,
    /// What it runs on.
    pub platform: Platform,
    /// Whether UEFI started it.
    pub efi: bool,
    /// Names of its network interfaces that are hardware.
    pub interfaces: Vec<String>,
}

/// Modules that go by a device's `modalias`, in the kernel's order: `bootgen::module_tree` knows.
pub type Aliases<'a> = dyn Fn(&str) -> Vec<String> + 'a;

/// Looks. `devices` are the kernel's names of block devices that must be there; what hangs on no driver yet is asked of `aliases`.
pub fn read(places: &Places, devices: &[String], aliases: &Aliases<'_>) -> Hardware {
    let mut modules = Modules { aliases, found: BTreeSet::new() };
    modules.of_the_bus(places, "pci", |device| {
        let class = line(&device.join("class")).unwrap_or_default();
        // Mass storage; of serial buses FireWire and USB; SD hosts.
        ["0x01", "0x0c00", "0x0c03", "0x0805"].iter().any(|wanted| class.starts_with(wanted))
    });
    modules.of_the_bus(places, "usb", |device| {
        let is = |file: &str, value: &str| line(&device.join(file)).as_deref() == Some(value);
        // Mass storage, and keyboards.
        is("bInterfaceClass", "08") || is("bInterfaceClass", "03") && is("bInterfaceProtocol", "01")
    });
    modules.of_the_bus(places, "virtio", |device| {
        // Block devices, SCSI hosts.
        matches!(line(&device.join("device")).as_deref(), Some("0x0002" | "0x0008"))
    });
    for disk in crate::block_device::all(places).iter().filter(|device| device.partition.is_none()) {
        if !disk.is_virtual() {
            modules.of_all_above(&disk.directory);
        }
    }
    for host in entries(&places.sys.join("class/mmc_host")) {
        if let Ok(directory) = host.canonicalize() {
            modules.of_all_above(&directory);
        }
    }
    for device in devices.iter().filter_map(|name| BlockDevice::named(places, name)) {
        modules.of_all_above(&device.directory);
        modules.of_mapping(&device.directory);
    }
    let information = std::fs::read_to_string(places.proc.join("cpuinfo")).unwrap_or_default();
    let field = |name: &str| {
        information.lines().find_map(|line| {
            let (field, value) = line.split_once(':')?;
            (field.trim() == name).then(|| value.trim())
        })
    };
    let flags: BTreeSet<&str> = field("flags").unwrap_or_default().split(' ').collect();
    let mut kernel_modules = Vec::new();
    for (flag, module) in [("svm", "kvm-amd"), ("vmx", "kvm-intel")] {
        if flags.contains(flag) {
            kernel_modules.push(module.to_owned());
        }
    }
    let processor = match field("vendor_id") {
        Some("GenuineIntel") => Some(Processor::Intel),
        Some("AuthenticAMD" | "HygonGenuine") => Some(Processor::Amd),
        _ => None,
    };
    Hardware {
        initrd_modules: modules.found.into_iter().collect(),
        kernel_modules,
        processor,
        platform: platform(places, flags.contains("hypervisor")),
        efi: places.sys.join("firmware/efi").exists(),
        interfaces: interfaces(places),
    }
}

/// The modules found so far.
struct Modules<'a> {
    aliases: &'a Aliases<'a>,
    found: BTreeSet<String>,
}

impl Modules<'_> {
    fn of_the_bus(&mut self, places: &Places, bus: &str, is_wanted: impl Fn(&Path) -> bool) {
        for device in entries(&places.sys.join("bus").join(bus).join("devices")) {
            if is_wanted(&device) {
                self.of_device(&device);
            }
        }
    }

    /// The module of the driver that a device has; without a driver, those that its modalias names.
    fn of_device(&mut self, device: &Path) {
        if let Some(module) = link_name(&device.join("driver/module")) {
            self.found.insert(module);
        } else if let Some(alias) = line(&device.join("modalias")).filter(|alias| !alias.is_empty()) {
            self.found.extend((self.aliases)(&alias));
        }
    }

    /// The drivers of a device and of everything that it hangs on, up to the machine itself.
    fn of_all_above(&mut self, device: &Path) {
        for directory in device.ancestors().take_while(|directory| !directory.ends_with("devices")) {
            if let Some(module) = link_name(&directory.join("driver/module")) {
                self.found.insert(module);
            }
        }
    }

    /// What the kernel's device mapper and RAID need.
    fn of_mapping(&mut self, device: &Path) {
        if let Some(id) = line(&device.join("dm/uuid")) {
            self.found.insert("dm_mod".to_owned());
            if id.starts_with("CRYPT-") {
                self.found.insert("dm_crypt".to_owned());
            }
        }
        if let Some(level) = line(&device.join("md/level")) {
            self.found.insert(
                level.replace("raid4", "raid456").replace("raid5", "raid456").replace("raid6", "raid456"),
            );
        }
    }
}

/// By what the firmware says of its maker.
fn platform(places: &Places, hypervisor: bool) -> Platform {
    let said = ["sys_vendor", "product_name", "board_vendor", "bios_vendor"]
        .map(|file| line(&places.sys.join("class/dmi/id").join(file)).unwrap_or_default());
    let says = |word: &str| said.iter().any(|text| text.contains(word));
    let xen = line(&places.sys.join("hypervisor/type")).is_some_and(|kind| kind == "xen");
    if says("QEMU") || says("Bochs") || says("KVM") {
        Platform::Qemu
    } else if says("VMware") {
        Platform::Other("VMware")
    } else if says("VirtualBox") || says("innotek") {
        Platform::Other("VirtualBox")
    } else if xen {
        Platform::Other("Xen")
    } else if says("Microsoft Corporation") && says("Virtual Machine") {
        Platform::Other("Hyper-V")
    } else if hypervisor && !entries(&places.sys.join("bus/virtio/devices")).is_empty() {
        // Others with QEMU's devices: Firecracker, cloud-hypervisor, crosvm.
        Platform::Qemu
    } else if hypervisor {
        Platform::Other("an unknown hypervisor")
    } else {
        Platform::Bare
    }
}

/// Network interfaces with a device behind them.
fn interfaces(places: &Places) -> Vec<String> {
    let found = entries(&places.sys.join("class/net"));
    let real = found.iter().filter(|path| path.join("device").exists());
    real.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect()
}

#[cfg(test)]
mod tests;
