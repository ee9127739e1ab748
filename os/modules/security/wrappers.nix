# `security.wrappers`: programs with set-id bits or capabilities, which files in the store cannot have.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.security;
in
{
  options.security = {
    wrapperDir = mkOption { type = types.path; default = "/run/wrappers"; internal = true; description = "Where the wrappers lie, in `bin`."; };
    enableWrappers = mkOption { type = types.bool; default = true; description = "Whether there are wrappers."; };
    wrapperDirSize = mkOption { type = types.str; default = "50%"; inert = true; description = "Accepted."; };
    wrappers = mkOption {
      default = { };
      example = lib.literalExpression ''{ ping = { source = "''${pkgs.iputils-ping}/bin/ping"; owner = "root"; group = "root"; capabilities = "cap_net_raw+ep"; }; }'';
      description = "The wrappers.";
      type = types.attrsOf (types.submodule ({ name, config, ... }: {
        options = {
          enable = mkOption { type = types.bool; default = true; description = "Whether it exists."; };
          source = mkOption { type = types.path; description = "The program."; };
          program = mkOption { type = types.nullOr types.str; default = name; description = "Its name."; };
          owner = mkOption { type = types.str; description = "The owner."; };
          group = mkOption { type = types.str; description = "The group."; };
          permissions = mkOption { type = types.str; default = "u+rx,g+x,o+x"; description = "The permissions, chmod(1)."; };
          capabilities = mkOption { type = types.commas; default = ""; description = "File capabilities, setcap(8)."; };
          setuid = mkOption { type = types.bool; default = false; description = "Whether it runs as its owner."; };
          setgid = mkOption { type = types.bool; default = false; description = "Whether it runs as its group."; };
        };
      }));
    };
  };
  config = {
    assertions = lib.mapAttrsToList (n: w: { assertion = w.capabilities == "" || !(w.setuid || w.setgid); message = "security.wrappers.${n}: set-id bits and capabilities exclude each other."; }) cfg.wrappers;
    security.wrappers =
      let root = source: { inherit source; owner = "root"; group = "root"; setuid = true; }; in
      {
        su = root "${pkgs.util-linux}/bin/su";
        mount = root "${pkgs.util-linux}/bin/mount";
        umount = root "${pkgs.util-linux}/bin/umount";
        newgrp = root "${pkgs.login}/bin/newgrp";
        passwd = root "${pkgs.passwd}/bin/passwd";
        unix_chkpwd = root "${pkgs.libpam-modules-bin}/bin/unix_chkpwd";
        ping = { source = "${pkgs.iputils-ping}/bin/ping"; owner = "root"; group = "root"; capabilities = "cap_net_raw+ep"; };
      };
    system.build.wrappers = if !cfg.enableWrappers then [ ] else map
      (w: { inherit (w) program owner group permissions setuid setgid capabilities; source = "${w.source}"; })
      (builtins.filter (w: w.enable) (lib.attrValues cfg.wrappers));
  };
}
