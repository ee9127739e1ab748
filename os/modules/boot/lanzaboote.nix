# Secure Boot, under the names of lanzaboote, which does the same for NixOS: each generation is one signed program, and
# systemd-boot is signed. The keys are the machine's own and never in the store; `firn secure-boot` makes and enrolls them.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.boot.lanzaboote;
  systemdBoot = config.boot.loader.systemd-boot;
  # A path literal would be copied into the store, where everybody reads it.
  keyFile = types.addCheck types.str (path: lib.hasPrefix "/" path && !(lib.hasPrefix builtins.storeDir path)) // {
    description = "absolute path in quotes, outside the store";
  };
  known = [ "timeout" "console-mode" "editor" ];
in
{
  options.boot.lanzaboote = {
    enable = lib.mkEnableOption "Secure Boot: systemd-boot with signed generations";
    pkiBundle = mkOption { type = types.nullOr keyFile; default = "/var/lib/sbctl"; description = "Where the owner's keys are, laid out as `firn secure-boot create-keys` and sbctl do."; };
    publicKeyFile = mkOption { type = keyFile; default = "${cfg.pkiBundle}/keys/db/db.pem"; defaultText = lib.literalExpression ''"''${pkiBundle}/keys/db/db.pem"''; description = "The certificate of the key that signs."; };
    privateKeyFile = mkOption { type = keyFile; default = "${cfg.pkiBundle}/keys/db/db.key"; defaultText = lib.literalExpression ''"''${pkiBundle}/keys/db/db.key"''; description = "The key that signs."; };
    configurationLimit = mkOption { type = types.nullOr types.int; default = systemdBoot.configurationLimit; defaultText = lib.literalExpression "config.boot.loader.systemd-boot.configurationLimit"; example = 8; description = "How many generations the menu shows; each holds a kernel and an initrd of its own."; };
    settings = mkOption {
      type = types.attrsOf (types.nullOr (types.oneOf [ types.bool types.int types.str ]));
      default = { };
      example = { editor = false; };
      description = "Settings of loader.conf: ${lib.concatStringsSep ", " known}.";
    };
    package = mkOption { type = types.raw; default = null; inert = true; description = "Accepted; Firn signs itself."; };
    sortKey = mkOption { type = types.str; default = "lanza"; inert = true; description = "Accepted; Firn orders the menu itself."; };
  };
  config = lib.mkMerge [
    {
      assertions = [
        {
          assertion = !cfg.enable || !config.boot.loader.grub.enable;
          message = "boot.lanzaboote.enable and boot.loader.grub.enable are both set, but GRUB is not signed: the firmware would not start it.";
        }
        {
          assertion = lib.all (name: builtins.elem name known) (builtins.attrNames cfg.settings);
          message = "boot.lanzaboote.settings has ${lib.concatStringsSep ", " (lib.subtractLists known (builtins.attrNames cfg.settings))}, but Firn sets only ${lib.concatStringsSep ", " known} there.";
        }
      ];
    }
    (lib.mkIf cfg.enable {
      # With it the firmware's variables can be read and keys enrolled.
      boot.kernelModules = [ "efivarfs" ];
      boot.loader.timeout = lib.mkIf (cfg.settings ? timeout) cfg.settings.timeout;
    })
  ];
}
