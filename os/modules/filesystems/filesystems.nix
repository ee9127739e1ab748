# `fileSystems`: what stage 1 mounts (everything the system needs before its services run), and mount units for the rest.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  # Mount points that must be there before stage 2, whatever the configuration says.
  early = [ "/" "/nix" "/nix/store" "/var" "/var/log" "/var/lib" "/var/lib/nixos" "/etc" "/usr" ];
  # Made by firn-init itself.
  special = [ "/proc" "/sys" "/dev" "/run" ];

  all = lib.attrValues config.fileSystems;
  isEarly = fs: fs.neededForBoot || builtins.elem fs.mountPoint early;
  depth = fs: if fs.mountPoint == "/" then 0 else builtins.length (lib.splitString "/" fs.mountPoint);
  before = a: b: depth a < depth b || depth a == depth b && a.mountPoint < b.mountPoint;
  sorted = builtins.sort before all;

  source = fs:
    let d = fs.device; by = kind: lib.removePrefix "/dev/disk/by-${kind}/" d; in
    if d == null then (if fs.label != null then "LABEL=${fs.label}" else fs.fsType)
    else if lib.hasPrefix "/dev/disk/by-uuid/" d then "UUID=${by "uuid"}"
    else if lib.hasPrefix "/dev/disk/by-label/" d then "LABEL=${by "label"}"
    else if lib.hasPrefix "/dev/disk/by-partuuid/" d then "PARTUUID=${by "partuuid"}"
    else if lib.hasPrefix "/dev/disk/by-partlabel/" d then "PARTLABEL=${by "partlabel"}"
    else d;

  # Modules without which a file system cannot be mounted; those that are built in are passed over.
  modulesOf = {
    ext4 = [ "ext4" "crc32c" "crc32c_generic" ];
    vfat = [ "vfat" "nls_cp437" "nls_iso8859-1" "nls_ascii" ];
    btrfs = [ "btrfs" "crc32c" ];
    xfs = [ "xfs" "crc32c" ];
    f2fs = [ "f2fs" ];
    erofs = [ "erofs" "crc32c" "crc32c_generic" "libcrc32c" ];
    squashfs = [ "squashfs" "loop" ];
    overlay = [ "overlay" ];
    "9p" = [ "9p" "9pnet_virtio" ];
    virtiofs = [ "virtiofs" ];
    iso9660 = [ "isofs" ];
    tmpfs = [ ];
  };
  enabledSet = v: if builtins.isList v then v else builtins.attrNames (lib.filterAttrs (_: on: on) v);
  plainOptions = options: builtins.filter (o: !(lib.hasPrefix "x-" o) && !(builtins.elem o [ "noauto" "auto" "nofail" "defaults" "_netdev" ])) options;

  fileSystem = { name, config, ... }: {
    options = {
      mountPoint = mkOption { type = types.nonEmptyStr; default = name; example = "/mnt/usb"; description = "Where it is mounted."; };
      device = mkOption { type = types.nullOr types.nonEmptyStr; default = null; example = "/dev/disk/by-uuid/…"; description = "The device, or what the file system takes in its place."; };
      label = mkOption { type = types.nullOr types.nonEmptyStr; default = null; description = "The label of the device."; };
      fsType = mkOption { type = types.nonEmptyStr; default = "auto"; example = "ext4"; description = "The file system's type."; };
      options = mkOption { type = types.listOf types.nonEmptyStr; default = [ "defaults" ]; description = "Mount options."; };
      depends = mkOption { type = types.listOf types.nonEmptyStr; default = [ ]; description = "Mount points that must be there before."; };
      neededForBoot = mkOption { type = types.bool; default = false; description = "Whether stage 1 mounts it."; };
      enable = mkOption { type = types.bool; default = true; description = "Whether it is mounted at all."; };
      autoFormat = mkOption { type = types.bool; default = false; inert = true; description = "Not done."; };
      autoResize = mkOption { type = types.bool; default = false; description = "Whether it grows to its partition's size at boot."; };
      noCheck = mkOption { type = types.bool; default = false; description = "Whether it is left unchecked."; };
      formatOptions = mkOption { type = types.nullOr types.str; default = null; inert = true; description = "Accepted."; };
      stratis.poolUuid = mkOption { type = types.nullOr types.str; default = null; inert = true; description = "Accepted."; };
      overlay = {
        lowerdir = mkOption { type = types.nullOr (types.nonEmptyListOf types.str); default = null; description = "Lower directories of an overlay, topmost first."; };
        upperdir = mkOption { type = types.nullOr types.str; default = null; description = "Its upper directory."; };
        workdir = mkOption { type = types.nullOr types.str; default = null; description = "Its work directory."; };
        useStage1BaseDirectories = mkOption { type = types.bool; default = true; description = "Whether the directories are seen from stage 1's root."; };
      };
    };
    config = {
      device = lib.mkIf (builtins.elem config.fsType [ "tmpfs" "overlay" ]) (lib.mkDefault config.fsType);
      fsType = lib.mkIf (config.overlay.lowerdir != null) "overlay";
      options =
        let prefix = lib.optionalString config.overlay.useStage1BaseDirectories "/sysroot"; in
        lib.mkIf (config.overlay.lowerdir != null) ([ "lowerdir=${lib.concatMapStringsSep ":" (d: prefix + d) config.overlay.lowerdir}" ]
          ++ lib.optionals (config.overlay.upperdir != null) [ "upperdir=${prefix}${config.overlay.upperdir}" "workdir=${prefix}${config.overlay.workdir}" ]);
    };
  };
