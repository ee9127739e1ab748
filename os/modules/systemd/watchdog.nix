# `systemd.watchdog`: a hardware watchdog that process 1 feeds. Its time stands on the kernel's command line, so that it is armed
# before the first service.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.systemd.watchdog;
  span = types.nullOr types.str;
  seconds = text:
    let
      parts = builtins.match "([0-9]+) *(s|sec|m|min|h|)" text;
      unit = { "" = 1; s = 1; sec = 1; m = 60; min = 60; h = 3600; };
    in
    if parts == null then throw "systemd.watchdog.runtimeTime: `${text}' is no time; write `30s' or `2min'"
    else lib.toInt (lib.head parts) * unit.${lib.elemAt parts 1};
  time = cfg.runtimeTime;
in
{
  options.systemd.watchdog = {
    device = mkOption { type = types.nullOr types.path; default = null; inert = true; description = "Accepted; the first watchdog that there is, is fed."; };
    runtimeTime = mkOption { type = span; default = null; example = "30s"; description = "After what time without process 1 the hardware resets the machine."; };
    rebootTime = mkOption { type = span; default = null; inert = true; description = "Accepted; a reboot has a minute."; };
    kexecTime = mkOption { type = span; default = null; inert = true; description = "Accepted; the watchdog is disarmed before a kexec."; };
  };
  config.boot.kernelParams = lib.optional (time != null && time != "off") "firn.watchdog=${toString (seconds time)}";
}
