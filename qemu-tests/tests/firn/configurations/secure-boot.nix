# The machine of the Secure Boot test: two variants of one system, the second as a specialisation, so that both are in the
# image's store and a switch needs no build.
{ config, lib, ... }:
{
  imports = [ ./agent.nix ];
  options.test.variant = lib.mkOption { type = lib.types.str; default = "a"; description = "Which variant this is."; };
  config = {
    specialisation.b.configuration.test.variant = "b";

    firn.channel.enable = lib.mkForce false;
    networking.hostName = "secure-boot";
    boot.lanzaboote.enable = true;
    boot.loader.timeout = 5;
    fileSystems."/" = { device = "/dev/disk/by-label/root"; fsType = "ext4"; };
    fileSystems."/boot" = { device = "/dev/disk/by-label/BOOT"; fsType = "vfat"; };

    environment.etc."variant".text = "${config.test.variant}\n";
    system.stateVersion = "26.05";
  };
}
