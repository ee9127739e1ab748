# Functions on derivations that do not build anything themselves.
{ lib }:
{
  # A package whose meta and outputs can be read without instantiating it.
  lazyDerivation = args@{ derivation, meta ? null, passthru ? { }, outputs ? [ "out" ] }:
    let out = { inherit (derivation) type drvPath name system outputName; inherit outputs; };
    in
    (if meta == null then { inherit (derivation) meta; } else { inherit meta; })
    // out
    // lib.genAttrs outputs (o: derivation.${o})
    // { outPath = derivation.outPath; }
    // passthru;
  optionalDrvAttr = cond: value: if cond then value else null;
  warnOnInstantiate = msg: drv:
    let guarded = removeAttrs drv [ "meta" "name" "type" "outputName" ]; in
    drv // builtins.mapAttrs (_: lib.warn msg) guarded;
}
