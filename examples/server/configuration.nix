# A small server: a web page, SSH and one user. `make run` boots it in this terminal.
{ config, lib, pkgs, ... }:
{
  networking.hostName = "firn";

  boot.loader.systemd-boot.enable = true;
  boot.loader.timeout = 5;

  fileSystems."/" = { device = "/dev/disk/by-label/root"; fsType = "ext4"; };
  fileSystems."/boot" = { device = "/dev/disk/by-label/BOOT"; fsType = "vfat"; options = [ "umask=0077" ]; };

  time.timeZone = "Europe/Berlin";

  services.openssh = {
    enable = true;
    settings.PasswordAuthentication = false;
  };

  services.nginx = {
    enable = true;
    recommendedOptimisation = true;
    virtualHosts.default = {
      default = true;
      root = pkgs.writeTextDir "index.html" ''
        <!doctype html>
        <title>Firn</title>
        <h1>Hello from ${config.networking.hostName}</h1>
        <p>This page was built from <code>configuration.nix</code>. Edit it, switch, and reload.</p>
      '';
    };
  };
  networking.firewall.allowedTCPPorts = [ 80 ];

  users.users.anna = {
    isNormalUser = true;
    description = "Anna Berg";
    extraGroups = [ "wheel" ];
    initialPassword = "firn";
  };
  security.sudo.wheelNeedsPassword = false;
  services.getty.autologinUser = "root";
  services.getty.helpLine = "Leave the machine with `poweroff', or press Ctrl-A and then X.";

  environment.systemPackages = [ pkgs.curl ];

  # The machine can rebuild itself: `nano /etc/nixos/configuration.nix`, then `firn switch`.
  environment.etc."nixos/configuration.nix" = { source = ./configuration.nix; mode = "0644"; };
  firn.channel.enable = true;

  # `make run` forwards these ports of the host.
  virtualisation.forwardPorts = [
    { host.port = 8080; guest.port = 80; }
    { host.port = 2222; guest.port = 22; }
  ];

  system.stateVersion = "26.05";
}
