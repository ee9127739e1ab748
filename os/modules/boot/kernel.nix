# The kernel: which one, its command line, its modules and its settings.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  names = description: mkOption { type = types.listOf types.str; default = [ ]; inherit description; };
in
{
  options.boot = {
    kernelPackages = mkOption {
      type = types.raw;
      default = pkgs.linuxPackages;
      defaultText = lib.literalExpression "pkgs.linuxPackages";
      description = "The kernel and what is built for it.";
    };
    kernelPatches = mkOption { type = types.listOf types.attrs; default = [ ]; description = "Patches. The channel's kernels come built, so any patch is an error."; };
    kernelParams = mkOption { type = types.listOf (types.strMatching ''([^"[:space:]]|"[^"]*")+''); default = [ ]; example = [ "console=ttyS0" ]; description = "Words of the kernel's command line."; };
    consoleLogLevel = mkOption { type = types.int; default = 4; description = "Kernel messages below this level go to the console."; };
    kernelModules = names "Modules loaded in stage 2.";
    extraModulePackages = mkOption { type = types.listOf types.package; default = [ ]; description = "Packages with further modules for this kernel."; };
    extraModprobeConfig = mkOption { type = types.lines; default = ""; description = "Lines of modprobe.d(5)."; };
    blacklistedKernelModules = names "Modules that are not loaded by themselves.";
    modprobeConfig.enable = mkOption { type = types.bool; default = true; description = "Whether /etc/modprobe.d is written."; };
    kernel.enable = mkOption { type = types.bool; default = true; description = "Whether the system has a kernel."; };
    kernel.sysctl = mkOption {
      type = types.attrsOf (types.nullOr (types.oneOf [ types.bool types.int types.str ]));
      default = { };
      example = { "net.ipv4.ip_forward" = 1; };
      description = "Kernel settings, sysctl(8).";
    };
    kernel.sysfs = mkOption { type = types.attrsOf types.anything; default = { }; inert = true; description = "Accepted; not written."; };
    vesa = mkOption { type = types.bool; default = false; internal = true; inert = true; description = "Without effect."; };
    hardwareScan = mkOption { type = types.bool; default = true; description = "Whether the modules for the hardware that is found are loaded."; };
    crashDump.enable = lib.mkEnableOption "crash dumps (accepted)" // { inert = true; };
    plymouth.enable = lib.mkEnableOption "a boot screen (accepted; there is none)" // { inert = true; };
    enableContainers = mkOption { type = types.bool; default = false; inert = true; description = "Accepted."; };
    isContainer = mkOption { type = types.bool; default = false; description = "Whether this is a container."; };
    binfmt.emulatedSystems = names "Accepted; not set up.";
  };
  config = {
    assertions = [ { assertion = config.boot.kernelPatches == [ ]; message = "boot.kernelPatches is set, but the channel's kernels come built and cannot be patched."; } ];
    boot.kernelParams = [ "loglevel=${toString config.boot.consoleLogLevel}" ];
    boot.kernel.sysctl = {
      "kernel.printk" = lib.mkDefault config.boot.consoleLogLevel;
      "fs.inotify.max_user_instances" = lib.mkDefault 524288;
      "fs.inotify.max_user_watches" = lib.mkDefault 524288;
      "kernel.kptr_restrict" = lib.mkDefault 1;
    };
    # The kernel loads what it lacks by this program, and that looks below /lib/modules.
    boot.kernel.sysctl."kernel.modprobe" = lib.mkDefault "${pkgs.kmod}/bin/modprobe";
    systemd.tmpfiles.rules = [ "d /lib 0755 root root -" "L+ /lib/modules - - - - /run/booted-system/kernel-modules/lib/modules" ];
    systemd.services.hardware-modules = lib.mkIf config.boot.hardwareScan {
      description = "Modules for the hardware that is there";
      wantedBy = [ "sysinit.target" ];
      before = [ "network-pre.target" ];
      unitConfig.DefaultDependencies = false;
      path = [ pkgs.kmod ];
      serviceConfig = { Type = "oneshot"; RemainAfterExit = true; };
      # Every device says by which names its driver goes; names without a module, and failures of single ones, are no error.
      script = ''find /sys/devices -name modalias -exec cat {} + 2>/dev/null | sort -u | xargs -r modprobe -a -b -q || true'';
    };
    environment.etc."modprobe.d/firn.conf" = lib.mkIf (config.boot.extraModprobeConfig != "" || config.boot.blacklistedKernelModules != [ ]) {
      text = lib.concatMapStrings (m: "blacklist ${m}\n") config.boot.blacklistedKernelModules + config.boot.extraModprobeConfig;
    };
  };
}
