# `rescue.target` and `emergency.target`: a shell on the console. With a password for root it is asked for; with a locked root,
# as is usual, whoever holds the console gets the shell.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  shell = name: description: {
    inherit description;
    restartIfChanged = false;
    unitConfig = {
      DefaultDependencies = false;
      Conflicts = "shutdown.target";
      Before = "shutdown.target";
    };
    environment = { HOME = "/root"; TERM = "vt220"; };
    enableDefaultPath = true;
    serviceConfig = {
      Type = "idle";
      WorkingDirectory = "-/root";
      ExecStart = "${pkgs.writeShellScript "${name}-shell" ''
        echo
        echo "${description}: \`journalctl -b' shows what was logged, \`systemctl default' or leaving goes on."
        # Two readers on one terminal would share what is typed.
        prompts=$(systemctl list-units --no-legend 'getty@*' 'serial-getty@*' | cut -d ' ' -f 1)
        [ -z "$prompts" ] || systemctl stop $prompts
        ${pkgs.util-linux}/sbin/sulogin --force
        [ -z "$prompts" ] || systemctl start --no-block $prompts
        exec ${pkgs.firn}/bin/firn service start --no-wait default.target
      ''}";
      StandardInput = "tty-force";
      StandardOutput = "inherit";
      StandardError = "inherit";
      KillMode = "process";
      IgnoreSIGPIPE = false;
      SendSIGHUP = true;
    };
  };
in
{
  options.systemd.enableEmergencyMode = mkOption { type = types.bool; default = true; description = "Whether there is an emergency shell."; };
  config.systemd = lib.mkIf config.systemd.enableEmergencyMode {
    services.rescue = shell "rescue" "Rescue shell";
    services.emergency = shell "emergency" "Emergency shell";
    targets.rescue.requires = [ "rescue.service" ];
    targets.emergency.requires = [ "emergency.service" ];
  };
}
