# The medium of the installation tests: a live system, and on it the configuration of another one with all that it takes.
{ lib, modulesPath, ... }:
{
  imports = [ ./agent.nix (modulesPath + "/installer/cd-dvd/iso-image.nix") (modulesPath + "/installer/cd-dvd/installable.nix") ];
  networking.hostName = "medium";
  isoImage.volumeID = "FIRN_INSTALL";
  isoImage.contents = [
    { source = ./installed.nix; target = "/system/configuration.nix"; }
    { source = ./agent.nix; target = "/system/agent.nix"; }
  ];
  firn.installer.systems = [ ./installed.nix ];
  boot.loader.timeout = 1;
  users.allowNoPasswordLogin = true;
}
