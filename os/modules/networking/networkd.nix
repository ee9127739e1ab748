# `systemd.network`: the part of systemd-networkd's settings that says how an interface gets its addresses
# (systemd.network(5)), taken over into networking.*. What cannot be taken over is an error.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.systemd.network;
  section = mkOption { type = types.attrsOf types.anything; default = { }; description = "A section of the file."; };
  strings = description: mkOption { type = types.listOf types.str; default = [ ]; inherit description; };
  sections = mkOption { type = types.listOf types.anything; default = [ ]; description = "Sections of the file."; };
  network = types.submodule ({ name, ... }: {
    options = {
      enable = mkOption { type = types.bool; default = true; description = "Whether it counts."; };
      name = mkOption { type = types.nullOr types.str; default = null; description = "The interface, as matchConfig.Name."; };
      matchConfig = section;
      linkConfig = section;
      networkConfig = section;
      dhcpV4Config = section;
      dhcpV6Config = section;
      ipv6AcceptRAConfig = section;
      DHCP = mkOption { type = types.nullOr (types.either types.bool types.str); default = null; description = "Whether addresses are asked for."; };
      address = strings "Addresses, with the network's bits.";
      addresses = sections;
      gateway = strings "Gateways.";
      dns = strings "Name servers.";
      domains = mkOption { type = types.nullOr (types.listOf types.str); default = null; description = "Search domains."; };
      ntp = strings "Accepted.";
      routes = sections;
      bridge = strings "Bridges that the interface is a port of.";
      vlan = strings "VLANs on the interface.";
      extraConfig = mkOption { type = types.lines; default = ""; description = "Lines of the file; not taken over."; };
    };
  });
  active = builtins.filter (n: n.enable) (lib.attrValues cfg.networks);
  ifname = n: if n.name != null then n.name else n.matchConfig.Name or null;
  isPattern = name: name == null || builtins.match ".*[*?[ ].*" name != null;
  wantsDhcp = n: let v = if n.DHCP != null then n.DHCP else n.networkConfig.DHCP or false; in builtins.elem v [ true "yes" "ipv4" "true" "both" "v4" ];
  single = v: if builtins.isList v then v else [ v ];
  addressesOf = n: n.address ++ single (n.networkConfig.Address or [ ])
    ++ lib.concatMap (a: lib.optional (a ? Address) a.Address ++ lib.optional (a ? addressConfig) a.addressConfig.Address) n.addresses;
  gatewaysOf = n: n.gateway ++ single (n.networkConfig.Gateway or [ ])
    ++ lib.concatMap (r: lib.optional ((r.Gateway or r.routeConfig.Gateway or null) != null && (r.Destination or r.routeConfig.Destination or "0.0.0.0/0") == "0.0.0.0/0") (r.Gateway or r.routeConfig.Gateway)) n.routes;
  split = text: let parts = lib.splitString "/" text; in {
    address = lib.head parts;
    prefixLength = if builtins.length parts > 1 then lib.toIntBase10 (lib.last parts) else if lib.hasInfix ":" text then 128 else 32;
  };
  v6 = lib.hasInfix ":";
  named = builtins.filter (n: !isPattern (ifname n)) active;
  patterns = builtins.filter (n: isPattern (ifname n)) active;
  on = config.networking.useNetworkd || cfg.enable;
in
{
  options.systemd.network = {
    enable = mkOption { type = types.bool; default = false; description = "Whether systemd.network.networks sets up the interfaces."; };
    networks = mkOption { type = types.attrsOf network; default = { }; description = "Networks, systemd.network(5)."; };
    netdevs = mkOption { type = types.attrsOf types.anything; default = { }; description = "Virtual devices; see the assertion."; };
    links = mkOption { type = types.attrsOf types.anything; default = { }; inert = true; description = "Accepted; interfaces have the kernel's names."; };
    config = mkOption { type = types.attrsOf types.anything; default = { }; inert = true; description = "Accepted."; };
    wait-online = mkOption { type = types.attrsOf types.anything; default = { }; inert = true; description = "Accepted."; };
  };
  config = lib.mkIf on {
    assertions = [
      { assertion = cfg.netdevs == { }; message = "systemd.network.netdevs is set, but Firn does not make devices from it; use networking.bridges and networking.vlans."; }
    ] ++ lib.concatMap
      (n: [
        { assertion = !(isPattern (ifname n)) || addressesOf n == [ ] && gatewaysOf n == [ ]; message = "systemd.network.networks: the network for ${toString (ifname n)} has addresses and no single interface; Firn needs matchConfig.Name to be one interface's name."; }
        { assertion = n.bridge == [ ] && n.vlan == [ ] && !(n.networkConfig ? Bridge); message = "systemd.network.networks: bridges and VLANs are not taken over; use networking.bridges and networking.vlans."; }
      ])
      active;
    networking = {
      useDHCP = lib.mkDefault (builtins.any wantsDhcp patterns);
      interfaces = lib.listToAttrs (map
        (n: lib.nameValuePair (ifname n) {
          useDHCP = lib.mkDefault (wantsDhcp n);
          ipv4.addresses = map split (builtins.filter (a: !v6 a) (addressesOf n));
          ipv6.addresses = map split (builtins.filter v6 (addressesOf n));
          mtu = lib.mkIf (n.linkConfig ? MTUBytes) (lib.toIntBase10 (toString n.linkConfig.MTUBytes));
        })
        named);
      defaultGateway = lib.mkIf (builtins.any (n: builtins.any (g: !v6 g) (gatewaysOf n)) named) (lib.mkDefault (
        let n = lib.findFirst (n: builtins.any (g: !v6 g) (gatewaysOf n)) null named; in
        { address = lib.findFirst (g: !v6 g) null (gatewaysOf n); interface = ifname n; }));
      defaultGateway6 = lib.mkIf (builtins.any (n: builtins.any v6 (gatewaysOf n)) named) (lib.mkDefault (
        let n = lib.findFirst (n: builtins.any v6 (gatewaysOf n)) null named; in
        { address = lib.findFirst v6 null (gatewaysOf n); interface = ifname n; }));
      nameservers = lib.concatMap (n: n.dns ++ single (n.networkConfig.DNS or [ ])) active;
      search = lib.concatMap (n: if n.domains == null then [ ] else n.domains) active;
    };
  };
}
