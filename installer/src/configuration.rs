//! The first `configuration.nix` of a machine: it boots as it stands, and what most people change first stands in it as comments.

use crate::nix_text::string;

/// How the machine starts its kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loader {
    /// UEFI, through systemd-boot.
    Efi,
    /// A BIOS, through GRUB on this disk; `None` when it is not known which.
    Bios {
        /// `/dev/…`.
        disk: Option<String>,
    },
}

/// The file's text. `release` is that of the modules, `26.05`.
pub fn text(loader: &Loader, release: &str) -> String {
    let mut lines = Vec::new();
    match loader {
        Loader::Efi => lines.extend([
            "# The boot menu, on the EFI system partition.".to_owned(),
            "boot.loader.systemd-boot.enable = true;".to_owned(),
        ]),
        Loader::Bios { disk } => {
            lines.extend([
                "# The boot menu, on the disk that the BIOS starts.".to_owned(),
                "boot.loader.grub.enable = true;".to_owned(),
            ]);
            lines.push(match disk {
                Some(disk) => format!("boot.loader.grub.device = {};", string(disk)),
                None => "# boot.loader.grub.device = \"/dev/sda\";  # which one has to be said".to_owned(),
            });
        }
    }
    let loader = format!("  {}\n", lines.join("\n  "));
    format!(
        "\
# What this machine is. After a change: `firn switch`.
{{ config, lib, pkgs, ... }}:

{{
  imports = [ ./hardware-configuration.nix ];

{loader}
  # networking.hostName = \"firn\";
  # time.timeZone = \"Europe/Amsterdam\";
  # i18n.defaultLocale = \"en_US.UTF-8\";
  # console.keyMap = \"us\";

  # Somebody who may become root with `sudo`. Set a password with `passwd`.
  # users.users.alice = {{
  #   isNormalUser = true;
  #   extraGroups = [ \"wheel\" ];
  # }};

  # environment.systemPackages = [ pkgs.vim pkgs.curl ];

  # services.openssh.enable = true;
  # networking.firewall.allowedTCPPorts = [ 80 ];

  # The index of packages that this machine was made from, so that it can build its next generation by itself.
  firn.channel.enable = true;

  # The release with which this machine was made. It says what data on the disks looks like and stays
  # as it is when the machine moves to newer releases.
  system.stateVersion = {};
}}
",
        string(release)
    )
}
