# `environment.systemPackages`: the programs of the machine, as one tree: /run/current-system/sw.
{ config, lib, pkgs, tool, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.environment;
in
{
  options = {
    environment = {
      systemPackages = mkOption { type = types.listOf types.package; default = [ ]; example = lib.literalExpression "[ pkgs.curl ]"; description = "Packages for everybody."; };
      corePackages = mkOption { type = types.listOf types.package; description = "Packages that a usable system needs; may be set to less."; };
      defaultPackages = mkOption { type = types.listOf types.package; default = [ ]; description = "Packages that most expect and that may be taken away."; };
      pathsToLink = mkOption { type = types.listOf types.str; default = [ ]; example = [ "/share/zsh" ]; description = "Directories of the packages that are joined."; };
      extraOutputsToInstall = mkOption { type = types.listOf types.str; default = [ ]; inert = true; description = "Accepted."; };
      extraSetup = mkOption { type = types.lines; default = ""; inert = true; description = "Accepted; not run."; };
    };
    system.path = mkOption { internal = true; description = "The joined packages."; };
  };
  config = {
    environment.corePackages = lib.mkDefault (with pkgs; [
      bash coreutils util-linux login passwd findutils grep sed gawk less procps iproute2 iputils-ping kmod tar gzip xz-utils ncurses-bin ncurses-base hostname
    ]);
    environment.systemPackages = cfg.corePackages ++ cfg.defaultPackages ++ [ pkgs.firn ];
    environment.pathsToLink = [ "/bin" "/sbin" "/lib/firmware" "/share/terminfo" "/lib/terminfo" "/share/bash-completion" "/share/zoneinfo" "/etc/ssl" ];
    system.path = tool "build-env" {
      name = "system-path";
      paths = map (p: "${p}") (lib.unique cfg.systemPackages);
      pathsToLink = lib.unique cfg.pathsToLink;
      ignoreCollisions = true;
      extraPrefix = "";
    };
  };
}
