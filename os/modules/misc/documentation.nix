# `documentation.*`: accepted. Packages of the Debian channel bring their manuals or do not.
{ lib, ... }:
let
  on = what: lib.mkOption { type = lib.types.bool; default = true; description = "Whether to install ${what}."; };
in
{
  options.documentation = {
    enable = on "documentation";
    man.enable = on "manual pages";
    man.generateCaches = lib.mkOption { type = lib.types.bool; default = false; description = "Whether to index manual pages."; };
    man.man-db.enable = lib.mkOption { type = lib.types.bool; default = false; description = "Whether to use man-db."; };
    info.enable = on "info pages";
    doc.enable = on "files below share/doc";
    dev.enable = lib.mkOption { type = lib.types.bool; default = false; description = "Whether to install documentation for developers."; };
    nixos.enable = on "the manual";
    nixos.includeAllModules = lib.mkOption { type = lib.types.bool; default = false; inert = true; description = "Accepted."; };
  };
  config.environment.pathsToLink = [ "/share/man" "/share/doc" ];
}
