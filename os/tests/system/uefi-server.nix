# A server as a NixOS user has it: configuration.nix from the manual's template, hardware-configuration.nix as
# nixos-generate-config writes it, systemd-boot.
{ evaluate, ... }:
let
  c = (evaluate ../fixtures/uefi-server/configuration.nix).config;
in
{
  inherit (c.system.build) initrdMounts bootloader;
  inherit (c.boot) kernelModules;
  initrd = c.boot.initrd.availableKernelModules;
  units = builtins.filter (n: builtins.match ".*[.](service|timer|mount|swap)" n != null) (builtins.attrNames c.system.build.units);
  firewall = c.networking.firewall.allowedTCPPorts;
  user = builtins.filter (u: u.name == "alice") (map (u: removeAttrs u [ "shell" ]) c.system.build.users);
  warnings = map (builtins.replaceStrings [ (toString ../.) ] [ "TESTS" ]) c.warnings;
  backup = removeAttrs c.system.build.units."backup.service".sections.Service [ "Environment" "ExecStart" ];
  backupTimer = c.system.build.units."backup.timer".sections;
  sshd = c.environment.etc."ssh/sshd_config".source.text;
  hosts = c.environment.etc.hosts.text;
  fstab = c.environment.etc.fstab.text;
  builds = builtins.isString c.system.build.toplevel.drvPath;
}
