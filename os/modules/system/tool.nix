# `_module.args.tool`: a derivation that one of firn-tools' commands builds: `tool "etc-tree" { name = "etc"; … }`.
# Its attributes reach the command as JSON (structured attributes); nothing of the host is needed.
{ config, pkgs, ... }:
{
  _module.args.tool = command: attributes:
    derivation ({
      system = config.nixpkgs.hostPlatform.system;
      builder = "${pkgs.firn-tools}";
      args = [ command ];
      __structuredAttrs = true;
      preferLocalBuild = true;
      allowSubstitutes = false;
    } // attributes);
}
