# `zramSwap`: swap space in compressed memory.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.zramSwap;
in
{
  options.zramSwap = {
    enable = lib.mkEnableOption "swap in compressed memory";
    memoryPercent = mkOption { type = types.int; default = 50; description = "Its size in percent of the memory."; };
    memoryMax = mkOption { type = types.nullOr types.int; default = null; description = "Its size in bytes, at most."; };
    algorithm = mkOption { type = types.str; default = "zstd"; description = "The compression."; };
    priority = mkOption { type = types.int; default = 5; description = "Its priority."; };
    swapDevices = mkOption { type = types.int; default = 1; inert = true; description = "Accepted; there is one device."; };
    writebackDevice = mkOption { type = types.nullOr types.path; default = null; inert = true; description = "Accepted."; };
  };
  config = lib.mkIf cfg.enable {
    boot.kernelModules = [ "zram" ];
    systemd.services.zram-swap = {
      description = "Swap in compressed memory";
      wantedBy = [ "swap.target" ];
      before = [ "swap.target" ];
      unitConfig.DefaultDependencies = false;
      path = [ pkgs.util-linux ];
      serviceConfig = { Type = "oneshot"; RemainAfterExit = true; };
      script = ''
        read -r _ kib _ < /proc/meminfo
        bytes=$(( kib * 1024 * ${toString cfg.memoryPercent} / 100 ))
        ${lib.optionalString (cfg.memoryMax != null) "if [ \"$bytes\" -gt ${toString cfg.memoryMax} ]; then bytes=${toString cfg.memoryMax}; fi"}
        # A compression that the kernel lacks leaves its own choice.
        echo ${cfg.algorithm} > /sys/block/zram0/comp_algorithm || true
        echo "$bytes" > /sys/block/zram0/disksize
        mkswap /dev/zram0
        swapon --priority ${toString cfg.priority} /dev/zram0
      '';
      preStop = ''
        swapoff /dev/zram0
        echo 1 > /sys/block/zram0/reset
      '';
    };
  };
}
