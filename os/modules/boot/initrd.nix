# The initial root: which modules stage 1 has, which file systems it mounts (`formats::stage1`).
{ config, lib, pkgs, tool, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.boot.initrd;
  names = description: mkOption { type = types.listOf types.str; default = [ ]; inherit description; };
in
{
  options.boot.initrd = {
    enable = mkOption { type = types.bool; default = true; description = "Whether there is an initrd; without one the kernel mounts / itself."; };
    availableKernelModules = names "Modules for hardware that may be there; those that the kernel lacks or has built in are passed over.";
    kernelModules = names "Modules that stage 1 must load; it is an error when the kernel lacks one.";
    includeDefaultModules = mkOption { type = types.bool; default = true; description = "Whether the common drivers for disks are taken."; };
    supportedFilesystems = mkOption { type = types.either (types.listOf types.str) (types.attrsOf types.bool); default = [ ]; description = "File systems that stage 1 can mount beside those in `fileSystems`."; };
    compressor = mkOption { type = types.str; default = "zstd"; description = "zstd, gzip or none."; };
    compressorArgs = mkOption { type = types.nullOr (types.listOf types.str); default = null; inert = true; description = "Accepted."; };
    rescueShell = mkOption { type = types.bool; default = false; description = "Whether the initrd has a busybox for a rescue shell."; };
    deviceTimeout = mkOption { type = types.ints.positive; default = 10; description = "Seconds that stage 1 waits for a device."; };
    extraFiles = mkOption { type = types.attrsOf (types.submodule { options.source = mkOption { type = types.path; description = "The file."; }; }); default = { }; description = "Further files, by their path in the initrd."; };
    verbose = mkOption { type = types.bool; default = true; description = "Whether stage 1 says what it does."; };
    checkJournalingFS = mkOption { type = types.bool; default = true; inert = true; description = "Accepted."; };
    systemd.enable = mkOption { type = types.bool; default = false; inert = true; description = "Accepted; stage 1 is Firn's own."; };
    network.enable = lib.mkEnableOption "the network in stage 1 (not done)" // { inert = true; };
    luks.devices = mkOption { type = types.attrsOf types.anything; default = { }; description = "Encrypted devices; not done yet, see the assertion."; };
    secrets = mkOption { type = types.attrsOf (types.nullOr types.path); default = { }; description = "Secrets in the initrd; not done yet, see the assertion."; };
    preDeviceCommands = mkOption { type = types.lines; default = ""; description = "Shell in stage 1; there is no shell."; };
    postDeviceCommands = mkOption { type = types.lines; default = ""; description = "Shell in stage 1; there is no shell."; };
    postMountCommands = mkOption { type = types.lines; default = ""; description = "Shell in stage 1; there is no shell."; };
    unl0kr.enable = lib.mkEnableOption "an on-screen keyboard (accepted)" // { inert = true; };
  };
  config = {
    assertions = [
      { assertion = cfg.luks.devices == { }; message = "boot.initrd.luks.devices is set, but Firn's stage 1 cannot open encrypted devices yet."; }
      { assertion = cfg.secrets == { }; message = "boot.initrd.secrets is set, but Firn does not put secrets into initrds yet."; }
      { assertion = cfg.preDeviceCommands + cfg.postDeviceCommands + cfg.postMountCommands == ""; message = "boot.initrd.*Commands are set, but Firn's stage 1 has no shell to run them."; }
      { assertion = !cfg.network.enable; message = "boot.initrd.network.enable is set, but Firn's stage 1 has no network."; }
      { assertion = builtins.elem cfg.compressor [ "zstd" "gzip" "none" "cat" ]; message = "boot.initrd.compressor is `${cfg.compressor}'; Firn writes zstd, gzip and none."; }
    ];
    boot.initrd.availableKernelModules = lib.mkIf cfg.includeDefaultModules [
      "virtio_pci" "virtio_mmio" "virtio_blk" "virtio_scsi" "nvme" "ahci" "ata_piix" "sd_mod" "sr_mod" "xhci_pci" "usb_storage" "usbhid" "mmc_block" "hid_generic"
    ];
    system.build.initialRamdisk = tool "initrd" {
      name = "initrd";
      init = "${pkgs.firn-init}";
      modulesTree = "${config.boot.kernelPackages.kernel}";
      modules = lib.unique cfg.kernelModules;
      availableModules = lib.subtractLists cfg.kernelModules (lib.unique (cfg.availableKernelModules ++ config.system.build.initrdFilesystemModules));
      mounts = config.system.build.initrdMounts;
      timeout = cfg.deviceTimeout;
      rescueShell = if cfg.rescueShell then "${pkgs.busybox}/bin/busybox" else null;
      extraFiles = lib.mapAttrsToList (target: f: { inherit target; source = "${f.source}"; }) cfg.extraFiles;
      compression = if cfg.compressor == "cat" then "none" else cfg.compressor;
    };
  };
}
