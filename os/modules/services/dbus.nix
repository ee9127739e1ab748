# D-Bus's system bus (dbus-daemon(1)), started by its socket.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.services.dbus;
  packages = cfg.packages ++ [ pkgs.dbus ];
  places = element: directory: lib.concatMapStrings (p: "  <${element}>${p}/${directory}</${element}>\n") packages;
  # The policy that the specification's reference bus begins with: anybody may connect and listen, nobody may own a name or
  # call a method unless a service's own file allows it.
  configuration = pkgs.writeText "dbus-system.conf" ''
    <!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
    <busconfig>
      <type>system</type>
      <user>messagebus</user>
      <syslog/>
      <auth>EXTERNAL</auth>
      <listen>unix:path=/run/dbus/system_bus_socket</listen>
      <policy context="default">
        <allow user="*"/>
        <deny own="*"/>
        <deny send_type="method_call"/>
        <allow send_type="signal"/>
        <allow send_requested_reply="true" send_type="method_return"/>
        <allow send_requested_reply="true" send_type="error"/>
        <allow receive_type="method_call"/>
        <allow receive_type="method_return"/>
        <allow receive_type="error"/>
        <allow receive_type="signal"/>
        <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"/>
        <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Introspectable"/>
        <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Properties"/>
      </policy>
      <policy user="root">
        <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Monitoring"/>
        <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Debug.Stats"/>
      </policy>
    ${places "servicedir" "share/dbus-1/system-services"}${places "includedir" "share/dbus-1/system.d"}${places "includedir" "etc/dbus-1/system.d"}</busconfig>
  '';
in
{
  options.services.dbus = {
    enable = lib.mkEnableOption "the system bus";
    packages = mkOption { type = types.listOf types.package; default = [ ]; description = "Packages whose policies and services the bus knows."; };
    implementation = mkOption { type = types.enum [ "dbus" ]; default = "dbus"; description = "Whose bus."; };
  };
  config = lib.mkIf cfg.enable {
    environment.systemPackages = [ pkgs.dbus ];
    environment.etc."dbus-1/system.conf".source = configuration;
    users.users.messagebus = { uid = 4; group = "messagebus"; description = "D-Bus"; home = "/run/dbus"; isSystemUser = true; };
    users.groups.messagebus.gid = 4;
    systemd.tmpfiles.rules = [ "d /run/dbus 0755 messagebus messagebus - -" "L+ /var/lib/dbus/machine-id - - - - /etc/machine-id" ];
    systemd.sockets.dbus = {
      description = "System bus socket";
      wantedBy = [ "sockets.target" ];
      listenStreams = [ "/run/dbus/system_bus_socket" ];
    };
    systemd.services.dbus = {
      description = "System bus";
      wantedBy = [ "multi-user.target" ];
      requires = [ "dbus.socket" ];
      after = [ "dbus.socket" ];
      # Restarting a bus cuts off everybody on it.
      restartIfChanged = false;
      reloadIfChanged = false;
      serviceConfig = {
        ExecStart = "${pkgs.dbus}/bin/dbus-daemon --config-file=/etc/dbus-1/system.conf --address=systemd: --nofork --nopidfile";
        ExecReload = "${pkgs.dbus}/bin/dbus-send --print-reply --system --type=method_call --dest=org.freedesktop.DBus / org.freedesktop.DBus.ReloadConfig";
        OOMScoreAdjust = -900;
      };
    };
  };
}
