# Addresses by DHCP: busybox's udhcpc for each interface, under one service. Its hook script sets the address with ip(8)
# and writes /etc/resolv.conf.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.networking;
  named = builtins.filter (i: i.useDHCP == true) (lib.attrValues cfg.interfaces);
  excluded = map (i: i.name) (builtins.filter (i: i.useDHCP == false || i.useDHCP == null && (i.ipv4.addresses != [ ] || i.virtual)) (lib.attrValues cfg.interfaces))
    ++ builtins.attrNames cfg.bridges ++ cfg.dhcpcd.denyInterfaces ++ lib.concatMap (b: b.interfaces) (lib.attrValues cfg.bridges);
  wanted = cfg.dhcpcd.enable && (cfg.useDHCP || named != [ ]);
  ip = "${pkgs.iproute2}/bin/ip";

  hook = pkgs.writeShellScript "udhcpc-hook" ''
    # Called by udhcpc with what happened in $1 and the lease in the environment.
    export PATH=${lib.makeBinPath [ pkgs.coreutils ]}
    case "$1" in
      deconfig)
        ${ip} -4 addr flush dev "$interface"
        ${ip} link set dev "$interface" up
        ;;
      bound|renew)
        ${ip} -4 addr replace "$ip/''${mask:-24}" ''${broadcast:+broadcast "$broadcast"} dev "$interface"
        for router in $router; do
          ${ip} -4 route replace default via "$router" dev "$interface" proto dhcp
          break
        done
        ${lib.optionalString cfg.resolvconf.enable ''
          {
            ${lib.concatMapStrings (s: "echo nameserver ${s}\n        ") cfg.nameservers}
            ${lib.optionalString (cfg.nameservers == [ ]) ''for server in $dns; do echo "nameserver $server"; done''}
            ${if cfg.search != [ ] then "echo search ${lib.concatStringsSep " " cfg.search}" else ''if [ -n "''${domain:-}" ]; then echo "search $domain"; fi''}
            ${lib.optionalString (cfg.resolvconf.extraOptions != [ ]) "echo options ${lib.concatStringsSep " " cfg.resolvconf.extraOptions}"}
          } > /etc/resolv.conf.new
          mv -f /etc/resolv.conf.new /etc/resolv.conf
        ''}
        mkdir -p /run/dhcp
        echo "$ip" > "/run/dhcp/$interface"
        ;;
    esac
  '';
in
{
  options.networking = {
    useDHCP = mkOption { type = types.bool; default = true; description = "Whether every interface without an address of its own asks for one."; };
    dhcpcd = {
      enable = mkOption { type = types.bool; default = true; description = "Whether a DHCP client runs (busybox's udhcpc)."; };
      denyInterfaces = mkOption { type = types.listOf types.str; default = [ ]; description = "Interfaces that it leaves alone."; };
      allowInterfaces = mkOption { type = types.nullOr (types.listOf types.str); default = null; description = "Interfaces that it takes; null: all."; };
      extraConfig = mkOption { type = types.lines; default = ""; inert = true; description = "Accepted: lines for dhcpcd."; };
      wait = mkOption { type = types.enum [ "background" "any" "ipv4" "ipv6" "both" "if-carrier-up" ]; default = "any"; inert = true; description = "Accepted."; };
      persistent = mkOption { type = types.bool; default = false; inert = true; description = "Accepted."; };
    };
  };
  config = lib.mkIf wanted {
    systemd.services.dhcp = {
      description = "DHCP client";
      wantedBy = [ "multi-user.target" ];
      wants = [ "network.target" ];
      after = [ "network-pre.target" ];
      before = [ "network.target" ];
      stopIfChanged = false;
      path = [ pkgs.coreutils ];
      serviceConfig = { Type = "simple"; Restart = "always"; RestartSec = 2; };
      script = ''
        # One client for each interface that is a real device; the service ends, and starts anew, when one of them ends.
        interfaces="${lib.concatMapStringsSep " " (i: i.name) named}"
        ${lib.optionalString (cfg.useDHCP && cfg.dhcpcd.allowInterfaces == null) ''
          for n in $(seq 50); do
            for link in /sys/class/net/*/device; do
              [ -e "$link" ] || continue
              name=$(basename "$(dirname "$link")")
              case " ${toString excluded} $interfaces " in *" $name "*) ;; *) interfaces="$interfaces $name" ;; esac
            done
            [ -n "$interfaces" ] && break
            sleep 0.1
          done
        ''}
        ${lib.optionalString (cfg.dhcpcd.allowInterfaces != null) ''interfaces="$interfaces ${toString cfg.dhcpcd.allowInterfaces}"''}
        if [ -z "''${interfaces## }" ]; then echo "no interface to configure"; exec sleep infinity; fi
        for interface in $interfaces; do
          ${ip} link set dev "$interface" up
          ${pkgs.busybox}/bin/busybox udhcpc -f -i "$interface" -s ${hook} -t 5 -T 2 -A 5 ${lib.optionalString (cfg.hostName != "") "-x hostname:${cfg.hostName}"} &
        done
        wait -n
      '';
    };
    systemd.services.network-wait-online = {
      description = "Wait for an address";
      wantedBy = [ "network-online.target" ];
      before = [ "network-online.target" ];
      after = [ "dhcp.service" ];
      serviceConfig = { Type = "oneshot"; RemainAfterExit = true; };
      path = [ pkgs.coreutils ];
      script = ''
        for n in $(seq 300); do
          for lease in /run/dhcp/*; do [ -e "$lease" ] && exit 0; done
          sleep 0.1
        done
        echo "no address after 30 seconds"
        exit 1
      '';
    };
  };
}
