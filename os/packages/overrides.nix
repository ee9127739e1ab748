# What single Debian packages need besides unpacking, by Debian's name; a function is given the version. Attributes:
#   links              links that Debian's alternatives or maintainer scripts make: place → target in the package
#   mainProgram        the program that `lib.getExe` means, where it is not the package's name
#   drop, keep         files to leave out, or to keep (tools/src/selection.rs has the defaults)
#   optionalLibraries  libraries that may be missing
#   depends, without   packages that it needs beside those that Debian says, or not in spite of that
#   wrap               programs that have to be told where their files are (tools/src/wrap.rs); @out@ is the package
#   scripts            small programs to add: place → text for sh
#   alone              the package is data: it needs no dependency to be unpacked
let
  python = name: { mainProgram = "python3"; links = { "bin/python3" = "bin/${name}"; "bin/python" = "bin/${name}"; }; };
in
{
  # Interpreters and programs that look for their own files below /usr.
  perl = version:
    let series = builtins.head (builtins.match "([0-9]+\\.[0-9]+).*" version); in
    {
      wrap."bin/perl".prefix.PERL5LIB =
        builtins.concatStringsSep ":" (map (directory: "@out@/${directory}") [ "lib/perl5/${series}" "share/perl5" "lib/perl-base" "lib/perl/${series}" "share/perl/${series}" ]);
    };
  git.wrap."bin/git".setDefault = { GIT_EXEC_PATH = "@out@/lib/git-core"; GIT_TEMPLATE_DIR = "@out@/share/git-core/templates"; };

  "python3.11" = python "python3.11";
  "python3.13" = python "python3.13";

  # The sources of languages, which others do without.
  locales.drop = [ "/usr/share/doc" "/usr/share/man" "/usr/share/locale" ];

  bash.links = { "bin/sh" = "bin/bash"; };
  gawk.links = { "bin/awk" = "bin/gawk"; };
  mawk.links = { "bin/awk" = "bin/mawk"; };
  original-awk.links = { "bin/awk" = "bin/original-awk"; };
  vim = { links = { "bin/vim" = "bin/vim.basic"; "bin/vi" = "bin/vim.basic"; "bin/view" = "bin/vim.basic"; "bin/vimdiff" = "bin/vim.basic"; }; };
  vim-tiny = { mainProgram = "vi"; links = { "bin/vi" = "bin/vim.tiny"; "bin/vim" = "bin/vim.tiny"; }; };
  netcat-openbsd = { mainProgram = "nc"; links = { "bin/nc" = "bin/nc.openbsd"; "bin/netcat" = "bin/nc.openbsd"; }; };
  netcat-traditional = { mainProgram = "nc"; links = { "bin/nc" = "bin/nc.traditional"; }; };
  less.links = { "bin/pager" = "bin/less"; };
  busybox.mainProgram = "busybox";
  busybox-static.mainProgram = "busybox";
  # nixpkgs' coreutils has a kill, and units say ${pkgs.coreutils}/bin/kill; Debian's is a part of procps.
  coreutils = { mainProgram = "ls"; scripts."bin/kill" = "kill \"$@\"\n"; };
  iproute2 = { mainProgram = "ip"; optionalLibraries = [ "libatm.so.1" ]; };
  libext2fs2.depends = [ "libcom-err2" ];
  # Recommended by Debian; modules of zsh are linked with them.
  zsh.depends = [ "libncursesw6" "libgdbm6" "libpcre3" ];
  # For its maintainer script alone.
  nginx.without = [ "iproute2" ];
  iputils-ping.mainProgram = "ping";
  kmod.mainProgram = "kmod";
  openssh-client.mainProgram = "ssh";
  openssh-server.mainProgram = "sshd";
  procps.mainProgram = "ps";
  dnsutils.mainProgram = "dig";
  bind9-dnsutils.mainProgram = "dig";
  ripgrep.mainProgram = "rg";
  fd-find = { mainProgram = "fd"; links = { "bin/fd" = "bin/fdfind"; }; };
  bat = { mainProgram = "bat"; links = { "bin/bat" = "bin/batcat"; }; };
  nftables.mainProgram = "nft";
  redis-server = { mainProgram = "redis-server"; };
  gnupg.mainProgram = "gpg";
  grep.mainProgram = "grep";
  sed.mainProgram = "sed";
  ca-certificates.alone = true;
  netbase.alone = true;
  tzdata.alone = true;
  media-types.alone = true;
  systemd-boot-efi.alone = true;
}
