# For machines that should be small.
{ lib, ... }:
{
  documentation.enable = lib.mkDefault false;
  documentation.man.enable = lib.mkDefault false;
  documentation.doc.enable = lib.mkDefault false;
  documentation.nixos.enable = lib.mkDefault false;
  programs.nano.enable = lib.mkDefault false;
}
