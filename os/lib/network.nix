# Addresses: checks that the networking modules use.
{ lib }:
let
  octet = s: builtins.match "0|[1-9][0-9]{0,2}" s != null && lib.toInt s <= 255;
in
rec {
  ipv4 = {
    isValid = s: let parts = lib.splitString "." s; in builtins.length parts == 4 && builtins.all octet parts;
    # The netmask of a prefix length: 24 is "255.255.255.0".
    netmask = n:
      let bits = i: lib.max 0 (lib.min 8 (n - 8 * i)); pow = k: if k == 0 then 1 else 2 * pow (k - 1); in
      lib.concatMapStringsSep "." (i: toString (256 - pow (8 - bits i))) [ 0 1 2 3 ];
  };
  ipv6 = {
    isValid = s:
      builtins.match "[0-9a-fA-F:]*(:[0-9.]+)?" s != null && lib.hasInfix ":" s && !(lib.hasInfix ":::" s)
      && builtins.length (lib.splitString "::" s) <= 2;
  };
}
