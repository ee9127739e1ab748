# A machine that is there to install others: everybody who sits at it is let in.
{ config, lib, pkgs, ... }:
{
  users.users.nixos = { isNormalUser = true; extraGroups = [ "wheel" ]; initialHashedPassword = ""; };
  users.users.root.initialHashedPassword = "";
  security.sudo.wheelNeedsPassword = lib.mkDefault false;
  services.getty.autologinUser = lib.mkDefault "nixos";
  services.getty.helpLine = lib.mkDefault ''
    The accounts "nixos" and "root" have no password. For SSH, set one with `passwd' or put a key in ~/.ssh/authorized_keys.
    To install onto a whole disk: sudo firn install --disk /dev/sdX --plan
  '';
  services.openssh = { enable = lib.mkDefault true; settings.PermitRootLogin = lib.mkDefault "yes"; };
  networking.hostName = lib.mkDefault "firn-installer";
  # What is needed to prepare disks.
  environment.systemPackages = [ pkgs.e2fsprogs pkgs.dosfstools pkgs.gdisk pkgs.parted ];
  system.stateVersion = lib.mkDefault lib.trivial.release;
}
