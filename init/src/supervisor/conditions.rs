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
        condition::PATH_EXISTS_GLOB => glob_exists(argument),
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
        condition::CAPABILITY | condition::AC_POWER => true,
        condition::USER => matches!(argument, "root" | "0" | "@system"),
        condition::FIRST_BOOT => {
            let first =
                std::fs::read_to_string("/etc/machine-id").is_ok_and(|text| text.trim() == "uninitialized");
            first == matches!(argument, "yes" | "true" | "1")
        }
        condition::HOST => {
            std::fs::read_to_string("/proc/sys/kernel/hostname").is_ok_and(|name| name.trim() == argument)
        }
        condition::ARCHITECTURE => {
            let here = if cfg!(target_arch = "x86_64") { "x86-64" } else { "arm64" };
            argument == here || argument == "native"
        }
        // Needs no update, has no such security module.
        _ => false,
    }
}

/// Whether the last part of a path with `*` and `?` matches anything.
fn glob_exists(pattern: &str) -> bool {
    let path = Path::new(pattern);
    let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return path.exists();
    };
    std::fs::read_dir(parent).is_ok_and(|entries| {
        entries.flatten().any(|entry| matches(name.as_bytes(), entry.file_name().as_encoded_bytes()))
    })
}

fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            matches(rest, name) || name.split_first().is_some_and(|(_, tail)| matches(pattern, tail))
        }
        (Some((b'?', rest)), Some((_, tail))) => matches(rest, tail),
        (Some((wanted, rest)), Some((found, tail))) => wanted == found && matches(rest, tail),
        _ => false,
    }
}

/// By the processor's hypervisor flag and the firmware's vendor; containers are told by PID 1's environment.
fn virtualization(argument: &str) -> bool {
    let is_vm = std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.contains(" hypervisor"));
    let vendor = std::fs::read_to_string("/sys/class/dmi/id/sys_vendor").unwrap_or_default();
    match argument {
        "yes" | "true" | "vm" => is_vm,
        "no" | "false" => !is_vm,
        "qemu" | "kvm" => is_vm && vendor.starts_with("QEMU"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        assert!(matches(b"*.conf", b"a.conf") && matches(b"a?c", b"abc") && !matches(b"*.conf", b"a.cfg"));
        assert!(glob_exists("/proc/sel*") && !glob_exists("/proc/nothing*"));
    }

    #[test]
    fn what_the_machine_is_asked() {
        assert!(holds(condition::PATH_EXISTS, "/proc/self") && holds(condition::PATH_IS_DIRECTORY, "/proc"));
        assert!(
            holds(condition::DIRECTORY_NOT_EMPTY, "/proc") && !holds(condition::FILE_NOT_EMPTY, "/nothing")
        );
    }
}
