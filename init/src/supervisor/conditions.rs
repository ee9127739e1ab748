//! Condition…= and Assert…= (systemd.unit(5), "Conditions and Asserts"): each asks the machine something.

use formats::service_graph::key::{Key, condition};
use formats::service_graph::view::Unit;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// `Some(true)`: go on. `Some(false)`: a condition is not met. `None`: an assertion is not.
pub fn verdict(unit: &Unit<'_>) -> Option<bool> {
    if !all_hold(unit, Key::Asserts) {
        return None;
    }
    Some(all_hold(unit, Key::Conditions))
}

/// All ordinary ones must hold, and of the triggering ones at least one.
fn all_hold(unit: &Unit<'_>, key: Key) -> bool {
    let (mut has_trigger, mut triggered) = (false, false);
    for (tag, argument) in unit.tagged(key) {
        let holds = holds(tag & condition::CODE, argument) != (tag & condition::NEGATE != 0);
        if tag & condition::TRIGGER != 0 {
            has_trigger = true;
            triggered |= holds;
        } else if !holds {
            return false;
        }
    }
    !has_trigger || triggered
}

fn holds(code: u32, argument: &str) -> bool {
    let path = Path::new(argument);
    match code {
        condition::PATH_EXISTS => path.exists(),
        condition::PATH_EXISTS_GLOB => crate::glob::any(argument),
        condition::PATH_IS_DIRECTORY => path.is_dir(),
        condition::PATH_IS_SYMBOLIC_LINK => path.is_symlink(),
        condition::PATH_IS_MOUNT_POINT => {
            crate::mounting::mounted().iter().any(|(place, _)| place == argument)
        }
        condition::PATH_IS_READ_WRITE => {
            path.exists() && nix::unistd::access(path, nix::unistd::AccessFlags::W_OK).is_ok()
        }
        condition::DIRECTORY_NOT_EMPTY => {
            std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some())
        }
        condition::FILE_NOT_EMPTY => path.metadata().is_ok_and(|meta| meta.is_file() && meta.len() > 0),
        condition::FILE_IS_EXECUTABLE => {
            path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
        }
        condition::KERNEL_COMMAND_LINE => {
            let line = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
            line.split_whitespace().any(|word| {
                word == argument || word.split_once('=').is_some_and(|(name, _)| name == argument)
            })
        }
        condition::VIRTUALIZATION => virtualization(argument),
        condition::CAPABILITY => argument.parse::<u32>().is_ok_and(has_capability),
        condition::AC_POWER => on_ac_power() == (argument == "yes"),
        condition::NEEDS_UPDATE => needs_update(path),
        condition::SECURITY => has_security(argument),
        condition::USER => matches!(argument, "root" | "0" | "@system"),
        condition::FIRST_BOOT => {
            let first =
                std::fs::read_to_string("/etc/machine-id").is_ok_and(|text| text.trim() == "uninitialized");
            first == (argument == "yes")
        }
        condition::HOST => {
            let is = |path: &str, fits: &dyn Fn(&str) -> bool| {
                std::fs::read_to_string(path).is_ok_and(|text| fits(text.trim()))
            };
            is("/proc/sys/kernel/hostname", &|name| {
                crate::glob::matches(argument.as_bytes(), name.as_bytes())
            }) || is("/etc/machine-id", &|id| {
                !id.is_empty() && argument.replace('-', "").eq_ignore_ascii_case(id)
            })
        }
        condition::ARCHITECTURE => {
            let here = if cfg!(target_arch = "x86_64") { "x86-64" } else { "arm64" };
            argument == here || argument == "native"
        }
        _ => false,
    }
}

/// Whether the bounding set, which all processes have from PID 1, holds a capability.
fn has_capability(number: u32) -> bool {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask =
        text.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("CapBnd:")?.trim(), 16).ok());
    number < 64 && mask.unwrap_or(u64::MAX) & 1 << number != 0
}

