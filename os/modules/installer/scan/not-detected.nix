# Imported by the hardware-configuration.nix that nixos-generate-config writes.
{ lib, ... }:
{
  hardware.enableRedistributableFirmware = lib.mkDefault true;
}
