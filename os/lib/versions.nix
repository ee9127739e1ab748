# Functions on version strings.
{ lib }:
rec {
  inherit (builtins) splitVersion;
  major = v: builtins.elemAt (splitVersion v) 0;
  minor = v: builtins.elemAt (splitVersion v) 1;
  patch = v: builtins.elemAt (splitVersion v) 2;
  majorMinor = v: lib.concatStringsSep "." (lib.take 2 (splitVersion v));
  # `pad 3 "1.2"` is "1.2.0"; longer versions are cut. What follows a dash stays.
  pad = n: version:
    let
      dash = builtins.match "([^-]*)(-.*)?" version;
      numbers = lib.splitString "." (builtins.elemAt dash 0);
      tail = let t = builtins.elemAt dash 1; in if t == null then "" else t;
    in
    lib.concatStringsSep "." (lib.take n (numbers ++ lib.genList (_: "0") n)) + tail;
}
