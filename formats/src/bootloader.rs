//! `bootloader.json`: which boot loader a generation wants and how it is set. Written by `os/modules`
//! (`boot.loader.*`), read by `bootgen`. The newest generation's document counts for the whole boot partition.
//!
//! Follows ARCHITECTURE.md, "The toplevel". Both loaders may be wanted at once: a disk image boots through UEFI and BIOS.

use crate::json_document::{DocumentError, parse_versioned};
use serde::{Deserialize, Serialize};

/// The only version of the format so far.
pub const VERSION: u32 = 1;

/// The whole document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bootloader {
    /// Always [`VERSION`].
    pub version: u32,
    /// Seconds until the default boots; nothing means: wait for a key.
    #[serde(default)]
    pub timeout: Option<u32>,
    /// Where the EFI system partition (or /boot) is mounted.
    #[serde(default = "default_mount_point")]
    pub efi_sys_mount_point: String,
    /// Whether the firmware's variables may be written.
    #[serde(default)]
    pub can_touch_efi_variables: bool,
    /// Further boot partitions that are kept the same as the first, each a mount point.
    #[serde(default)]
    pub mirrored_mount_points: Vec<String>,
    /// systemd-boot, if wanted.
    #[serde(default)]
    pub systemd_boot: Option<SystemdBoot>,
    /// GRUB, if wanted.
    #[serde(default)]
    pub grub: Option<Grub>,
}

/// `boot.loader.systemd-boot`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SystemdBoot {
    /// The loader's EFI program.
    pub efi: String,
    /// How many generations the menu shows at most.
    #[serde(default)]
    pub configuration_limit: Option<u32>,
    /// Whether the kernel command line may be edited in the menu.
    #[serde(default = "yes")]
    pub editor: bool,
    /// `console-mode` of loader.conf(5).
    #[serde(default = "default_console_mode")]
    pub console_mode: String,
    /// Boot counting: how often a new generation is tried before the menu falls back. Nothing: no counting.
    #[serde(default)]
    pub tries: Option<u32>,
    /// Secure Boot: all that the firmware starts is signed. Nothing: nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secure_boot: Option<SecureBoot>,
}

/// `boot.lanzaboote`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecureBoot {
    /// systemd's stub, to which kernel, initrd and command line are added.
    pub stub: String,
    /// The file with the key that signs: on the machine, never in the store.
    pub private_key_file: String,
    /// The file with its certificate.
    pub public_key_file: String,
}

/// `boot.loader.grub`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Grub {
    /// `core.img` for BIOS (i386-pc), put in the BIOS boot partition of each device.
    #[serde(default)]
    pub bios_core: Option<String>,
    /// `boot.img` for BIOS, put in the first sector of each device.
    #[serde(default)]
    pub bios_boot: Option<String>,
    /// GRUB as an EFI program.
    #[serde(default)]
    pub efi_core: Option<String>,
    /// The disks that the BIOS may boot from.
    #[serde(default)]
    pub devices: Vec<String>,
    /// How many generations the menu shows at most.
    #[serde(default)]
    pub configuration_limit: Option<u32>,
    /// Lines put at the head of grub.cfg.
    #[serde(default)]
    pub extra_config: String,
}

impl Bootloader {
    /// Reads the document.
    ///
    /// # Errors
    /// When it is no JSON, has a key that is not known, lacks one that is needed, or is of another version.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        parse_versioned("bootloader.json", VERSION, bytes)
    }
}

fn yes() -> bool {
    true
}
fn default_mount_point() -> String {
    "/boot".to_owned()
}
fn default_console_mode() -> String {
    "keep".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_parses() {
        let both = Bootloader::parse(
            br#"{ "version": 1, "timeout": 5, "efiSysMountPoint": "/boot", "canTouchEfiVariables": false,
              "systemdBoot": {"efi": "/nix/store/x/systemd-bootx64.efi", "configurationLimit": null, "editor": true,
                              "consoleMode": "keep", "tries": 3},
              "grub": {"biosCore": null, "biosBoot": null, "efiCore": null, "devices": ["/dev/vda"],
                       "configurationLimit": 10, "extraConfig": ""} }"#,
        )
        .unwrap();
        let systemd_boot = both.systemd_boot.unwrap();
        assert_eq!((systemd_boot.tries, systemd_boot.secure_boot), (Some(3), None));
        assert_eq!(both.grub.unwrap().devices, ["/dev/vda"]);
        let none =
            Bootloader::parse(br#"{"version":1,"timeout":null,"systemdBoot":null,"grub":null}"#).unwrap();
        assert_eq!(
            (none.timeout, none.systemd_boot, none.efi_sys_mount_point.as_str()),
            (None, None, "/boot")
        );
    }

    #[test]
    fn secure_boot_has_all_of_its_files() {
        let parse = |secure_boot: &str| {
            let text = format!(r#"{{"version":1,"systemdBoot":{{"efi":"x","secureBoot":{secure_boot}}}}}"#);
            Bootloader::parse(text.as_bytes())
        };
        let files = parse(r#"{"stub":"/s","privateKeyFile":"/k","publicKeyFile":"/c"}"#).unwrap();
        assert_eq!(files.systemd_boot.unwrap().secure_boot.unwrap().private_key_file, "/k");
        let message = parse(r#"{"stub":"/s","privateKeyFile":"/k"}"#).unwrap_err().to_string();
        assert!(message.contains("publicKeyFile"), "{message}");
    }

    #[test]
    fn drift_is_named() {
        let message = Bootloader::parse(br#"{"version":1,"systemdBoot":{"efi":"x","trys":3}}"#)
            .unwrap_err()
            .to_string();
        assert!(message.contains("trys"), "{message}");
    }
}
