# Functions on attribute sets.
{ lib }:
let
  inherit (builtins) attrNames attrValues mapAttrs listToAttrs isAttrs head tail length elemAt foldl' concatMap filter;
in
rec {
  inherit (builtins) attrNames attrValues listToAttrs hasAttr isAttrs getAttr removeAttrs intersectAttrs catAttrs mapAttrs zipAttrsWith;

  nameValuePair = name: value: { inherit name value; };
  optionalAttrs = cond: set: if cond then set else { };

  # Paths are lists of names.
  attrByPath = path: default: set:
    let
      n = length path;
      go = i: v: if i == n then v else if isAttrs v && v ? ${elemAt path i} then go (i + 1) v.${elemAt path i} else default;
    in
    go 0 set;
  hasAttrByPath = path: set:
    let
      n = length path;
      go = i: v: i == n || isAttrs v && v ? ${elemAt path i} && go (i + 1) v.${elemAt path i};
    in
    go 0 set;
  longestValidPathPrefix = path: set:
    let
      n = length path;
      go = i: v: if i < n && isAttrs v && v ? ${elemAt path i} then go (i + 1) v.${elemAt path i} else i;
    in
    if hasAttrByPath path set then path else lib.take (go 0 set) path;
  setAttrByPath = path: value: lib.foldr (name: inner: { ${name} = inner; }) value path;
  getAttrFromPath = path: set:
    attrByPath path (abort "cannot find attribute '${lib.concatStringsSep "." path}'") set;

  # `updateManyAttrsByPath [ { path = [ "a" "b" ]; update = old: new; } ] set`
  updateManyAttrsByPath =
    let
      go = depth: has: value: updates:
        let
          split = builtins.partition (u: length u.path == depth) updates;
          inner =
            if split.wrong == [ ] then value
            else if has && !isAttrs value then
              throw ("updateManyAttrsByPath: Path '${lib.showAttrPath (lib.take depth (head split.wrong).path)}' is of type "
                + "${builtins.typeOf value}, but an attribute set is needed to update '${lib.showAttrPath (head split.wrong).path}'")
            else
              let byName = builtins.groupBy (u: elemAt u.path depth) split.wrong; in
              (if has then value else { })
              // mapAttrs
                (name: go (depth + 1) (has && value ? ${name})
                  (if has && value ? ${name} then value.${name}
                   else throw "updateManyAttrsByPath: there is no attribute '${name}'"))
                byName;
          known = has || split.wrong != [ ];
          missing = throw "updateManyAttrsByPath: a path to update does not exist";
        in
        (foldl' (acc: u: { has = true; value = u.update acc.value; })
          { has = known; value = if known then inner else missing; }
          split.right).value;
    in
    updates: set: go 0 true set updates;

  concatMapAttrs = f: set: foldl' (a: b: a // b) { } (attrValues (mapAttrs f set));
  attrVals = names: set: map (n: set.${n}) names;
  getAttrs = names: set: lib.genAttrs names (n: set.${n});
  filterAttrs = p: set: removeAttrs set (filter (n: !p n set.${n}) (attrNames set));
  filterAttrsRecursive = p: set:
    listToAttrs (concatMap
      (n: let v = set.${n}; in
        if p n v then [ (nameValuePair n (if isAttrs v then filterAttrsRecursive p v else v)) ] else [ ])
      (attrNames set));
  foldlAttrs = f: init: set: foldl' (acc: n: f acc n set.${n}) init (attrNames set);
  foldAttrs = op: nul: sets:
    lib.foldr (set: acc: lib.foldr (n: a: a // { ${n} = op set.${n} (a.${n} or nul); }) acc (attrNames set)) { } sets;
  collect = p: v: if p v then [ v ] else if isAttrs v then concatMap (collect p) (attrValues v) else [ ];

  cartesianProduct = sets:
    foldl' (acc: n: concatMap (partial: map (v: partial // { ${n} = v; }) sets.${n}) acc) [ { } ] (attrNames sets);
  cartesianProductOfSets = cartesianProduct;
  mapCartesianProduct = f: sets: map f (cartesianProduct sets);

  mapAttrs' = f: set: listToAttrs (map (n: f n set.${n}) (attrNames set));
  mapAttrsToList = f: set: map (n: f n set.${n}) (attrNames set);
  attrsToList = mapAttrsToList nameValuePair;
  mapAttrsRecursive = mapAttrsRecursiveCond (_: true);
  mapAttrsRecursiveCond = cond: f: set:
    let go = path: mapAttrs (n: v: if isAttrs v && cond v then go (path ++ [ n ]) v else f (path ++ [ n ]) v); in
    go [ ] set;
  mapAttrsToListRecursive = mapAttrsToListRecursiveCond (_: _: true);
  mapAttrsToListRecursiveCond = cond: f: set:
    let
      go = path: v: if isAttrs v && (path == [ ] || cond path v)
        then concatMap (n: go (path ++ [ n ]) v.${n}) (attrNames v)
        else [ (f path v) ];
    in
    go [ ] set;
  genAttrs = names: f: listToAttrs (map (n: nameValuePair n (f n)) names);
  genAttrs' = xs: f: listToAttrs (map f xs);

  isDerivation = v: v.type or null == "derivation";
  # A store path as a set that can stand where a derivation is wanted.
  toDerivation = path:
    let
      p = builtins.storePath path;
      res = {
        type = "derivation";
        name = builtins.unsafeDiscardStringContext (builtins.substring 33 (-1) (baseNameOf p));
        outPath = p;
        outputs = [ "out" ];
        out = res;
        outputName = "out";
      };
    in
    res;

  zipAttrsWithNames = names: f: sets: lib.genAttrs names (n: f n (builtins.catAttrs n sets));
  zipAttrs = builtins.zipAttrsWith (_: vs: vs);
  mergeAttrsList = foldl' (a: b: a // b) { };

  # `//` that goes into sets on both sides until `stop path left right` says to take the right side.
  recursiveUpdateUntil = stop: lhs: rhs:
    let
      go = path: l: r:
        l // mapAttrs
          (n: rv:
            if l ? ${n} && !(stop (path ++ [ n ]) l.${n} rv) then go (path ++ [ n ]) l.${n} rv else rv)
          r;
    in
    go [ ] lhs rhs;
  recursiveUpdate = recursiveUpdateUntil (_: l: r: !(isAttrs l && isAttrs r));

  matchAttrs = pattern: set:
    assert isAttrs pattern;
    builtins.all
      (n: set ? ${n} && (let p = pattern.${n}; v = set.${n}; in if isAttrs p then isAttrs v && matchAttrs p v else p == v))
      (attrNames pattern);
  overrideExisting = old: new: mapAttrs (n: v: new.${n} or v) old;

  # A name as it stands in Nix source: quoted where it must be.
  showAttrPath = path:
    if path == [ ] then "<root attribute path>" else lib.concatMapStringsSep "." lib.strings.escapeNixIdentifier path;

  getFirstOutput = candidates: pkg:
    let found = lib.findFirst (o: pkg ? ${o}) null candidates; in
    if pkg.outputSpecified or false || !(pkg ? type) && !(pkg ? outputs) && found == null || found == null then pkg else pkg.${found};
  getOutput = output: pkg: if pkg ? outputSpecified && pkg.outputSpecified then pkg else pkg.${output} or pkg.out or pkg;
  getBin = getOutput "bin";
  getLib = getFirst [ "lib" "out" ];
  getStatic = getFirst [ "static" "lib" "out" ];
  getDev = getFirst [ "dev" "out" ];
  getInclude = getFirst [ "include" "dev" "out" ];
  getMan = getFirst [ "man" "out" ];
  getFirst = getFirstOutput;
  chooseDevOutputs = map getDev;

  recurseIntoAttrs = set: set // { recurseForDerivations = true; };
  dontRecurseIntoAttrs = set: set // { recurseForDerivations = false; };
  unionOfDisjoint = x: y:
    let
      both = attrNames (builtins.intersectAttrs x y);
      clash = mapAttrs (n: _: throw "unionOfDisjoint: collision on ${n}; complete list: ${toString both}") (builtins.intersectAttrs x y);
    in
    (x // y) // clash;
}
