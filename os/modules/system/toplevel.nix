# system.build.toplevel: one generation of the machine, as a directory that holds or links all its parts
# (ARCHITECTURE.md, "The toplevel"), with boot.json after RFC 125.
{ config, lib, pkgs, tool, extendModules, ... }:
let
  inherit (lib) mkOption types;
  kernel = config.boot.kernelPackages.kernel;
  checked = lib.asserts.checkAssertWarn config.assertions config.warnings;

  kernelFile = "${kernel}/${config.system.boot.loader.kernelFile}";
  initrdFile = "${config.system.build.initialRamdisk}/${config.system.boot.loader.initrdFile}";

  bootspec = toplevel: {
    inherit (config.boot) kernelParams;
    init = "${toplevel}/init";
    initrd = initrdFile;
    kernel = kernelFile;
    label = "Firn ${config.system.nixos.label} (Linux ${config.boot.kernelPackages.kernel.modDirVersion or config.boot.kernelPackages.kernel.version or "?"})";
    system = config.nixpkgs.hostPlatform.system;
    inherit toplevel;
  };
in
{
  options = {
    system.boot.loader.kernelFile = mkOption { internal = true; type = types.str; default = kernel.kernelFile or "vmlinuz"; description = "The kernel's file in its package."; };
    system.boot.loader.initrdFile = mkOption { internal = true; type = types.str; default = "initrd"; description = "The initrd's file in its package."; };
    system.extraDependencies = mkOption { type = types.listOf types.pathInStore; default = [ ]; description = "Paths that stay with the system though nothing in it refers to them."; };
    system.replaceDependencies = mkOption { type = types.raw; default = { }; internal = true; inert = true; description = "Not done."; };
    hardware.firmware = mkOption { type = types.listOf types.package; default = [ ]; description = "Packages with firmware files."; };
    hardware.enableRedistributableFirmware = lib.mkEnableOption "redistributable firmware (accepted; name packages in hardware.firmware)" // { inert = true; };
    hardware.enableAllFirmware = lib.mkEnableOption "all firmware (accepted)" // { inert = true; };
    hardware.cpu.intel.updateMicrocode = lib.mkEnableOption "microcode updates for Intel processors (accepted)" // { inert = true; };
    hardware.cpu.amd.updateMicrocode = lib.mkEnableOption "microcode updates for AMD processors (accepted)" // { inert = true; };
  };

  config.system.build = {
    kernel = kernel;
    kernelParams = config.boot.kernelParams;
    kernelModules = tool "kernel-modules" {
      name = "kernel-modules";
      kernel = "${kernel}";
      extraModules = map (p: "${p}") config.boot.extraModulePackages;
    };
    firmware = pkgs.buildEnv { name = "firmware"; paths = config.hardware.firmware; pathsToLink = [ "/lib/firmware" ]; ignoreCollisions = true; };

    bootspec = bootspec "@out@";

    bootloader = {
      version = 1;
      inherit (config.boot.loader) timeout;
      inherit (config.boot.loader.efi) efiSysMountPoint canTouchEfiVariables;
      systemdBoot = config.system.build.systemdBoot;
      grub = config.system.build.grub;
    };

    # For `firn image --format iso'; the modules of media say what it is.
    isoImage = lib.mkOptionDefault (throw "This configuration describes no medium: import (modulesPath + \"/installer/cd-dvd/installation-cd-minimal.nix\"), or iso-image.nix beside it for a medium of your own.");

    toplevel = checked (tool "toplevel" {
      name = "firn-system-${lib.strings.sanitizeDerivationName config.system.name}-${config.system.nixos.label}";
      links = {
        init = "${pkgs.firn-init}";
        activate = "${pkgs.firn-activate}";
        kernel = kernelFile;
        initrd = initrdFile;
        kernel-modules = "${config.system.build.kernelModules}";
        firmware = if config.hardware.firmware == [ ] then null else "${config.system.build.firmware}/lib/firmware";
        etc = "${config.system.build.etc}/etc";
        sw = "${config.system.path}";
        fronts = "${config.systemd.package}";
      };
      files = {
        kernel-params = lib.concatStringsSep " " config.boot.kernelParams;
        system = config.nixpkgs.hostPlatform.system;
        firn-version = config.system.nixos.label;
        nixos-version = config.system.nixos.label;
        configuration-name = config.boot.loader.grub.configurationName;
        extra-dependencies = lib.concatLines (map (p: "${p}") config.system.extraDependencies);
        "activation.json" = config.system.build.activation;
        "bootloader.json" = config.system.build.bootloader;
        "boot.json" = { "org.nixos.bootspec.v1" = config.system.build.bootspec; } // config.boot.bootspec.extensions;
      };
      specialisation = lib.mapAttrs (_: s: "${s.configuration.system.build.toplevel}") config.specialisation;
      serviceGraph = "${config.system.build.serviceGraph}";
    });
  };
  options.boot.bootspec = {
    enable = mkOption { type = types.bool; default = true; description = "boot.json is always written."; };
    extensions = mkOption { type = types.attrsOf types.anything; default = { }; description = "Further documents in boot.json, by reverse domain name."; };
  };
}