/// Whether a power supply that is no battery is online, or there is no battery that could be in use instead.
fn on_ac_power() -> bool {
    let read = |path: &Path, name: &str| std::fs::read_to_string(path.join(name)).unwrap_or_default();
    let (mut has_battery, mut is_online) = (false, false);
    for entry in std::fs::read_dir("/sys/class/power_supply").into_iter().flatten().flatten() {
        match read(&entry.path(), "type").trim() {
            "Battery" => has_battery |= read(&entry.path(), "status").trim() == "Discharging",
            _ => is_online |= read(&entry.path(), "online").trim() == "1",
        }
    }
    is_online || !has_battery
}

/// Whether DIRECTORY/.updated is older than /usr, or not there (systemd-update-done.service(8)).
fn needs_update(directory: &Path) -> bool {
    let modified = |path: &Path| path.metadata().and_then(|meta| meta.modified()).ok();
    match (modified(&directory.join(".updated")), modified(Path::new("/usr"))) {
        (None, _) => true,
        (Some(done), Some(usr)) => done < usr,
        (Some(_), None) => false,
    }
}

/// Whether a security technology is on.
fn has_security(name: &str) -> bool {
    let exists = |path: &str| Path::new(path).exists();
    let is_yes = |path: &str| std::fs::read_to_string(path).is_ok_and(|text| text.trim() == "Y");
    match name {
        "selinux" => exists("/sys/fs/selinux/enforce"),
        "apparmor" => is_yes("/sys/module/apparmor/parameters/enabled"),
        "tomoyo" => exists("/sys/kernel/security/tomoyo/version"),
        "smack" => exists("/sys/fs/smackfs"),
        "ima" => exists("/sys/kernel/security/ima"),
        "audit" => std::fs::read_to_string("/proc/self/loginuid").is_ok(),
        "uefi-secureboot" => {
            let variable = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
            std::fs::read(variable).is_ok_and(|bytes| bytes.get(4) == Some(&1))
        }
        "tpm2" => crate::glob::any("/sys/class/tpmrm/*"),
        _ => false,
    }
}

/// By the processor's hypervisor flag and the firmware's vendor; containers are told by PID 1's environment.
fn virtualization(argument: &str) -> bool {
    let is_vm = std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.contains(" hypervisor"));
    let vendor = std::fs::read_to_string("/sys/class/dmi/id/sys_vendor").unwrap_or_default();
    let container = std::fs::read("/proc/1/environ").unwrap_or_default();
    let container = container.split(|byte| *byte == 0).find_map(|entry| entry.strip_prefix(b"container="));
    match argument {
        "yes" | "true" | "1" | "on" => is_vm || container.is_some(),
        "no" | "false" | "0" | "off" => !is_vm && container.is_none(),
        "vm" => is_vm,
        "container" => container.is_some(),
        _ if container.is_some_and(|name| name == argument.as_bytes()) => true,
        "vmware" => is_vm && vendor.starts_with("VMware"),
        "oracle" => is_vm && vendor.starts_with("innotek"),
        "microsoft" => is_vm && vendor.starts_with("Microsoft"),
        "amazon" => is_vm && vendor.starts_with("Amazon"),
        "kvm" => is_vm && vendor.starts_with("QEMU") && has_kvm_clock(),
        "qemu" => is_vm && vendor.starts_with("QEMU") && !has_kvm_clock(),
        _ => false,
    }
}

/// KVM's guests have its clock; QEMU's own processor does not.
fn has_kvm_clock() -> bool {
    let path = "/sys/devices/system/clocksource/clocksource0/available_clocksource";
    std::fs::read_to_string(path).is_ok_and(|text| text.contains("kvm-clock"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_machine_is_asked() {
        assert!(holds(condition::PATH_EXISTS, "/proc/self") && holds(condition::PATH_IS_DIRECTORY, "/proc"));
        assert!(
            holds(condition::DIRECTORY_NOT_EMPTY, "/proc") && !holds(condition::FILE_NOT_EMPTY, "/nothing")
        );
    }
}
