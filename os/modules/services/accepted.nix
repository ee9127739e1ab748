# Options of services that Firn's own parts replace or that have nothing to do here: accepted, so that configurations
# need no changes. What would be missed says so in an assertion or a warning.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  anything = description: mkOption { type = types.anything; default = { }; inert = true; inherit description; };
  lines = description: mkOption { type = types.lines; default = ""; inert = true; inherit description; };
  off = description: lib.mkEnableOption description // { inert = true; };
in
{
  options.services = {
    journald = {
      extraConfig = lines "Settings of journald; Firn keeps logs itself.";
      storage = mkOption { type = types.str; default = "persistent"; inert = true; description = "Accepted."; };
      rateLimitBurst = mkOption { type = types.int; default = 10000; inert = true; description = "Accepted."; };
      rateLimitInterval = mkOption { type = types.str; default = "30s"; inert = true; description = "Accepted."; };
      console = mkOption { type = types.str; default = ""; inert = true; description = "Accepted."; };
      forwardToSyslog = mkOption { type = types.bool; default = false; inert = true; description = "Accepted."; };
      audit = mkOption { type = types.nullOr types.bool; default = null; inert = true; description = "Accepted."; };
    };
    logind = {
      extraConfig = lines "Settings of logind; there is none.";
      lidSwitch = mkOption { type = types.str; default = "suspend"; inert = true; description = "Accepted."; };
      lidSwitchDocked = mkOption { type = types.str; default = "ignore"; inert = true; description = "Accepted."; };
      lidSwitchExternalPower = mkOption { type = types.str; default = "ignore"; inert = true; description = "Accepted."; };
    };
    resolved = {
      enable = off "systemd-resolved (accepted; /etc/resolv.conf is written by the DHCP client or from networking.nameservers)";
      dnssec = mkOption { type = types.str; default = "false"; inert = true; description = "Accepted."; };
      fallbackDns = mkOption { type = types.nullOr (types.listOf types.str); default = null; inert = true; description = "Accepted."; };
      domains = mkOption { type = types.listOf types.str; default = [ ]; inert = true; description = "Accepted."; };
      llmnr = mkOption { type = types.str; default = "true"; inert = true; description = "Accepted."; };
      dnsovertls = mkOption { type = types.str; default = "false"; inert = true; description = "Accepted."; };
      extraConfig = lines "Accepted.";
      settings = anything "Accepted.";
    };
    timesyncd = {
      enable = mkOption { type = types.bool; default = false; inert = true; description = "Accepted; use services.chrony."; };
      servers = mkOption { type = types.nullOr (types.listOf types.str); default = null; inert = true; description = "Accepted."; };
      extraConfig = lines "Accepted.";
    };
    qemuGuest.enable = off "the QEMU guest agent (accepted)";
    fwupd.enable = off "firmware updates (accepted)";
    thermald.enable = off "thermald (accepted)";
    irqbalance.enable = off "irqbalance (accepted)";
    smartd = { enable = off "smartd (accepted)"; notifications = anything "Accepted."; };
    avahi = { enable = off "Avahi (accepted)"; nssmdns = mkOption { type = types.bool; default = false; inert = true; description = "Accepted."; }; nssmdns4 = mkOption { type = types.bool; default = false; inert = true; description = "Accepted."; }; openFirewall = mkOption { type = types.bool; default = true; inert = true; description = "Accepted."; }; publish = anything "Accepted."; };
    xserver = { enable = off "X11 (not done)"; xkb = anything "Accepted."; videoDrivers = mkOption { type = types.listOf types.str; default = [ ]; inert = true; description = "Accepted."; }; };
    cloud-init = { enable = off "cloud-init (accepted)"; network.enable = mkOption { type = types.bool; default = false; inert = true; description = "Accepted."; }; };
    speechd.enable = mkOption { type = types.bool; default = false; inert = true; description = "Accepted."; };
    lvm.enable = mkOption { type = types.bool; default = false; inert = true; description = "Accepted."; };
    gpm.enable = off "gpm (accepted)";
    userborn.enable = mkOption { type = types.bool; default = false; inert = true; description = "Accepted; users are made by Firn."; };
  };
  options.hardware = {
    graphics = anything "Accepted.";
    opengl = anything "Accepted.";
    bluetooth = anything "Accepted.";
    pulseaudio = anything "Accepted.";
    firmwareCompression = mkOption { type = types.str; default = "none"; inert = true; description = "Accepted."; };
    usb-modeswitch.enable = off "USB mode switching (accepted)";
    ksm.enable = off "kernel same-page merging (accepted)";
  };
  options.fonts = anything "Accepted; there is no desktop.";
  options.xdg = anything "Accepted; there is no desktop.";
  options.qt = anything "Accepted; there is no desktop.";
  options.gtk = anything "Accepted; there is no desktop.";
  options.sound.enable = off "sound (accepted)";
  options.location = anything "Accepted.";
  options.containers = mkOption { type = types.attrsOf types.anything; default = { }; description = "Containers: not done, see the assertion."; };
  options.system.autoUpgrade = mkOption { type = types.attrsOf types.anything; default = { }; inert = true; description = "Accepted; upgrades are made by hand."; };
  options.system.switch = anything "Accepted.";
  options.system.rebuild = anything "Accepted.";
  options.system.etc.overlay = anything "Accepted.";
  options.system.disableInstallerTools = mkOption { type = types.bool; default = false; inert = true; description = "Accepted."; };
  options.system.tools = anything "Accepted.";
  options.virtualisation = {
    docker = anything "Not done, see the assertion.";
    podman = anything "Not done, see the assertion.";
    libvirtd = anything "Not done, see the assertion.";
    oci-containers = anything "Not done, see the assertion.";
    hypervGuest.enable = off "guest services of Hyper-V (accepted)";
    vmware.guest.enable = off "guest services of VMware (accepted)";
    virtualbox.guest.enable = off "guest services of VirtualBox (accepted)";
  };
  config.assertions =
    map (n: { assertion = !(config.virtualisation.${n}.enable or false); message = "virtualisation.${n}.enable is set, but Firn does not run it yet."; }) [ "docker" "podman" "libvirtd" ]
    ++ [
      { assertion = config.containers == { }; message = "containers is set, but Firn does not run containers yet."; }
      { assertion = (config.virtualisation.oci-containers.containers or { }) == { }; message = "virtualisation.oci-containers.containers is set, but Firn does not run containers yet."; }
      { assertion = !config.services.xserver.enable; message = "services.xserver.enable is set, but Firn has no desktop yet."; }
    ];
}
