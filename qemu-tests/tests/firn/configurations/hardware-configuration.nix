# What the medium's own evaluation of installed.nix takes for the hardware; an installation writes the real one.
{ modulesPath, ... }:
{
  imports = [ (modulesPath + "/profiles/qemu-guest.nix") ];
}