in
{
  options = {
    fileSystems = mkOption {
      default = { };
      example = lib.literalExpression ''{ "/" = { device = "/dev/disk/by-label/root"; fsType = "ext4"; }; }'';
      description = "The file systems of the machine.";
      type = types.attrsOf (types.submodule fileSystem);
      apply = lib.filterAttrs (_: fs: fs.enable);
    };
    boot.supportedFilesystems = mkOption {
      type = types.coercedTo (types.listOf types.str) (names: lib.genAttrs names (_: true)) (types.attrsOf types.bool);
      default = { };
      example = [ "btrfs" ];
      description = "File systems whose modules are loaded though `fileSystems` does not name them.";
    };
    boot.specialFileSystems = mkOption { type = types.attrsOf types.anything; default = { }; internal = true; description = "Made by firn-init."; };
    boot.growPartition = lib.mkEnableOption "growing the root partition to the disk's size at boot (accepted)" // { inert = true; };
    boot.nixStoreMountOpts = mkOption { type = types.listOf types.nonEmptyStr; default = [ "ro" "nodev" "nosuid" ]; description = "Options with which /nix/store is mounted over itself."; };
    boot.readOnlyNixStore = mkOption { type = types.bool; default = true; description = "Whether /nix/store is read-only."; };
    services.fstrim.enable = mkOption { type = types.bool; default = true; description = "Whether free blocks are told to the disks weekly."; };
    services.fstrim.interval = mkOption { type = types.str; default = "weekly"; description = "When."; };
  };

  config = {
    assertions = [
      {
        assertion = config.fileSystems ? "/";
        message = "The fileSystems option does not say what is mounted at /. Set fileSystems.\"/\", for example { device = \"/dev/disk/by-label/root\"; fsType = \"ext4\"; }.";
      }
    ]
    ++ map (fs: { assertion = fs.device != null || fs.label != null || builtins.elem fs.fsType [ "tmpfs" "overlay" ]; message = "fileSystems.\"${fs.mountPoint}\" has neither device nor label."; }) all
    ++ map (fs: { assertion = !(builtins.elem fs.mountPoint special); message = "fileSystems.\"${fs.mountPoint}\": this one is mounted by firn-init and cannot be declared."; }) all
    ++ map (fs: { assertion = fs.fsType != "zfs"; message = "fileSystems.\"${fs.mountPoint}\" is ZFS, for which the channel has no kernel module."; }) all;

    system.build = {
      initrdMounts = map
        (fs: {
          source = source fs;
          target = fs.mountPoint;
          fsType = fs.fsType;
          options = let o = plainOptions fs.options; in if o == [ ] then [ "defaults" ] else o;
        })
        (builtins.filter isEarly sorted);
      initrdFilesystemModules = lib.unique (lib.concatMap (t: modulesOf.${t} or [ t ])
        (lib.remove "auto" (lib.unique (map (fs: fs.fsType) (builtins.filter isEarly sorted)) ++ enabledSet config.boot.initrd.supportedFilesystems)));
    };

    boot.kernelModules = lib.unique (lib.concatMap (t: builtins.filter (m: m != "crc32c" && m != "crc32c_generic" && m != "libcrc32c") (modulesOf.${t} or [ t ]))
      (lib.subtractLists [ "auto" "tmpfs" "bind" "none" "zfs" "nfs" "ntfs" "cifs" "ext4" "nfs4" ] (lib.unique (map (fs: fs.fsType) all ++ enabledSet config.boot.supportedFilesystems))));

    systemd.mounts = map
      (fs: {
        what = source fs;
        where = fs.mountPoint;
        type = fs.fsType;
        options = lib.concatStringsSep "," (let o = plainOptions fs.options; in if o == [ ] then [ "defaults" ] else o);
        # A disk that is missing must not keep the machine from coming up: local-fs.target only wants it, and what the
        # running system does not need (the boot partition, `nofail') is not waited for.
        wantedBy = lib.optional (!(builtins.elem "noauto" fs.options)) "local-fs.target";
        unitConfig = lib.mkMerge [
          (lib.mkIf (fs.depends != [ ]) { RequiresMountsFor = fs.depends; })
          (lib.mkIf (builtins.elem "nofail" fs.options || fs.mountPoint == config.boot.loader.efi.efiSysMountPoint) { DefaultDependencies = false; })
        ];
      })
      (builtins.filter (fs: !(isEarly fs)) sorted);

    environment.etc.fstab.text = ''
      # Made from `fileSystems' and `swapDevices' of the configuration.
    '' + lib.concatMapStrings
      (fs: "${lib.replaceStrings [ " " ] [ "\\040" ] (source fs)} ${lib.replaceStrings [ " " ] [ "\\040" ] fs.mountPoint} ${fs.fsType} ${lib.concatStringsSep "," fs.options} 0 ${if fs.noCheck || builtins.elem fs.fsType [ "tmpfs" "overlay" "erofs" "iso9660" "9p" "btrfs" ] then "0" else if fs.mountPoint == "/" then "1" else "2"}\n")
      sorted
    + lib.concatMapStrings (s: "${s.realDevice} none swap ${lib.concatStringsSep "," s.options}\n") config.swapDevices;

    systemd.services.fstrim = lib.mkIf config.services.fstrim.enable {
      description = "Tell disks which blocks are free";
      startAt = config.services.fstrim.interval;
      serviceConfig = { Type = "oneshot"; ExecStart = "${pkgs.util-linux}/bin/fstrim --listed-in /etc/fstab:/proc/self/mountinfo --verbose --quiet-unsupported"; };
    };
  };
}
