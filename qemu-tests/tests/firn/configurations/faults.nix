# The machine of the fault tests: a service that counts, one behind a socket, one by a timer, one that uses all descriptors.
{ lib, pkgs, ... }:
let
  script = text: extra: lib.recursiveUpdate { serviceConfig.ExecStart = "${pkgs.writeShellScript "script" text}"; } extra;
in
{
  imports = [ ./agent.nix ];
  firn.channel.enable = lib.mkForce false;
  networking.hostName = "faults";
  boot.loader.systemd-boot.enable = true;
  boot.loader.timeout = 0;
  fileSystems."/" = { device = "/dev/disk/by-label/root"; fsType = "ext4"; };
  fileSystems."/boot" = { device = "/dev/disk/by-label/BOOT"; fsType = "vfat"; };

  systemd.services = {
    # Its process has to be the same one from the first fault to the last; its numbers are counted.
    keeper = script "i=0; while :; do echo \"keep $i\"; i=$((i + 1)); sleep 0.3; done" { wantedBy = [ "multi-user.target" ]; };
    # Comes back whenever it is killed.
    phoenix = script "exec sleep infinity" { wantedBy = [ "multi-user.target" ]; serviceConfig = { Restart = "always"; RestartSec = 0; }; unitConfig.StartLimitIntervalSec = 0; };
    "echo@" = { serviceConfig = { ExecStart = "${pkgs.coreutils}/bin/cat"; StandardInput = "socket"; StandardOutput = "socket"; }; };
    tick = script "echo x >>/run/ticks" { serviceConfig.Type = "oneshot"; unitConfig.StartLimitIntervalSec = 0; };
    forks = script "bomb() { bomb | bomb & }; bomb; exec sleep infinity" { serviceConfig = { TasksMax = 20; TimeoutStopSec = 5; }; };
    eats = script "x=y; while :; do x=$x$x; done" { serviceConfig.MemoryMax = "30M"; };
    # All descriptors that it may have.
    hoards = script "exec 2>/dev/null; while command exec {last}</dev/null; do i=$last; done; echo hoarded $i; exec sleep infinity" { };
    # Run-time instances.
    "worker@".serviceConfig = {
      ExecStart = "${pkgs.writeShellScript "work" "echo \"working on $1 for $JOB\"; exec sleep infinity"} %I";
      Environment = "JOB=%p-%i";
    };
  };
  systemd.sockets.echo = { wantedBy = [ "sockets.target" ]; socketConfig = { ListenStream = "/run/echo"; Accept = true; }; };
  systemd.timers.tick = { wantedBy = [ "timers.target" ]; timerConfig = { OnActiveSec = 1; OnUnitActiveSec = 1; AccuracySec = "1ms"; }; };
  system.stateVersion = "26.05";
}
