# cron: commands at times, from the configuration's own table.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.services.cron;
in
{
  options.services.cron = {
    enable = mkOption { type = types.bool; default = false; description = "Whether cron runs."; };
    mailto = mkOption { type = types.nullOr types.str; default = null; description = "Who gets the output by mail."; };
    systemCronJobs = mkOption { type = types.listOf types.str; default = [ ]; example = [ "0 2 * * * root backup" ]; description = "Lines of /etc/crontab, crontab(5)."; };
    cronFiles = mkOption { type = types.listOf types.path; default = [ ]; description = "Files put into /etc/crontab."; };
  };
  config = lib.mkMerge [
    { services.cron.enable = lib.mkDefault (cfg.systemCronJobs != [ ]); }
    (lib.mkIf cfg.enable {
      environment.systemPackages = [ pkgs.cron ];
      # A copy: cron refuses a link whose target it does not own.
      environment.etc.crontab = {
        mode = "0600";
        text = "SHELL=${pkgs.bash}/bin/bash\nPATH=${config.security.wrapperDir}/bin:/run/current-system/sw/bin\n"
          + lib.optionalString (cfg.mailto != null) "MAILTO=\"${cfg.mailto}\"\n"
          + lib.concatLines cfg.systemCronJobs + lib.concatMapStrings builtins.readFile cfg.cronFiles;
      };
      systemd.tmpfiles.rules = [ "d /var/spool/cron 0755 root root -" "d /var/spool/cron/crontabs 1730 root root -" ];
      systemd.services.cron = {
        description = "Commands at times";
        wantedBy = [ "multi-user.target" ];
        restartTriggers = [ config.environment.etc.crontab.text ];
        serviceConfig = { Type = "simple"; ExecStart = "${pkgs.cron}/bin/cron -f"; Restart = "on-failure"; };
      };
    })
  ];
}
