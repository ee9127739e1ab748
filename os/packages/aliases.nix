# nixpkgs' names for Debian's packages, where the two differ. A name that Debian has too means nixpkgs' thing, since
# configurations are written for that.
{ lib }:
final: prev:
let
  # Only names that differ: one that leads to itself would never end.
  same = {
    # nixpkgs = Debian
    bashInteractive = "bash";
    bind = "bind9";
    cacert = "ca-certificates";
    coreutils-full = "coreutils";
    dhcpcd = "dhcpcd-base";
    dig = "bind9-dnsutils";
    dnsutils = "bind9-dnsutils";
    dockerTools = "docker.io";
    doas = "opendoas";
    emacs = "emacs-nox";
    fd = "fd-find";
    gnugrep = "grep";
    gnused = "sed";
    gnutar = "tar";
    gnumake = "make";
    go = "golang-go";
    inetutils = "inetutils-tools";
    iputils = "iputils-ping";
    iproute = "iproute2";
    jdk = "default-jdk-headless";
    libressl = "libssl3";
    lm_sensors = "lm-sensors";
    linux-pam = "libpam-modules";
    mariadb = "mariadb-server";
    man = "man-db";
    mkpasswd = "whois";
    netcat = "netcat-openbsd";
    netcat-gnu = "netcat-traditional";
    nettools = "net-tools";
    ncurses = "ncurses-bin";
    p7zip = "p7zip-full";
    pkg-config = "pkgconf";
    procps-ng = "procps";
    python3Minimal = "python3-minimal";
    shadow = "passwd";
    sqlite = "sqlite3";
    systemd-boot = "systemd-boot-efi";
    utillinux = "util-linux";
    vim-full = "vim";
    xz = "xz-utils";
    zlib = "zlib1g";
  };
in
lib.mapAttrs (_: name: final.${name} or (final.debian.package name)) same // {
  # Programs that nixpkgs has in util-linux and Debian in packages of its own.
  util-linux = final.debian.join { name = "util-linux"; packages = [ "util-linux" "mount" "bsdutils" "fdisk" "util-linux-extra" ]; mainProgram = "lsblk"; };
  util-linuxMinimal = final.util-linux;
  busybox = prev.busybox-static;
  glibc = prev.libc6;
  recurseIntoAttrs = set: set // { recurseForDerivations = true; };
  nix = final.firn;
}
