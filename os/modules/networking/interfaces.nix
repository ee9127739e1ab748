# `networking.interfaces`: addresses and routes, set with ip(8) by one service for each interface.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.networking;
  address = types.submodule { options = { address = mkOption { type = types.str; example = "192.168.0.2"; description = "The address."; }; prefixLength = mkOption { type = types.ints.unsigned; example = 24; description = "The network's bits."; }; }; };
  route = types.submodule { options = { address = mkOption { type = types.str; description = "The network."; }; prefixLength = mkOption { type = types.ints.unsigned; description = "Its bits."; }; type = mkOption { type = types.nullOr types.str; default = null; description = "The route's type."; }; via = mkOption { type = types.nullOr types.str; default = null; description = "The next hop."; }; options = mkOption { type = types.attrsOf types.str; default = { }; description = "Further words of ip-route(8)."; }; }; };
  gateway = types.nullOr (types.coercedTo types.str (address: { inherit address; }) (types.submodule {
    options = {
      address = mkOption { type = types.str; description = "The gateway."; };
      interface = mkOption { type = types.nullOr types.str; default = null; description = "Its interface."; };
      metric = mkOption { type = types.nullOr types.int; default = null; description = "The metric."; };
      source = mkOption { type = types.nullOr types.str; default = null; description = "The source address."; };
    };
  }));
  family = { addresses = mkOption { type = types.listOf address; default = [ ]; description = "Addresses."; }; routes = mkOption { type = types.listOf route; default = [ ]; description = "Routes."; }; };
  static = builtins.filter (i: i.ipv4.addresses != [ ] || i.ipv6.addresses != [ ] || i.ipv4.routes != [ ] || i.ipv6.routes != [ ] || i.mtu != null || i.macAddress != null) (lib.attrValues cfg.interfaces);
  ip = "${pkgs.iproute2}/bin/ip";
  defaultRoute = flag: g: lib.optionalString (g != null)
    "${ip} ${flag} route replace default${lib.optionalString (g.metric != null) " metric ${toString g.metric}"} via ${g.address}${lib.optionalString (g.interface != null) " dev ${g.interface}"}${lib.optionalString (g.source != null) " src ${g.source}"} proto static\n";
  routeLine = flag: dev: r: "${ip} ${flag} route replace ${lib.optionalString (r.type != null) "${r.type} "}${r.address}/${toString r.prefixLength}${lib.optionalString (r.via != null) " via ${r.via}"} dev ${dev} ${lib.concatStringsSep " " (lib.mapAttrsToList (n: v: "${n} ${v}") r.options)} proto static\n";
  # The device may appear late: its directory in /sys is waited for.
  present = name: "for n in $(seq 100); do [ -e /sys/class/net/${name} ] && break; sleep 0.1; done\n";
