# `networking.wireguard`: tunnels, set up with ip(8) and wg(8) by one service for each interface.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.networking.wireguard;
  ip = "${pkgs.iproute2}/bin/ip";
  wg = "${pkgs.wireguard-tools}/bin/wg";
  peer = types.submodule {
    options = {
      name = mkOption { type = types.str; default = ""; inert = true; description = "Accepted: a name for people."; };
      publicKey = mkOption { type = types.singleLineStr; description = "The peer's public key."; };
      presharedKey = mkOption { type = types.nullOr types.str; default = null; inert = true; description = "Accepted; a key in the store is read by everybody: use presharedKeyFile."; };
      presharedKeyFile = mkOption { type = types.nullOr types.str; default = null; description = "A file with the shared key."; };
      allowedIPs = mkOption { type = types.listOf types.str; description = "Networks behind the peer."; };
      endpoint = mkOption { type = types.nullOr types.str; default = null; description = "Where it is."; };
      persistentKeepalive = mkOption { type = types.nullOr types.int; default = null; description = "Seconds between signs of life."; };
      dynamicEndpointRefreshSeconds = mkOption { type = types.int; default = 0; inert = true; description = "Accepted."; };
    };
  };
  interface = types.submodule {
    options = {
      ips = mkOption { type = types.listOf types.str; default = [ ]; description = "Addresses."; };
      privateKey = mkOption { type = types.nullOr types.str; default = null; description = "Refused, see the assertion."; };
      privateKeyFile = mkOption { type = types.nullOr types.str; default = null; description = "A file with the private key."; };
      generatePrivateKeyFile = mkOption { type = types.bool; default = false; description = "Whether it is made when missing."; };
      listenPort = mkOption { type = types.nullOr types.port; default = null; description = "The UDP port."; };
      mtu = mkOption { type = types.nullOr types.int; default = null; description = "The MTU."; };
      table = mkOption { type = types.str; default = "main"; description = "The routing table."; };
      metric = mkOption { type = types.nullOr types.int; default = null; description = "The routes' metric."; };
      fwMark = mkOption { type = types.nullOr types.str; default = null; description = "A mark on its packets."; };
      allowedIPsAsRoutes = mkOption { type = types.bool; default = true; description = "Whether the peers' networks become routes."; };
      preSetup = mkOption { type = types.either types.lines (types.listOf types.str); default = ""; description = "Shell before."; };
      postSetup = mkOption { type = types.either types.lines (types.listOf types.str); default = ""; description = "Shell after."; };
      preShutdown = mkOption { type = types.either types.lines (types.listOf types.str); default = ""; description = "Shell before it is taken down."; };
      postShutdown = mkOption { type = types.either types.lines (types.listOf types.str); default = ""; description = "Shell after."; };
      peers = mkOption { type = types.listOf peer; default = [ ]; description = "The peers."; };
    };
  };
  lines = v: if builtins.isList v then lib.concatLines v else v;
  setup = name: i: ''
    ${lines i.preSetup}
    ${lib.optionalString i.generatePrivateKeyFile ''
      if ! [ -s ${i.privateKeyFile} ]; then mkdir -p -m 0700 ${dirOf i.privateKeyFile}; (umask 077; ${wg} genkey > ${i.privateKeyFile}); fi
    ''}
    ${ip} link add dev ${name} type wireguard
    ${lib.optionalString (i.mtu != null) "${ip} link set dev ${name} mtu ${toString i.mtu}"}
    ${lib.concatMapStrings (a: "${ip} addr add ${a} dev ${name}\n") i.ips}
    ${wg} set ${name} private-key ${i.privateKeyFile}${lib.optionalString (i.listenPort != null) " listen-port ${toString i.listenPort}"}${lib.optionalString (i.fwMark != null) " fwmark ${i.fwMark}"}
    ${lib.concatMapStrings (p: "${wg} set ${name} peer ${lib.escapeShellArg p.publicKey}${lib.optionalString (p.presharedKeyFile != null) " preshared-key ${p.presharedKeyFile}"}${lib.optionalString (p.endpoint != null) " endpoint ${p.endpoint}"}${lib.optionalString (p.persistentKeepalive != null) " persistent-keepalive ${toString p.persistentKeepalive}"} allowed-ips ${lib.concatStringsSep "," p.allowedIPs}\n") i.peers}
    ${ip} link set dev ${name} up
    ${lib.optionalString i.allowedIPsAsRoutes (lib.concatMapStrings (a: "${ip} route replace ${a} dev ${name} table ${i.table}${lib.optionalString (i.metric != null) " metric ${toString i.metric}"}\n") (lib.concatMap (p: p.allowedIPs) i.peers))}
    ${lines i.postSetup}
  '';
in
{
  options.networking.wireguard = {
    enable = mkOption { type = types.bool; default = cfg.interfaces != { }; description = "Whether the tunnels are set up."; };
    interfaces = mkOption { type = types.attrsOf interface; default = { }; description = "The tunnels."; };
    useNetworkd = mkOption { type = types.bool; default = false; inert = true; description = "Accepted."; };
  };
  config = lib.mkIf cfg.enable {
    assertions = lib.concatLists (lib.mapAttrsToList
      (n: i: [
        { assertion = i.privateKey == null; message = "networking.wireguard.interfaces.${n}.privateKey would be readable by everybody in the store; put the key into a file and set privateKeyFile."; }
        { assertion = i.privateKeyFile != null; message = "networking.wireguard.interfaces.${n}.privateKeyFile is not set."; }
      ])
      cfg.interfaces);
    boot.kernelModules = [ "wireguard" ];
    environment.systemPackages = [ pkgs.wireguard-tools ];
    systemd.services = lib.mapAttrs'
      (n: i: lib.nameValuePair "wireguard-${n}" {
        description = "WireGuard tunnel ${n}";
        wantedBy = [ "multi-user.target" ];
        wants = [ "network.target" ];
        after = [ "network.target" "network-online.target" ];
        serviceConfig = { Type = "oneshot"; RemainAfterExit = true; };
        script = setup n i;
        postStop = ''
          ${lines i.preShutdown}
          ${ip} link del dev ${n} || true
          ${lines i.postShutdown}
        '';
      })
      cfg.interfaces;
  };
}
