# udev: names, links, permissions and modules for devices, by Debian's systemd-udevd. Off unless asked for: nodes come from
# the kernel's devtmpfs, and stage 1 and mounts find devices themselves.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.services.udev;
  udev = pkgs.udev;
  extra = pkgs.writeTextDir "lib/udev/rules.d/99-local.rules" cfg.extraRules;
  rules = pkgs.buildEnv {
    name = "udev-rules";
    paths = cfg.packages ++ [ udev extra ];
    pathsToLink = [ "/lib/udev/rules.d" "/etc/udev/rules.d" ];
    ignoreCollisions = true;
  };
in
{
  options.services.udev = {
    enable = mkOption { type = types.bool; default = cfg.packages != [ ] || cfg.extraRules != ""; defaultText = lib.literalMD "true with rules or packages"; description = "Whether udev runs."; };
    packages = mkOption { type = types.listOf types.package; default = [ ]; description = "Packages with rules."; };
    path = mkOption { type = types.listOf types.package; default = [ ]; description = "Packages whose programs rules run."; };
    extraRules = mkOption { type = types.lines; default = ""; example = ''SUBSYSTEM=="net", NAME="lan"''; description = "Rules of one's own."; };
    extraHwdb = mkOption { type = types.lines; default = ""; inert = true; description = "Accepted; there is no hardware database."; };
  };
  config = lib.mkIf cfg.enable {
    environment.systemPackages = [ udev ];
    environment.etc."udev/rules.d".source = "${rules}/lib/udev/rules.d";
    environment.etc."udev/udev.conf".text = "udev_log=err\n";
    systemd.services = {
      systemd-udevd = {
        description = "Devices' names, links and permissions";
        wantedBy = [ "sysinit.target" ];
        before = [ "sysinit.target" ];
        path = cfg.path;
        restartIfChanged = false;
        unitConfig = { DefaultDependencies = false; Conflicts = "shutdown.target"; };
        serviceConfig = {
          Type = "notify";
          ExecStart = "${udev}/lib/systemd/systemd-udevd";
          ExecReload = "${udev}/bin/udevadm control --reload --timeout 0";
          OOMScoreAdjust = -1000;
          KillMode = "mixed";
          TasksMax = "infinity";
          Restart = "always";
          RestartSec = 0;
        };
      };
      systemd-udev-trigger = {
        description = "Events of the devices that are there already";
        wantedBy = [ "sysinit.target" ];
        before = [ "sysinit.target" ];
        requires = [ "systemd-udevd.service" ];
        after = [ "systemd-udevd.service" ];
        restartTriggers = [ rules ];
        unitConfig.DefaultDependencies = false;
        serviceConfig = {
          Type = "oneshot";
          RemainAfterExit = true;
          ExecStart = [
            "-${udev}/bin/udevadm trigger --type=subsystems --action=add"
            "-${udev}/bin/udevadm trigger --type=devices --action=add"
          ];
        };
      };
      systemd-udev-settle = {
        description = "All present devices are done";
        requires = [ "systemd-udev-trigger.service" ];
        after = [ "systemd-udev-trigger.service" ];
        unitConfig.DefaultDependencies = false;
        serviceConfig = { Type = "oneshot"; RemainAfterExit = true; ExecStart = "${udev}/bin/udevadm settle"; TimeoutSec = 180; };
      };
    };
  };
}
