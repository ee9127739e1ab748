# Environment variables, aliases and /etc/profile.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.environment;
  value = types.nullOr (types.coercedTo types.int toString (types.oneOf [ types.str types.path (types.listOf (types.either types.int types.str)) ]));
  joined = v: if builtins.isList v then lib.concatMapStringsSep ":" toString v else toString v;
  export = vars: lib.concatLines (lib.mapAttrsToList (n: v: "export ${n}=\"${joined v}\"") (lib.filterAttrs (_: v: v != null) vars));
  path = [ "${config.security.wrapperDir}/bin" "$HOME/.nix-profile/bin" "/nix/var/nix/profiles/default/bin" "/run/current-system/sw/bin" "/run/current-system/sw/sbin" ];
in
{
  options.environment = {
    variables = mkOption { type = types.attrsOf value; default = { }; example = { EDITOR = "vim"; }; description = "Variables of every shell."; };
    sessionVariables = mkOption { type = types.attrsOf value; default = { }; description = "Variables of every session."; };
    profileRelativeEnvVars = mkOption { type = types.attrsOf (types.listOf types.str); default = { }; inert = true; description = "Accepted."; };
    profileRelativeSessionVariables = mkOption { type = types.attrsOf (types.listOf types.str); default = { }; inert = true; description = "Accepted."; };
    profiles = mkOption { type = types.listOf types.str; default = [ ]; inert = true; description = "Accepted."; };
    homeBinInPath = mkOption { type = types.bool; default = false; description = "Whether ~/bin is in PATH."; };
    localBinInPath = mkOption { type = types.bool; default = false; description = "Whether ~/.local/bin is in PATH."; };
    binsh = mkOption { type = types.path; default = "${pkgs.bash}/bin/sh"; visible = false; inert = true; description = "Accepted: /bin/sh is the sh of /run/current-system/sw."; };
    usrbinenv = mkOption { type = types.nullOr types.path; default = "${pkgs.coreutils}/bin/env"; inert = true; description = "Accepted: /usr/bin/env is the env of /run/current-system/sw."; };
    shells = mkOption { type = types.listOf (types.either types.package types.path); default = [ ]; description = "Shells that users may have."; };
    shellAliases = mkOption { type = types.attrsOf (types.nullOr (types.either types.str types.path)); default = { }; example = { ll = "ls -l"; }; description = "Aliases of every interactive shell."; };
    shellInit = mkOption { type = types.lines; default = ""; description = "Shell read by every shell."; };
    loginShellInit = mkOption { type = types.lines; default = ""; description = "Shell read by login shells."; };
    interactiveShellInit = mkOption { type = types.lines; default = ""; description = "Shell read by interactive shells."; };
    extraInit = mkOption { type = types.lines; default = ""; description = "Shell read after the variables are set."; };
    enableAllTerminfo = mkOption { type = types.bool; default = false; inert = true; description = "Accepted."; };
    stub-ld.enable = mkOption { type = types.bool; default = true; inert = true; description = "Accepted."; };
    persistence = mkOption { type = types.attrsOf types.anything; default = { }; internal = true; inert = true; description = "Not done."; };
  };
  config = {
    assertions = [ { assertion = cfg.persistence == { }; message = "environment.persistence comes from another project's module (impermanence); import that module, or use fileSystems with bind mounts."; } ];
    environment = {
      shells = [ "/run/current-system/sw/bin/bash" "/run/current-system/sw/bin/sh" "${pkgs.bash}/bin/bash" ];
      variables = {
        NIXPKGS_CONFIG = lib.mkDefault null;
        PAGER = lib.mkDefault "less -R";
        EDITOR = lib.mkDefault "nano";
        TERMINFO_DIRS = "/run/current-system/sw/share/terminfo:/run/current-system/sw/lib/terminfo";
      };
      shellAliases = lib.mapAttrs (_: lib.mkDefault) { ls = "ls --color=tty"; ll = "ls -l"; l = "ls -alh"; };
      etc = {
        shells.text = lib.concatLines (lib.unique (map (s: if lib.isDerivation s then "/run/current-system/sw${s.shellPath or "/bin/${lib.getName s}"}" else toString s) cfg.shells) ++ [ "/bin/sh" ]);
        "set-environment".text = ''
          # Made from environment.variables and environment.sessionVariables.
          export __ETC_PROFILE_DONE=1
          export PATH="${lib.optionalString cfg.localBinInPath "$HOME/.local/bin:"}${lib.optionalString cfg.homeBinInPath "$HOME/bin:"}${lib.concatStringsSep ":" path}"
          ${export (cfg.sessionVariables // cfg.variables)}
          ${cfg.extraInit}
        '';
        profile.text = ''
          # Read by login shells.
          . /etc/set-environment
          ${cfg.shellInit}
          ${cfg.loginShellInit}
          if [ -n "''${BASH_VERSION:-}" ] && [ -f /etc/bashrc ] && [ -n "''${PS1:-}" ]; then . /etc/bashrc; fi
        '';
      };
    };
  };
}
