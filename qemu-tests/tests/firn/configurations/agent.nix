# What a machine under test has beside its own configuration: the test driver's agent, a console that is read, and what
# the machine needs to build its next generation without a network: the channel's index.
{ lib, pkgs, ... }:
{
  boot.kernelParams = [ "console=ttyS0" "panic=-1" ];
  boot.kernelModules = [ "virtio_console" ];
  systemd.services.firn-agent = {
    description = "Agent of the test driver";
    wantedBy = [ "multi-user.target" ];
    # A switch must not cut off the test that asked for it.
    restartIfChanged = false;
    environment.PATH = lib.mkForce "/run/wrappers/bin:/run/current-system/sw/bin";
    serviceConfig = { ExecStart = "${pkgs.firn-agent}"; Restart = "always"; };
  };
  firn.channel.enable = true;
}
