//! `hardware-configuration.nix`: what was found on the machine, as options. Written anew whenever it is asked for, so nothing in it
//! is for people to change.

use crate::file_systems::{FileSystem, Found};
use crate::hardware::{Hardware, Platform, Processor};
use crate::nix_text::{list, string};

const HEAD: &str = "\
# What `firn generate-config` found on this machine. It may be written again at any time:
# make changes in configuration.nix.
{ config, lib, pkgs, modulesPath, ... }:

{
";

/// The file's text. Without `file_systems` those are left to the configuration.
pub fn text(hardware: &Hardware, file_systems: Option<&Found>) -> String {
    let mut text = HEAD.to_owned();
    let mut add = |line: &str| {
        text.push_str(line);
        text.push('\n');
    };
    match &hardware.platform {
        Platform::Bare => add("  imports = [ (modulesPath + \"/installer/scan/not-detected.nix\") ];\n"),
        Platform::Qemu => add("  imports = [ (modulesPath + \"/profiles/qemu-guest.nix\") ];\n"),
        Platform::Other(name) => add(&format!("  # This machine runs under {name}.\n  imports = [ ];\n")),
    }
    add(&format!("  boot.initrd.availableKernelModules = {};", list(&hardware.initrd_modules)));
    add("  boot.initrd.kernelModules = [ ];");
    add(&format!("  boot.kernelModules = {};", list(&hardware.kernel_modules)));
    add("  boot.extraModulePackages = [ ];");
    if has_real_drivers(&hardware.platform) {
        add("  # The default kernel has the drivers of virtual machines only.");
        add("  boot.kernelPackages = lib.mkDefault pkgs.linuxPackages_full;");
    }
    add("");
    if let Some(found) = file_systems {
        found.file_systems.iter().for_each(|file_system| add(&self::file_system(file_system)));
        for encrypted in &found.encrypted {
            // A configuration with it does not evaluate; what the machine has is said all the same.
            add(&format!(
                "  # Firn's stage 1 cannot open encrypted volumes yet:\n  # boot.initrd.luks.devices.{}.device = {};\n",
                string(&encrypted.name),
                string(&encrypted.device)
            ));
        }
        if found.swaps.is_empty() {
            add("  swapDevices = [ ];\n");
        } else {
            add("  swapDevices = [");
            found.swaps.iter().for_each(|swap| add(&format!("    {{ device = {}; }}", string(swap))));
            add("  ];\n");
        }
    }
    add("  # Addresses by DHCP on every interface that has no others. One by one it is");
    match hardware.interfaces.first() {
        Some(interface) => add(&format!("  # networking.interfaces.{}.useDHCP.", attribute(interface))),
        None => add("  # networking.interfaces.NAME.useDHCP."),
    }
    add("  networking.useDHCP = lib.mkDefault true;\n");
    add(&format!("  nixpkgs.hostPlatform = lib.mkDefault \"{}-linux\";", std::env::consts::ARCH));
    if let (Platform::Bare, Some(processor)) = (&hardware.platform, hardware.processor) {
        let option = match processor {
            Processor::Intel => "intel",
            Processor::Amd => "amd",
        };
        add(&format!(
            "  # The processor's microcode stays the firmware's: Firn does not do\n  # hardware.cpu.{option}.updateMicrocode yet."
        ));
    }
    add("}");
    text
}

/// Whether the machine's devices are those of hardware, or imitate some.
fn has_real_drivers(platform: &Platform) -> bool {
    !matches!(platform, Platform::Qemu | Platform::Other("Hyper-V" | "Xen"))
}

/// One entry of `fileSystems`.
fn file_system(file_system: &FileSystem) -> String {
    let options = if file_system.options.is_empty() {
        String::new()
    } else {
        format!("    options = {};\n", list(&file_system.options))
    };
    format!(
        "  fileSystems.{} = {{\n    device = {};\n    fsType = {};\n{options}  }};\n",
        string(&file_system.mount_point),
        string(&file_system.device),
        string(&file_system.fs_type)
    )
}

/// An attribute's name, quoted where it has to be.
fn attribute(name: &str) -> String {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
        && name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
    if plain { name.to_owned() } else { string(name) }
}

#[cfg(test)]
mod tests;
