# Secure Boot as lanzaboote's users write it: systemd-boot's own switch is off, and the menu is systemd-boot's all the same.
{ evaluate, lib, ... }:
let
  with' = module: (evaluate {
    imports = [ ../fixtures/uefi-server/configuration.nix module ];
    boot.loader.systemd-boot.enable = lib.mkForce false;
  }).config;
  on = with' {
    boot.lanzaboote = { enable = true; pkiBundle = "/etc/keys"; configurationLimit = 7; settings = { editor = false; timeout = 2; console-mode = "max"; }; };
  };
  loader = on.system.build.bootloader;
  failed = config: map (a: a.message) (builtins.filter (a: !a.assertion) config.assertions);
in
{
  timeout = loader.timeout;
  menu = { inherit (loader.systemdBoot) configurationLimit editor consoleMode; };
  keys = builtins.removeAttrs loader.systemdBoot.secureBoot [ "stub" ];
  stub = lib.hasSuffix "/lib/systemd/boot/efi/linuxx64.efi.stub" loader.systemdBoot.secureBoot.stub;
  usual = (with' { boot.lanzaboote.enable = true; }).system.build.bootloader.systemdBoot.secureBoot.privateKeyFile;
  off = (with' { boot.lanzaboote.enable = false; }).system.build.bootloader.systemdBoot;
  module = builtins.elem "efivarfs" on.boot.kernelModules;
  none = failed on;
  grub = failed (with' { boot.lanzaboote.enable = true; boot.loader.grub.enable = lib.mkForce true; boot.loader.grub.device = "/dev/vda"; });
  settings = failed (with' { boot.lanzaboote = { enable = true; settings.secure-boot-enroll = "force"; }; });
  # A path literal would go into the store, a key with it.
  secret = (builtins.tryEval (with' { boot.lanzaboote = { enable = true; privateKeyFile = ./lanzaboote.nix; }; }).system.build.bootloader.systemdBoot.secureBoot.privateKeyFile).success;
  builds = builtins.isString on.system.build.toplevel.drvPath;
}
