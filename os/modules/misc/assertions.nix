# `assertions` and `warnings`: what modules have to say about a configuration as a whole.
{ lib, ... }:
{
  options = {
    assertions = lib.mkOption {
      type = lib.types.listOf lib.types.unspecified;
      internal = true;
      default = [ ];
      example = [ { assertion = false; message = "you can't enable this for that reason"; } ];
      description = "Conditions that must hold for the system to be built, each with what to say when it does not.";
    };
    warnings = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      internal = true;
      default = [ ];
      description = "Messages shown when the system is built.";
    };
    meta = lib.mkOption {
      type = lib.types.attrsOf lib.types.anything;
      internal = true;
      default = { };
      description = "What a module says about itself: maintainers, documentation.";
    };
    # Options that modules set for machinery that Firn replaces; accepted so that they do not have to be removed.
    ids = lib.mkOption { type = lib.types.attrsOf (lib.types.attrsOf lib.types.int); internal = true; default = { }; description = "Numbers of well-known users and groups."; };
  };
}
