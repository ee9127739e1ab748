# A medium to install from: `firn image --format iso examples/iso` writes it, for CDs and USB sticks.
{ modulesPath, pkgs, ... }:
{
  imports = [ (modulesPath + "/installer/cd-dvd/installation-cd-minimal.nix") ];
  environment.systemPackages = [ pkgs.vim ];
}
