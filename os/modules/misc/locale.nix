# Time zone, language, console keyboard.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config;
  charset = name: if lib.hasInfix "/" name || lib.hasInfix "." name || lib.hasInfix "@" name then name else "${name}.${cfg.i18n.defaultCharset}";
  ofSettings = lib.filter (name: !(lib.elem name [ "C" "POSIX" "C.UTF-8" "C.utf8" ])) (lib.unique ([ cfg.i18n.defaultLocale ] ++ lib.attrValues cfg.i18n.extraLocaleSettings));
in
{
  options = {
    time = {
      timeZone = mkOption { type = types.nullOr (types.strMatching "[^ ]+"); default = null; example = "Europe/Berlin"; description = "The time zone; null is UTC, changeable by hand."; };
      hardwareClockInLocalTime = mkOption { type = types.bool; default = false; inert = true; description = "Accepted."; };
    };
    i18n = {
      defaultLocale = mkOption { type = types.str; default = "C.UTF-8"; example = "de_DE.UTF-8"; description = "The language; its data are built."; };
      extraLocaleSettings = mkOption { type = types.attrsOf types.str; default = { }; description = "LC_* variables."; };
      supportedLocales = mkOption {
        type = types.listOf types.str;
        default = map charset ofSettings ++ lib.optionals (lib.isList cfg.i18n.extraLocales) (map charset cfg.i18n.extraLocales);
        defaultText = "those of the other settings";
        example = [ "de_DE.UTF-8/UTF-8" ];
        description = "The languages whose data are built.";
      };
      extraLocales = mkOption { type = types.either (types.enum [ "all" ]) (types.listOf types.str); default = [ ]; example = [ "nl_NL.UTF-8" ]; description = "Languages beside those of the settings; `\"all\"` are some 500 and take minutes."; };
      defaultCharset = mkOption { type = types.str; default = "UTF-8"; description = "The character set of a language that names none."; };
      glibcLocales = mkOption {
        type = types.path;
        default =
          if cfg.i18n.supportedLocales == [ ] && cfg.i18n.extraLocales == [ ] then pkgs.libc-bin
          else pkgs.glibcLocales.override { allLocales = cfg.i18n.extraLocales == "all" || lib.elem "all" cfg.i18n.supportedLocales; locales = cfg.i18n.supportedLocales; };
        defaultText = "built from supportedLocales";
        description = "The package with the languages' data in `lib/locale`.";
      };
      inputMethod = mkOption { type = types.attrsOf types.anything; default = { }; inert = true; description = "Accepted."; };
    };
    console = {
      enable = mkOption { type = types.bool; default = true; description = "Whether there is a console."; };
      keyMap = mkOption { type = types.either types.str types.path; default = "us"; example = "de"; description = "The keyboard."; };
      font = mkOption { type = types.nullOr (types.either types.str types.path); default = null; inert = true; description = "Accepted: the console's font."; };
      packages = mkOption { type = types.listOf types.package; default = [ ]; inert = true; description = "Accepted."; };
      earlySetup = mkOption { type = types.bool; default = false; inert = true; description = "Accepted."; };
      colors = mkOption { type = types.listOf types.str; default = [ ]; inert = true; description = "Accepted."; };
      useXkbConfig = mkOption { type = types.bool; default = false; inert = true; description = "Accepted."; };
    };
    powerManagement = {
      enable = mkOption { type = types.bool; default = true; inert = true; description = "Accepted."; };
      cpuFreqGovernor = mkOption { type = types.nullOr types.str; default = null; description = "How processors choose their speed."; };
      powertop.enable = lib.mkEnableOption "powertop (accepted)" // { inert = true; };
      powerUpCommands = mkOption { type = types.lines; default = ""; inert = true; description = "Accepted."; };
      powerDownCommands = mkOption { type = types.lines; default = ""; inert = true; description = "Accepted."; };
      resumeCommands = mkOption { type = types.lines; default = ""; inert = true; description = "Accepted."; };
    };
  };
  config = {
    environment.sessionVariables = {
      LANG = cfg.i18n.defaultLocale;
      TZDIR = "/etc/zoneinfo";
    } // cfg.i18n.extraLocaleSettings;
    systemd.globalEnvironment = lib.optionalAttrs (cfg.time.timeZone != null) { TZDIR = "/etc/zoneinfo"; };
    # Where the channel's C library and PostgreSQL look for languages and time zones: a service whose LANG names a language,
    # as every service's does, is told that it is invalid without them.
    systemd.tmpfiles.rules = [
      "L+ /usr/share/zoneinfo - - - - /etc/zoneinfo"
      "L+ /usr/lib/locale - - - - ${cfg.i18n.glibcLocales}/lib/locale"
    ];
    environment.etc = {
      zoneinfo.source = "${pkgs.tzdata}/share/zoneinfo";
      localtime = lib.mkIf (cfg.time.timeZone != null) { source = "/etc/zoneinfo/${cfg.time.timeZone}"; mode = "direct-symlink"; };
      "locale.conf".text = lib.concatStrings (lib.mapAttrsToList (n: v: "${n}=${v}\n") ({ LANG = cfg.i18n.defaultLocale; } // cfg.i18n.extraLocaleSettings));
      "vconsole.conf".text = "KEYMAP=${toString cfg.console.keyMap}\n";
    };
    systemd.services.console-keymap = lib.mkIf (cfg.console.enable && cfg.console.keyMap != "us") {
      description = "Console keyboard";
      wantedBy = [ "multi-user.target" ];
      serviceConfig = { Type = "oneshot"; RemainAfterExit = true; ExecStart = "${pkgs.kbd}/bin/loadkeys -C /dev/tty1 ${toString cfg.console.keyMap}"; };
    };
    systemd.services.cpufreq = lib.mkIf (cfg.powerManagement.cpuFreqGovernor != null) {
      description = "Processor speed";
      wantedBy = [ "multi-user.target" ];
      serviceConfig = { Type = "oneshot"; RemainAfterExit = true; };
      script = ''for g in /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor; do [ -e "$g" ] && echo ${cfg.powerManagement.cpuFreqGovernor} > "$g"; done; true'';
    };
  };
}
