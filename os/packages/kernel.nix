# Kernels: Debian's packages as nixpkgs' `linuxPackages`. The kernel's package holds the image (`kernelFile`) and
# `lib/modules/VERSION`.
{ lib }:
final: prev:
let
  inherit (final.debian) entryOf package;

  # The kernel that a meta package (`linux-image-cloud-amd64`) stands for at present.
  packagesFor = metaPackage:
    let
      names = builtins.filter (name: lib.hasPrefix "linux-image-" name) (entryOf metaPackage).depends;
      name = if names == [ ] then throw "the channel's ${metaPackage} depends on no kernel" else lib.head names;
      release = lib.removePrefix "linux-image-" name;
      kernel = (package name).override {
        # Modules and an image: nothing in it is linked with anything.
        dependencies = [ ];
        interpreters = [ ];
        passthru = {
          kernelFile = "boot/vmlinuz-${release}";
          modDirVersion = release;
          version = (entryOf name).version;
          kernelOlder = lib.versionOlder release;
          kernelAtLeast = lib.flip lib.versionAtLeast release;
          config = "boot/config-${release}";
          isModular = true;
        };
      };
    in
    {
      inherit kernel;
      recurseForDerivations = true;
      extend = overlay: let self = packagesFor metaPackage // overlay self (packagesFor metaPackage); in self;
    };
in
{
  # The virtual machines' kernel is the default: a seventh of the other's modules, and all that a virtual machine has. Hardware
  # wants `linuxPackages_full`.
  linuxPackages = final.linuxPackages_cloud;
  linuxPackages_latest = final.linuxPackages;
  linuxPackages_cloud = packagesFor "linux-image-cloud-amd64";
  linuxPackages_full = packagesFor "linux-image-amd64";
  linuxPackages_rt = packagesFor "linux-image-rt-amd64";
  linuxPackagesFor = kernel: { inherit kernel; recurseForDerivations = true; };
  linux = final.linuxPackages.kernel;
}
