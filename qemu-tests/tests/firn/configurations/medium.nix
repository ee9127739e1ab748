# The machine of the medium tests: a live system with the kernel for virtual machines.
{ modulesPath, pkgs, ... }:
{
  imports = [ ./agent.nix (modulesPath + "/installer/cd-dvd/iso-image.nix") ];
  networking.hostName = "medium";
  isoImage.volumeID = "FIRN_TEST";
  isoImage.storeContents = [ pkgs.hello ];
  isoImage.contents = [ { source = ./medium.nix; target = "/configuration.nix"; } ];
  boot.loader.timeout = 3;
  users.allowNoPasswordLogin = true;
}
