//! systemd's commands as scripts and NixOS modules call them, and NixOS's own, by the name under which `firn` is called. Each takes the
//! forms that are used; what a front cannot do it refuses by name, and never quietly does nothing.

mod cat;
mod journalctl;
mod nixos;
mod notify;
mod options;
pub(crate) mod run;
mod systemctl;
mod tmpfiles;

use crate::family::NixTool;

/// The front of that name.
pub(crate) fn of_name(name: &str) -> Option<NixTool> {
    Some(match name {
        "systemctl" => systemctl::run,
        "journalctl" => journalctl::run,
        "nixos-install" => nixos::install,
        "nixos-generate-config" => nixos::generate_config,
        "nixos-enter" => nixos::enter,
        "systemd-notify" => notify::run,
        "systemd-cat" => cat::run,
        "systemd-run" => run::run,
        "systemd-tmpfiles" => tmpfiles::run,
        // shutdown(8)'s short names, as systemd links them to systemctl.
        "poweroff" => systemctl::poweroff,
        "reboot" => systemctl::reboot,
        "halt" => systemctl::halt,
        _ => return None,
    })
}
