# lib.attrsets.
{ lib }:
with lib;
let
  try = e: (builtins.tryEval (builtins.deepSeq e e));
  s = { a = { b = 3; c = { d = 1; }; }; x = [ 1 ]; };
  drv = { type = "derivation"; outPath = "/nix/store/x"; outputs = [ "out" "dev" ]; out = { outPath = "/o"; }; dev = { outPath = "/d"; }; lib = { outPath = "/l"; }; };
in
{
  byPath = [ (attrByPath [ "a" "b" ] 6 s) (attrByPath [ "z" "z" ] 6 s) (attrByPath [ "x" "y" ] 6 s) (hasAttrByPath [ "a" "b" ] s) (hasAttrByPath [ "a" "z" ] s) (hasAttrByPath [ ] s) ];
  prefix = [ (attrsets.longestValidPathPrefix [ "a" "b" "c" ] s) (attrsets.longestValidPathPrefix [ "z" ] s) ];
  set = [ (setAttrByPath [ "a" "b" ] 3) (getAttrFromPath [ "a" "b" ] s) ];
  update = updateManyAttrsByPath [
    { path = [ "a" "b" ]; update = old: { d = old; }; }
    { path = [ "a" "b" "c" ]; update = old: old + 1; }
    { path = [ "x" "y" ]; update = old: "xy"; }
  ] { a.b.c = 0; };
  concatMapAttrs = concatMapAttrs (name: value: { ${name} = value; ${name + value} = value; }) { x = "a"; y = "b"; };
  vals = [ (attrVals [ "a" "b" ] { a = 1; b = 2; c = 3; }) (getAttrs [ "a" ] { a = 1; b = 2; }) ];
  filter = [ (filterAttrs (n: v: n == "foo") { foo = 1; bar = 2; }) (filterAttrsRecursive (n: v: v != null) { a.b = null; a.c = 1; d = null; }) ];
  fold = [ (foldlAttrs (acc: n: v: { sum = acc.sum + v; names = acc.names ++ [ n ]; }) { sum = 0; names = [ ]; } { foo = 1; bar = 10; }) (foldAttrs (i: acc: [ i ] ++ acc) [ ] [ { a = 2; } { a = 3; b = 7; } ]) ];
  collect = [ (collect isList { a = { b = [ "b" ]; }; c = [ 1 ]; }) (collect (x: x ? outPath) { a = { outPath = "a/"; }; b = { outPath = "b/"; }; }) ];
  cartesian = [ (cartesianProduct { a = [ 1 2 ]; b = [ 10 20 ]; }) (mapCartesianProduct ({ a, b }: "${a}-${b}") { a = [ "1" "2" ]; b = [ "3" "4" ]; }) ];
  maps = [ (mapAttrs' (n: v: nameValuePair ("foo_" + n) ("bar-" + v)) { x = "a"; y = "b"; }) (mapAttrsToList (n: v: n + v) { x = "a"; y = "b"; }) (attrsToList { foo = 1; }) ];
  mapRec = [ (mapAttrsRecursive (path: v: concatStringsSep "-" (path ++ [ v ])) { n = { a = "A"; m = { b = "B"; }; }; d = "D"; })
    (mapAttrsRecursiveCond (as: !(as ? leaf)) (p: v: length p) { a = { leaf = 1; }; b.c = 2; })
    (mapAttrsToListRecursive (p: v: "${concatStringsSep "." p}=${toString v}") { a.b = 1; c = 2; }) ];
  gen = [ (genAttrs [ "foo" "bar" ] (n: "x_" + n)) (genAttrs' [ "a" "b" ] (x: nameValuePair "k${x}" x)) (optionalAttrs true { a = 1; }) (optionalAttrs false { a = 1; }) ];
  zip = [ (zipAttrsWithNames [ "a" ] (n: vs: vs) [ { a = "x"; } { a = "y"; b = "z"; } ]) (zipAttrs [ { a = "x"; } { a = "y"; b = "z"; } ]) ];
  merge = [ (mergeAttrsList [ { a = 0; b = 1; } { c = 2; d = 3; } ]) (recursiveUpdate { boot.loader.grub.enable = true; boot.loader.grub.device = "/dev/hda"; } { boot.loader.grub.device = ""; })
    (recursiveUpdateUntil (p: l: r: p == [ "foo" ]) { foo.bar = 1; foo.quux = 2; x.y = 1; } { foo.bar = 9; x.z = 2; }) (overrideExisting { a = 1; b = 2; } { b = 3; c = 4; }) ];
  match = [ (matchAttrs { cpu = { }; } { cpu = { bits = 64; }; }) (matchAttrs { cpu = { bits = 32; }; } { cpu = { bits = 64; }; }) (matchAttrs { a = 1; } { }) ];
  show = [ (showAttrPath [ "foo" "10" "bar" ]) (showAttrPath [ ]) (showAttrPath [ "a b" "if" ]) ];
  outputs = [ (getBin drv).outPath (getLib drv).outPath (getDev drv).outPath (getOutput "dev" drv).outPath (getMan drv).outPath ];
  disjoint = [ (attrsets.unionOfDisjoint { a = 1; } { b = 2; }) (try (attrsets.unionOfDisjoint { a = 1; } { a = 2; })).success ];
  rest = [ (isDerivation drv) (isDerivation { }) (catAttrs "a" [ { a = 1; } { b = 0; } ]) (recurseIntoAttrs { a = 1; }) ];
}
