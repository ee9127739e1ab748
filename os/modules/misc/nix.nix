# `nix.*`: settings of the store and the evaluator, written to /etc/nix/nix.conf, which Firn reads too.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.nix;
  shown = v: if builtins.isBool v then lib.boolToString v else if builtins.isList v then lib.concatMapStringsSep " " toString v else toString v;
  scalar = types.nullOr (types.oneOf [ types.bool types.int types.float types.str types.path types.package ]);
  words = description: mkOption { type = types.listOf types.str; default = [ ]; inherit description; };
  optional = type: description: mkOption { type = types.nullOr type; default = null; inherit description; };
  machine.options = {
    hostName = mkOption { type = types.nonEmptyStr; example = "builder.example.org"; description = "Its name or address."; };
    protocol = mkOption { type = types.enum [ null "ssh" "ssh-ng" ]; default = "ssh"; description = "How it is asked; with null, hostName is a whole address."; };
    system = optional types.str "The system that it builds for.";
    systems = words "The systems that it builds for.";
    sshUser = optional types.str "Who logs in there.";
    sshKey = optional types.str "The file with the key for that; the daemon, which is root, reads it.";
    maxJobs = mkOption { type = types.int; default = 1; description = "How many builds it takes at a time."; };
    speedFactor = mkOption { type = types.either types.int types.float; default = 1; description = "How fast it is beside others."; };
    supportedFeatures = words "Features that it has.";
    mandatoryFeatures = words "Features that a derivation must ask for to be built there.";
    publicHostKey = optional types.str "The machine's key, in base 64.";
  };
  list = l: if l == [ ] then "-" else lib.concatStringsSep "," l;
  orDash = v: if v == null then "-" else toString v;
  machineLine = m: lib.concatStringsSep " " [
    (lib.optionalString (m.protocol != null) "${m.protocol}://" + lib.optionalString (m.sshUser != null) "${m.sshUser}@" + m.hostName)
    (list (if m.system != null then [ m.system ] else m.systems))
    (orDash m.sshKey)
    (toString m.maxJobs)
    (toString m.speedFactor)
    (list (m.supportedFeatures ++ m.mandatoryFeatures))
    (list m.mandatoryFeatures)
    (orDash m.publicHostKey)
  ];
