# logrotate: log files that programs write themselves are kept from growing without end.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.services.logrotate;
  text = n: v: if v == true then n else if v == false then "no${n}" else if v == null then "" else "${n} ${toString v}";
  block = name: s:
    let
      files = lib.toList s.files;
      scripts = [ "prerotate" "postrotate" "firstaction" "lastaction" "preremove" ];
      plain = removeAttrs s ([ "enable" "files" "priority" "global" "frequency" ] ++ scripts);
    in
    "${lib.concatMapStringsSep " " (f: "\"${f}\"") files} {\n"
    + lib.optionalString (s.frequency != null) "  ${s.frequency}\n"
    + lib.concatStrings (lib.mapAttrsToList (n: v: "  ${text n v}\n") plain)
    + lib.concatMapStrings (n: lib.optionalString (s.${n} or null != null) "  ${n}\n    ${s.${n}}\n  endscript\n") scripts
    + "}\n";
  file = pkgs.writeText "logrotate.conf" (lib.concatStrings (lib.mapAttrsToList block (lib.filterAttrs (_: s: s.enable) cfg.settings)) + cfg.extraConfig);
in
{
  options.services.logrotate = {
    enable = lib.mkEnableOption "logrotate" // { default = config.services.nginx.enable; defaultText = lib.literalMD "whether nginx runs"; };
    checkConfig = mkOption { type = types.bool; default = true; inert = true; description = "Accepted."; };
    extraConfig = mkOption { type = types.lines; default = ""; description = "Further lines of logrotate.conf."; };
    settings = mkOption {
      default = { };
      description = "Groups of files.";
      type = types.attrsOf (types.submodule ({ name, ... }: {
        freeformType = types.attrsOf (types.nullOr (types.oneOf [ types.bool types.int types.float types.str ]));
        options = {
          enable = mkOption { type = types.bool; default = true; description = "Whether they are rotated."; };
          global = mkOption { type = types.bool; default = false; inert = true; description = "Accepted."; };
          files = mkOption { type = types.either types.str (types.listOf types.str); default = name; description = "The files."; };
          frequency = mkOption { type = types.nullOr types.str; default = "weekly"; description = "How often."; };
          priority = mkOption { type = types.int; default = 1000; inert = true; description = "Accepted."; };
        };
      }));
    };
  };
  config = lib.mkIf cfg.enable {
    services.logrotate.settings.nginx = lib.mkIf config.services.nginx.enable {
      files = lib.mkDefault "/var/log/nginx/*.log";
      rotate = lib.mkDefault 26;
      su = lib.mkDefault "${config.services.nginx.user} ${config.services.nginx.group}";
      compress = lib.mkDefault true;
      delaycompress = lib.mkDefault true;
      missingok = lib.mkDefault true;
      notifempty = lib.mkDefault true;
      postrotate = lib.mkDefault "[ ! -f /run/nginx/nginx.pid ] || kill -USR1 $(cat /run/nginx/nginx.pid)";
    };
    systemd.services.logrotate = {
      description = "Rotate log files";
      startAt = "hourly";
      path = [ pkgs.gzip ];
      serviceConfig = { Type = "oneshot"; Nice = 19; StateDirectory = "logrotate"; ExecStart = "${pkgs.logrotate}/bin/logrotate --state /var/lib/logrotate/status ${file}"; };
    };
  };
}
