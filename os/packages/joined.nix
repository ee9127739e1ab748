# Debian packages that make one program together, in one store path under nixpkgs' name; and those that have to be told
# where their files are, since Debian compiled `/usr` into them.
{ lib }:
final: prev:
let
  inherit (final.debian) join;
in
{
  openssh = join { name = "openssh"; packages = [ "openssh-client" "openssh-server" "openssh-sftp-server" ]; mainProgram = "ssh"; };
  nginx = join { name = "nginx"; packages = [ "nginx" "nginx-common" ]; };
  redis = join { name = "redis"; packages = [ "redis-server" "redis-tools" ]; mainProgram = "redis-cli"; };
  dbus = join { name = "dbus"; packages = [ "dbus" "dbus-daemon" "dbus-bin" "dbus-system-bus-common" "dbus-session-bus-common" ]; mainProgram = "dbus-daemon"; };

  # The release that Debian's metapackage stands for, with the programs that Debian keeps out of $PATH in `bin`.
  postgresql =
    let
      server = lib.head (builtins.filter (lib.hasPrefix "postgresql-") (final.debian.entryOf "postgresql").depends);
      release = lib.removePrefix "postgresql-" server;
      programs = [ "postgres" "initdb" "pg_ctl" "pg_resetwal" "pg_upgrade" "pg_controldata" "psql" "createdb" "createuser" "dropdb" "dropuser" "pg_dump" "pg_dumpall" "pg_restore" "pg_basebackup" "pg_isready" "vacuumdb" ];
    in
    join {
      name = "postgresql";
      packages = [ server "postgresql-client-${release}" ];
      mainProgram = "psql";
      links = lib.listToAttrs (map (program: { name = "bin/${program}"; value = "lib/postgresql/${release}/bin/${program}"; }) programs);
      passthru.psqlSchema = release;
    };

  # Both platforms' modules and the programs, as grub-mkimage wants them side by side.
  grub2 = join { name = "grub"; packages = [ "grub-common" "grub2-common" "grub-pc-bin" "grub-efi-amd64-bin" ]; mainProgram = "grub-install"; };
  grub2_efi = final.grub2;

  # What Debian's maintainer script makes of the certificates, under Debian's and nixpkgs' names.
  ca-certificates = final.runCommandLocal prev.ca-certificates.name
    { certificates = "${prev.ca-certificates}"; passthru = { inherit (prev.ca-certificates) pname version; unbundled = prev.ca-certificates; }; } ''
    mkdir -p "$out/etc/ssl/certs"
    cat "$certificates"/share/ca-certificates/*/*.crt > "$out/etc/ssl/certs/ca-certificates.crt"
    ln -s ca-certificates.crt "$out/etc/ssl/certs/ca-bundle.crt"
  '';

  # The interpreter and its library, under the names that configurations write.
  python3 = final.debian.package (lib.head (builtins.filter (lib.hasPrefix "python3.") (final.debian.entryOf "python3").depends));
}
