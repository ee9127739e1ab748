# The machine of the control tests: small services that log, notify, flood and fail.
{ lib, pkgs, ... }:
let
  script = text: { serviceConfig.ExecStart = "${pkgs.writeShellScript "script" text}"; };
in
{
  imports = [ ./agent.nix ];
  firn.channel.enable = lib.mkForce false;
  networking.hostName = "control";
  boot.loader.systemd-boot.enable = true;
  boot.loader.timeout = 0;
  # What the kernel for clouds has; the interface is that of the hardware.
  boot.kernelModules = [ "softdog" ];
  systemd.watchdog.runtimeTime = "10s";
  fileSystems."/" = { device = "/dev/disk/by-label/root"; fsType = "ext4"; };
  fileSystems."/boot" = { device = "/dev/disk/by-label/BOOT"; fsType = "vfat"; };

  systemd.services = {
    # Counts without a pause of its own: every number has to be found again.
    counter = lib.recursiveUpdate { wantedBy = [ "multi-user.target" ]; } (script ''
      i=0
      while [ $i -lt 3000 ]; do echo "count $i"; i=$((i + 1)); done
      echo "<3>counted all"
      exec sleep infinity
    '');
    flood = script "yes flood";
    notifier = lib.recursiveUpdate { serviceConfig = { Type = "notify"; NotifyAccess = "all"; Restart = "always"; RestartSec = 0; WatchdogSec = 2; }; } (script ''
      systemd-notify --status="getting ready"
      systemd-notify --ready --status="up and well"
      while [ ! -e /run/be-silent ]; do systemd-notify WATCHDOG=1; sleep 0.5; done
      rm /run/be-silent
      exec sleep infinity
    '');
    fails = script "echo last words; exit 7";
    forks = lib.recursiveUpdate { serviceConfig.TasksMax = 20; } (script "bomb() { bomb | bomb & }; bomb; exec sleep infinity");
    eats = lib.recursiveUpdate { serviceConfig.MemoryMax = "30M"; } (script "x=y; while :; do x=$x$x; done");
    echo = { serviceConfig = { ExecStart = "${pkgs.coreutils}/bin/cat"; StandardInput = "socket"; StandardOutput = "socket"; }; };
  };
  users.users.anna = { isNormalUser = true; initialPassword = "firn"; };
  system.stateVersion = "26.05";
}
