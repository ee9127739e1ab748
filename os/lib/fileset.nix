# Sets of files: a root and a predicate on paths relative to it. The common part of nixpkgs' `lib.fileset`.
{ lib }:
let
  make = base: has: { _type = "fileset"; inherit base has; };
  coerce = x:
    if x._type or null == "fileset" then x
    else if !(builtins.isPath x) then throw "lib.fileset: ${builtins.typeOf x} given where a path or a file set is wanted"
    else if !(builtins.pathExists x) then throw "lib.fileset: ${toString x} does not exist"
    else make x (p: p == toString x || lib.hasPrefix (toString x + "/") p);
in
rec {
  maybeMissing = path: if builtins.pathExists path then coerce path else make path (_: false);
  union = a: b: let x = coerce a; y = coerce b; in make x.base (p: x.has p || y.has p);
  unions = sets: lib.foldl' union (make /. (_: false)) sets;
  intersection = a: b: let x = coerce a; y = coerce b; in make x.base (p: x.has p && y.has p);
  difference = a: b: let x = coerce a; y = coerce b; in make x.base (p: x.has p && !(y.has p));
  fileFilter = pred: path:
    let root = coerce path; in
    make path (p: root.has p && pred {
      name = baseNameOf p;
      type = builtins.readFileType p;
      hasExt = ext: lib.hasSuffix ".${ext}" (baseNameOf p);
    });
  toList = set:
    let
      s = coerce set;
      walk = dir: lib.concatLists (lib.mapAttrsToList
        (n: t: if t == "directory" then walk (dir + "/${n}") else lib.optional (s.has (toString (dir + "/${n}"))) (dir + "/${n}"))
        (builtins.readDir dir));
    in
    walk s.base;
  toSource = { root, fileset }:
    let
      s = coerce fileset;
      anyBelow = dir: builtins.any
        (n: let p = dir + "/${n}"; in if (builtins.readDir dir).${n} == "directory" then anyBelow p else s.has p)
        (builtins.attrNames (builtins.readDir dir));
    in
    lib.cleanSourceWith { src = root; filter = path: type: if type == "directory" then anyBelow path else s.has path; };
}
