# `swapDevices`: partitions and files to swap to.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  escape = lib.strings.escapeSystemdPath;
  files = builtins.filter (s: s.size != null) config.swapDevices;
in
{
  options.swapDevices = mkOption {
    default = [ ];
    example = [ { device = "/dev/disk/by-label/swap"; } ];
    description = "What the machine swaps to.";
    type = types.listOf (types.submodule ({ config, ... }: {
      options = {
        device = mkOption { type = types.nonEmptyStr; description = "The partition or file."; };
        label = mkOption { type = types.nullOr types.str; default = null; description = "The partition's label, instead of `device`."; };
        size = mkOption { type = types.nullOr types.int; default = null; description = "For a file: its size in MiB; it is made when missing."; };
        priority = mkOption { type = types.nullOr types.int; default = null; description = "The priority."; };
        options = mkOption { type = types.listOf types.nonEmptyStr; default = [ "defaults" ]; description = "Options of swapon(8)."; };
        discardPolicy = mkOption { type = types.nullOr (types.enum [ "once" "pages" "both" ]); default = null; description = "Discarding."; };
        randomEncryption = mkOption { type = types.anything; default = false; inert = true; description = "Not done, see the assertion."; };
        encrypted = mkOption { type = types.anything; default = { }; inert = true; description = "Not done."; };
        realDevice = mkOption { type = types.path; internal = true; description = "The device after all."; };
      };
      config = {
        device = lib.mkIf (config.label != null) "/dev/disk/by-label/${config.label}";
        realDevice = lib.mkDefault config.device;
      };
    }));
  };
  config = {
    assertions = map (s: { assertion = s.randomEncryption == false || (s.randomEncryption.enable or false) == false; message = "swapDevices: ${s.device} wants random encryption, which Firn does not do yet."; }) config.swapDevices;
    systemd.swaps = map
      (s: {
        what = s.device;
        swapConfig.What = lib.mkForce (
          if lib.hasPrefix "/dev/disk/by-uuid/" s.realDevice then "UUID=${lib.removePrefix "/dev/disk/by-uuid/" s.realDevice}"
          else if lib.hasPrefix "/dev/disk/by-label/" s.realDevice then "LABEL=${lib.removePrefix "/dev/disk/by-label/" s.realDevice}"
          else s.realDevice);
        priority = s.priority;
        options = builtins.filter (o: o != "defaults") s.options;
        after = lib.optional (s.size != null) "mkswap-${escape s.device}.service";
        requires = lib.optional (s.size != null) "mkswap-${escape s.device}.service";
      })
      config.swapDevices;
    systemd.services = lib.listToAttrs (map
      (s: lib.nameValuePair "mkswap-${escape s.device}" {
        description = "Make the swap file ${s.device}";
        unitConfig = { DefaultDependencies = false; RequiresMountsFor = [ (dirOf s.device) ]; };
        path = [ pkgs.util-linux pkgs.coreutils ];
        serviceConfig = { Type = "oneshot"; RemainAfterExit = true; UMask = "0177"; };
        script = ''
          size=$(( ${toString s.size} * 1024 * 1024 ))
          if [ "$(stat -c %s ${lib.escapeShellArg s.device} 2>/dev/null || echo 0)" != "$size" ]; then
            rm -f ${lib.escapeShellArg s.device}
            fallocate -l "$size" ${lib.escapeShellArg s.device}
            mkswap ${lib.escapeShellArg s.device}
          fi
        '';
      })
      files);
  };
}
