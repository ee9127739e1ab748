# A rented virtual machine: BIOS and GRUB, static addresses, PostgreSQL, a service of one's own in a module with options.
{ evaluate, ... }:
let
  c = (evaluate ../fixtures/grub-server/configuration.nix).config;
  grub = c.system.build.bootloader.grub;
in
{
  inherit (c.system.build) initrdMounts;
  grub = removeAttrs grub [ "biosCore" "biosBoot" ] // { hasCore = grub.biosCore != null; };
  units = builtins.filter (n: builtins.match ".*[.](service|timer|mount|swap)" n != null) (builtins.attrNames c.system.build.units);
  app = removeAttrs c.system.build.units."shortener.service".sections.Service [ "Environment" "ExecStart" "ExecStartPre" ];
  appUnit = c.system.build.units."shortener.service".sections.Unit;
  addresses = c.systemd.services."network-addresses-eth0".before;
  resolv = c.environment.etc."resolv.conf".text;
  kernelParams = c.boot.kernelParams;
  specialisations = builtins.attrNames c.specialisation;
  debugParams = c.specialisation.debug.configuration.boot.kernelParams;
  builds = builtins.isString c.system.build.toplevel.drvPath;
}
