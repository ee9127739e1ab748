# OpenSSH: sshd with its settings from the configuration, host keys made at the first start, keys of users.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types mkRenamedOptionModule;
  cfg = config.services.openssh;
  scalar = types.nullOr (types.oneOf [ types.bool types.int types.str ]);
  yesNo = v: if v == true then "yes" else if v == false then "no" else toString v;
  # Lists that sshd wants joined by commas; all others are joined by blanks.
  commas = [ "Ciphers" "KexAlgorithms" "Macs" "MACs" "HostKeyAlgorithms" "PubkeyAcceptedAlgorithms" ];
  setting = n: v:
    if v == null then ""
    else if builtins.isList v then lib.optionalString (v != [ ]) "${n} ${lib.concatMapStringsSep (if builtins.elem n commas then "," else " ") toString v}\n"
    else "${n} ${yesNo v}\n";
  text = lib.concatStrings (lib.mapAttrsToList setting (removeAttrs cfg.settings [ "AuthorizedPrincipalsFile" ]))
    + lib.concatMapStrings (l: "ListenAddress ${if lib.hasInfix ":" l.addr && !(lib.hasPrefix "[" l.addr) then "[${l.addr}]" else l.addr}${lib.optionalString (l.port != null) ":${toString l.port}"}\n") cfg.listenAddresses
    + lib.concatMapStrings (p: "Port ${toString p}\n") cfg.ports
    + lib.concatMapStrings (k: "HostKey ${k.path}\n") cfg.hostKeys
    + "AuthorizedKeysFile ${toString cfg.authorizedKeysFiles}\n"
    + lib.optionalString (cfg.authorizedKeysCommand != "none") "AuthorizedKeysCommand ${cfg.authorizedKeysCommand}\nAuthorizedKeysCommandUser ${cfg.authorizedKeysCommandUser}\n"
    + lib.optionalString (cfg.banner != null) "Banner ${pkgs.writeText "ssh-banner" cfg.banner}\n"
    + "AddressFamily ${if config.networking.enableIPv6 then "any" else "inet"}\n"
    + lib.optionalString cfg.allowSFTP "Subsystem sftp ${cfg.sftpServerExecutable} ${lib.concatStringsSep " " cfg.sftpFlags}\n"
    + programs
    + cfg.extraConfig;
  # Since 9.8 sshd is several programs and looks for the others where Debian installs them.
  version = lib.last (lib.splitString ":" (cfg.package.version or "0"));
  programs = lib.optionalString (lib.versionAtLeast version "9.8") "SshdSessionPath ${cfg.package}/lib/openssh/sshd-session\n"
    + lib.optionalString (lib.versionAtLeast version "10.0") "SshdAuthPath ${cfg.package}/lib/openssh/sshd-auth\n";
  keysOf = u: u.openssh.authorizedKeys.keys ++ map lib.fileContents u.openssh.authorizedKeys.keyFiles;
  withKeys = builtins.filter (u: keysOf u != [ ]) (lib.attrValues config.users.users);
in
{
  imports = [
    (mkRenamedOptionModule [ "services" "openssh" "permitRootLogin" ] [ "services" "openssh" "settings" "PermitRootLogin" ])
    (mkRenamedOptionModule [ "services" "openssh" "passwordAuthentication" ] [ "services" "openssh" "settings" "PasswordAuthentication" ])
    (mkRenamedOptionModule [ "services" "openssh" "kbdInteractiveAuthentication" ] [ "services" "openssh" "settings" "KbdInteractiveAuthentication" ])
    (mkRenamedOptionModule [ "services" "sshd" "enable" ] [ "services" "openssh" "enable" ])
  ];
  options = {
    services.openssh = {
      enable = lib.mkEnableOption "the OpenSSH server";
      package = mkOption { type = types.package; default = config.programs.ssh.package; defaultText = lib.literalExpression "programs.ssh.package"; description = "OpenSSH."; };
      startWhenNeeded = mkOption { type = types.bool; default = false; inert = true; description = "Accepted; sshd always runs."; };
      ports = mkOption { type = types.listOf types.port; default = [ 22 ]; description = "The ports."; };
      openFirewall = mkOption { type = types.bool; default = true; description = "Whether the firewall lets them pass."; };
      listenAddresses = mkOption { type = types.listOf (types.submodule { options = { addr = mkOption { type = types.nullOr types.str; default = null; description = "The address."; }; port = mkOption { type = types.nullOr types.int; default = null; description = "The port."; }; }; }); default = [ ]; description = "Addresses; none: all."; };
      allowSFTP = mkOption { type = types.bool; default = true; description = "Whether files can be copied by SFTP."; };
      sftpServerExecutable = mkOption { type = types.str; default = "internal-sftp"; description = "The SFTP server."; };
      sftpFlags = mkOption { type = types.listOf types.str; default = [ ]; description = "Its arguments."; };
      hostKeys = mkOption {
        type = types.listOf types.attrs;
        default = [ { type = "ed25519"; path = "/etc/ssh/ssh_host_ed25519_key"; } ];
        description = "Host keys, made at the first start. NixOS makes an RSA key too; that takes long on small machines, and every client of today knows Ed25519.";
      };
      generateHostKeys = mkOption { type = types.bool; default = true; description = "Whether missing host keys are made."; };
      banner = mkOption { type = types.nullOr types.lines; default = null; description = "A text shown before authentication."; };
      authorizedKeysFiles = mkOption { type = types.listOf types.str; default = [ ]; description = "Where users' keys lie."; };
      authorizedKeysInHomedir = mkOption { type = types.bool; default = true; description = "Whether ~/.ssh/authorized_keys counts."; };
      authorizedKeysCommand = mkOption { type = types.str; default = "none"; description = "A program that prints keys."; };
      authorizedKeysCommandUser = mkOption { type = types.str; default = "nobody"; description = "As whom it runs."; };
      extraConfig = mkOption { type = types.lines; default = ""; description = "Further lines of sshd_config(5)."; };
      moduliFile = mkOption { type = types.nullOr types.path; default = null; inert = true; description = "Accepted."; };
      sftpOnly = mkOption { type = types.bool; default = false; internal = true; description = "Unused."; };
      settings = mkOption {
        default = { };
        example = { PasswordAuthentication = false; };
        description = "Settings, sshd_config(5).";
        type = types.submodule {
          freeformType = types.attrsOf (types.either scalar (types.listOf (types.oneOf [ types.int types.str ])));
          options = {
            PermitRootLogin = mkOption { type = types.enum [ "yes" "without-password" "prohibit-password" "forced-commands-only" "no" ]; default = "prohibit-password"; description = "Whether root may log in."; };
            PasswordAuthentication = mkOption { type = types.bool; default = true; description = "Whether passwords are accepted."; };
            KbdInteractiveAuthentication = mkOption { type = types.nullOr types.bool; default = true; description = "Whether questions are asked."; };
            X11Forwarding = mkOption { type = types.bool; default = false; description = "Whether X11 is forwarded."; };
            UseDns = mkOption { type = types.bool; default = false; description = "Whether clients' names are looked up."; };
            LogLevel = mkOption { type = types.enum [ "QUIET" "FATAL" "ERROR" "INFO" "VERBOSE" "DEBUG" "DEBUG1" "DEBUG2" "DEBUG3" ]; default = "INFO"; description = "How much is logged."; };
            StrictModes = mkOption { type = types.bool; default = true; description = "Whether keys in writable places are refused."; };
            GatewayPorts = mkOption { type = types.str; default = "no"; description = "Whether others reach forwarded ports."; };
            UsePAM = mkOption { type = types.bool; default = true; description = "Whether PAM is asked."; };
            PrintMotd = mkOption { type = types.bool; default = true; description = "Whether the message of the day is shown."; };
            AllowUsers = mkOption { type = types.nullOr (types.listOf types.str); default = null; description = "Who may log in."; };
            DenyUsers = mkOption { type = types.nullOr (types.listOf types.str); default = null; description = "Who may not."; };
            AllowGroups = mkOption { type = types.nullOr (types.listOf types.str); default = null; description = "Which groups may."; };
            DenyGroups = mkOption { type = types.nullOr (types.listOf types.str); default = null; description = "Which may not."; };
          };
        };
      };
      knownHosts = mkOption { type = types.attrsOf types.anything; default = { }; visible = false; description = "The old name of programs.ssh.knownHosts."; };
    };
    users.users = mkOption {
      type = types.attrsOf (types.submodule {
        options.openssh.authorizedKeys = {
          keys = mkOption { type = types.listOf types.singleLineStr; default = [ ]; description = "Public keys with which the user may log in."; };
          keyFiles = mkOption { type = types.listOf types.path; default = [ ]; description = "Files with public keys."; };
        };
        options.openssh.authorizedPrincipals = mkOption { type = types.listOf types.singleLineStr; default = [ ]; inert = true; description = "Accepted."; };
      });
    };
  };

  config = lib.mkIf cfg.enable {
    users.users.sshd = { isSystemUser = true; group = "sshd"; description = "SSH privilege separation user"; home = "/var/empty"; };
    users.groups.sshd = { };
    services.openssh.authorizedKeysFiles = lib.optional cfg.authorizedKeysInHomedir "%h/.ssh/authorized_keys" ++ [ "/etc/ssh/authorized_keys.d/%u" ];
    networking.firewall.allowedTCPPorts = lib.mkIf cfg.openFirewall cfg.ports;
    security.pam.services.sshd = { startSession = true; showMotd = false; };
    environment.systemPackages = [ cfg.package ];
    environment.etc = {
      "ssh/sshd_config".source = pkgs.writeText "sshd_config" text;
    } // lib.listToAttrs (map (u: lib.nameValuePair "ssh/authorized_keys.d/${u.name}" { mode = "0444"; text = lib.concatLines (keysOf u); }) withKeys);
    systemd.services.sshd-keygen = lib.mkIf (cfg.generateHostKeys && cfg.hostKeys != [ ]) {
      description = "SSH host keys";
      wantedBy = [ "multi-user.target" ];
      before = [ "sshd.service" ];
      path = [ cfg.package ];
      serviceConfig = { Type = "oneshot"; RemainAfterExit = true; };
      script = ''
        ${lib.concatMapStrings (k: ''
          if ! [ -s ${lib.escapeShellArg k.path} ]; then
            # An empty file is what a power cut leaves behind; ssh-keygen would ask before it overwrites.
            rm -f ${lib.escapeShellArg k.path} ${lib.escapeShellArg "${k.path}.pub"}
            mkdir -p -m 0755 ${lib.escapeShellArg (dirOf k.path)}
            ssh-keygen -q -t ${k.type} ${lib.optionalString (k ? bits) "-b ${toString k.bits}"} ${lib.optionalString (k ? rounds) "-a ${toString k.rounds}"} -C ${lib.escapeShellArg (k.comment or "")} -f ${lib.escapeShellArg k.path} -N ""
          fi
        '') cfg.hostKeys}
      '';
    };
    systemd.services.sshd = {
      description = "SSH daemon";
      wantedBy = [ "multi-user.target" ];
      after = [ "network.target" "sshd-keygen.service" ];
      wants = [ "sshd-keygen.service" ];
      stopIfChanged = false;
      restartTriggers = [ text ];
      path = [ cfg.package ];
      serviceConfig = {
        Type = "simple";
        ExecStart = "${cfg.package}/bin/sshd -D -e -f /etc/ssh/sshd_config";
        ExecReload = "${pkgs.procps}/bin/kill -HUP $MAINPID";
        RuntimeDirectory = "sshd";
        RuntimeDirectoryMode = "0755";
        KillMode = "process";
        Restart = "always";
      };
    };
  };
}
