# GRUB: the loader for BIOS machines, and for UEFI where wanted.
{ config, lib, pkgs, tool, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.boot.loader.grub;
  devices = builtins.filter (d: d != "nodev") (lib.unique (lib.optional (cfg.device != "") cfg.device ++ cfg.devices));
  bios = devices != [ ];
  core = platform: tool "grub-core" { name = "grub-core-${platform}"; grub = "${cfg.package}"; inherit platform; };
in
{
  options.boot.loader.grub = {
    enable = mkOption { type = types.bool; default = false; description = "Whether to use GRUB."; };
    package = lib.mkPackageOption pkgs "grub" { default = "grub2"; };
    device = mkOption { type = types.str; default = ""; example = "/dev/vda"; description = "The disk that the BIOS boots from; `nodev` for none."; };
    devices = mkOption { type = types.listOf types.str; default = [ ]; description = "The same for several disks."; };
    efiSupport = mkOption { type = types.bool; default = false; description = "Whether GRUB boots UEFI machines."; };
    efiInstallAsRemovable = mkOption { type = types.bool; default = false; inert = true; description = "Accepted: the fallback path EFI/BOOT is always written."; };
    configurationLimit = mkOption { type = types.int; default = 100; description = "How many generations the menu shows."; };
    configurationName = mkOption { type = types.str; default = ""; description = "A name for this configuration in the menu."; };
    extraConfig = mkOption { type = types.lines; default = ""; description = "Lines at the head of grub.cfg."; };
    extraEntries = mkOption { type = types.lines; default = ""; description = "Further menu entries, put at the head of grub.cfg."; };
    extraPerEntryConfig = mkOption { type = types.lines; default = ""; inert = true; description = "Accepted."; };
    default = mkOption { type = types.either types.int types.str; default = "0"; inert = true; description = "Accepted; the newest generation is the default."; };
    useOSProber = mkOption { type = types.bool; default = false; inert = true; description = "Accepted; other systems are not looked for."; };
    copyKernels = mkOption { type = types.bool; default = true; inert = true; description = "Accepted; kernels are always copied."; };
    enableCryptodisk = mkOption { type = types.bool; default = false; inert = true; description = "Accepted."; };
    forceInstall = mkOption { type = types.bool; default = false; inert = true; description = "Accepted."; };
    fsIdentifier = mkOption { type = types.enum [ "uuid" "label" "provided" ]; default = "uuid"; inert = true; description = "Accepted."; };
    zfsSupport = mkOption { type = types.bool; default = false; inert = true; description = "Not done."; };
    memtest86.enable = lib.mkEnableOption "a memory test (accepted)" // { inert = true; };
    splashImage = mkOption { type = types.nullOr types.path; default = null; inert = true; description = "Accepted; the menu is text."; };
    backgroundColor = mkOption { type = types.nullOr types.str; default = null; inert = true; description = "Accepted."; };
    theme = mkOption { type = types.nullOr types.path; default = null; inert = true; description = "Accepted."; };
    gfxmodeEfi = mkOption { type = types.str; default = "auto"; inert = true; description = "Accepted."; };
    gfxmodeBios = mkOption { type = types.str; default = "1024x768"; inert = true; description = "Accepted."; };
    gfxpayloadEfi = mkOption { type = types.str; default = "keep"; inert = true; description = "Accepted."; };
    gfxpayloadBios = mkOption { type = types.str; default = "text"; inert = true; description = "Accepted."; };
    mirroredBoots = mkOption { type = types.listOf types.attrs; default = [ ]; inert = true; description = "Accepted."; };
    users = mkOption { type = types.attrsOf types.anything; default = { }; inert = true; description = "Accepted."; };
    version = mkOption { type = types.int; visible = false; default = 2; description = "There is only version 2."; };
  };
  config = {
    assertions = [
      {
        assertion = !cfg.enable || bios || cfg.efiSupport;
        message = "boot.loader.grub.enable is set, but not where to: set boot.loader.grub.device to the disk (\"/dev/vda\"), or boot.loader.grub.efiSupport.";
      }
    ];
    system.build.grub = if !cfg.enable then null else {
      biosCore = if bios then "${core "i386-pc"}/core.img" else null;
      biosBoot = if bios then "${core "i386-pc"}/boot.img" else null;
      efiCore = if cfg.efiSupport then "${core "x86_64-efi"}/grubx64.efi" else null;
      inherit devices;
      inherit (cfg) configurationLimit;
      extraConfig = cfg.extraConfig + cfg.extraEntries;
    };
  };
}
