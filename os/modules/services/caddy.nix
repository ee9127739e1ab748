# Caddy: a web server that fetches its certificates itself.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.services.caddy;
  host = name: h: ''
    ${lib.concatStringsSep " " ([ (if h.hostName == null then name else h.hostName) ] ++ h.serverAliases)} {
    ${lib.optionalString (h.listenAddresses != [ ]) "bind ${lib.concatStringsSep " " h.listenAddresses}"}
    ${h.extraConfig}
    }
  '';
  text = ''
    {
    ${lib.optionalString (cfg.email != null) "email ${cfg.email}"}
    ${lib.optionalString (cfg.acmeCA != null) "acme_ca ${cfg.acmeCA}"}
    ${cfg.globalConfig}
    }
    ${cfg.extraConfig}
    ${lib.concatStrings (lib.mapAttrsToList host cfg.virtualHosts)}
  '';
  file = if cfg.configFile != null then cfg.configFile else pkgs.writeText "Caddyfile" text;
in
{
  options.services.caddy = {
    enable = lib.mkEnableOption "Caddy";
    package = lib.mkPackageOption pkgs "caddy" { };
    user = mkOption { type = types.str; default = "caddy"; description = "As whom it runs."; };
    group = mkOption { type = types.str; default = "caddy"; description = "Its group."; };
    dataDir = mkOption { type = types.path; default = "/var/lib/caddy"; description = "Where it keeps its state."; };
    logDir = mkOption { type = types.path; default = "/var/log/caddy"; inert = true; description = "Accepted."; };
    email = mkOption { type = types.nullOr types.str; default = null; description = "The address given to the certificates' authority."; };
    acmeCA = mkOption { type = types.nullOr types.str; default = null; description = "The authority."; };
    globalConfig = mkOption { type = types.lines; default = ""; description = "Lines of the global block."; };
    extraConfig = mkOption { type = types.lines; default = ""; description = "Further lines."; };
    logFormat = mkOption { type = types.lines; default = ""; inert = true; description = "Accepted."; };
    configFile = mkOption { type = types.nullOr types.path; default = null; description = "The whole configuration."; };
    adapter = mkOption { type = types.nullOr types.str; default = "caddyfile"; description = "In which notation it is."; };
    resume = mkOption { type = types.bool; default = false; description = "Whether the last configuration is taken."; };
    enableReload = mkOption { type = types.bool; default = true; description = "Whether a change reloads it."; };
    environmentFile = mkOption { type = types.nullOr types.path; default = null; description = "A file with variables."; };
    openFirewall = mkOption { type = types.bool; default = false; description = "Whether the firewall lets HTTP and HTTPS pass."; };
    virtualHosts = mkOption {
      default = { };
      description = "Hosts.";
      type = types.attrsOf (types.submodule {
        options = {
          hostName = mkOption { type = types.nullOr types.str; default = null; description = "The name; null: the attribute's."; };
          serverAliases = mkOption { type = types.listOf types.str; default = [ ]; description = "Further names."; };
          listenAddresses = mkOption { type = types.listOf types.str; default = [ ]; description = "Addresses."; };
          useACMEHost = mkOption { type = types.nullOr types.str; default = null; inert = true; description = "Accepted."; };
          logFormat = mkOption { type = types.nullOr types.lines; default = null; inert = true; description = "Accepted."; };
          extraConfig = mkOption { type = types.lines; default = ""; description = "Lines."; };
        };
      });
    };
  };
  config = lib.mkIf cfg.enable {
    users.users.caddy = lib.mkIf (cfg.user == "caddy") { isSystemUser = true; inherit (cfg) group; description = "Caddy"; home = cfg.dataDir; };
    users.groups.caddy = lib.mkIf (cfg.group == "caddy") { };
    networking.firewall.allowedTCPPorts = lib.mkIf cfg.openFirewall [ 80 443 ];
    environment.etc."caddy/Caddyfile".source = file;
    systemd.services.caddy = {
      description = "Caddy web server";
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ];
      after = [ "network-online.target" ];
      reloadTriggers = lib.optional cfg.enableReload "${file}";
      environment = { HOME = cfg.dataDir; XDG_DATA_HOME = "${cfg.dataDir}/.local/share"; XDG_CONFIG_HOME = "${cfg.dataDir}/.config"; };
      serviceConfig = {
        Type = "notify";
        ExecStart = "${cfg.package}/bin/caddy run ${lib.optionalString cfg.resume "--resume "}--config /etc/caddy/Caddyfile${lib.optionalString (cfg.adapter != null) " --adapter ${cfg.adapter}"}";
        ExecReload = "${cfg.package}/bin/caddy reload --config /etc/caddy/Caddyfile${lib.optionalString (cfg.adapter != null) " --adapter ${cfg.adapter}"} --force";
        User = cfg.user;
        Group = cfg.group;
        EnvironmentFile = lib.mkIf (cfg.environmentFile != null) cfg.environmentFile;
        StateDirectory = "caddy";
        LogsDirectory = "caddy";
        AmbientCapabilities = [ "CAP_NET_BIND_SERVICE" ];
        CapabilityBoundingSet = [ "CAP_NET_BIND_SERVICE" ];
        NoNewPrivileges = true;
        ProtectHome = true;
        Restart = "on-failure";
      };
    };
  };
}
