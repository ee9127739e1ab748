# Login prompts on the consoles and serial lines.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.services.getty;
  # Serial lines that the kernel's command line names as consoles.
  serial = lib.unique (lib.concatMap
    (p: let m = builtins.match "console=(ttyS[0-9]+|ttyAMA[0-9]+|hvc[0-9]+)(,.*)?" p; in lib.optional (m != null) (lib.head m))
    config.boot.kernelParams);
  agetty = "${pkgs.util-linux}/bin/agetty";
  login = lib.optionalString (cfg.autologinUser != null) "--autologin ${cfg.autologinUser} ";
  line = tty: arguments: {
    description = "Login prompt on ${tty}";
    wantedBy = [ "getty.target" ];
    before = [ "getty.target" ];
    after = [ "sysinit.target" ];
    restartIfChanged = false;
    unitConfig.ConditionPathExists = "/dev/${tty}";
    serviceConfig = {
      Type = "idle";
      ExecStart = "@${agetty} agetty --login-program ${cfg.loginProgram} ${login}${lib.escapeShellArgs cfg.extraArgs}${lib.optionalString (cfg.extraArgs != [ ]) " "}${arguments}";
      Restart = "always";
      RestartSec = 0;
      UtmpIdentifier = tty;
      UtmpMode = "login";
      StandardInput = "tty-force";
      StandardOutput = "tty";
      StandardError = "tty";
      TTYPath = "/dev/${tty}";
      TTYReset = true;
      TTYVHangup = true;
      KillMode = "process";
      IgnoreSIGPIPE = false;
      SendSIGHUP = true;
    };
    environment.TERM = if lib.hasPrefix "tty" tty && !(lib.hasPrefix "ttyS" tty) then "linux" else "vt220";
    enableDefaultPath = true;
  };
in
{
  options.services.getty = {
    loginProgram = mkOption { type = types.path; default = "${pkgs.login}/bin/login"; defaultText = lib.literalExpression ''"''${pkgs.login}/bin/login"''; description = "What is run for a login."; };
    loginOptions = mkOption { type = types.nullOr types.str; default = null; inert = true; description = "Accepted."; };
    autologinUser = mkOption { type = types.nullOr types.str; default = null; description = "A user who is logged in without being asked."; };
    autologinOnce = mkOption { type = types.bool; default = false; inert = true; description = "Accepted."; };
    extraArgs = mkOption { type = types.listOf types.str; default = [ ]; example = [ "--nohostname" ]; description = "Further arguments of agetty(8)."; };
    greetingLine = mkOption { type = types.str; default = "<<< ${config.system.nixos.distroName} ${config.system.nixos.label} (\\m) - \\l >>>"; description = "The line above the prompt."; };
    helpLine = mkOption { type = types.lines; default = ""; description = "A line below it."; };
    ttys = mkOption { type = types.listOf types.str; default = [ "tty1" "tty2" ]; description = "The virtual consoles with a prompt."; };
  };
  config = {
    systemd.services = lib.mkIf config.console.enable (
      lib.listToAttrs (map (t: lib.nameValuePair "getty@${t}" (line t "--noclear ${t} linux")) cfg.ttys)
      // lib.listToAttrs (map
        (t: lib.nameValuePair "serial-getty@${t}" (lib.recursiveUpdate (line t "--keep-baud ${t} 115200,57600,38400,9600 vt220") {
          # A serial line has a prompt when the kernel was told to use it as a console, be it by a boot menu or a virtual machine.
          unitConfig.ConditionKernelCommandLine = [ "|console=${t}" "|console=${t},115200" "|console=${t},115200n8" ] ++ map (p: "|${p}") (builtins.filter (lib.hasPrefix "console=${t},") config.boot.kernelParams);
        }))
        (lib.unique ([ "ttyS0" "hvc0" ] ++ serial))));
    environment.etc.issue = lib.mkDefault { text = "\n${cfg.greetingLine}\n${cfg.helpLine}\n"; };
  };
}
