# From a configuration to a system: what `firn build`, `firn switch` and `firn vm` evaluate. The result has the shape of
# NixOS's eval-config: `config`, `options`, `pkgs`, `lib`, `extendModules`; and `unsupported`, the definitions for which Firn
# has no option (empty unless `allowUnsupported` lets them pass).
{ configuration ? null
, modules ? [ ]
, specialArgs ? { }
, system ? "x86_64-linux"
  # A package set to be used instead of the one that the modules make from `nixpkgs.*`.
, pkgs ? null
, allowUnsupported ? false
}:
let
  baseLib = import ./lib;
  lib = if allowUnsupported then baseLib.extend (_: _: { lenientModules = true; }) else baseLib;
  evaluation = lib.evalModules {
    class = "nixos";
    specialArgs = { modulesPath = toString ./modules; } // specialArgs;
    modules = import ./modules/module-list.nix
      ++ [ { _file = "os/default.nix"; key = "os/default.nix"; config.nixpkgs.hostPlatform = lib.mkOptionDefault system; } ]
      ++ lib.optional (pkgs != null) { _file = "os/default.nix"; key = "os/default.nix:pkgs"; config._module.args.pkgs = lib.mkForce pkgs; }
      ++ lib.optional (configuration != null) configuration
      ++ modules;
  };
  checked = lib.asserts.checkAssertWarn evaluation.config.assertions evaluation.config.warnings;
in
{
  inherit (evaluation) config options extendModules type _module class;
  inherit (evaluation._module.args) pkgs;
  inherit lib;
  # The same as config.system.build.toplevel and its kin; assertions are checked there too.
  system = checked evaluation.config.system.build.toplevel;
  unsupported = map
    (d: {
      option = lib.showOption d.loc;
      file = if d.at == null then d.file else d.at.file;
      line = if d.at == null then null else d.at.line;
    })
    evaluation.unmatched;
}
