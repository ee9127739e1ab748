# What `firn generate-config` and `firn install --disk` write (installer's tests keep the files) evaluates as it stands.
{ evaluate, ... }:
let
  shown = directory:
    let
      c = (evaluate {
        imports = [ (directory + "/configuration.nix") ];
        # There is no channel here.
        firn.channel.index = ../fixtures;
      }).config;
    in
    {
      inherit (c.system.build) initrdMounts;
      inherit (c.boot) kernelModules;
      initrd = builtins.filter (m: builtins.elem m [ "ahci" "nvme" "xhci_pci" ]) c.boot.initrd.availableKernelModules;
      kernel = c.boot.kernelPackages.kernel.name;
      fstab = c.environment.etc.fstab.text;
      loaders = builtins.attrNames (removeAttrs c.system.build.bootloader [ "version" "timeout" ]);
      warnings = map (builtins.replaceStrings [ (toString ../.) ] [ "TESTS" ]) c.warnings;
      inherit (c.system) stateVersion;
      builds = builtins.isString c.system.build.toplevel.drvPath;
    };
in
{
  bare = shown ../fixtures/generated/bare;
  qemu = shown ../fixtures/generated/qemu;
}
