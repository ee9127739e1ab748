# The machine of the services test: what people run, together on one machine.
{ lib, pkgs, ... }:
{
  imports = [ ./agent.nix ];
  firn.channel.enable = lib.mkForce false;
  networking.hostName = "services";
  boot.loader.systemd-boot.enable = true;
  boot.loader.timeout = 0;
  fileSystems."/" = { device = "/dev/disk/by-label/root"; fsType = "ext4"; };
  fileSystems."/boot" = { device = "/dev/disk/by-label/BOOT"; fsType = "vfat"; };
  environment.systemPackages = [ pkgs.curl pkgs.openssh-client pkgs.redis pkgs.chrony ];

  services.openssh.enable = true;
  services.openssh.settings.PasswordAuthentication = false;
  services.nginx = {
    enable = true;
    virtualHosts.default = { default = true; root = pkgs.writeTextDir "index.html" "a page\n"; };
  };
  services.redis.servers."".enable = true;
  services.postgresql = {
    enable = true;
    ensureDatabases = [ "kept" ];
    ensureUsers = [ { name = "kept"; ensureDBOwnership = true; } ];
  };
  # Under translation the first start, which makes the cluster, takes its time.
  systemd.services.postgresql.serviceConfig.TimeoutSec = lib.mkForce 900;
  services.chrony.enable = true;
  services.dbus.enable = true;
  services.udev.enable = true;
  services.udev.extraRules = ''KERNEL=="null", SYMLINK+="made-by-a-rule"'';

  # Every few seconds.
  systemd.timers.tick = { wantedBy = [ "timers.target" ]; timerConfig = { OnActiveSec = 1; OnUnitActiveSec = 2; }; };
  systemd.services.tick.serviceConfig = { Type = "oneshot"; ExecStart = "${pkgs.coreutils}/bin/echo tick"; };
  # At every tenth second of the clock.
  systemd.services.calendar = { startAt = "*:*:0/10"; serviceConfig = { Type = "oneshot"; ExecStart = "${pkgs.coreutils}/bin/date +at:%%s"; }; };
  systemd.timers.calendar.timerConfig.AccuracySec = "1ms";
  users.users.anna = { isNormalUser = true; hashedPassword = "!"; };
  system.stateVersion = "26.05";
}
