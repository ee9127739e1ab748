# `security.pam`: who may log in, pam.conf(5). Each service gets a stack of four parts from a few switches; modules are
# named by their store paths.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.security.pam;
  module = name: if lib.hasPrefix "/" name then name else "${cfg.package}/lib/security/${name}";
  flag = default: description: mkOption { type = types.bool; inherit default description; };
  limits = pkgs.writeText "limits.conf" (lib.concatMapStrings (l: "${l.domain} ${l.type} ${l.item} ${toString l.value}\n") cfg.loginLimits);

  service = { name, config, ... }: {
    options = {
      enable = flag true "Whether the service has a file.";
      name = mkOption { type = types.str; default = name; description = "The service's name."; };
      unixAuth = flag true "Whether passwords from /etc/shadow are asked for.";
      rootOK = flag false "Whether root need not authenticate.";
      allowNullPassword = flag false "Whether an empty password is accepted.";
      nodelay = flag false "Whether a failure is told at once.";
      requireWheel = flag false "Whether only members of wheel may pass.";
      setEnvironment = flag true "Whether the session gets environment.sessionVariables.";
      setLoginUid = flag false "Accepted.";
      startSession = flag false "Accepted; there are no user sessions.";
      makeHomeDir = flag false "Whether a missing home directory is made.";
      updateWtmp = flag false "Accepted.";
      showMotd = flag false "Whether the message of the day is shown.";
      sshAgentAuth = flag false "Not done.";
      u2fAuth = flag false "Not done.";
      googleAuthenticator = mkOption { type = types.attrsOf types.anything; default = { }; inert = true; description = "Not done."; };
      enableGnomeKeyring = flag false "Accepted.";
      enableKwallet = flag false "Accepted.";
      gnupg = mkOption { type = types.attrsOf types.anything; default = { }; inert = true; description = "Accepted."; };
      fprintAuth = flag false "Accepted.";
      logFailures = flag false "Accepted.";
      limits = mkOption { type = types.listOf types.anything; default = [ ]; inert = true; description = "Accepted; use security.pam.loginLimits."; };
      rules = mkOption { type = types.attrsOf types.anything; default = { }; inert = true; description = "Accepted."; };
      text = mkOption { type = types.nullOr types.lines; default = null; description = "The whole file, instead of the switches."; };
    };
    config.text = lib.mkDefault (
      lib.concatStringsSep "\n" (
        [ "# Made from security.pam.services.${name}." "account required ${module "pam_unix.so"}" ]
        ++ lib.optional config.rootOK "auth sufficient ${module "pam_rootok.so"}"
        ++ lib.optional config.requireWheel "auth required ${module "pam_wheel.so"} use_uid group=wheel"
        ++ lib.optional config.unixAuth "auth sufficient ${module "pam_unix.so"}${lib.optionalString config.allowNullPassword " nullok"}${lib.optionalString config.nodelay " nodelay"} likeauth try_first_pass"
        ++ [
          "auth required ${module "pam_deny.so"}"
          "password sufficient ${module "pam_unix.so"} nullok yescrypt"
          "password required ${module "pam_deny.so"}"
        ]
        ++ lib.optional config.setEnvironment "session required ${module "pam_env.so"} conffile=/etc/pam/environment readenv=0"
        ++ [ "session required ${module "pam_unix.so"}" ]
        ++ lib.optional config.makeHomeDir "session required ${module "pam_mkhomedir.so"} silent umask=0077"
        ++ lib.optional (cfg.loginLimits != [ ]) "session required ${module "pam_limits.so"} conf=${limits}"
        ++ lib.optional config.showMotd "session optional ${module "pam_motd.so"} motd=/etc/motd"
      ) + "\n");
  };
  sessionValue = v: if builtins.isList v then lib.concatMapStringsSep ":" toString v else toString v;
in
{
  options.security.pam = {
    package = mkOption { type = types.package; default = pkgs.libpam-modules; defaultText = lib.literalExpression "pkgs.libpam-modules"; description = "The package with the modules."; };
    services = mkOption { type = types.attrsOf (types.submodule service); default = { }; description = "The services that ask PAM."; };
    loginLimits = mkOption {
      type = types.listOf (types.submodule { options = { domain = mkOption { type = types.str; description = "Whom."; }; type = mkOption { type = types.enum [ "-" "hard" "soft" ]; default = "-"; description = "Which."; }; item = mkOption { type = types.str; description = "What."; }; value = mkOption { type = types.oneOf [ types.str types.int ]; description = "How much."; }; }; });
      default = [ ];
      example = [ { domain = "*"; item = "nofile"; value = 65536; } ];
      description = "Limits of sessions, limits.conf(5).";
    };
    sshAgentAuth.enable = lib.mkEnableOption "authentication by SSH agent (not done)" // { inert = true; };
    makeHomeDir.umask = mkOption { type = types.str; default = "0077"; inert = true; description = "Accepted."; };
    u2f = mkOption { type = types.attrsOf types.anything; default = { }; inert = true; description = "Accepted."; };
  };
  config = {
    security.pam.services = {
      login = { allowNullPassword = true; showMotd = true; };
      su.rootOK = true;
      # su(1) and runuser(1) name themselves otherwise for login shells.
      su-l.rootOK = true;
      runuser = { rootOK = true; unixAuth = false; };
      runuser-l = { rootOK = true; unixAuth = false; };
      passwd = { };
      chpasswd.rootOK = true;
      other.text = "account required ${module "pam_deny.so"}\nauth required ${module "pam_deny.so"}\npassword required ${module "pam_deny.so"}\nsession required ${module "pam_deny.so"}\n";
    };
    environment.etc = {
      "pam/environment".text = lib.concatStrings (lib.mapAttrsToList
        (n: v: lib.optionalString (v != null && !(lib.hasInfix "$" (sessionValue v))) "${n} DEFAULT=\"${sessionValue v}\"\n")
        config.environment.sessionVariables);
      "login.defs".text = ''
        PASS_MAX_DAYS 99999
        PASS_MIN_DAYS 0
        PASS_WARN_AGE 7
        UID_MIN 1000
        UID_MAX 29999
        SYS_UID_MIN 400
        SYS_UID_MAX 999
        GID_MIN 1000
        GID_MAX 29999
        SYS_GID_MIN 400
        SYS_GID_MAX 999
        TTYGROUP tty
        TTYPERM 0620
        UMASK 077
        ENCRYPT_METHOD YESCRYPT
        ENV_PATH ${config.security.wrapperDir}/bin:/run/current-system/sw/bin:/run/current-system/sw/sbin
        ENV_SUPATH ${config.security.wrapperDir}/bin:/run/current-system/sw/bin:/run/current-system/sw/sbin
      '';
    } // lib.mapAttrs' (_: s: lib.nameValuePair "pam.d/${s.name}" { inherit (s) text; }) (lib.filterAttrs (_: s: s.enable) cfg.services);
  };
}
