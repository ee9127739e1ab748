# `systemd.tmpfiles`: files and directories made, changed and removed at activation (tmpfiles.d(5)).
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  entry = types.submodule {
    options = lib.genAttrs [ "mode" "user" "group" "age" ] (what: mkOption { type = types.str; default = "-"; description = "The ${what}."; })
      // {
      type = mkOption { type = types.str; default = ""; description = "The line's type, when it is not the attribute's name."; };
      argument = mkOption { type = types.str; default = ""; description = "The argument."; };
    };
  };
  line = path: type: e: lib.concatStringsSep " " ([ (if e.type == "" then type else e.type) (lib.replaceStrings [ " " ] [ "\\x20" ] path) e.mode e.user e.group e.age ] ++ lib.optional (e.argument != "") e.argument);
in
{
  options.systemd.tmpfiles = {
    rules = mkOption { type = types.listOf types.str; default = [ ]; example = [ "d /var/lib/mine 0755 mine mine -" ]; description = "Lines of tmpfiles.d(5)."; };
    settings = mkOption {
      type = types.attrsOf (types.attrsOf (types.attrsOf entry));
      default = { };
      example = { "10-mine"."/var/lib/mine".d.mode = "0755"; };
      description = "The same as data: name of the group, path, type.";
    };
    packages = mkOption { type = types.listOf types.package; default = [ ]; inert = true; description = "Accepted; packages' tmpfiles are not read yet."; };
  };
  config.systemd.tmpfiles.rules = lib.concatMap
    (group: lib.concatLists (lib.mapAttrsToList (path: entries: lib.mapAttrsToList (type: line path type) entries) group))
    (lib.attrValues config.systemd.tmpfiles.settings)
    ++ [
      "d /var/log 0755 root root -"
      "d /var/lib 0755 root root -"
      "d /var/cache 0755 root root -"
      "d /var/empty 0555 root root -"
      "d /var/spool 0755 root root -"
      "d /root 0700 root root -"
      "d /home 0755 root root -"
      "d /srv 0755 root root -"
      "L+ /var/run - - - - /run"
      "L+ /var/lock - - - - /run/lock"
      "d /run/lock 1777 root root -"
    ];
}
