# The one part of `services.logind` that a server needs: what the power key does.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.services.logind;
  action = cfg.settings.Login.HandlePowerKey or cfg.powerKey;
in
{
  options.services.logind = {
    powerKey = mkOption { type = types.enum [ "ignore" "poweroff" "reboot" "halt" ]; default = "poweroff"; description = "What the power key does."; };
    settings.Login = mkOption { type = types.attrsOf types.anything; default = { }; example = { HandlePowerKey = "ignore"; }; description = "logind.conf; HandlePowerKey is read, there are no sessions for the others."; };
  };
  config = lib.mkIf (action != "ignore") {
    boot.kernelModules = [ "button" "evdev" ];
    systemd.services.power-button = {
      description = "Power key";
      wantedBy = [ "multi-user.target" ];
      serviceConfig = { ExecStart = "${pkgs.firn-init} power-button ${action}"; Restart = "on-failure"; };
    };
  };
}
