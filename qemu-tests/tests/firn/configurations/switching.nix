# The machine of the switching test: three variants of one system, two of them as specialisations, so that all three are in
# the image's store.
{ config, lib, pkgs, ... }:
let
  inherit (config.test) variant;
  wait = { wantedBy = [ "multi-user.target" ]; serviceConfig.ExecStart = "${pkgs.coreutils}/bin/sleep infinity"; };
in
{
  imports = [ ./agent.nix ];
  options.test.variant = lib.mkOption { type = lib.types.str; default = "a"; description = "Which variant this is."; };
  config = {
    specialisation = lib.genAttrs [ "b" "c" ] (name: { configuration.test.variant = name; });

    firn.channel.enable = lib.mkForce false;
    networking.hostName = "switching";
    boot.loader.systemd-boot.enable = true;
    boot.loader.timeout = 0;
    fileSystems."/" = { device = "/dev/disk/by-label/root"; fsType = "ext4"; };
    fileSystems."/boot" = { device = "/dev/disk/by-label/BOOT"; fsType = "vfat"; };

    environment.etc."variant".text = "${variant}\n";
    environment.etc."only-${variant}".text = "";
    users.users."user-${variant}" = { isNormalUser = true; initialPassword = "firn"; };
    systemd.services = {
      steady = wait;
      changing = wait // { environment.VARIANT = variant; };
      "only-${variant}" = wait;
    };
    system.stateVersion = "26.05";
  };
}