in
{
  options.nix = {
    enable = mkOption { type = types.bool; default = true; description = "Whether the machine can build."; };
    package = mkOption { type = types.package; default = pkgs.firn; defaultText = lib.literalExpression "pkgs.firn"; description = "The program that builds."; };
    settings = mkOption {
      default = { };
      example = { experimental-features = [ "nix-command" "flakes" ]; };
      description = "Settings, nix.conf(5).";
      type = types.submodule {
        freeformType = types.attrsOf (types.either scalar (types.listOf scalar));
        options = {
          max-jobs = mkOption { type = types.either types.int (types.enum [ "auto" ]); default = "auto"; description = "How many builds run at once."; };
          cores = mkOption { type = types.int; default = 0; description = "How many processors a build may use."; };
          sandbox = mkOption { type = types.either types.bool (types.enum [ "relaxed" ]); default = true; description = "Whether builds are shut in."; };
          auto-optimise-store = mkOption { type = types.bool; default = false; description = "Whether equal files are linked."; };
          trusted-users = mkOption { type = types.listOf types.str; description = "Whom the daemon trusts."; };
          allowed-users = mkOption { type = types.listOf types.str; default = [ "*" ]; description = "Who may use it."; };
          substituters = mkOption { type = types.listOf types.str; description = "Caches."; };
          trusted-substituters = mkOption { type = types.listOf types.str; default = [ ]; description = "Caches that users may add."; };
          trusted-public-keys = mkOption { type = types.listOf types.str; description = "Keys of caches."; };
          require-sigs = mkOption { type = types.bool; default = true; description = "Whether what comes from caches must be signed."; };
          system-features = mkOption { type = types.listOf types.str; default = [ ]; description = "Features of this machine."; };
        };
      };
    };
    extraOptions = mkOption { type = types.lines; default = ""; description = "Further lines of nix.conf."; };
    checkConfig = mkOption { type = types.bool; default = true; inert = true; description = "Accepted."; };
    nixPath = mkOption { type = types.listOf types.str; default = [ ]; description = "NIX_PATH."; };
    registry = mkOption { type = types.attrsOf types.anything; default = { }; description = "Names of flakes; accepted."; };
    channel.enable = mkOption { type = types.bool; default = true; inert = true; description = "Accepted."; };
    buildMachines = mkOption { type = types.listOf (types.submodule machine); default = [ ]; description = "Machines that build for this one, in /etc/nix/machines."; };
    distributedBuilds = mkOption { type = types.bool; default = false; description = "Whether they do."; };
    daemonCPUSchedPolicy = mkOption { type = types.str; default = "other"; inert = true; description = "Accepted."; };
    daemonIOSchedClass = mkOption { type = types.str; default = "best-effort"; inert = true; description = "Accepted."; };
    daemonIOSchedPriority = mkOption { type = types.int; default = 4; inert = true; description = "Accepted."; };
    nrBuildUsers = mkOption { type = types.int; default = 0; description = "How many users builds have."; };
    readOnlyStore = mkOption { type = types.bool; default = true; visible = false; description = "The store is always read-only."; };
    gc = {
      automatic = mkOption { type = types.bool; default = false; description = "Whether old generations and what nothing needs are deleted by themselves."; };
      dates = mkOption { type = types.either types.str (types.listOf types.str); default = "03:15"; description = "When."; };
      options = mkOption { type = types.singleLineStr; default = ""; example = "--delete-older-than 14d"; description = "Options of nix-collect-garbage."; };
      persistent = mkOption { type = types.bool; default = true; description = "Whether a missed time is made up for."; };
      randomizedDelaySec = mkOption { type = types.singleLineStr; default = "0"; description = "A random delay."; };
    };
    optimise = {
      automatic = mkOption { type = types.bool; default = false; inert = true; description = "Accepted."; };
      dates = mkOption { type = types.listOf types.str; default = [ "03:45" ]; inert = true; description = "Accepted."; };
    };
  };
  imports = [
    (lib.mkRenamedOptionModule [ "nix" "maxJobs" ] [ "nix" "settings" "max-jobs" ])
    (lib.mkRenamedOptionModule [ "nix" "buildCores" ] [ "nix" "settings" "cores" ])
    (lib.mkRenamedOptionModule [ "nix" "autoOptimiseStore" ] [ "nix" "settings" "auto-optimise-store" ])
    (lib.mkRenamedOptionModule [ "nix" "trustedUsers" ] [ "nix" "settings" "trusted-users" ])
    (lib.mkRenamedOptionModule [ "nix" "binaryCaches" ] [ "nix" "settings" "substituters" ])
    (lib.mkRenamedOptionModule [ "nix" "binaryCachePublicKeys" ] [ "nix" "settings" "trusted-public-keys" ])
  ];
  config = lib.mkIf cfg.enable {
    nix.settings = {
      trusted-users = [ "root" ];
      substituters = lib.mkDefault [ ];
      trusted-public-keys = lib.mkDefault [ ];
      build-users-group = lib.mkDefault (if cfg.nrBuildUsers > 0 then "nixbld" else "");
      # Nothing said means the file of machines.
      builders = lib.mkIf (!cfg.distributedBuilds) (lib.mkDefault "");
    };
    assertions = map
      (m: { assertion = m.system != null || m.systems != [ ]; message = "nix.buildMachines: ${m.hostName} says neither `system` nor `systems`"; })
      cfg.buildMachines;
    environment.etc."nix/machines" = lib.mkIf (cfg.buildMachines != [ ]) { text = lib.concatMapStrings (m: machineLine m + "\n") cfg.buildMachines; };
    environment.etc."nix/nix.conf".text = "# Made from nix.settings.\n"
      + lib.concatStrings (lib.mapAttrsToList (n: v: lib.optionalString (v != null && v != [ ]) "${n} = ${shown v}\n") cfg.settings)
      + cfg.extraOptions;
    environment.sessionVariables = lib.mkIf (cfg.nixPath != [ ]) { NIX_PATH = cfg.nixPath; };
    users.users = lib.listToAttrs (lib.genList
      (i: lib.nameValuePair "nixbld${toString (i + 1)}" { isSystemUser = true; group = "nixbld"; extraGroups = [ "nixbld" ]; uid = 30001 + i; description = "Build user ${toString (i + 1)}"; })
      cfg.nrBuildUsers);
    systemd.services.nix-gc = {
      description = "Delete what nothing needs";
      startAt = lib.optionals cfg.gc.automatic (lib.toList cfg.gc.dates);
      serviceConfig = { Type = "oneshot"; ExecStart = "${cfg.package}/bin/firn gc ${cfg.gc.options}"; };
    };
    systemd.timers.nix-gc = lib.mkIf cfg.gc.automatic { timerConfig = { Persistent = cfg.gc.persistent; RandomizedDelaySec = cfg.gc.randomizedDelaySec; }; };
    systemd.tmpfiles.rules = [
      "d /nix/var 0755 root root -"
      "d /nix/var/nix 0755 root root -"
      "d /nix/var/nix/profiles 0755 root root -"
      "d /nix/var/nix/gcroots 0755 root root -"
    ];
  };
}
