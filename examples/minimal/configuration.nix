# The smallest machine that boots: a root file system and a login prompt.
{ ... }:
{
  fileSystems."/" = { device = "/dev/disk/by-label/root"; fsType = "ext4"; };
  boot.loader.systemd-boot.enable = false;
  users.allowNoPasswordLogin = true;
  services.getty.autologinUser = "root";
  system.stateVersion = "26.05";
}
