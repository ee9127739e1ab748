# The machine of the mission test. The test makes generation 2 by replacing the words between at signs.
{ pkgs, ... }:
{
  imports = [ ./agent.nix ];
  networking.hostName = "mission";

  boot.loader.systemd-boot.enable = true;
  boot.loader.grub.enable = true;
  boot.loader.grub.device = "/dev/vda";
  boot.loader.timeout = 8;
  fileSystems."/" = { device = "/dev/disk/by-label/root"; fsType = "ext4"; };
  fileSystems."/boot" = { device = "/dev/disk/by-label/BOOT"; fsType = "vfat"; };

  environment.systemPackages = [ pkgs.curl ];
  environment.etc."generation".text = "@generation@\n";
  services.nginx = {
    enable = true;
    virtualHosts.default = {
      default = true;
      root = pkgs.writeTextDir "index.html" "the page that stays\n";
    };
  };

  # One that stays as it is, and one that changes.
  systemd.services.steady = {
    wantedBy = [ "multi-user.target" ];
    serviceConfig.ExecStart = "${pkgs.coreutils}/bin/sleep infinity";
  };
  systemd.services.changing = {
    wantedBy = [ "multi-user.target" ];
    environment.GENERATION = "@generation@";
    serviceConfig.ExecStart = "${pkgs.coreutils}/bin/sleep infinity";
  };
  @only@

  users.users.@user@ = { isNormalUser = true; initialPassword = "firn"; };
  system.stateVersion = "26.05";
}
