# Sets as a package collection uses them: layers by fixed points, overriding, selection: what `ci/bench-instructions` counts.
let
  inherit (builtins) attrNames attrValues foldl' genList length listToAttrs mapAttrs removeAttrs;
  fix = f: let self = f self; in self;
  extends = over: base: final: let previous = base final; in previous // over final previous;
  override = make: arguments: make arguments // { override = more: override make (arguments // more); };
  names = genList (n: "package${toString n}") 400;
  base =
    final:
    listToAttrs (
      map (name: {
        inherit name;
        value = override (
          { version ? "1", inputs ? [ ], ... }@arguments:
          { inherit name version inputs; outPath = "/${name}-${version}"; } // removeAttrs arguments [ "inputs" ]
        ) { meta.description = name; };
      }) names
    );
  overlay =
    n: final: previous:
    mapAttrs (_: package: package.override { version = toString n; inputs = [ final.package0 ]; }) (
      builtins.intersectAttrs { "package${toString n}" = null; "package${toString (n + 1)}" = null; } previous
    );
  packages = fix (foldl' (sum: n: extends (overlay n) sum) base (genList (n: n * 3) 60));
in
[
  (length (attrNames packages))
  packages.package3.version
  packages.package180.meta.description
  (foldl' (sum: package: sum + builtins.stringLength package.outPath) 0 (attrValues packages))
  (foldl' (sum: package: sum + (if package ? inputs && package.inputs != [ ] then 1 else 0)) 0 (attrValues packages))
]
