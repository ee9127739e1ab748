# Name servers for a network: dnsmasq (with DHCP) and unbound.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  dnsmasq = config.services.dnsmasq;
  unbound = config.services.unbound;
  value = types.nullOr (types.oneOf [ types.bool types.int types.str ]);

  dnsmasqLines = lib.concatStrings (lib.mapAttrsToList
    (n: v: lib.concatMapStrings (x: if x == true then "${n}\n" else if x == false || x == null then "" else "${n}=${toString x}\n") (lib.toList v))
    dnsmasq.settings);
  dnsmasqFile = pkgs.writeText "dnsmasq.conf" dnsmasqLines;

  yesNo = v: if v == true then "yes" else if v == false then "no" else toString v;
  unboundLines = indent: set: lib.concatStrings (lib.mapAttrsToList
    (n: v:
      if v == null then ""
      else if builtins.isAttrs v then "${indent}${n}:\n${unboundLines "${indent}  " v}"
      else lib.concatMapStrings (x: if builtins.isAttrs x then "${indent}${n}:\n${unboundLines "${indent}  " x}" else "${indent}${n}: ${yesNo x}\n") (lib.toList v))
    set);
  unboundFile = pkgs.writeText "unbound.conf" (unboundLines "" unbound.settings);
in
{
  options.services.dnsmasq = {
    enable = lib.mkEnableOption "dnsmasq";
    package = lib.mkPackageOption pkgs "dnsmasq" { default = "dnsmasq-base"; };
    resolveLocalQueries = mkOption { type = types.bool; default = true; description = "Whether this machine asks it too."; };
    alwaysKeepRunning = mkOption { type = types.bool; default = false; description = "Whether it is started again after every end."; };
    settings = mkOption { type = types.attrsOf (types.either value (types.listOf value)); default = { }; example = { server = [ "9.9.9.9" ]; }; description = "Settings, dnsmasq(8)."; };
  };
  options.services.unbound = {
    enable = lib.mkEnableOption "unbound";
    package = lib.mkPackageOption pkgs "unbound" { };
    user = mkOption { type = types.str; default = "unbound"; description = "As whom it runs."; };
    group = mkOption { type = types.str; default = "unbound"; description = "Its group."; };
    stateDir = mkOption { type = types.path; default = "/var/lib/unbound"; description = "Where it keeps its state."; };
    resolveLocalQueries = mkOption { type = types.bool; default = true; description = "Whether this machine asks it too."; };
    enableRootTrustAnchor = mkOption { type = types.bool; default = true; inert = true; description = "Accepted; the channel's dns-root-data is what is trusted."; };
    localControlSocketPath = mkOption { type = types.nullOr types.str; default = null; inert = true; description = "Accepted."; };
    checkconf = mkOption { type = types.bool; default = false; inert = true; description = "Accepted."; };
    settings = mkOption { type = types.attrsOf types.anything; default = { }; example = { server.interface = [ "127.0.0.1" ]; }; description = "Settings, unbound.conf(5)."; };
  };
  config = lib.mkMerge [
    (lib.mkIf dnsmasq.enable {
      services.dnsmasq.settings = { dhcp-leasefile = lib.mkDefault "/var/lib/dnsmasq/dnsmasq.leases"; conf-file = lib.mkDefault null; resolv-file = lib.mkDefault null; user = lib.mkDefault "dnsmasq"; };
      networking.resolvconf.useLocalResolver = lib.mkIf dnsmasq.resolveLocalQueries (lib.mkDefault true);
      users.users.dnsmasq = { isSystemUser = true; group = "dnsmasq"; description = "dnsmasq"; };
      users.groups.dnsmasq = { };
      systemd.services.dnsmasq = {
        description = "dnsmasq";
        wantedBy = [ "multi-user.target" ];
        after = [ "network.target" ];
        serviceConfig = {
          Type = "simple";
          ExecStart = "${dnsmasq.package}/bin/dnsmasq --keep-in-foreground --log-facility=- -C ${dnsmasqFile}";
          ExecReload = "${pkgs.coreutils}/bin/kill -HUP $MAINPID";
          StateDirectory = "dnsmasq";
          Restart = if dnsmasq.alwaysKeepRunning then "always" else "on-failure";
          PrivateTmp = true;
          ProtectHome = true;
        };
        preStart = "chown -R dnsmasq:dnsmasq /var/lib/dnsmasq";
      };
    })
    (lib.mkIf unbound.enable {
      services.unbound.settings.server = {
        directory = lib.mkDefault unbound.stateDir;
        username = lib.mkDefault "\"\"";
        chroot = lib.mkDefault "\"\"";
        pidfile = lib.mkDefault "\"\"";
        use-syslog = lib.mkDefault false;
        interface = lib.mkDefault ([ "127.0.0.1" ] ++ lib.optional config.networking.enableIPv6 "::1");
        access-control = lib.mkDefault ([ "127.0.0.0/8 allow" ] ++ lib.optional config.networking.enableIPv6 "::1/128 allow");
        tls-cert-bundle = lib.mkDefault config.security.pki.caBundle;
      };
      networking.resolvconf.useLocalResolver = lib.mkIf unbound.resolveLocalQueries (lib.mkDefault true);
      users.users.${unbound.user} = { isSystemUser = true; inherit (unbound) group; description = "unbound"; };
      users.groups.${unbound.group} = { };
      systemd.services.unbound = {
        description = "unbound";
        wantedBy = [ "multi-user.target" "nss-lookup.target" ];
        before = [ "nss-lookup.target" ];
        after = [ "network.target" ];
        serviceConfig = {
          Type = "simple";
          ExecStart = "${unbound.package}/bin/unbound -p -d -c ${unboundFile}";
          User = unbound.user;
          Group = unbound.group;
          StateDirectory = "unbound";
          AmbientCapabilities = [ "CAP_NET_BIND_SERVICE" ];
          CapabilityBoundingSet = [ "CAP_NET_BIND_SERVICE" ];
          NoNewPrivileges = true;
          PrivateTmp = true;
          ProtectHome = true;
          ProtectSystem = "strict";
          Restart = "on-failure";
        };
      };
    })
  ];
}
