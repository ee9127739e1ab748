# The Prometheus node exporter: figures of the machine over HTTP.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.services.prometheus.exporters.node;
in
{
  options.services.prometheus.exporters.node = {
    enable = lib.mkEnableOption "the node exporter";
    port = mkOption { type = types.port; default = 9100; description = "The port."; };
    listenAddress = mkOption { type = types.str; default = "0.0.0.0"; description = "The address."; };
    openFirewall = mkOption { type = types.bool; default = false; description = "Whether the firewall lets it pass."; };
    firewallFilter = mkOption { type = types.nullOr types.str; default = null; inert = true; description = "Accepted."; };
    enabledCollectors = mkOption { type = types.listOf types.str; default = [ ]; example = [ "systemd" ]; description = "Collectors beside the usual ones."; };
    disabledCollectors = mkOption { type = types.listOf types.str; default = [ ]; description = "Collectors that are left out."; };
    extraFlags = mkOption { type = types.listOf types.str; default = [ ]; description = "Further arguments."; };
    user = mkOption { type = types.str; default = "node-exporter"; description = "As whom it runs."; };
    group = mkOption { type = types.str; default = "node-exporter"; description = "Its group."; };
  };
  config = lib.mkIf cfg.enable {
    users.users.${cfg.user} = { isSystemUser = true; inherit (cfg) group; description = "Node exporter"; };
    users.groups.${cfg.group} = { };
    networking.firewall.allowedTCPPorts = lib.mkIf cfg.openFirewall [ cfg.port ];
    systemd.services.prometheus-node-exporter = {
      description = "Prometheus node exporter";
      wantedBy = [ "multi-user.target" ];
      after = [ "network.target" ];
      serviceConfig = {
        Type = "simple";
        ExecStart = lib.concatStringsSep " " ([ "${pkgs.prometheus-node-exporter}/bin/prometheus-node-exporter" ]
          ++ map (c: "--collector.${c}") (lib.remove "systemd" cfg.enabledCollectors) ++ map (c: "--no-collector.${c}") cfg.disabledCollectors
          ++ [ "--web.listen-address ${cfg.listenAddress}:${toString cfg.port}" ] ++ cfg.extraFlags);
        User = cfg.user;
        Group = cfg.group;
        Restart = "always";
        NoNewPrivileges = true;
        ProtectHome = true;
        PrivateTmp = true;
      };
    };
  };
}
