# The options that units share, by kind of unit, and how they become sections of a unit file.
{ lib }:
let
  inherit (lib) mkOption types;
  # A directive's value: one or several scalars.
  scalar = types.nullOr (types.oneOf [ types.bool types.int types.float types.str types.path types.package ]);
  directive = (types.either scalar (types.listOf scalar)) // {
    name = "directive";
    description = "value of a unit directive";
    # Lists from several modules are joined; single values must agree.
    merge = loc: defs:
      let
        lists = builtins.filter (d: builtins.isList d.value) defs;
        flat = lib.concatMap (d: lib.toList d.value) defs;
      in
      if lists != [ ] then flat else lib.options.mergeEqualOption loc defs;
  };
  section = description: mkOption { type = types.attrsOf directive; default = { }; inherit description; };
  units = description: mkOption { type = types.listOf types.str; default = [ ]; inherit description; };
in
rec {
  inherit directive;

  common = {
    enable = mkOption { type = types.bool; default = true; description = "Whether the unit exists; a disabled one hides a package's unit of that name."; };
    overrideStrategy = mkOption { type = types.enum [ "asDropinIfExists" "asDropin" ]; default = "asDropinIfExists"; description = "How it joins a package's unit of that name: always by adding to it."; };
    description = mkOption { type = types.singleLineStr; default = ""; description = "What it is."; };
    documentation = units "Where it is documented.";
    requires = units "Units without which it cannot run.";
    wants = units "Units that start with it.";
    upholds = units "Units that are kept running with it.";
    after = units "Units that must have started before.";
    before = units "Units that wait for it.";
    bindsTo = units "Units with which it lives and dies.";
    partOf = units "Units with which it stops and restarts.";
    conflicts = units "Units that cannot run beside it.";
    requisite = units "Units that must run already.";
    onFailure = units "Units started when it fails.";
    onSuccess = units "Units started when it ends well.";
    wantedBy = units "Units that start it.";
    requiredBy = units "Units that need it.";
    upheldBy = units "Units that keep it running.";
    aliases = units "Further names.";
    startLimitBurst = mkOption { type = types.nullOr types.int; default = null; description = "How many starts are allowed in the interval."; };
    startLimitIntervalSec = mkOption { type = types.nullOr (types.either types.int types.str); default = null; description = "The interval, in seconds."; };
    unitConfig = section "Directives of the [Unit] section.";
    restartTriggers = mkOption { type = types.listOf types.unspecified; default = [ ]; description = "Values whose change restarts the unit at a switch."; };
    reloadTriggers = mkOption { type = types.listOf types.unspecified; default = [ ]; description = "Values whose change reloads the unit at a switch."; };
  };

  service = common // {
    environment = mkOption {
      type = types.attrsOf (types.nullOr (types.oneOf [ types.str types.path types.package types.int ]));
      default = { };
      description = "Environment variables.";
    };
    path = mkOption { type = types.listOf (types.oneOf [ types.package types.str ]); default = [ ]; description = "Packages whose bin and sbin are in PATH."; };
    serviceConfig = section "Directives of the [Service] section.";
    confinement = mkOption { type = types.attrsOf types.anything; default = { }; inert = true; description = "Not done, see the assertion."; };
    script = mkOption { type = types.lines; default = ""; description = "Shell that is the service's program."; };
    scriptArgs = mkOption { type = types.str; default = ""; description = "Its arguments."; };
    preStart = mkOption { type = types.lines; default = ""; description = "Shell that runs before."; };
    postStart = mkOption { type = types.lines; default = ""; description = "Shell that runs after the start."; };
    reload = mkOption { type = types.lines; default = ""; description = "Shell that reloads the service."; };
    preStop = mkOption { type = types.lines; default = ""; description = "Shell that stops the service."; };
    postStop = mkOption { type = types.lines; default = ""; description = "Shell that runs after the end."; };
    enableStrictShellChecks = mkOption { type = types.bool; default = false; inert = true; description = "Accepted."; };
    enableDefaultPath = mkOption { type = types.bool; default = true; description = "Whether coreutils and its kin are in PATH."; };
    jobScripts = mkOption { type = types.raw; default = [ ]; internal = true; description = "Unused."; };
    restartIfChanged = mkOption { type = types.bool; default = true; description = "Whether a change restarts it at a switch."; };
    reloadIfChanged = mkOption { type = types.bool; default = false; description = "Whether a change reloads it instead."; };
    stopIfChanged = mkOption { type = types.bool; default = true; description = "Whether a restart at a switch is a stop before and a start after activation."; };
    notSocketActivated = mkOption { type = types.bool; default = false; description = "Whether a change restarts the service although it has a socket."; };
    startAt = mkOption { type = types.coercedTo types.str lib.singleton (types.listOf types.str); default = [ ]; example = "Sun 14:00:00"; description = "Times at which it starts, systemd.time(7)."; };
  };

  socket = common // {
    socketConfig = section "Directives of the [Socket] section.";
    listenStreams = units "Stream sockets.";
    listenDatagrams = units "Datagram sockets.";
  };
  timer = common // { timerConfig = section "Directives of the [Timer] section."; };
  pathUnit = common // { pathConfig = section "Directives of the [Path] section."; };
  target = common;
  slice = common // { sliceConfig = section "Directives of the [Slice] section."; };
  mount = common // {
    what = mkOption { type = types.str; example = "/dev/sda1"; description = "What is mounted."; };
    where = mkOption { type = types.str; example = "/mnt"; description = "Where."; };
    type = mkOption { type = types.str; default = ""; description = "The file system's type."; };
    options = mkOption { type = types.commas; default = ""; description = "Mount options."; };
    mountConfig = section "Directives of the [Mount] section.";
  };
  automount = common // {
    where = mkOption { type = types.str; description = "Where."; };
    automountConfig = section "Directives of the [Automount] section.";
  };
  swap = common // {
    what = mkOption { type = types.str; description = "The partition or file."; };
    priority = mkOption { type = types.nullOr types.int; default = null; description = "The priority."; };
    options = mkOption { type = types.listOf types.str; default = [ ]; description = "Options."; };
    swapConfig = section "Directives of the [Swap] section.";
  };

  # Values as they stand in a unit file, always as a list.
  render = v:
    if v == null then [ ]
    else if builtins.isList v then lib.concatMap render v
    else if v == true then [ "true" ]
    else if v == false then [ "false" ]
    else [ (toString v) ];
  sectionOf = set: lib.filterAttrs (_: v: v != [ ]) (builtins.mapAttrs (_: render) (lib.filterAttrs (_: v: v != null) set));
  # An empty string resets a list in a unit file, so it has to stay.

  unitSection = u: sectionOf ({
    Description = if u.description == "" then null else u.description;
    Documentation = u.documentation;
    Requires = u.requires;
    Wants = u.wants;
    Upholds = u.upholds;
    After = u.after;
    Before = u.before;
    BindsTo = u.bindsTo;
    PartOf = u.partOf;
    Conflicts = u.conflicts;
    Requisite = u.requisite;
    OnFailure = u.onFailure;
    OnSuccess = u.onSuccess;
    StartLimitIntervalSec = u.startLimitIntervalSec;
    StartLimitBurst = u.startLimitBurst;
  } // u.unitConfig);
  installSection = u: sectionOf { WantedBy = u.wantedBy; RequiredBy = u.requiredBy; UpheldBy = u.upheldBy; Alias = u.aliases; };
}
