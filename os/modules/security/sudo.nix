# sudo(8): for members of wheel, as the configuration says.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.security.sudo;
  command = types.either types.str (types.submodule {
    options = {
      command = mkOption { type = types.str; description = "The command."; };
      options = mkOption { type = types.listOf (types.enum [ "NOPASSWD" "PASSWD" "NOEXEC" "EXEC" "SETENV" "NOSETENV" "LOG_INPUT" "NOLOG_INPUT" "LOG_OUTPUT" "NOLOG_OUTPUT" "MAIL" "NOMAIL" "FOLLOW" "NOFOLLOW" "INTERCEPT" "NOINTERCEPT" ]); default = [ ]; description = "Tags."; };
    };
  });
  who = rule: map (u: if builtins.isInt u then "#${toString u}" else u) rule.users ++ map (g: if builtins.isInt g then "%#${toString g}" else "%${g}") rule.groups;
  shown = c: if builtins.isString c then c else lib.concatStrings (map (o: "${o}:") c.options) + c.command;
  line = rule: lib.optionalString (rule.commands != [ ] && who rule != [ ])
    "${lib.concatStringsSep "," (who rule)} ${rule.host}=(${rule.runAs}) ${lib.concatMapStringsSep ", " shown rule.commands}\n";
in
{
  options.security.sudo = {
    enable = mkOption { type = types.bool; default = true; description = "Whether sudo is there."; };
    package = lib.mkPackageOption pkgs "sudo" { };
    wheelNeedsPassword = mkOption { type = types.bool; default = true; description = "Whether members of wheel are asked for their password."; };
    execWheelOnly = mkOption { type = types.bool; default = false; description = "Whether only members of wheel may run sudo at all."; };
    keepTerminfo = mkOption { type = types.bool; default = true; description = "Whether TERMINFO is kept."; };
    defaultOptions = mkOption { type = types.listOf types.str; default = [ "SETENV" ]; description = "Tags of wheel's rule."; };
    configFile = mkOption { type = types.lines; internal = true; description = "The file /etc/sudoers."; };
    extraConfig = mkOption { type = types.lines; default = ""; description = "Further lines of sudoers(5)."; };
    extraRules = mkOption {
      default = [ ];
      description = "Rules, in order; the last that matches counts.";
      type = types.listOf (types.submodule {
        options = {
          users = mkOption { type = types.listOf (types.either types.str types.int); default = [ ]; description = "Users."; };
          groups = mkOption { type = types.listOf (types.either types.str types.int); default = [ ]; description = "Groups."; };
          host = mkOption { type = types.str; default = "ALL"; description = "Hosts."; };
          runAs = mkOption { type = types.str; default = "ALL:ALL"; description = "As whom."; };
          commands = mkOption { type = types.listOf command; description = "What."; };
        };
      });
    };
  };
  options.security = {
    sudo-rs = mkOption { type = types.attrsOf types.anything; default = { }; inert = true; description = "Accepted; sudo itself is used."; };
    doas = {
      enable = lib.mkEnableOption "doas";
      wheelNeedsPassword = mkOption { type = types.bool; default = true; description = "Whether members of wheel are asked."; };
      extraRules = mkOption { type = types.listOf types.attrs; default = [ ]; description = "Rules; not translated."; };
      extraConfig = mkOption { type = types.lines; default = ""; description = "Lines of doas.conf(5)."; };
    };
    polkit.enable = lib.mkEnableOption "polkit (accepted; it wants D-Bus)" // { inert = true; };
    rtkit.enable = lib.mkEnableOption "realtime scheduling for sound (accepted)" // { inert = true; };
    apparmor.enable = lib.mkEnableOption "AppArmor (accepted)" // { inert = true; };
    audit.enable = lib.mkEnableOption "auditing (accepted)" // { inert = true; };
    auditd.enable = lib.mkEnableOption "the audit daemon (accepted)" // { inert = true; };
    protectKernelImage = mkOption { type = types.bool; default = false; description = "Whether the running kernel cannot be replaced."; };
    lockKernelModules = mkOption { type = types.bool; default = false; inert = true; description = "Accepted."; };
    allowUserNamespaces = mkOption { type = types.bool; default = true; description = "Whether users may make namespaces."; };
    unprivilegedUsernsClone = mkOption { type = types.bool; default = false; description = "Whether anybody may make user namespaces."; };
    forcePageTableIsolation = mkOption { type = types.bool; default = false; description = "Whether pti=on."; };
    tpm2.enable = lib.mkEnableOption "the TPM (accepted)" // { inert = true; };
  };
  config = lib.mkMerge [
    (lib.mkIf cfg.enable {
      security.sudo.extraRules = lib.mkBefore [
        { users = [ "root" ]; commands = [ { command = "ALL"; options = cfg.defaultOptions; } ]; }
        { groups = [ "wheel" ]; commands = [ { command = "ALL"; options = lib.optional (!cfg.wheelNeedsPassword) "NOPASSWD" ++ cfg.defaultOptions; } ]; }
      ];
      security.sudo.configFile = ''
        # Made from security.sudo.
        Defaults secure_path="${config.security.wrapperDir}/bin:/run/current-system/sw/bin"
        ${lib.optionalString cfg.keepTerminfo "Defaults:root,%wheel env_keep+=TERMINFO_DIRS\nDefaults:root,%wheel env_keep+=TERMINFO"}
        ${lib.concatMapStrings line cfg.extraRules}
        ${cfg.extraConfig}
      '';
      security.wrappers.sudo = { source = "${cfg.package}/bin/sudo"; owner = "root"; group = if cfg.execWheelOnly then "wheel" else "root"; setuid = true; permissions = if cfg.execWheelOnly then "u+rx,g+x" else "u+rx,g+x,o+x"; };
      security.pam.services.sudo = { };
      # The package's paths are Debian's; this file says where its parts are.
      environment.etc."sudo.conf".text = ''
        Plugin sudoers_policy ${cfg.package}/libexec/sudo/sudoers.so
        Plugin sudoers_io ${cfg.package}/libexec/sudo/sudoers.so
        Set plugin_dir ${cfg.package}/libexec/sudo/
        Path noexec ${cfg.package}/libexec/sudo/sudo_noexec.so
        Path sesh ${cfg.package}/libexec/sudo/sesh
      '';
      environment.etc.sudoers = { source = pkgs.writeText "sudoers" cfg.configFile; mode = "0440"; };
    })
    (lib.mkIf config.security.doas.enable {
      security.wrappers.doas = { source = "${pkgs.opendoas}/bin/doas"; owner = "root"; group = "root"; setuid = true; };
      security.pam.services.doas = { };
      environment.etc."doas.conf" = { mode = "0440"; text = "permit ${lib.optionalString (!config.security.doas.wheelNeedsPassword) "nopass "}:wheel\n${config.security.doas.extraConfig}"; };
    })
    (lib.mkIf config.security.forcePageTableIsolation { boot.kernelParams = [ "pti=on" ]; })
    (lib.mkIf config.security.protectKernelImage { boot.kernel.sysctl."kernel.kexec_load_disabled" = lib.mkDefault true; })
  ];
}
