# The machine's name, and names of others: /etc/hostname, /etc/hosts, /etc/resolv.conf, /etc/nsswitch.conf.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.networking;
  dynamic = cfg.useDHCP || builtins.any (i: i.useDHCP == true) (lib.attrValues cfg.interfaces);
in
{
  options.networking = {
    hostName = mkOption { type = types.strMatching "^$|^[[:alnum:]]([[:alnum:]_-]{0,61}[[:alnum:]])?$"; default = config.system.nixos.distroId; description = "The machine's name; empty leaves it to DHCP."; };
    domain = mkOption { type = types.nullOr types.str; default = null; example = "home.arpa"; description = "Its domain."; };
    fqdn = mkOption {
      type = types.str;
      default = if cfg.hostName != "" && cfg.domain != null then "${cfg.hostName}.${cfg.domain}" else throw "networking.fqdn needs networking.hostName and networking.domain.";
      description = "The full name.";
    };
    fqdnOrHostName = mkOption { type = types.str; readOnly = true; default = if cfg.domain == null then cfg.hostName else cfg.fqdn; description = "The full name, or the short one."; };
    hostId = mkOption { type = types.nullOr types.str; default = null; example = "4e98920d"; inert = true; description = "Accepted: a number that ZFS wants."; };
    search = mkOption { type = types.listOf types.str; default = [ ]; description = "Domains in which short names are looked up."; };
    nameservers = mkOption { type = types.listOf types.str; default = [ ]; example = [ "9.9.9.9" ]; description = "Name servers."; };
    hosts = mkOption { type = types.attrsOf (types.listOf types.str); default = { }; example = { "192.168.0.2" = [ "fileserver.local" ]; }; description = "Names by address."; };
    hostFiles = mkOption { type = types.listOf types.path; default = [ ]; description = "Files put into /etc/hosts."; };
    extraHosts = mkOption { type = types.lines; default = ""; description = "Further lines of /etc/hosts."; };
    enableIPv6 = mkOption { type = types.bool; default = true; description = "Whether IPv6 is used."; };
    resolvconf = {
      enable = mkOption { type = types.bool; default = true; description = "Whether /etc/resolv.conf is written."; };
      useLocalResolver = mkOption { type = types.bool; default = false; description = "Whether a name server on this machine is asked."; };
      extraConfig = mkOption { type = types.lines; default = ""; inert = true; description = "Accepted."; };
      extraOptions = mkOption { type = types.listOf types.str; default = [ ]; description = "Options of resolv.conf(5)."; };
      dnsExtensionMechanism = mkOption { type = types.bool; default = true; description = "Whether edns0 is set."; };
    };
    timeServers = mkOption { type = types.listOf types.str; default = [ "0.debian.pool.ntp.org" "1.debian.pool.ntp.org" "2.debian.pool.ntp.org" ]; description = "Time servers."; };
    proxy = lib.genAttrs [ "default" "httpProxy" "httpsProxy" "ftpProxy" "allProxy" "noProxy" ] (_: mkOption { type = types.nullOr types.str; default = null; description = "A proxy."; });
  };
  options.system.nssModules = mkOption { type = types.listOf types.path; default = [ ]; inert = true; description = "Accepted: name service modules."; };
  options.system.nssDatabases = lib.genAttrs [ "passwd" "group" "shadow" "hosts" "services" ] (n: mkOption { type = types.listOf types.str; default = [ ]; description = "Sources of ${n}."; });

  config = {
    system.nssDatabases = { passwd = [ "files" ]; group = [ "files" ]; shadow = [ "files" ]; hosts = lib.mkMerge [ (lib.mkBefore [ "files" ]) (lib.mkAfter [ "dns" ]) ]; services = [ "files" ]; };
    networking.nameservers = lib.mkIf cfg.resolvconf.useLocalResolver [ "127.0.0.1" ];
    networking.hosts = {
      "127.0.0.1" = [ "localhost" ];
      "::1" = lib.mkIf cfg.enableIPv6 [ "localhost" ];
      "127.0.0.2" = lib.mkIf (cfg.hostName != "") (lib.optional (cfg.domain != null) "${cfg.hostName}.${cfg.domain}" ++ [ cfg.hostName ]);
    };
    environment.etc = {
      hostname = lib.mkIf (cfg.hostName != "") { text = cfg.hostName + "\n"; };
      hosts.text = lib.concatMapStrings (f: builtins.readFile f) cfg.hostFiles
        + lib.concatStrings (lib.mapAttrsToList (address: names: lib.optionalString (names != [ ]) "${address} ${lib.concatStringsSep " " names}\n") cfg.hosts)
        + cfg.extraHosts + lib.optionalString (cfg.extraHosts != "") "\n";
      "host.conf".text = "multi on\n";
      "nsswitch.conf".text = lib.concatMapStrings (n: "${n}: ${lib.concatStringsSep " " config.system.nssDatabases.${n}}\n") [ "passwd" "group" "shadow" "hosts" "services" ]
        + "networks: files\nprotocols: files\nethers: files\nrpc: files\n";
      services.source = "${pkgs.netbase}/etc/services";
      protocols.source = "${pkgs.netbase}/etc/protocols";
      "resolv.conf" = lib.mkIf (!dynamic && cfg.resolvconf.enable && cfg.nameservers != [ ]) {
        text = lib.concatMapStrings (s: "nameserver ${s}\n") cfg.nameservers
          + lib.optionalString (cfg.search != [ ]) "search ${lib.concatStringsSep " " cfg.search}\n"
          + lib.optionalString (cfg.resolvconf.extraOptions != [ ]) "options ${lib.concatStringsSep " " cfg.resolvconf.extraOptions}\n";
      };
    };
    boot.kernel.sysctl = lib.mkIf (!cfg.enableIPv6) { "net.ipv6.conf.all.disable_ipv6" = true; "net.ipv6.conf.default.disable_ipv6" = true; };
  };
}
