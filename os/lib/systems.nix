# Platforms from their names: what modules read of `pkgs.stdenv.hostPlatform`.
{ lib }:
let
  cpus = {
    x86_64 = { bits = 64; arch = "x86_64"; isx86 = true; linuxArch = "x86_64"; efiArch = "x64"; };
    i686 = { bits = 32; arch = "i386"; isx86 = true; linuxArch = "i386"; efiArch = "ia32"; };
    aarch64 = { bits = 64; arch = "arm64"; isx86 = false; linuxArch = "arm64"; efiArch = "aa64"; };
  };
in
rec {
  # From "x86_64-linux", "x86_64-unknown-linux-gnu" or a set with `system`.
  elaborate = x:
    let
      text = if builtins.isString x then x else x.system or x.config;
      parts = lib.splitString "-" text;
      cpu = lib.head parts;
      known = cpus.${cpu} or (throw "lib.systems: the processor '${cpu}' is not known; known are ${toString (builtins.attrNames cpus)}");
      system = "${cpu}-linux";
    in
    if !(builtins.isString x) && x ? isLinux then x else {
      inherit system;
      config = "${cpu}-unknown-linux-gnu";
      parsed = { cpu = { name = cpu; inherit (known) bits; }; kernel.name = "linux"; abi.name = "gnu"; };
      isLinux = true;
      isDarwin = false;
      isUnix = true;
      isGnu = true;
      isMusl = false;
      isStatic = false;
      is64bit = known.bits == 64;
      is32bit = known.bits == 32;
      inherit (known) isx86 linuxArch efiArch;
      isx86_64 = cpu == "x86_64";
      isx86_32 = cpu == "i686";
      isi686 = cpu == "i686";
      isAarch64 = cpu == "aarch64";
      isAarch = cpu == "aarch64";
      isAarch32 = false;
      isRiscV = false;
      isPower = false;
      isEfi = true;
      isLittleEndian = true;
      isBigEndian = false;
      libc = "glibc";
      canExecute = other: other.system == system;
      __toString = _: system;
    } // (if builtins.isString x then { } else x);
  equals = a: b: a.system == b.system;
  doubles = { all = lib.platforms.all; linux = lib.platforms.linux; };
  flakeExposed = lib.platforms.linux;
  inspect = { };
  toLosslessStringMaybe = p: p.system or null;
}
