# chrony: the clock, by NTP.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.services.chrony;
  file = pkgs.writeText "chrony.conf" ''
    # Made from services.chrony.
    ${lib.concatMapStrings (s: "server ${s} ${cfg.serverOption}${lib.optionalString cfg.enableNTS " nts"}\n") cfg.servers}
    driftfile ${cfg.directory}/chrony.drift
    ${lib.optionalString cfg.enableNTS "ntsdumpdir ${cfg.directory}"}
    ${lib.optionalString cfg.initstepslew.enabled "makestep ${toString cfg.initstepslew.threshold} 3"}
    ${lib.optionalString cfg.enableRTCTrimming "rtcsync"}
    pidfile /run/chrony/chronyd.pid
    bindcmdaddress /run/chrony/chronyd.sock
    ${cfg.extraConfig}
  '';
in
{
  options.services.chrony = {
    enable = lib.mkEnableOption "chrony";
    package = lib.mkPackageOption pkgs "chrony" { };
    servers = mkOption { type = types.listOf types.str; default = config.networking.timeServers; defaultText = lib.literalExpression "config.networking.timeServers"; description = "Time servers."; };
    serverOption = mkOption { type = types.enum [ "iburst" "offline" ]; default = "iburst"; description = "How they are asked."; };
    enableNTS = mkOption { type = types.bool; default = false; description = "Whether their answers are authenticated."; };
    enableMemoryLocking = mkOption { type = types.bool; default = false; inert = true; description = "Accepted."; };
    enableRTCTrimming = mkOption { type = types.bool; default = true; description = "Whether the hardware clock is set."; };
    autotrimThreshold = mkOption { type = types.int; default = 30; inert = true; description = "Accepted."; };
    directory = mkOption { type = types.str; default = "/var/lib/chrony"; description = "Where it keeps its state."; };
    initstepslew = mkOption {
      default = { };
      description = "Whether a clock that is far off is set at once.";
      type = types.submodule { options = { enabled = mkOption { type = types.bool; default = true; description = "Whether."; }; threshold = mkOption { type = types.either types.float types.int; default = 1; description = "How far, in seconds."; }; }; };
    };
    extraConfig = mkOption { type = types.lines; default = ""; description = "Further lines of chrony.conf(5)."; };
    extraFlags = mkOption { type = types.listOf types.str; default = [ ]; description = "Further arguments."; };
  };
  config = lib.mkIf cfg.enable {
    users.users.chrony = { isSystemUser = true; group = "chrony"; description = "chrony"; home = cfg.directory; };
    users.groups.chrony = { };
    environment.systemPackages = [ cfg.package ];
    environment.etc."chrony/chrony.conf".source = file;
    systemd.services.chronyd = {
      description = "Clock by NTP";
      wantedBy = [ "multi-user.target" ];
      wants = [ "time-sync.target" ];
      before = [ "time-sync.target" ];
      after = [ "network.target" ];
      serviceConfig = {
        Type = "simple";
        ExecStart = "${cfg.package}/bin/chronyd -n -u chrony -f ${file} ${lib.escapeShellArgs cfg.extraFlags}";
        RuntimeDirectory = "chrony";
        RuntimeDirectoryMode = "0750";
        StateDirectory = "chrony";
        Restart = "on-failure";
        ProtectHome = true;
        PrivateTmp = true;
      };
      preStart = "chown -R chrony:chrony /run/chrony ${cfg.directory}";
    };
  };
}
