# PostgreSQL: one cluster in /var/lib/postgresql, made at the first start; databases and roles that are declared are made.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.services.postgresql;
  text = v: if v == true then "yes" else if v == false then "no" else if builtins.isString v then "'${lib.replaceStrings [ "'" ] [ "''" ] v}'" else toString v;
  settings = pkgs.writeText "postgresql.conf" (lib.concatStrings (lib.mapAttrsToList (n: v: "${n} = ${text v}\n") (lib.filterAttrs (_: v: v != null) cfg.settings)));
  hba = pkgs.writeText "pg_hba.conf" cfg.authentication;
  ident = pkgs.writeText "pg_ident.conf" cfg.identMap;
  # Debian keeps the server's programs out of PATH, in a directory of the major version.
  programs = "${cfg.package}/lib/postgresql/*/bin";
  sql = s: lib.escapeShellArg s;
  clauses = u: lib.concatStrings (lib.mapAttrsToList (n: v: lib.optionalString (v != null) " ${lib.optionalString (!v) "no"}${n}") u.ensureClauses);
in
{
  options.services.postgresql = {
    enable = lib.mkEnableOption "PostgreSQL";
    package = lib.mkPackageOption pkgs "postgresql" { };
    enableTCPIP = mkOption { type = types.bool; default = false; description = "Whether it listens on all addresses."; };
    enableJIT = mkOption { type = types.bool; default = false; inert = true; description = "Accepted."; };
    dataDir = mkOption { type = types.path; default = "/var/lib/postgresql/data"; description = "Where the cluster lies."; };
    settings = mkOption {
      default = { };
      example = { log_connections = true; };
      description = "Settings, postgresql.conf.";
      type = types.submodule {
        freeformType = types.attrsOf (types.nullOr (types.oneOf [ types.bool types.float types.int types.str ]));
        options = {
          port = mkOption { type = types.port; default = 5432; description = "The port."; };
          shared_preload_libraries = mkOption { type = types.nullOr (types.coercedTo (types.listOf types.str) (lib.concatStringsSep ",") types.commas); default = null; description = "Libraries."; };
          log_line_prefix = mkOption { type = types.str; default = "[%p] "; description = "What stands before a log line."; };
        };
      };
    };
    authentication = mkOption { type = types.lines; default = ""; description = "Lines of pg_hba.conf."; };
    identMap = mkOption { type = types.lines; default = ""; description = "Lines of pg_ident.conf."; };
    initdbArgs = mkOption { type = types.listOf types.str; default = [ ]; description = "Arguments of initdb."; };
    initialScript = mkOption { type = types.nullOr types.path; default = null; description = "SQL run when the cluster is made."; };
    extensions = mkOption { type = types.raw; default = [ ]; inert = true; description = "Accepted; the channel's extensions come as packages of their own."; };
    checkConfig = mkOption { type = types.bool; default = true; inert = true; description = "Accepted."; };
    superUser = mkOption { type = types.str; default = "postgres"; internal = true; readOnly = true; description = "The administrator."; };
    ensureDatabases = mkOption { type = types.listOf types.str; default = [ ]; description = "Databases that are made."; };
    ensureUsers = mkOption {
      default = [ ];
      description = "Roles that are made.";
      type = types.listOf (types.submodule {
        options = {
          name = mkOption { type = types.str; description = "The name."; };
          ensureDBOwnership = mkOption { type = types.bool; default = false; description = "Whether it owns the database of its name."; };
          ensureClauses = mkOption {
            default = { };
            description = "What it may do.";
            type = types.submodule { options = lib.genAttrs [ "superuser" "createrole" "createdb" "inherit" "login" "replication" "bypassrls" ] (c: mkOption { type = types.nullOr types.bool; default = if c == "login" then true else null; description = "${c}."; }); };
          };
        };
      });
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = map (u: { assertion = !u.ensureDBOwnership || builtins.elem u.name cfg.ensureDatabases; message = "services.postgresql.ensureUsers: ${u.name} has ensureDBOwnership, but services.postgresql.ensureDatabases has no database of that name."; }) cfg.ensureUsers;
    services.postgresql.settings = {
      hba_file = "${hba}";
      ident_file = "${ident}";
      log_destination = "stderr";
      listen_addresses = lib.mkDefault (if cfg.enableTCPIP then "*" else "localhost");
      unix_socket_directories = lib.mkDefault "/run/postgresql";
    };
    services.postgresql.authentication = lib.mkMerge [
      (lib.mkBefore "# Made from services.postgresql.authentication.")
      (lib.mkAfter ''
        local all postgres         peer map=postgres
        local all all              peer
        host  all all 127.0.0.1/32 scram-sha-256
        host  all all ::1/128      scram-sha-256
      '')
    ];
    services.postgresql.identMap = lib.mkAfter "postgres postgres postgres\npostgres root postgres";
    users.users.postgres = { isSystemUser = true; uid = 71; group = "postgres"; description = "PostgreSQL server"; home = "/var/lib/postgresql"; useDefaultShell = true; };
    users.groups.postgres.gid = 71;
    environment.systemPackages = [ cfg.package ];
    systemd.targets.postgresql = { description = "PostgreSQL"; wantedBy = [ "multi-user.target" ]; requires = [ "postgresql.service" "postgresql-setup.service" ]; };
    systemd.services.postgresql = {
      description = "PostgreSQL server";
      after = [ "network.target" ];
      environment.PGDATA = cfg.dataDir;
      preStart = ''
        PATH=$(echo ${programs}):$PATH
        if ! [ -e ${cfg.dataDir}/PG_VERSION ]; then
          rm -f ${cfg.dataDir}/*.conf
          initdb -U postgres ${lib.escapeShellArgs cfg.initdbArgs}
          touch ${cfg.dataDir}/.first_startup
        fi
        ln -sfn ${settings} ${cfg.dataDir}/postgresql.conf
      '';
      script = ''exec $(echo ${programs})/postgres'';
      serviceConfig = {
        Type = "notify";
        User = "postgres";
        Group = "postgres";
        RuntimeDirectory = "postgresql";
        StateDirectory = [ "postgresql" ] ++ lib.optional (cfg.dataDir == "/var/lib/postgresql/data") "postgresql/data";
        StateDirectoryMode = "0750";
        ExecReload = "${pkgs.procps}/bin/kill -HUP $MAINPID";
        # SIGINT ends sessions and stops; SIGTERM would wait for them.
        KillSignal = "SIGINT";
        KillMode = "mixed";
        TimeoutSec = 120;
        PrivateTmp = true;
        ProtectHome = true;
        ProtectSystem = "strict";
        ReadWritePaths = lib.mkIf (cfg.dataDir != "/var/lib/postgresql/data") [ cfg.dataDir ];
        NoNewPrivileges = true;
      };
    };
    systemd.services.postgresql-setup = {
      description = "PostgreSQL databases and roles";
      requires = [ "postgresql.service" ];
      after = [ "postgresql.service" ];
      wantedBy = [ "multi-user.target" ];
      path = [ cfg.package ];
      serviceConfig = { Type = "oneshot"; RemainAfterExit = true; User = "postgres"; Group = "postgres"; };
      environment.PGPORT = toString cfg.settings.port;
      environment.PGHOST = "/run/postgresql";
      script = ''
        PATH=$(echo ${programs}):$PATH
        query() { psql -d postgres -tAc "$1"; }
        for n in $(seq 100); do query "SELECT 1" > /dev/null 2>&1 && break; sleep 0.1; done
        if [ -e ${cfg.dataDir}/.first_startup ]; then
          ${lib.optionalString (cfg.initialScript != null) "psql -f ${cfg.initialScript} -d postgres"}
          rm -f ${cfg.dataDir}/.first_startup
        fi
        ${lib.concatMapStrings (db: ''
          query ${sql "SELECT 1 FROM pg_database WHERE datname = '${db}'"} | grep -q 1 || query ${sql "CREATE DATABASE \"${db}\""}
        '') cfg.ensureDatabases}
        ${lib.concatMapStrings (u: ''
          query ${sql "SELECT 1 FROM pg_roles WHERE rolname = '${u.name}'"} | grep -q 1 || query ${sql "CREATE USER \"${u.name}\""}
          ${lib.optionalString (clauses u != "") "query ${sql "ALTER ROLE \"${u.name}\"${clauses u}"}"}
          ${lib.optionalString u.ensureDBOwnership "query ${sql "ALTER DATABASE \"${u.name}\" OWNER TO \"${u.name}\""}"}
        '') cfg.ensureUsers}
      '';
    };
  };
}
