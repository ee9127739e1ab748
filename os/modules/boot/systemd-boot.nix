# systemd-boot: the loader for UEFI machines (Boot Loader Specification entries, boot counting).
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.boot.loader.systemd-boot;
  # Signed, the menu is systemd-boot's as well.
  signed = config.boot.lanzaboote;
  enable = cfg.enable || signed.enable;
  settings = lib.optionalAttrs signed.enable signed.settings;
in
{
  options.boot.loader.systemd-boot = {
    enable = lib.mkEnableOption "the systemd-boot boot loader";
    package = lib.mkPackageOption pkgs "systemd-boot" { default = "systemd-boot-efi"; };
    configurationLimit = mkOption { type = types.nullOr types.int; default = null; example = 20; description = "How many generations the menu shows."; };
    editor = mkOption { type = types.bool; default = true; description = "Whether the command line can be edited in the menu."; };
    consoleMode = mkOption { type = types.enum [ "0" "1" "2" "5" "auto" "max" "keep" ]; default = "keep"; description = "The console's resolution."; };
    graceful = mkOption { type = types.bool; default = false; inert = true; description = "Accepted: failing to write firmware variables is never fatal."; };
    memtest86.enable = lib.mkEnableOption "a memory test in the menu (accepted)" // { inert = true; };
    netbootxyz.enable = lib.mkEnableOption "netboot.xyz in the menu (accepted)" // { inert = true; };
    edk2-uefi-shell.enable = lib.mkEnableOption "an EFI shell in the menu (accepted)" // { inert = true; };
    sortKey = mkOption { type = types.str; default = "nixos"; inert = true; description = "Accepted; Firn orders the menu itself."; };
    extraEntries = mkOption { type = types.attrsOf types.lines; default = { }; inert = true; description = "Accepted."; };
    extraFiles = mkOption { type = types.attrsOf types.path; default = { }; inert = true; description = "Accepted."; };
    extraInstallCommands = mkOption { type = types.lines; default = ""; inert = true; description = "Accepted; no shell runs."; };
    windows = mkOption { type = types.attrsOf types.anything; default = { }; inert = true; description = "Accepted."; };
    bootCounting.enable = lib.mkEnableOption "trying a new generation a few times and falling back by itself";
    bootCounting.tries = mkOption { type = types.ints.positive; default = 3; description = "How often a new generation is tried."; };
    xbootldrMountPoint = mkOption { type = types.nullOr types.str; default = null; inert = true; description = "Accepted."; };
  };
  config = {
    assertions = [
      {
        assertion = !enable || builtins.any (fs: fs.mountPoint == config.boot.loader.efi.efiSysMountPoint) (lib.attrValues config.fileSystems) || config.system.build ? imageHasEsp;
        message = "${if cfg.enable then "boot.loader.systemd-boot" else "boot.lanzaboote"}.enable is set, but no file system is mounted at ${config.boot.loader.efi.efiSysMountPoint}: declare the EFI system partition in `fileSystems', or say where it is with boot.loader.efi.efiSysMountPoint.";
      }
    ];
    # Boot counting's other half: a machine that has come up marks what it booted good. What counts as up is what
    # boot-complete.target requires. No default dependencies, since multi-user.target, which wants it, comes before it.
    systemd.services.firn-boot-good = lib.mkIf (enable && cfg.bootCounting.enable) {
      description = "Mark the booted generation good";
      wantedBy = [ "multi-user.target" ];
      requires = [ "boot-complete.target" ];
      after = [ "boot-complete.target" ];
      restartIfChanged = false;
      unitConfig.DefaultDependencies = false;
      serviceConfig = { Type = "oneshot"; ExecStart = "${pkgs.firn}/bin/firn bootmenu --good"; };
    };
    system.build.systemdBoot = if !enable then null else {
      efi = "${cfg.package}/lib/systemd/boot/efi/systemd-bootx64.efi";
      configurationLimit = if signed.enable then signed.configurationLimit else cfg.configurationLimit;
      editor = settings.editor or cfg.editor;
      consoleMode = toString (settings.console-mode or cfg.consoleMode);
      tries = if cfg.bootCounting.enable then cfg.bootCounting.tries else null;
    } // lib.optionalAttrs signed.enable {
      secureBoot = {
        stub = "${cfg.package}/lib/systemd/boot/efi/linuxx64.efi.stub";
        inherit (signed) privateKeyFile publicKeyFile;
      };
    };
  };
}
