# Boot counting: with it, a service marks what was booted good; without it, there is none.
{ evaluate, ... }:
let
  with' = enable: (evaluate {
    imports = [ ../fixtures/uefi-server/configuration.nix ];
    boot.loader.systemd-boot.bootCounting = { inherit enable; tries = 2; };
  }).config;
  unit = (with' true).system.build.units."firn-boot-good.service".sections;
in
{
  tries = map (enable: (with' enable).system.build.bootloader.systemdBoot.tries) [ true false ];
  service = unit.Service.Type ++ unit.Unit.After ++ unit.Unit.DefaultDependencies ++ unit.Install.WantedBy;
  none = (with' false).system.build.units ? "firn-boot-good.service";
  builds = builtins.isString (with' true).system.build.toplevel.drvPath;
}
