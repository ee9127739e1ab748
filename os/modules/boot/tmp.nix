# /tmp: in memory, or emptied at boot.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.boot.tmp;
in
{
  options.boot.tmp = {
    cleanOnBoot = mkOption { type = types.bool; default = false; description = "Whether /tmp is emptied at boot."; };
    useTmpfs = mkOption { type = types.bool; default = false; description = "Whether /tmp lies in memory."; };
    tmpfsSize = mkOption { type = types.either types.str types.ints.positive; default = "50%"; description = "Its size."; };
    tmpfsHugeMemoryPages = mkOption { type = types.str; default = "never"; inert = true; description = "Accepted."; };
    useZram = mkOption { type = types.bool; default = false; inert = true; description = "Accepted."; };
  };
  imports = [
    (lib.mkRenamedOptionModule [ "boot" "cleanTmpDir" ] [ "boot" "tmp" "cleanOnBoot" ])
    (lib.mkRenamedOptionModule [ "boot" "tmpOnTmpfs" ] [ "boot" "tmp" "useTmpfs" ])
  ];
  config = {
    fileSystems."/tmp" = lib.mkIf cfg.useTmpfs {
      device = "tmpfs";
      fsType = "tmpfs";
      options = [ "mode=1777" "strictatime" "nosuid" "nodev" "size=${toString cfg.tmpfsSize}" ];
    };
    systemd.tmpfiles.rules = [ (if cfg.cleanOnBoot then "D! /tmp 1777 root root -" else "d /tmp 1777 root root -") "d /var/tmp 1777 root root -" ];
  };
}
