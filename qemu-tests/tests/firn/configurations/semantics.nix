# The machine of the semantics tests: one small unit for each thing that systemd's units promise and only a machine can show.
{ lib, pkgs, ... }:
let
  script = text: extra: lib.recursiveUpdate { serviceConfig = { Type = "oneshot"; ExecStart = "${pkgs.writeShellScript "script" text}"; }; } extra;
  # Writes what it sees to /run/seen/NAME, which the sandbox leaves writable.
  seen = name: text: extra: script "(${text}) >/run/seen/${name} 2>&1" (lib.recursiveUpdate { serviceConfig.ReadWritePaths = [ "/run/seen" ]; } extra);
in
{
  imports = [ ./agent.nix ];
  firn.channel.enable = lib.mkForce false;
  networking.hostName = "semantics";
  i18n = { defaultLocale = "de_DE.UTF-8"; extraLocaleSettings.LC_NUMERIC = "nl_NL.UTF-8"; };
  boot.loader.systemd-boot.enable = true;
  boot.loader.timeout = 0;
  fileSystems."/" = { device = "/dev/disk/by-label/root"; fsType = "ext4"; };
  fileSystems."/boot" = { device = "/dev/disk/by-label/BOOT"; fsType = "vfat"; };
  systemd.tmpfiles.rules = [ "d /run/seen 1777 root root -" "d /var/spool/drop 0755 root root -" "f /etc/secret 0600 root root - s3cret" ];

  systemd.services = {
    # Timers, paths.
    by-calendar = script "date +%s >>/run/seen/calendar" { startAt = "*:*:0/5"; };
    by-span = script "echo x >>/run/seen/span" { };
    by-path = script "rm -f /var/spool/drop/*; echo x >>/run/seen/path" { };
    by-change = script "echo x >>/run/seen/change" { };
    # Types.
    executes = { serviceConfig = { Type = "exec"; ExecStart = "${pkgs.coreutils}/bin/sleep infinity"; }; };
    not-there = { serviceConfig = { Type = "exec"; ExecStart = "/run/not-there"; }; };
    upheld = { serviceConfig = { ExecStart = "${pkgs.coreutils}/bin/sleep infinity"; }; };
    # What every service is told.
    language = seen "language" "echo $LANG; date -d 2026-03-01 +%B; LC_NUMERIC=nl_NL.UTF-8 printf '%.1f' 2,5" { };
    # Sandboxes.
    strict = seen "strict" "touch /etc/x; touch /var/x; touch /run/seen/y && echo wrote" { serviceConfig.ProtectSystem = "strict"; };
    dynamic = seen "dynamic" "id -un; touch $STATE_DIRECTORY/mine && ls /var/lib/dynamic; cat $CREDENTIALS_DIRECTORY/key; touch /etc/x; stat -c %a $CREDENTIALS_DIRECTORY/key" {
      serviceConfig = { DynamicUser = true; StateDirectory = "dynamic"; LoadCredential = "key:/etc/secret"; };
    };
    filtered = seen "filtered" "grep Seccomp: /proc/self/status; ${pkgs.util-linux}/bin/mount -t tmpfs x /mnt; echo after $?" {
      serviceConfig = { SystemCallFilter = [ "@system-service" "~@privileged" ]; SystemCallErrorNumber = "EPERM"; SystemCallArchitectures = "native"; };
    };
    devices = seen "devices" "ls /dev/vda || echo no-vda; head -c1 /dev/zero | wc -c" { serviceConfig.PrivateDevices = true; };
    device-list = seen "device-list" "head -c1 /dev/vda >/dev/null && echo disk; head -c1 /dev/zero | wc -c; cat /dev/kmsg | head -c1 || echo no-kmsg" { serviceConfig.DeviceAllow = [ "/dev/vda r" ]; };
    network = seen "network" "grep -c : /proc/net/dev" { serviceConfig.PrivateNetwork = true; };
    all-of-it = seen "all" "id -un; grep -E '^(CapBnd|NoNewPrivs)' /proc/self/status; ls /home | wc -l; echo fine" {
      serviceConfig = {
        DynamicUser = true;
        PrivateTmp = true; PrivateDevices = true; PrivateUsers = true; PrivateNetwork = true; PrivateMounts = true; PrivateIPC = true;
        ProtectHome = true; ProtectSystem = "strict"; ProtectClock = true; ProtectHostname = true; ProtectKernelLogs = true;
        ProtectKernelModules = true; ProtectKernelTunables = true; ProtectControlGroups = true; ProtectProc = "invisible"; ProcSubset = "pid";
        LockPersonality = true; MemoryDenyWriteExecute = true; NoNewPrivileges = true; RemoveIPC = true;
        RestrictAddressFamilies = [ "AF_UNIX" ]; RestrictNamespaces = true; RestrictRealtime = true; RestrictSUIDSGID = true;
        SystemCallArchitectures = "native"; SystemCallFilter = [ "@system-service" "~@privileged @resources" ];
        CapabilityBoundingSet = ""; DevicePolicy = "closed"; UMask = "0077";
      };
    };
    tmp = seen "tmp" "cat /tmp/from-pre; ls /tmp" { serviceConfig = { PrivateTmp = true; ExecStartPre = "${pkgs.writeShellScript "pre" "echo pre >/tmp/from-pre"}"; }; };
  };
  systemd.timers.by-span = { wantedBy = [ "timers.target" ]; timerConfig = { OnActiveSec = 2; OnUnitActiveSec = 3; }; };
  systemd.timers.persistent = { wantedBy = [ "timers.target" ]; timerConfig = { OnCalendar = "daily"; Persistent = true; RandomizedDelaySec = "1h"; Unit = "by-span.service"; }; };
  systemd.paths.by-path = { wantedBy = [ "paths.target" ]; pathConfig.DirectoryNotEmpty = "/var/spool/drop"; };
  systemd.paths.by-change = { wantedBy = [ "paths.target" ]; pathConfig.PathChanged = "/run/seen/watched"; };
  systemd.targets.upholder = { unitConfig.Upholds = [ "upheld.service" ]; wantedBy = [ "multi-user.target" ]; };
  swapDevices = [ ];
  system.stateVersion = "26.05";
}
