# The module system: many files that declare options and define their values become one configuration.
# Follows the documented behaviour of NixOS's module system ("Writing NixOS Modules" in the NixOS manual).
#
#   collect     modules from files, functions and sets, with their imports
#   declare     the tree of options, and next to each option the definitions that reach it
#   define      one option's definitions → one value
#   properties  mkIf, mkMerge, mkOverride, mkOrder
#   rename      modules that forward or refuse old options
#   errors      what the user reads when something is wrong
{ lib }:
let
  parts = {
    properties = import ./modules/properties.nix { inherit lib; };
    collect = import ./modules/collect.nix { inherit lib; };
    declare = import ./modules/declare.nix { inherit lib; };
    define = import ./modules/define.nix { inherit lib; };
    rename = import ./modules/rename.nix { inherit lib; };
    evaluate = import ./modules/evaluate.nix { inherit lib; };
  };
in
parts.properties // parts.rename // {
  inherit (parts.evaluate) evalModules;
  inherit (parts.collect) setDefaultModuleLocation unifyModuleSyntax importApply applyModuleArgsIfFunction;
  inherit (parts.declare) mergeOptionDecls fixupOptionType mergeModules mergeModules';
  inherit (parts.define) mergeDefinitions evalOptionValue;
  errors = import ./modules/errors.nix { inherit lib; };
  # Sub-parts, for those who build on them.
  inherit (parts) collect declare;
}
