# Redis: servers by name, each with its own directory and settings.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.services.redis;
  unit = name: if name == "" then "redis" else "redis-${name}";
  text = v: if v == true then "yes" else if v == false then "no" else toString v;
  lines = settings: lib.concatStrings (lib.mapAttrsToList (n: v: lib.concatMapStrings (x: "${n} ${text x}\n") (lib.toList v)) (lib.filterAttrs (_: v: v != null) settings));
  value = types.nullOr (types.oneOf [ types.bool types.int types.str ]);
  enabled = lib.filterAttrs (_: s: s.enable) cfg.servers;
in
{
  options.services.redis = {
    package = lib.mkPackageOption pkgs "redis" { };
    vmOverCommit = mkOption { type = types.bool; default = true; description = "Whether the kernel may promise more memory than there is, as Redis wants it."; };
    servers = mkOption {
      default = { };
      description = "The servers; the one named \"\" is `redis`.";
      type = types.attrsOf (types.submodule ({ name, config, ... }: {
        options = {
          enable = lib.mkEnableOption "this Redis server";
          user = mkOption { type = types.str; default = unit name; description = "As whom it runs."; };
          group = mkOption { type = types.str; default = config.user; description = "Its group."; };
          port = mkOption { type = types.port; default = if name == "" then 6379 else 0; description = "The port; 0 for none."; };
          bind = mkOption { type = types.nullOr types.str; default = "127.0.0.1"; description = "The address."; };
          openFirewall = mkOption { type = types.bool; default = false; description = "Whether the firewall lets it pass."; };
          unixSocket = mkOption { type = types.nullOr types.path; default = "/run/${unit name}/redis.sock"; description = "The socket."; };
          unixSocketPerm = mkOption { type = types.int; default = 660; description = "The socket's mode."; };
          logLevel = mkOption { type = types.str; default = "notice"; description = "How much is logged."; };
          logfile = mkOption { type = types.str; default = "/dev/null"; inert = true; description = "Accepted; logs go to standard output."; };
          syslog = mkOption { type = types.bool; default = true; inert = true; description = "Accepted."; };
          databases = mkOption { type = types.int; default = 16; description = "How many databases."; };
          maxclients = mkOption { type = types.int; default = 10000; description = "How many clients."; };
          save = mkOption { type = types.listOf (types.listOf types.int); default = [ [ 900 1 ] [ 300 10 ] [ 60 10000 ] ]; description = "When it saves: after so many seconds with so many changes."; };
          appendOnly = mkOption { type = types.bool; default = false; description = "Whether every change is logged."; };
          appendFsync = mkOption { type = types.str; default = "everysec"; description = "When that log is synced."; };
          requirePass = mkOption { type = types.nullOr types.str; default = null; description = "A password, in clear text in the store."; };
          requirePassFile = mkOption { type = types.nullOr types.path; default = null; inert = true; description = "Not done."; };
          slaveOf = mkOption { type = types.nullOr types.anything; default = null; description = "{ ip, port } of the server that it copies."; };
          masterAuth = mkOption { type = types.nullOr types.str; default = null; description = "That server's password."; };
          slowLogLogSlowerThan = mkOption { type = types.int; default = 10000; description = "What counts as slow, in microseconds."; };
          slowLogMaxLen = mkOption { type = types.int; default = 128; description = "How many slow commands are kept."; };
          extraParams = mkOption { type = types.listOf types.str; default = [ ]; description = "Further arguments."; };
          settings = mkOption { type = types.attrsOf (types.either value (types.listOf value)); default = { }; description = "Settings, redis.conf."; };
        };
        config.settings = {
          inherit (config) port databases maxclients;
          loglevel = config.logLevel;
          daemonize = false;
          supervised = "no";
          dir = "/var/lib/${unit name}";
          dbfilename = "dump.rdb";
          appendOnly = config.appendOnly;
          appendfsync = config.appendFsync;
          slowlog-log-slower-than = config.slowLogLogSlowerThan;
          slowlog-max-len = config.slowLogMaxLen;
          save = if config.save == [ ] then ''""'' else map (s: "${toString (lib.elemAt s 0)} ${toString (lib.elemAt s 1)}") config.save;
          bind = lib.mkIf (config.bind != null) config.bind;
          unixsocket = lib.mkIf (config.unixSocket != null) config.unixSocket;
          unixsocketperm = lib.mkIf (config.unixSocket != null) (toString config.unixSocketPerm);
          requirepass = lib.mkIf (config.requirePass != null) config.requirePass;
          masterauth = lib.mkIf (config.masterAuth != null) config.masterAuth;
          replicaof = lib.mkIf (config.slaveOf != null) "${config.slaveOf.ip} ${toString config.slaveOf.port}";
        };
      }));
    };
  };
  imports = [
    (lib.mkRenamedOptionModule [ "services" "redis" "enable" ] [ "services" "redis" "servers" "" "enable" ])
    (lib.mkRenamedOptionModule [ "services" "redis" "port" ] [ "services" "redis" "servers" "" "port" ])
    (lib.mkRenamedOptionModule [ "services" "redis" "bind" ] [ "services" "redis" "servers" "" "bind" ])
  ];
  config = lib.mkIf (enabled != { }) {
    boot.kernel.sysctl."vm.overcommit_memory" = lib.mkIf cfg.vmOverCommit (lib.mkDefault 1);
    networking.firewall.allowedTCPPorts = lib.concatMap (s: lib.optional s.openFirewall s.port) (lib.attrValues enabled);
    users.users = lib.mapAttrs' (n: s: lib.nameValuePair s.user { isSystemUser = true; inherit (s) group; description = "Redis"; }) (lib.filterAttrs (n: s: s.user == unit n) enabled);
    users.groups = lib.mapAttrs' (n: s: lib.nameValuePair s.group { }) (lib.filterAttrs (n: s: s.group == unit n) enabled);
    environment.systemPackages = [ cfg.package ];
    systemd.services = lib.mapAttrs'
      (n: s: lib.nameValuePair (unit n) {
        description = "Redis server${lib.optionalString (n != "") " ${n}"}";
        wantedBy = [ "multi-user.target" ];
        after = [ "network.target" ];
        serviceConfig = {
          Type = "simple";
          ExecStart = "${cfg.package}/bin/redis-server ${pkgs.writeText "${unit n}.conf" (lines s.settings)} ${lib.escapeShellArgs s.extraParams}";
          User = s.user;
          Group = s.group;
          RuntimeDirectory = unit n;
          RuntimeDirectoryMode = "0750";
          StateDirectory = unit n;
          StateDirectoryMode = "0700";
          UMask = "0077";
          LimitNOFILE = lib.mkDefault (s.maxclients + 32);
          Restart = "on-failure";
          NoNewPrivileges = true;
          PrivateTmp = true;
          ProtectHome = true;
          ProtectSystem = "strict";
        };
      })
      enabled;
  };
}
