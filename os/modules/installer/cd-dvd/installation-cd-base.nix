# What every installation medium has: the medium itself, a kernel with the drivers of real machines, tools, a user.
{ lib, pkgs, ... }:
{
  imports = [ ./iso-image.nix ./installable.nix ../../profiles/installation-device.nix ];
  # The default kernel is the one for virtual machines.
  boot.kernelPackages = lib.mkDefault pkgs.linuxPackages_full;
}
