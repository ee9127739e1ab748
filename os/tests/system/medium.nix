# An installation medium, by NixOS's names: what stage 1 mounts, how the file is called, what its menu says; both older and newer names.
{ evaluate, ... }:
let
  with' = more: (evaluate ({ modulesPath, ... }: {
    imports = [ (modulesPath + "/installer/cd-dvd/installation-cd-minimal.nix") more ];
    # What a configuration for a disk says about it gives way.
    fileSystems."/" = { device = "/dev/disk/by-label/root"; fsType = "ext4"; };
    # There is no channel in these tests, and so nothing to install.
    firn.channel.enable = false;
    firn.installer.systems = [ ];
    isoImage.squashfsCompression = "zstd -Xcompression-level 6";
  })).config;
  c = with' { };
  image = config: removeAttrs config.system.build.isoImage [ "toplevel" "bios" "efi" ];
in
{
  inherit (c.system.build) initrdMounts;
  image = image c;
  named = image (with' {
    isoImage.isoName = "rescue.iso";
    isoImage.volumeID = "RESCUE";
    isoImage.prependToMenuLabel = "The ";
    isoImage.appendToMenuLabel = " Rescue";
    isoImage.contents = [ { source = "/etc/motd"; target = "/motd"; } ];
    isoImage.makeUsbBootable = false;
  });
  loaders = map (config: builtins.mapAttrs (_: loader: loader != null) { inherit (config.system.build.isoImage) bios efi; })
    [ c (with' { isoImage.makeBiosBootable = false; }) ];
  bootloader = { inherit (c.system.build.bootloader) systemdBoot grub timeout; };
  autologin = c.services.getty.autologinUser;
  builds = builtins.isString c.system.build.toplevel.drvPath;
}