in
{
  options.networking = {
    interfaces = mkOption {
      default = { };
      example = { eth0.ipv4.addresses = [ { address = "192.168.0.2"; prefixLength = 24; } ]; };
      description = "Network interfaces.";
      type = types.attrsOf (types.submodule ({ name, ... }: {
        options = {
          name = mkOption { type = types.str; default = name; description = "The interface's name."; };
          useDHCP = mkOption { type = types.nullOr types.bool; default = null; description = "Whether it gets its address by DHCP; null: as networking.useDHCP says."; };
          ipv4 = family;
          ipv6 = family;
          mtu = mkOption { type = types.nullOr types.int; default = null; description = "The MTU."; };
          macAddress = mkOption { type = types.nullOr types.str; default = null; description = "The hardware address."; };
          wakeOnLan.enable = mkOption { type = types.bool; default = false; inert = true; description = "Accepted."; };
          virtual = mkOption { type = types.bool; default = false; inert = true; description = "Accepted."; };
          tempAddress = mkOption { type = types.str; default = "default"; inert = true; description = "Accepted."; };
          proxyARP = mkOption { type = types.bool; default = false; description = "Whether it answers for others."; };
        };
      }));
    };
    defaultGateway = mkOption { type = gateway; default = null; example = "192.168.0.1"; description = "The default gateway."; };
    defaultGateway6 = mkOption { type = gateway; default = null; description = "The default gateway for IPv6."; };
    usePredictableInterfaceNames = mkOption { type = types.bool; default = true; inert = true; description = "Accepted: without udev interfaces have the kernel's names, eth0 …"; };
    useNetworkd = mkOption { type = types.bool; default = false; description = "Whether systemd.network.networks sets up the interfaces; systemd-networkd itself does not run."; };
    networkmanager.enable = lib.mkEnableOption "NetworkManager (not done)" // { inert = true; };
    wireless.enable = lib.mkEnableOption "wireless networks (not done)" // { inert = true; };
    bridges = mkOption { type = types.attrsOf (types.submodule { options = { interfaces = mkOption { type = types.listOf types.str; description = "Its ports."; }; rstp = mkOption { type = types.bool; default = false; description = "Whether it runs the spanning tree protocol."; }; }; }); default = { }; description = "Bridges."; };
    vlans = mkOption { type = types.attrsOf (types.submodule { options = { id = mkOption { type = types.int; description = "The tag."; }; interface = mkOption { type = types.str; description = "The interface below."; }; }; }); default = { }; description = "VLANs."; };
    localCommands = mkOption { type = types.lines; default = ""; description = "Shell run when the network is set up."; };
  };
  config = {
    assertions = [
      { assertion = !cfg.networkmanager.enable; message = "networking.networkmanager.enable is set, but Firn has no NetworkManager (it wants D-Bus); use networking.useDHCP or networking.interfaces."; }
      { assertion = !cfg.wireless.enable; message = "networking.wireless.enable is set, but Firn does not set up wireless networks yet."; }
    ];
    systemd.services = {
      network-loopback = {
        description = "Loopback interface";
        wantedBy = [ "sysinit.target" ];
        before = [ "network-pre.target" ];
        unitConfig.DefaultDependencies = false;
        serviceConfig = { Type = "oneshot"; RemainAfterExit = true; ExecStart = "${ip} link set dev lo up"; };
      };
    }
    // lib.listToAttrs (map
      (i: lib.nameValuePair "network-addresses-${i.name}" {
        description = "Addresses of ${i.name}";
        wantedBy = [ "multi-user.target" "network.target" ];
        before = [ "network.target" ];
        after = [ "network-pre.target" ] ++ lib.optional (cfg.bridges ? ${i.name} || cfg.vlans ? ${i.name}) "network-devices.service";
        serviceConfig = { Type = "oneshot"; RemainAfterExit = true; };
        stopIfChanged = false;
        script = present i.name
          + lib.optionalString (i.macAddress != null) "${ip} link set dev ${i.name} address ${i.macAddress}\n"
          + lib.optionalString (i.mtu != null) "${ip} link set dev ${i.name} mtu ${toString i.mtu}\n"
          + "${ip} link set dev ${i.name} up\n"
          + lib.concatMapStrings (a: "${ip} addr replace ${a.address}/${toString a.prefixLength} dev ${i.name}\n") (i.ipv4.addresses ++ lib.optionals cfg.enableIPv6 i.ipv6.addresses)
          + lib.concatMapStrings (routeLine "-4" i.name) i.ipv4.routes + lib.concatMapStrings (routeLine "-6" i.name) i.ipv6.routes;
        preStop = lib.concatMapStrings (a: "${ip} addr del ${a.address}/${toString a.prefixLength} dev ${i.name} || true\n") (i.ipv4.addresses ++ i.ipv6.addresses);
      })
      static)
    // lib.optionalAttrs (cfg.bridges != { } || cfg.vlans != { }) {
      network-devices = {
        description = "Bridges and VLANs";
        wantedBy = [ "network.target" ];
        before = [ "network.target" ];
        after = [ "network-pre.target" ];
        serviceConfig = { Type = "oneshot"; RemainAfterExit = true; };
        script = lib.concatStrings (
          lib.mapAttrsToList (n: v: "${present v.interface}[ -e /sys/class/net/${n} ] || ${ip} link add link ${v.interface} name ${n} type vlan id ${toString v.id}\n${ip} link set dev ${v.interface} up\n") cfg.vlans
          ++ lib.mapAttrsToList (n: b: "[ -e /sys/class/net/${n} ] || ${ip} link add name ${n} type bridge${lib.optionalString b.rstp " stp_state 1"}\n"
            + lib.concatMapStrings (p: "${present p}${ip} link set dev ${p} master ${n} up\n") b.interfaces + "${ip} link set dev ${n} up\n") cfg.bridges
        );
      };
    }
    // lib.optionalAttrs (cfg.defaultGateway != null || cfg.defaultGateway6 != null || cfg.localCommands != "") {
      network-setup = {
        description = "Routes";
        wantedBy = [ "multi-user.target" "network.target" ];
        before = [ "network.target" ];
        after = map (i: "network-addresses-${i.name}.service") static;
        serviceConfig = { Type = "oneshot"; RemainAfterExit = true; };
        script = defaultRoute "-4" cfg.defaultGateway + defaultRoute "-6" cfg.defaultGateway6 + cfg.localCommands;
      };
    };
  };
}
