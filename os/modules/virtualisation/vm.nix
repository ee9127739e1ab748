# `virtualisation.*`: the machine as a virtual one. `system.build.vm` is the data from which `firn vm` runs QEMU; the
# variant of the configuration for it has its own root disk and the host's store image below an overlay.
{ config, lib, extendModules, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.virtualisation;
  machine = {
    options.virtualisation = {
      memorySize = mkOption { type = types.ints.positive; default = 1024; description = "Memory in MiB."; };
      cores = mkOption { type = types.ints.positive; default = 1; description = "Processors."; };
      diskSize = mkOption { type = types.either types.ints.positive (types.enum [ "auto" ]); default = 1024; apply = s: if s == "auto" then 4096 else s; description = "The root disk's size in MiB."; };
      diskImage = mkOption { type = types.nullOr types.str; default = "./${config.system.name}.qcow2"; inert = true; description = "Accepted; `firn vm` keeps the disk."; };
      graphics = mkOption { type = types.bool; default = false; description = "Whether QEMU opens a window; otherwise the machine's console is the terminal."; };
      forwardPorts = mkOption {
        default = [ ];
        example = [ { host.port = 8080; guest.port = 80; } ];
        description = "Ports of the host that lead into the machine.";
        type = types.listOf (types.submodule {
          options = {
            from = mkOption { type = types.enum [ "host" "guest" ]; default = "host"; description = "Which side's port leads to the other."; };
            proto = mkOption { type = types.enum [ "tcp" "udp" ]; default = "tcp"; description = "The protocol."; };
            host.address = mkOption { type = types.str; default = ""; description = "The host's address."; };
            host.port = mkOption { type = types.port; description = "The host's port."; };
            guest.address = mkOption { type = types.str; default = ""; description = "The machine's address."; };
            guest.port = mkOption { type = types.port; description = "The machine's port."; };
          };
        });
      };
      sharedDirectories = mkOption { type = types.attrsOf types.anything; default = { }; inert = true; description = "Not done."; };
      qemu = {
        options = mkOption { type = types.listOf types.str; default = [ ]; description = "Further arguments of QEMU."; };
        package = mkOption { type = types.nullOr types.package; default = null; inert = true; description = "Accepted; the host's QEMU is used."; };
        networkingOptions = mkOption { type = types.listOf types.str; default = [ ]; inert = true; description = "Accepted."; };
      };
      useBootLoader = mkOption { type = types.bool; default = false; description = "Whether the machine boots through its boot loader."; };
      useEFIBoot = mkOption { type = types.bool; default = false; description = "Whether that is by UEFI."; };
      useNixStoreImage = mkOption { type = types.bool; default = true; inert = true; description = "Accepted; always so."; };
      writableStore = mkOption { type = types.bool; default = true; description = "Whether the store can be added to."; };
      writableStoreUseTmpfs = mkOption { type = types.bool; default = false; description = "Whether what is added lies in memory."; };
      mountHostNixStore = mkOption { type = types.bool; default = false; inert = true; description = "Accepted."; };
      additionalPaths = mkOption { type = types.listOf types.path; default = [ ]; description = "Further paths of the store image."; };
      restrictNetwork = mkOption { type = types.bool; default = false; description = "Whether the machine is cut off."; };
      vlans = mkOption { type = types.listOf types.ints.unsigned; default = [ 1 ]; inert = true; description = "Accepted."; };
      resolution = mkOption { type = types.attrs; default = { x = 1024; y = 768; }; inert = true; description = "Accepted."; };
      emptyDiskImages = mkOption { type = types.listOf types.ints.positive; default = [ ]; description = "Further disks, in MiB."; };
      fileSystems = mkOption { type = types.attrsOf types.anything; default = { }; description = "File systems of the virtual machine alone."; };
      asMachine = mkOption { type = types.bool; default = false; internal = true; description = "Whether the system that is built is the variant for `firn vm`."; };
    };
  };

  # What changes when the configuration runs in `firn vm`: disks and console are those of the virtual machine.
  vmModule = { config, lib, pkgs, ... }: {
    boot.initrd.availableKernelModules = [ "virtio_pci" "virtio_blk" "virtio_net" "virtio_console" "ext4" "overlay" "crc32c" "crc32c_generic" ];
    boot.initrd.includeDefaultModules = lib.mkVMOverride false;
    boot.kernelModules = [ "virtio_net" "virtio_console" "virtio_balloon" "virtio_rng" ];
    boot.kernelParams = [ "console=tty0" "console=ttyS0" ];
    boot.loader.systemd-boot.enable = lib.mkVMOverride false;
    boot.loader.grub.enable = lib.mkVMOverride false;
    swapDevices = lib.mkVMOverride [ ];
    fileSystems = lib.mkVMOverride ({
      # `firn vm` gives a disk that stays and the store's image, by these labels.
      "/" = { device = "/dev/disk/by-label/firn-machine"; fsType = "ext4"; };
      "/nix/.ro-store" = { device = "/dev/disk/by-label/firn-store"; fsType = "ext4"; options = [ "ro" ]; neededForBoot = true; };
      "/nix/store" = {
        neededForBoot = true;
        overlay = { lowerdir = [ "/nix/.ro-store/store" ]; upperdir = "/nix/.rw-store/upper"; workdir = "/nix/.rw-store/work"; };
      };
    } // config.virtualisation.fileSystems);
    # The disk's database knows the paths that it was made with; the store image of a later build brings others.
    systemd.services.firn-host-store = {
      description = "Enter the store paths of the host's image in the database";
      wantedBy = [ "multi-user.target" ];
      unitConfig.ConditionPathExists = "/nix/.ro-store/registration";
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        ExecStart = "${pkgs.firn}/bin/firn store load-db";
        StandardInput = "file:/nix/.ro-store/registration";
      };
    };
    services.fstrim.enable = lib.mkVMOverride false;
    # What is built inside the machine is the machine's variant again, not the system for the hardware.
    virtualisation.asMachine = lib.mkVMOverride false;
    environment.etc."firn/machine.nix".text = ''
      # What `firn switch` builds in this virtual machine.
      {
        imports = [ /etc/nixos/configuration.nix ];
        virtualisation.asMachine = true;
      }
    '';
    environment.variables.NIXOS_CONFIG = "/etc/firn/machine.nix";
    networking.usePredictableInterfaceNames = lib.mkVMOverride false;
  };

  variant = extendModules { modules = [ vmModule { config = cfg.vmVariant; _file = "virtualisation.vmVariant"; } ]; };
  # As it would be installed, its disks and boot loader included.
  whole = extendModules {
    modules = [ { config = cfg.vmVariantWithBootLoader; _file = "virtualisation.vmVariantWithBootLoader"; } ];
  };
  # The machine around a system.
  hardware = of: {
    inherit (of.virtualisation) memorySize cores diskSize graphics forwardPorts restrictNetwork;
    qemuOptions = of.virtualisation.qemu.options;
  };
in
{
  imports = [ machine ];
  options.virtualisation = {
    vmVariant = mkOption { type = types.raw; default = { }; description = "What is different in `firn vm`."; };
    vmVariantWithBootLoader = mkOption { type = types.raw; default = { }; description = "What is different in `firn vm --uefi`."; };
  };
  config.system.build = {
    toplevel = lib.mkIf cfg.asMachine (lib.mkForce variant.config.system.build.toplevel);
    vmConfiguration = variant.config;
    # Plain data for `firn vm`; the store image is made on the host from `toplevel`'s closure.
    vm = hardware variant.config // {
      toplevel = variant.config.system.build.toplevel;
      kernel = "${variant.config.boot.kernelPackages.kernel}/${variant.config.system.boot.loader.kernelFile}";
      initrd = "${variant.config.system.build.initialRamdisk}/${variant.config.system.boot.loader.initrdFile}";
      inherit (variant.config.boot) kernelParams;
      mounts = variant.config.system.build.initrdMounts;
      hostName = variant.config.networking.hostName;
      additionalPaths = map (p: "${p}") variant.config.virtualisation.additionalPaths;
      inherit (variant.config.virtualisation) useBootLoader useEFIBoot writableStore emptyDiskImages;
    };
    # The same for `firn vm --uefi` and `--bios`.
    vmWithBootLoader = hardware whole.config // { toplevel = whole.config.system.build.toplevel; };
  };
}
