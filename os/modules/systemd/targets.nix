# The milestones that units name (systemd.special(7)), and their order. Services get sysinit and basic by default.
{ lib, ... }:
let
  passive = description: { inherit description; };
in
{
  config.systemd.targets = {
    local-fs-pre = passive "Before local file systems";
    local-fs = { description = "Local file systems"; after = [ "local-fs-pre.target" ]; unitConfig.DefaultDependencies = false; };
    remote-fs-pre = passive "Before remote file systems";
    remote-fs = { description = "Remote file systems"; after = [ "remote-fs-pre.target" ]; unitConfig.DefaultDependencies = false; };
    swap = { description = "Swap"; unitConfig.DefaultDependencies = false; };
    sysinit = { description = "System initialisation"; wants = [ "local-fs.target" "swap.target" ]; after = [ "local-fs.target" "swap.target" ]; unitConfig.DefaultDependencies = false; };
    sockets = { description = "Sockets"; unitConfig.DefaultDependencies = false; };
    timers = { description = "Timers"; unitConfig.DefaultDependencies = false; };
    paths = { description = "Paths"; unitConfig.DefaultDependencies = false; };
    slices = { description = "Slices"; unitConfig.DefaultDependencies = false; };
    basic = {
      description = "Basic system";
      requires = [ "sysinit.target" ];
      wants = [ "sockets.target" "timers.target" "paths.target" "slices.target" ];
      after = [ "sysinit.target" "sockets.target" "paths.target" "slices.target" ];
      unitConfig.DefaultDependencies = false;
    };
    network-pre = passive "Before the network";
    network = { description = "Network"; after = [ "network-pre.target" ]; };
    network-online = { description = "Network is online"; after = [ "network.target" ]; };
    nss-lookup = passive "Host name lookup";
    nss-user-lookup = passive "User name lookup";
    time-set = passive "Clock is set";
    time-sync = { description = "Clock is synchronised"; after = [ "time-set.target" ]; };
    rpcbind = passive "RPC port mapper";
    getty = passive "Login prompts";
    multi-user = { description = "Multi-user system"; requires = [ "basic.target" ]; wants = [ "getty.target" "remote-fs.target" ]; after = [ "basic.target" ]; };
    graphical = { description = "Graphical system"; requires = [ "multi-user.target" ]; after = [ "multi-user.target" ]; };
    boot-complete = { description = "Boot is complete"; after = [ "multi-user.target" ]; };
    shutdown = { description = "Shutdown"; unitConfig.DefaultDependencies = false; };
    umount = { description = "Unmount"; unitConfig.DefaultDependencies = false; };
    final = { description = "Final step"; after = [ "shutdown.target" "umount.target" ]; unitConfig.DefaultDependencies = false; };
    poweroff = { description = "Power off"; requires = [ "final.target" ]; after = [ "final.target" ]; unitConfig.DefaultDependencies = false; };
    reboot = { description = "Reboot"; requires = [ "final.target" ]; after = [ "final.target" ]; unitConfig.DefaultDependencies = false; };
    halt = { description = "Halt"; requires = [ "final.target" ]; after = [ "final.target" ]; unitConfig.DefaultDependencies = false; };
    rescue = { description = "Rescue shell"; requires = [ "sysinit.target" ]; after = [ "sysinit.target" ]; };
    emergency = { description = "Emergency shell"; unitConfig.DefaultDependencies = false; };
    sleep = passive "Sleep";
    suspend = passive "Suspend";
  };
}
