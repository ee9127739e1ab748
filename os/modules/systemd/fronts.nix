# systemd's commands under their names, for scripts and people: `systemctl`, `journalctl` and their kin are names of `firn`.
{ config, lib, pkgs, tool, ... }:
let
  names = [
    "systemctl" "journalctl" "systemd-notify" "systemd-cat" "systemd-run" "systemd-tmpfiles"
  ];
  package = tool "link-farm" {
    name = "systemd-fronts";
    entries = map (name: { name = "bin/${name}"; path = "${pkgs.firn}/bin/firn"; }) names;
  };
in
{
  options.systemd.package = lib.mkOption {
    type = lib.types.package;
    default = package;
    defaultText = lib.literalMD "Firn's fronts";
    description = "What scripts call as `\${config.systemd.package}/bin/systemctl`.";
  };
  config.environment.systemPackages = [ config.systemd.package ];
}
