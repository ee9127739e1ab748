# `systemd.*`: services, sockets, timers and the rest in NixOS's shape, compiled to the service graph at build time
# (ARCHITECTURE.md, "Units: modules → units → init"; systemd.unit(5) and its kin).
{ config, lib, pkgs, tool, options, ... }:
let
  inherit (lib) mkOption types mapAttrs mapAttrs' nameValuePair concatMapStringsSep optional;
  shapes = import ./unit-options.nix { inherit lib; };
  inherit (shapes) sectionOf unitSection installSection;
  cfg = config.systemd;
  kind = name: shape: description: mkOption {
    type = types.attrsOf (types.submodule { options = shape; });
    default = { };
    inherit description;
  };
  listKind = shape: description: mkOption { type = types.listOf (types.submodule { options = shape; }); default = [ ]; inherit description; };

  # systemctl and its kin by the running generation's path: a new Firn must not restart every service.
  defaultPath = [ pkgs.coreutils pkgs.findutils pkgs.grep pkgs.sed pkgs.bash "/run/current-system/fronts" ];
  searchPath = packages: lib.concatStringsSep ":" (map (p: if builtins.isString p then "${p}/bin" else "${lib.getBin p}/bin") packages);
  shell = "${pkgs.bash}/bin/bash";

  # A script as a program in the store; `set -e` as on NixOS.
  script = unit: which: text: "${pkgs.writeTextFile {
    name = "unit-script-${lib.strings.sanitizeDerivationName unit}-${which}";
    executable = true;
    text = "#!${shell}\nset -e\n\n${text}\n";
  }}";

  # Where a unit was defined first, for the graph compiler's messages.
  placeOf = set: name:
    let
      defs = builtins.filter (d: d.value ? ${name}) (lib.concatMap
        (d: map (part: d // { value = part.set; }) (lib.modules.spread d.value))
        options.systemd.${set}.definitionsWithLocations);
      first = lib.head defs;
      at = builtins.unsafeGetAttrPos name first.value;
    in
    if defs == [ ] then null
    # Names that a function of the library made have no place of their own.
    else if at != null && lib.hasPrefix "/" (toString at.file) && !(lib.hasPrefix (toString ../../lib) at.file) then "${at.file}:${toString at.line}"
    else first.file;

  triggers = ts: if ts == [ ] then null else builtins.hashString "sha256" (builtins.unsafeDiscardStringContext (builtins.toJSON (map (t: if builtins.isPath t then toString t else if builtins.isString t || lib.isStringLike t then "${t}" else t) ts)));
  marks = u: lib.filterAttrs (_: v: v != null) {
    restartTriggers = triggers u.restartTriggers;
    reloadTriggers = triggers u.reloadTriggers;
    restartIfChanged = u.restartIfChanged or null;
    reloadIfChanged = u.reloadIfChanged or null;
    stopIfChanged = u.stopIfChanged or null;
  };
  # Who wants a unit also says so itself: the compiler reads Install like `systemctl enable`.
  unit = set: name: suffix: extra: u: nameValuePair "${name}.${suffix}" {
    sections = lib.filterAttrs (_: s: s != { }) ({ Unit = unitSection u; Install = installSection u; } // extra);
    definedAt = placeOf set name;
    x = marks u;
  };

  # One word of a unit file: quoted where it has to be.
  quoteEnvironment = name: value:
    let word = "${name}=${toString value}"; in
    if builtins.match "[[:alnum:]_=/:.,+@-]*" word != null then word else builtins.toJSON (lib.replaceStrings [ "%" ] [ "%%" ] word);
  serviceSection = name: u:
    let
      variables = lib.filterAttrs (_: v: v != null) (
        (if u.path == [ ] && !u.enableDefaultPath then { } else { PATH = searchPath (u.path ++ lib.optionals u.enableDefaultPath defaultPath); })
        // cfg.globalEnvironment // u.environment);
    in
    sectionOf ({
      Environment = (lib.mapAttrsToList quoteEnvironment variables) ++ lib.toList (u.serviceConfig.Environment or [ ]);
      ExecStart = if u.script == "" then null else script name "start" u.script + lib.optionalString (u.scriptArgs != "") " ${u.scriptArgs}";
      ExecReload = if u.reload == "" then null else script name "reload" u.reload;
      ExecStop = if u.preStop == "" then null else script name "pre-stop" u.preStop;
    }
    // removeAttrs u.serviceConfig [ "Environment" "ExecStartPre" "ExecStartPost" "ExecStopPost" ]
    // {
      ExecStartPre = optional (u.preStart != "") (script name "pre-start" u.preStart) ++ lib.toList (u.serviceConfig.ExecStartPre or [ ]);
      ExecStartPost = optional (u.postStart != "") (script name "post-start" u.postStart) ++ lib.toList (u.serviceConfig.ExecStartPost or [ ]);
      ExecStopPost = optional (u.postStop != "") (script name "post-stop" u.postStop) ++ lib.toList (u.serviceConfig.ExecStopPost or [ ]);
    });

  enabled = lib.filterAttrs (_: u: u.enable);
  disabledNames = set: suffix: map (n: "${n}.${suffix}") (builtins.attrNames (lib.filterAttrs (_: u: !u.enable) set));

  mountName = where: lib.strings.escapeSystemdPath where;
  fromList = set: suffix: nameOf: extra: list:
    lib.listToAttrs (map (u: { name = "${nameOf u}.${suffix}"; value = { sections = lib.filterAttrs (_: s: s != { }) ({ Unit = unitSection u; Install = installSection u; } // extra u); definedAt = null; x = marks u; }; }) (builtins.filter (u: u.enable) list));

  compiled =
    mapAttrs' (n: u: unit "services" n "service" { Service = serviceSection n u; } u) (enabled cfg.services)
    // mapAttrs' (n: u: unit "sockets" n "socket" { Socket = sectionOf ({ ListenStream = u.listenStreams; ListenDatagram = u.listenDatagrams; } // u.socketConfig); } u) (enabled cfg.sockets)
    // mapAttrs' (n: u: unit "timers" n "timer" { Timer = sectionOf u.timerConfig; } u) (enabled cfg.timers)
    // mapAttrs' (n: u: unit "paths" n "path" { Path = sectionOf u.pathConfig; } u) (enabled cfg.paths)
    // mapAttrs' (n: u: unit "targets" n "target" { } u) (enabled cfg.targets)
    // mapAttrs' (n: u: unit "slices" n "slice" { Slice = sectionOf u.sliceConfig; } u) (enabled cfg.slices)
    // fromList "mounts" "mount" (u: mountName u.where)
      (u: { Mount = sectionOf ({ What = u.what; Where = u.where; Type = if u.type == "" then null else u.type; Options = if u.options == "" then null else u.options; } // u.mountConfig); })
      cfg.mounts
    // fromList "swaps" "swap" (u: mountName u.what)
      (u: { Swap = sectionOf ({ What = u.what; Priority = u.priority; Options = if u.options == [ ] then null else lib.concatStringsSep "," u.options; } // u.swapConfig); })
      cfg.swaps;
in
{
  options.systemd = {
    services = kind "service" shapes.service "Services.";
    sockets = kind "socket" shapes.socket "Sockets.";
    timers = kind "timer" shapes.timer "Timers.";
    paths = kind "path" shapes.pathUnit "Paths that are watched.";
    targets = kind "target" shapes.target "Milestones.";
    slices = kind "slice" shapes.slice "Groups of services with common limits.";
    mounts = listKind shapes.mount "Mounts beside those in `fileSystems`.";
    automounts = listKind shapes.automount "Automounts; not done, see the assertion.";
    swaps = listKind shapes.swap "Swaps beside those in `swapDevices`.";
    packages = mkOption { type = types.listOf types.package; default = [ ]; description = "Packages whose lib/systemd/system has units."; };
    generators = mkOption { type = types.attrsOf types.path; default = { }; inert = true; description = "Not run."; };
    globalEnvironment = mkOption { type = types.attrsOf (types.nullOr (types.oneOf [ types.str types.path types.package ])); default = { }; description = "Variables that every service gets."; };
    defaultUnit = mkOption { type = types.str; default = "multi-user.target"; description = "The milestone that a boot goes to."; };
    ctrlAltDelUnit = mkOption { type = types.str; default = "reboot.target"; description = "What Ctrl-Alt-Del starts."; };
    suppressedSystemUnits = mkOption { type = types.listOf types.str; default = [ ]; inert = true; description = "Accepted; Firn has no upstream units to suppress."; };
    additionalUpstreamSystemUnits = mkOption { type = types.listOf types.str; default = [ ]; inert = true; description = "Accepted."; };
    settings.Manager = mkOption { type = types.attrsOf types.anything; default = { }; inert = true; description = "Accepted: settings of systemd itself."; };
    extraConfig = mkOption { type = types.lines; default = ""; inert = true; description = "Accepted: settings of systemd itself."; };
    coredump.enable = mkOption { type = types.bool; default = false; inert = true; description = "Accepted."; };
    oomd.enable = mkOption { type = types.bool; default = false; inert = true; description = "Accepted."; };
    user = mkOption { type = types.attrsOf types.anything; default = { }; description = "Units of user sessions: accepted, not run."; };
    sleep = mkOption { type = types.attrsOf types.anything; default = { }; inert = true; description = "Accepted."; };
    units = mkOption { type = types.attrsOf types.anything; default = { }; internal = true; description = "Units as text; use the kinds."; };
  };

  config = {
    assertions =
      lib.mapAttrsToList (n: u: { assertion = u.confinement == { } || !(u.confinement.enable or false); message = "systemd.services.${n}.confinement is set, but Firn does not do it; use ProtectSystem and its kin."; }) cfg.services
      ++ [ { assertion = cfg.automounts == [ ]; message = "systemd.automounts is set, but Firn does not mount on demand yet; use systemd.mounts or fileSystems."; } ];

    # `startAt` makes a timer beside the service.
    systemd.timers = mapAttrs
      (_: u: { wantedBy = [ "timers.target" ]; timerConfig.OnCalendar = u.startAt; })
      (lib.filterAttrs (_: u: u.enable && u.startAt != [ ]) cfg.services);

    system.build.units = compiled;
    system.build.serviceGraph = tool "service-graph" {
      name = "services.graph";
      units = compiled // { "default.target" = { sections.Unit = { Description = [ "Default" ]; Requires = [ cfg.defaultUnit ]; After = [ cfg.defaultUnit ]; }; definedAt = null; x = { }; }; };
      packages = map (p: "${p}") cfg.packages;
      storePathsChecked = true;
      users = map (u: u.name) config.system.build.users;
      groups = map (g: g.name) config.system.build.groups;
    };
  };
}
