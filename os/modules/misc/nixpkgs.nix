# `nixpkgs.*`: where `pkgs` comes from. Firn's own package set stands in for nixpkgs.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.nixpkgs;
in
{
  options.nixpkgs = {
    hostPlatform = mkOption {
      type = types.either types.str types.attrs;
      example = "x86_64-linux";
      apply = lib.systems.elaborate;
      description = "The platform that the system runs on.";
    };
    buildPlatform = mkOption {
      type = types.either types.str types.attrs;
      default = cfg.hostPlatform;
      defaultText = lib.literalExpression "config.nixpkgs.hostPlatform";
      apply = lib.systems.elaborate;
      description = "The platform that the system is built on.";
    };
    system = mkOption { type = types.str; default = cfg.hostPlatform.system; description = "The platform's name, as older configurations set it."; };
    config = mkOption {
      type = types.attrsOf types.anything;
      default = { };
      example = { allowUnfree = true; };
      description = "Settings of the package set. Firn's takes them and has no package that depends on them.";
    };
    overlays = mkOption {
      type = types.listOf (types.mkOptionType { name = "overlay"; description = "overlay"; check = lib.isFunction; merge = lib.mergeOneOption; });
      default = [ ];
      description = "Changes to the package set, `final: prev: { … }`.";
    };
    pkgs = mkOption {
      type = types.nullOr types.pkgs;
      default = null;
      description = "A package set to use instead of Firn's own.";
    };
    flake = mkOption { type = types.attrsOf types.anything; default = { }; description = "Settings for flakes; without effect."; };
  };
  config._module.args.pkgs = lib.mkOptionDefault (
    if cfg.pkgs != null then builtins.foldl' (p: o: p // o p p) cfg.pkgs cfg.overlays
    else import ../../packages { inherit lib; inherit (cfg) overlays config; system = cfg.hostPlatform.system; }
  );
}
