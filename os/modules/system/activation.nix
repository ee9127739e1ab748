# activation.json: what `firn-activate` brings about when a generation becomes the running system.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  snippetType = types.either types.lines (types.submodule {
    options = {
      text = mkOption { type = types.lines; default = ""; description = "The shell text."; };
      deps = mkOption { type = types.listOf types.str; default = [ ]; description = "Snippets that run before."; };
      supportsDryActivation = mkOption { type = types.bool; default = false; inert = true; description = "Accepted."; };
    };
  });
  # Names that NixOS's own snippets have and that Firn does itself: they can be depended on.
  builtin = [ "users" "groups" "etc" "specialfs" "binsh" "usrbinenv" "wrappers" "var" "hostname" "modprobe" "stdio" "udevd" "nix" ];
  snippets = lib.mapAttrsToList
    (name: s: if builtins.isString s then { inherit name; deps = [ ]; text = s; }
      else { inherit name; inherit (s) text; deps = lib.subtractLists builtin s.deps; })
    (removeAttrs config.system.activationScripts builtin);
in
{
  options.system = {
    activationScripts = mkOption {
      type = types.attrsOf snippetType;
      default = { };
      example = { greeting = "echo hello"; };
      description = "Shell text that runs at each activation, as root. It has to be able to run again.";
    };
    userActivationScripts = mkOption { type = types.attrsOf snippetType; default = { }; inert = true; description = "Accepted; there are no user sessions to run them."; };
    build = mkOption {
      type = types.lazyAttrsOf types.raw;
      default = { };
      description = "Everything that can be built of the configuration.";
    };
  };
  config.system.build.activation = {
    version = 1;
    etc = config.system.build.etcEntries;
    inherit (config.users) mutableUsers;
    inherit (config.system.build) users groups wrappers;
    inherit (config.security) wrapperDir;
    tmpfiles = config.systemd.tmpfiles.rules;
    sysctl = lib.mapAttrs (_: v: if builtins.isBool v then (if v then "1" else "0") else toString v) (lib.filterAttrs (_: v: v != null) config.boot.kernel.sysctl);
    inherit (config.networking) hostName;
    inherit (config.boot) kernelModules;
    snippets = snippets;
    snippetShell = if snippets == [ ] then null else "${pkgs.bash}/bin/bash";
    snippetPath = if snippets == [ ] then [ ] else map (p: "${p}") [ pkgs.coreutils pkgs.grep pkgs.findutils pkgs.util-linux pkgs.sed ];
  };
}
