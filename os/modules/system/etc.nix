# `environment.etc`: the files below /etc, as one tree in the store; copies with a mode are made at activation.
{ config, lib, pkgs, tool, ... }:
let
  inherit (lib) mkOption types;
  entries = map
    (e: {
      inherit (e) target mode;
      source = "${e.source}";
      user = if e.uid != null then "+${toString e.uid}" else e.user;
      group = if e.gid != null then "+${toString e.gid}" else e.group;
    })
    (builtins.filter (e: e.enable) (lib.attrValues config.environment.etc));
in
{
  options.environment.etc = mkOption {
    default = { };
    example = lib.literalExpression ''{ "motd".text = "Hello."; }'';
    description = "Files below /etc.";
    type = types.attrsOf (types.submodule ({ name, config, options, ... }: {
      options = {
        enable = mkOption { type = types.bool; default = true; description = "Whether the file is made."; };
        target = mkOption { type = types.str; default = name; description = "The path below /etc."; };
        text = mkOption { type = types.nullOr types.lines; default = null; description = "The file's contents."; };
        source = mkOption { type = types.path; description = "The file that stands for it."; };
        mode = mkOption { type = types.str; default = "symlink"; example = "0600"; description = "`symlink`, `direct-symlink`, or the mode of a copy."; };
        uid = mkOption { type = types.nullOr types.int; default = null; description = "The owner's number; better use `user`."; };
        gid = mkOption { type = types.nullOr types.int; default = null; description = "The group's number; better use `group`."; };
        user = mkOption { type = types.str; default = "root"; description = "The owner of a copy."; };
        group = mkOption { type = types.str; default = "root"; description = "The group of a copy."; };
      };
      config.source = lib.mkIf (config.text != null) (
        lib.mkDerivedConfig options.text (pkgs.writeText "etc-${lib.strings.sanitizeDerivationName (baseNameOf name)}"));
    }));
  };
  config.system.build.etcEntries = entries;
  config.system.build.etc = tool "etc-tree" { name = "etc"; inherit entries; };
}
