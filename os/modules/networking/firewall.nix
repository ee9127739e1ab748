# `networking.firewall`: an nftables rule set made from NixOS's options; `networking.nat` beside it.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.networking.firewall;
  nat = config.networking.nat;
  range = types.submodule { options = { from = mkOption { type = types.port; description = "The first port."; }; to = mkOption { type = types.port; description = "The last port."; }; }; };
  ports = description: mkOption { type = types.listOf types.port; default = [ ]; inherit description; apply = p: lib.unique (builtins.sort builtins.lessThan p); };
  ranges = description: mkOption { type = types.listOf range; default = [ ]; inherit description; };
  common = {
    allowedTCPPorts = ports "TCP ports that can be reached.";
    allowedUDPPorts = ports "UDP ports that can be reached.";
    allowedTCPPortRanges = ranges "Ranges of TCP ports that can be reached.";
    allowedUDPPortRanges = ranges "Ranges of UDP ports that can be reached.";
  };
  set = ps: rs: lib.concatStringsSep ", " (map toString ps ++ map (r: "${toString r.from}-${toString r.to}") rs);
  accept = prefix: i: lib.concatStrings (
    lib.optional (i.allowedTCPPorts ++ i.allowedTCPPortRanges != [ ]) "    ${prefix}tcp dport { ${set i.allowedTCPPorts i.allowedTCPPortRanges} } accept\n"
    ++ lib.optional (i.allowedUDPPorts ++ i.allowedUDPPortRanges != [ ]) "    ${prefix}udp dport { ${set i.allowedUDPPorts i.allowedUDPPortRanges} } accept\n");
  names = is: "{ ${lib.concatMapStringsSep ", " (i: "\"${i}\"") is} }";
  rules = pkgs.writeText "firewall.nft" ''
    # Made from networking.firewall and networking.nat.
    table inet firn-firewall
    delete table inet firn-firewall
    table inet firn-firewall {
      chain input {
        type filter hook input priority filter; policy ${if cfg.enable then "drop" else "accept"};
        iifname ${names ([ "lo" ] ++ cfg.trustedInterfaces)} accept
        ct state established,related accept
        ct state invalid drop
    ${accept "" cfg}${lib.concatStrings (lib.mapAttrsToList (n: i: accept "iifname \"${n}\" " i) cfg.interfaces)}${lib.optionalString cfg.allowPing "    icmp type echo-request ${lib.optionalString (cfg.pingLimit != null) "limit rate ${cfg.pingLimit} "}accept\n    icmpv6 type echo-request accept\n"}    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert, mld-listener-query, destination-unreachable, packet-too-big, time-exceeded, parameter-problem } accept
        icmp type { destination-unreachable, time-exceeded, parameter-problem } accept
        udp sport 547 udp dport 546 ip6 saddr fe80::/10 accept
    ${cfg.extraInputRules}
    ${lib.optionalString cfg.logRefusedConnections "    tcp flags syn / fin,syn,rst,ack log level info prefix \"refused connection: \"\n"}${lib.optionalString cfg.rejectPackets "    reject\n"}  }
    ${lib.optionalString cfg.filterForward ''
      chain forward {
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        ${cfg.extraForwardRules}
      }
    ''}
    }
    ${lib.optionalString nat.enable ''
      table ip firn-nat
      delete table ip firn-nat
      table ip firn-nat {
        chain prerouting {
          type nat hook prerouting priority dstnat;
      ${lib.concatMapStrings (f: "    ${lib.optionalString (nat.externalInterface != null) "iifname \"${nat.externalInterface}\" "}${f.proto} dport ${toString f.sourcePort} dnat to ${f.destination}\n") nat.forwardPorts}  }
        chain postrouting {
          type nat hook postrouting priority srcnat;
      ${lib.optionalString (nat.internalInterfaces != [ ]) "    iifname ${names nat.internalInterfaces} ${lib.optionalString (nat.externalInterface != null) "oifname \"${nat.externalInterface}\" "}${if nat.externalIP == null then "masquerade" else "snat to ${nat.externalIP}"}\n"}${lib.concatMapStrings (n: "    ip saddr ${n} ${lib.optionalString (nat.externalInterface != null) "oifname \"${nat.externalInterface}\" "}${if nat.externalIP == null then "masquerade" else "snat to ${nat.externalIP}"}\n") nat.internalIPs}  }
      }
    ''}
    ${config.networking.nftables.ruleset}
  '';
in
{
  options.networking = {
    firewall = common // {
      enable = mkOption { type = types.bool; default = true; description = "Whether what is not allowed is dropped."; };
      package = mkOption { type = types.package; default = pkgs.nftables; description = "nftables."; };
      allowPing = mkOption { type = types.bool; default = true; description = "Whether pings are answered."; };
      pingLimit = mkOption { type = types.nullOr (types.separatedString " "); default = null; example = "2/second"; description = "How many."; };
      rejectPackets = mkOption { type = types.bool; default = false; description = "Whether refused packets are answered."; };
      logRefusedConnections = mkOption { type = types.bool; default = true; description = "Whether refused connections are logged."; };
      logRefusedPackets = mkOption { type = types.bool; default = false; inert = true; description = "Accepted."; };
      logRefusedUnicastsOnly = mkOption { type = types.bool; default = true; inert = true; description = "Accepted."; };
      logReversePathDrops = mkOption { type = types.bool; default = false; inert = true; description = "Accepted."; };
      checkReversePath = mkOption { type = types.either types.bool (types.enum [ "strict" "loose" ]); default = true; description = "Whether packets must come from where they would be sent to."; };
      trustedInterfaces = mkOption { type = types.listOf types.str; default = [ ]; description = "Interfaces from which everything is accepted."; };
      interfaces = mkOption { type = types.attrsOf (types.submodule { options = common; }); default = { }; description = "What is allowed on one interface."; };
      filterForward = mkOption { type = types.bool; default = false; description = "Whether forwarded packets are filtered too."; };
      extraInputRules = mkOption { type = types.lines; default = ""; description = "nftables rules for incoming packets."; };
      extraForwardRules = mkOption { type = types.lines; default = ""; description = "nftables rules for forwarded packets."; };
      extraCommands = mkOption { type = types.lines; default = ""; description = "iptables commands; there is no iptables, see the assertion."; };
      extraStopCommands = mkOption { type = types.lines; default = ""; inert = true; description = "Accepted."; };
      extraPackages = mkOption { type = types.listOf types.package; default = [ ]; inert = true; description = "Accepted."; };
      connectionTrackingModules = mkOption { type = types.listOf types.str; default = [ ]; inert = true; description = "Accepted."; };
      autoLoadConntrackHelpers = mkOption { type = types.bool; default = false; inert = true; description = "Accepted."; };
    };
    nftables = {
      enable = mkOption { type = types.bool; default = true; description = "nftables is always what filters."; };
      ruleset = mkOption { type = types.lines; default = ""; description = "Further rules, nft(8)."; };
      tables = mkOption { type = types.attrsOf types.anything; default = { }; inert = true; description = "Accepted."; };
      checkRuleset = mkOption { type = types.bool; default = true; inert = true; description = "Accepted."; };
      flushRuleset = mkOption { type = types.bool; default = false; inert = true; description = "Accepted."; };
    };
    nat = {
      enable = lib.mkEnableOption "network address translation";
      internalInterfaces = mkOption { type = types.listOf types.str; default = [ ]; description = "Interfaces of the networks behind this machine."; };
      internalIPs = mkOption { type = types.listOf types.str; default = [ ]; description = "Those networks."; };
      externalInterface = mkOption { type = types.nullOr types.str; default = null; description = "The interface to the outside."; };
      externalIP = mkOption { type = types.nullOr types.str; default = null; description = "The address outside."; };
      enableIPv6 = mkOption { type = types.bool; default = false; inert = true; description = "Accepted."; };
      forwardPorts = mkOption { type = types.listOf (types.submodule { options = { sourcePort = mkOption { type = types.either types.int types.str; description = "The port outside."; }; destination = mkOption { type = types.str; description = "Where it goes."; }; proto = mkOption { type = types.str; default = "tcp"; description = "tcp or udp."; }; loopbackIPs = mkOption { type = types.listOf types.str; default = [ ]; inert = true; description = "Accepted."; }; }; }); default = [ ]; description = "Ports that are forwarded."; };
      extraCommands = mkOption { type = types.lines; default = ""; inert = true; description = "Accepted."; };
    };
  };
  config = lib.mkMerge [
    {
      system.build.firewallRules = rules;
      assertions = [
        { assertion = cfg.extraCommands == ""; message = "networking.firewall.extraCommands runs iptables, which Firn does not have; write networking.firewall.extraInputRules in nft's language."; }
      ];
      boot.kernel.sysctl = lib.mkMerge [
        (lib.mkIf nat.enable { "net.ipv4.conf.all.forwarding" = lib.mkOverride 99 true; "net.ipv4.conf.default.forwarding" = lib.mkOverride 99 true; })
        (lib.mkIf (cfg.enable && cfg.checkReversePath != false) (lib.genAttrs [ "net.ipv4.conf.all.rp_filter" "net.ipv4.conf.default.rp_filter" ] (_: lib.mkDefault (if cfg.checkReversePath == "loose" then 2 else 1))))
      ];
    }
    (lib.mkIf (cfg.enable || nat.enable || config.networking.nftables.ruleset != "") {
      systemd.services.firewall = {
        description = "Firewall";
        wantedBy = [ "sysinit.target" ];
        wants = [ "network-pre.target" ];
        before = [ "network-pre.target" "shutdown.target" ];
        conflicts = [ "shutdown.target" ];
        unitConfig.DefaultDependencies = false;
        reloadIfChanged = true;
        serviceConfig = {
          Type = "oneshot";
          RemainAfterExit = true;
          ExecStart = "${cfg.package}/bin/nft -f ${rules}";
          ExecReload = "${cfg.package}/bin/nft -f ${rules}";
          ExecStop = "-${cfg.package}/bin/nft delete table inet firn-firewall";
        };
      };
      boot.kernelModules = [ "nf_tables" ];
    })
  ];
}
