# callPackage, override and scopes.
{ lib }:
let
  inherit (builtins) intersectAttrs isAttrs;
in
rec {
  overrideDerivation = drv: f:
    let new = derivation (drv.drvAttrs // f drv.drvAttrs); in
    lib.extendDerivation (new.drvPath != "") { meta = drv.meta or { }; passthru = drv.passthru or { }; } new;

  # A function whose result can be asked for again with other arguments.
  makeOverridable = f:
    lib.mirrorFunctionArgs f (args:
      let
        result = f args;
        again = g: makeOverridable (lib.mirrorFunctionArgs f (a: g (f a))) args;
        override = lib.mirrorFunctionArgs f (new: makeOverridable f (args // (if lib.isFunction new then new args else new)));
      in
      if isAttrs result then
        result // {
          inherit override;
          overrideDerivation = g: again (drv: overrideDerivation drv g);
          ${if result ? overrideAttrs then "overrideAttrs" else null} = g: again (drv: drv.overrideAttrs g);
        }
      else if lib.isFunction result then lib.setFunctionArgs result (lib.functionArgs result) // { inherit override; }
      else result);

  # Fills a function's arguments from `autoArgs`; what stays missing is an error that names near matches.
  callPackageWith = autoArgs: fn: args:
    let
      f = if lib.isFunction fn then fn else import fn;
      wanted = lib.functionArgs f;
      given = intersectAttrs wanted autoArgs // args;
      missing = builtins.filter (n: !wanted.${n} && !(given ? ${n})) (builtins.attrNames wanted);
      describe = name:
        let near = lib.nearest.suggest name (builtins.attrNames autoArgs); in
        "'${name}'${lib.optionalString (near != [ ]) " (did you mean ${lib.concatMapStringsSep " or " (n: "'${n}'") near}?)"}";
      where = let pos = if wanted == { } then null else builtins.unsafeGetAttrPos (lib.head (builtins.attrNames wanted)) wanted; in
        if builtins.isPath fn || builtins.isString fn then toString fn
        else if pos != null then "${pos.file}:${toString pos.line}" else "<unknown location>";
    in
    if missing == [ ] then makeOverridable f given
    else throw "lib.customisation.callPackageWith: the function at ${where} needs ${lib.concatMapStringsSep ", " describe}, which nobody provides";

  callPackagesWith = autoArgs: fn: args:
    let
      f = if lib.isFunction fn then fn else import fn;
      given = intersectAttrs (lib.functionArgs f) autoArgs // args;
      set = f given;
      pick = name: newArgs: (makeOverridable (a: (f a).${name})) newArgs;
    in
    if lib.isDerivation set then throw "callPackagesWith: use callPackage for a function that returns one package"
    else lib.mapAttrs (name: _: pick name given) set;

  extendDerivation = condition: passthru: drv:
    let
      outputs = drv.outputs or [ "out" ];
      common = drv // lib.listToAttrs list // { all = map (o: o.value) list; } // passthru;
      list = map
        (name: {
          inherit name;
          value = common // {
            inherit (drv.${name}) type outputName;
            outputSpecified = true;
            drvPath = assert condition; drv.${name}.drvPath;
            outPath = assert condition; drv.${name}.outPath;
          };
        })
        outputs;
    in
    common // {
      drvPath = assert condition; drv.drvPath;
      outPath = assert condition; drv.outPath;
    };

  hydraJob = lib.id;

  # A package set whose members see each other.
  makeScope = newScope: f:
    let
      self = f self // {
        newScope = scope: newScope (self // scope);
        callPackage = self.newScope { };
        overrideScope = g: makeScope newScope (lib.extends g f);
        packages = f;
      };
    in
    self;
  makeScopeWithSplicing = splice: newScope: otherSplices: keep: extra: f:
    makeScopeWithSplicing' { splicePackages = splice; inherit newScope; } { inherit otherSplices keep extra f; };
  makeScopeWithSplicing' = { splicePackages, newScope }: { otherSplices, keep ? (_: { }), extra ? (_: { }), f }:
    makeScope newScope (self: f self // keep self);
}
