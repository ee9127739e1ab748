# The medium that a machine is installed from, without a graphical interface.
{ lib, ... }:
{
  imports = [ ./installation-cd-base.nix ];
  documentation.man.enable = lib.mkOverride 500 true;
  isoImage.edition = lib.mkOverride 500 "minimal";
}
