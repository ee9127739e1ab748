# The system that the installation tests install.
{ lib, ... }:
{
  imports = [ ./hardware-configuration.nix ./agent.nix ];
  networking.hostName = "installed";
  # Both, so that one configuration is for both tests; a disk that only UEFI starts has no use for the second.
  boot.loader.systemd-boot.enable = true;
  boot.loader.grub.enable = true;
  boot.loader.grub.device = "/dev/vda";
  boot.loader.timeout = 1;
  environment.etc."generation".text = "first\n";
  users.users.anna = { isNormalUser = true; initialPassword = "firn"; };
  system.stateVersion = "26.05";
}
