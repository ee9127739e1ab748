# The certificates of authorities that the machine trusts.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.security.pki;
  system = "${pkgs.ca-certificates}/etc/ssl/certs/ca-certificates.crt";
  extra = cfg.certificateFiles ++ lib.optional (cfg.certificates != [ ]) (pkgs.writeText "extra-certificates.pem" (lib.concatStringsSep "\n" cfg.certificates));
  bundle = if extra == [ ] then system
    else pkgs.runCommand "ca-bundle.crt" { } "cat ${lib.escapeShellArgs (map (f: "${f}") ([ system ] ++ extra))} > $out";
in
{
  options.security.pki = {
    installCACerts = mkOption { type = types.bool; default = true; description = "Whether the bundle is put to /etc/ssl/certs."; };
    certificateFiles = mkOption { type = types.listOf types.path; default = [ ]; description = "Files with further certificates."; };
    certificates = mkOption { type = types.listOf types.str; default = [ ]; description = "Further certificates, as text."; };
    caCertificateBlacklist = mkOption { type = types.listOf types.str; default = [ ]; inert = true; description = "Accepted; not taken out."; };
    useCompatibleBundle = mkOption { type = types.bool; default = false; inert = true; description = "Accepted."; };
    caBundle = mkOption { type = types.path; internal = true; readOnly = true; default = bundle; description = "The bundle."; };
  };
  config.environment.etc = lib.mkIf (cfg.installCACerts || extra != [ ]) {
    "ssl/certs/ca-certificates.crt".source = bundle;
    "ssl/certs/ca-bundle.crt".source = bundle;
  };
}
