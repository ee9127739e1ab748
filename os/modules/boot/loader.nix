# What all boot loaders share, and the EFI system partition.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
in
{
  options.boot.loader = {
    timeout = mkOption { type = types.nullOr types.int; default = 5; description = "Seconds until the default entry boots; null waits for a key."; };
    efi = {
      canTouchEfiVariables = mkOption { type = types.bool; default = false; description = "Whether the firmware's boot variables may be written."; };
      efiSysMountPoint = mkOption { type = types.str; default = "/boot"; description = "Where the EFI system partition is mounted."; };
    };
    initScript.enable = lib.mkEnableOption "a script as boot loader (accepted)" // { inert = true; };
    external.enable = lib.mkEnableOption "another boot loader (accepted)" // { inert = true; };
    generic-extlinux-compatible.enable = lib.mkEnableOption "extlinux.conf (not done)" // { inert = true; };
    generationsDir.enable = lib.mkEnableOption "a directory of generations (accepted)" // { inert = true; };
  };
  imports = [
    (lib.mkRenamedOptionModule [ "boot" "loader" "grub" "timeout" ] [ "boot" "loader" "timeout" ])
  ];
  config.assertions = [
    { assertion = !config.boot.loader.generic-extlinux-compatible.enable; message = "boot.loader.generic-extlinux-compatible.enable is set, but Firn writes menus for systemd-boot and GRUB only."; }
  ];
}
