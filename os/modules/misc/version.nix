# The system's name and version, labels and /etc/os-release (os-release(5)).
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.system.nixos;
  quoted = v: "\"${lib.escape [ "\"" "\\" "$" "`" ] (toString v)}\"";
in
{
  options.system = {
    stateVersion = mkOption {
      type = types.str;
      default = lib.trivial.release;
      description = "The release with which the machine was installed; data layouts stay as they were then.";
    };
    configurationRevision = mkOption { type = types.nullOr types.str; default = null; description = "The revision of the configuration, shown by `firn generation show`."; };
    copySystemConfiguration = mkOption { type = types.bool; default = false; inert = true; description = "Accepted; the configuration is not copied into the system."; };
    name = mkOption { type = types.str; default = if config.networking.hostName == "" then "unnamed" else config.networking.hostName; description = "The name of the system's derivation."; };
    nixos = {
      release = mkOption { type = types.str; readOnly = true; default = lib.trivial.release; description = "The release."; };
      version = mkOption { type = types.str; internal = true; default = lib.trivial.version; description = "The version."; };
      versionSuffix = mkOption { type = types.str; internal = true; default = ""; description = "The version's suffix."; };
      codeName = mkOption { type = types.str; readOnly = true; default = "Firn"; description = "The release's name."; };
      distroId = mkOption { type = types.str; internal = true; default = "firn"; description = "ID of os-release."; };
      distroName = mkOption { type = types.str; internal = true; default = "Firn"; description = "NAME of os-release."; };
      variant_id = mkOption { type = types.nullOr types.str; default = null; description = "VARIANT_ID of os-release."; };
      variantName = mkOption { type = types.nullOr types.str; default = null; description = "VARIANT of os-release."; };
      extraOSReleaseArgs = mkOption { type = types.attrsOf types.str; default = { }; description = "Further lines of os-release."; };
      tags = mkOption { type = types.listOf types.str; default = [ ]; example = [ "with-xen" ]; description = "Words put before the version in the boot menu's label."; };
      label = mkOption {
        type = types.strMatching "[a-zA-Z0-9:_.-]*";
        description = "The label in the boot menu.";
      };
      revision = mkOption { type = types.nullOr types.str; internal = true; default = null; description = "The revision of Firn."; };
    };
  };
  config = {
    system.nixos.label = lib.mkOptionDefault (lib.concatStringsSep "-" (cfg.tags ++ [ cfg.version ]));
    environment.etc = {
      "os-release".text = lib.concatLines (lib.mapAttrsToList (n: v: "${n}=${quoted v}") ({
        ID = cfg.distroId;
        ID_LIKE = "nixos";
        NAME = cfg.distroName;
        PRETTY_NAME = "${cfg.distroName} ${cfg.release}";
        VERSION = cfg.release;
        VERSION_ID = cfg.release;
        BUILD_ID = cfg.version;
        DEFAULT_HOSTNAME = "firn";
      }
      // lib.optionalAttrs (cfg.variant_id != null) { VARIANT_ID = cfg.variant_id; }
      // lib.optionalAttrs (cfg.variantName != null) { VARIANT = cfg.variantName; }
      // cfg.extraOSReleaseArgs));
      "lsb-release".text = "DISTRIB_ID=${cfg.distroId}\nDISTRIB_RELEASE=${cfg.release}\nLSB_VERSION=${cfg.release}\n";
      NIXOS.text = "";
    };
  };
}
