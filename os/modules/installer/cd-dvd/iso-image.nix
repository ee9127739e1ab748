# A live system on a medium that boots as a CD and as a USB stick, through a BIOS and UEFI: what `firn image --format iso`
# writes. Imported by configurations that are one, with NixOS's names (nixos/modules/installer/cd-dvd/iso-image.nix).
#
# The medium holds the store as plain files: the kernel reads them through isofs, GRUB reads kernel and initrd there too, so that
# nothing is on it twice and no loop device is between. The root and what is added to the store are in memory.
{ config, lib, pkgs, tool, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.isoImage;
  initrd = "${config.system.build.initialRamdisk}/${config.system.boot.loader.initrdFile}";
  # GRUB finds the medium by its initrd, which no other disk has at this path.
  core = platform: tool "grub-core" {
    name = "grub-medium-${platform}";
    grub = "${pkgs.grub2}";
    inherit platform;
    extraModules = [ "iso9660" ];
    config = "search --no-floppy --file --set=root ${initrd}\nset prefix=($root)/boot/grub\n";
  };
  bios = core "i386-pc-eltorito";
  accepted = type: default: mkOption { inherit type default; inert = true; description = "Accepted."; };
in
{
  options.image = {
    baseName = mkOption { type = types.str; default = "firn-${config.system.nixos.label}-${config.nixpkgs.hostPlatform.system}"; description = "The image's name without its extension."; };
    extension = mkOption { type = types.str; default = "iso"; description = "Its extension."; };
    fileName = mkOption { type = types.str; default = "${config.image.baseName}.${config.image.extension}"; defaultText = lib.literalExpression ''"''${config.image.baseName}.''${config.image.extension}"''; description = "The file that `firn image --format iso` writes when it is not told another."; };
    filePath = mkOption { type = types.str; default = config.image.fileName; inert = true; description = "Accepted; the image is no part of the store."; };
  };
  options.isoImage = {
    isoName = mkOption { type = types.nullOr types.str; default = null; description = "The older name of `image.fileName`."; };
    isoBaseName = mkOption { type = types.nullOr types.str; default = null; description = "The older name of `image.baseName`."; };
    volumeID = mkOption {
      type = types.strMatching "[a-zA-Z0-9_.+-]{1,32}";
      default = "firn-${config.system.nixos.release}-${config.nixpkgs.hostPlatform.parsed.cpu.name or "x86_64"}";
      defaultText = lib.literalExpression ''"firn-''${config.system.nixos.release}-x86_64"'';
      description = "The medium's label, by which stage 1 finds it.";
    };
    edition = mkOption { type = types.str; default = ""; example = "minimal"; description = "A word in the image's name."; };
    storeContents = mkOption { type = types.listOf types.package; default = [ ]; example = lib.literalExpression "[ pkgs.git ]"; description = "Further packages in the medium's store."; };
    contents = mkOption {
      type = types.listOf (types.submodule {
        options.source = mkOption { type = types.path; description = "A file or directory."; };
        options.target = mkOption { type = types.str; description = "Where it is on the medium (in the live system below /iso)."; };
      });
      default = [ ];
      example = lib.literalExpression ''[ { source = ./configuration.nix; target = "/configuration.nix"; } ]'';
      description = "Further files of the medium.";
    };
    makeBiosBootable = mkOption { type = types.bool; default = true; description = "Whether a BIOS can start it."; };
    makeEfiBootable = mkOption { type = types.bool; default = true; description = "Whether UEFI can start it."; };
    makeUsbBootable = mkOption { type = types.bool; default = true; description = "Whether it can be started from a stick or disk that it was written to."; };
    prependToMenuLabel = mkOption { type = types.str; default = ""; description = "Text before the system's name in the menu."; };
    appendToMenuLabel = mkOption { type = types.str; default = " Installer"; description = "Text behind the system's name in the menu."; };
    includeSystemBuildDependencies = accepted types.bool false;
    squashfsCompression = accepted (types.nullOr types.str) null;
    compressImage = accepted types.bool false;
    configurationName = accepted (types.nullOr types.str) null;
    showConfiguration = accepted types.bool true;
    forceTextMode = accepted types.bool false;
    splashImage = accepted (types.nullOr types.path) null;
    efiSplashImage = accepted (types.nullOr types.path) null;
    grubTheme = accepted (types.nullOr types.path) null;
    syslinuxTheme = accepted types.lines "";
  };

  config = {
    assertions = [
      {
        assertion = cfg.makeBiosBootable || cfg.makeEfiBootable;
        message = "isoImage.makeBiosBootable and isoImage.makeEfiBootable are both false: nothing could start the medium.";
      }
    ];
    image.baseName = lib.mkMerge [
      (lib.mkIf (cfg.isoBaseName != null) cfg.isoBaseName)
      (lib.mkIf (cfg.edition != "") (lib.mkOverride 1400 "firn-${cfg.edition}-${config.system.nixos.label}-${config.nixpkgs.hostPlatform.system}"))
    ];
    image.fileName = lib.mkIf (cfg.isoName != null) cfg.isoName;

    fileSystems = lib.mkImageMediaOverride {
      "/" = { device = "tmpfs"; fsType = "tmpfs"; options = [ "mode=0755" ]; };
      "/iso" = { device = "/dev/disk/by-label/${cfg.volumeID}"; fsType = "iso9660"; options = [ "ro" ]; neededForBoot = true; };
      "/nix/.rw-store" = { device = "tmpfs"; fsType = "tmpfs"; options = [ "mode=0755" ]; neededForBoot = true; };
      "/nix/store" = {
        neededForBoot = true;
        overlay = { lowerdir = [ "/iso/nix/store" ]; upperdir = "/nix/.rw-store/store"; workdir = "/nix/.rw-store/work"; };
      };
    };
    swapDevices = lib.mkImageMediaOverride [ ];
    # The medium's own loader, made below; nothing is installed from inside.
    boot.loader.systemd-boot.enable = lib.mkImageMediaOverride false;
    boot.loader.grub.enable = lib.mkImageMediaOverride false;
    boot.loader.timeout = lib.mkDefault 10;
    # A medium is read wherever it is put: CD drives and sticks on every usual bus.
    boot.initrd.availableKernelModules = [ "ehci_pci" "ohci_pci" "uhci_hcd" "uas" "sdhci_pci" "vmd" ];
    boot.initrd.deviceTimeout = lib.mkDefault 30;
    services.fstrim.enable = lib.mkImageMediaOverride false;
    # The database is in memory as well; it learns what is on the medium.
    systemd.services.firn-medium-store = {
      description = "Enter the store paths of the medium in the database";
      wantedBy = [ "multi-user.target" ];
      before = [ "multi-user.target" ];
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        # There is no database yet that would tell it where the store is.
        ExecStart = "${pkgs.firn}/bin/firn store load-db --store /";
        StandardInput = "file:/iso/nix-path-registration";
      };
    };

    # Plain data for `firn image --format iso`, which writes the file on the host.
    system.build.isoImage = {
      inherit (config.system.build) toplevel;
      inherit (config.image) fileName;
      volumeId = cfg.volumeID;
      menuTitle = "${cfg.prependToMenuLabel}${config.system.nixos.distroName} ${config.system.nixos.label}${cfg.appendToMenuLabel}";
      bios = if cfg.makeBiosBootable then { elTorito = "${bios}/eltorito.img"; bootSector = "${bios}/boot.img"; } else null;
      efi = if cfg.makeEfiBootable then "${core "x86_64-efi"}/grubx64.efi" else null;
      usb = cfg.makeUsbBootable;
      storeContents = map (p: "${p}") cfg.storeContents;
      contents = map (c: { source = "${c.source}"; inherit (c) target; }) cfg.contents;
    };
  };
}
