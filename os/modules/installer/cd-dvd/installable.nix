# What a medium needs so that systems can be installed from it without a network: `firn.installer.systems` lie in its store, and
# with them everything that building one of them for another disk or with other settings takes.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  # A disk in the place of the one that is not known yet.
  disk = {
    fileSystems."/" = lib.mkDefault { device = "/dev/disk/by-uuid/00000000-0000-0000-0000-000000000000"; fsType = "ext4"; };
    fileSystems."/boot" = lib.mkDefault { device = "/dev/disk/by-uuid/0000-0000"; fsType = "vfat"; };
    system.stateVersion = lib.mkDefault lib.trivial.release;
  };
  # What `firn install` writes when it is given no configuration: for UEFI and for a BIOS, on hardware and in QEMU.
  first = {
    boot.loader.systemd-boot.enable = true;
    boot.loader.grub = { enable = true; device = "/dev/vda"; };
    firn.channel.enable = true;
  };
  of = configuration: (import ../../../default.nix {
    system = config.nixpkgs.hostPlatform.system;
    modules = [ disk configuration ];
  }).config.system.build.toplevel;
in
{
  options.firn.installer.systems = mkOption {
    type = types.listOf types.raw;
    default = [
      { imports = [ first ../scan/not-detected.nix ]; boot.kernelPackages = pkgs.linuxPackages_full; }
      { imports = [ first ../../profiles/qemu-guest.nix ]; }
    ];
    defaultText = lib.literalMD "what `firn install` writes by itself";
    example = lib.literalExpression "[ ./server.nix ]";
    description = "Configurations that can be installed from this medium without a network, as they are or with other settings. File systems need not be in them.";
  };
  config = {
    isoImage.storeContents = map of config.firn.installer.systems;
    # The index by which the systems are evaluated again.
    firn.channel.enable = lib.mkDefault true;
    # The boot partition of the disk is mounted here.
    boot.supportedFilesystems = [ "vfat" "ext4" ];
  };
}
