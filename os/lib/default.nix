# The library that configurations and modules receive as `lib`: function families, one file each, joined by a
# fixed point so that every family can use all the others. Names and behaviour follow nixpkgs' documented `lib`.
let
  fixedPoints = import ./fixed-points.nix { };

  families = lib: {
    trivial = import ./trivial.nix { inherit lib; };
    fixedPoints = import ./fixed-points.nix { inherit lib; };
    lists = import ./lists.nix { inherit lib; };
    attrsets = import ./attrsets.nix { inherit lib; };
    strings = import ./strings.nix { inherit lib; };
    stringsWithDeps = import ./strings-with-deps.nix { inherit lib; };
    versions = import ./versions.nix { inherit lib; };
    asserts = import ./asserts.nix { inherit lib; };
    debug = import ./debug.nix { inherit lib; };
    derivations = import ./derivations.nix { inherit lib; };
    customisation = import ./customisation.nix { inherit lib; };
    meta = import ./meta.nix { inherit lib; };
    filesystem = import ./filesystem.nix { inherit lib; };
    sources = import ./sources.nix { inherit lib; };
    fileset = import ./fileset.nix { inherit lib; };
    path = import ./path.nix { inherit lib; };
    generators = import ./generators.nix { inherit lib; };
    cli = import ./cli.nix { inherit lib; };
    fetchers = import ./fetchers.nix { inherit lib; };
    kernel = import ./kernel.nix { inherit lib; };
    network = import ./network.nix { inherit lib; };
    systems = import ./systems.nix { inherit lib; };
    licenses = import ./licenses.nix { inherit lib; };
    maintainers = import ./maintainers.nix;
    teams = { };
    platforms = import ./platforms.nix;
    nearest = import ./nearest.nix { inherit lib; };
    options = import ./options.nix { inherit lib; };
    modules = import ./modules.nix { inherit lib; };
    types = import ./types.nix { inherit lib; };
  };

  # Families whose members are visible directly below `lib`. Earlier ones lose against later ones.
  flattened = [
    "fetchers" "versions" "derivations" "cli" "debug" "asserts" "sources" "filesystem" "meta" "customisation"
    "stringsWithDeps" "strings" "attrsets" "lists" "fixedPoints" "trivial" "options" "modules"
  ];

  # Names that a family has but that stay below the family, because the short name would mislead.
  hidden = {
    lists = [ "hasPrefix" "removePrefix" "commonPrefix" "findFirstIndex" ];
    sources = [ "trace" "urlToName" ];
    cli = [ "toGNUCommandLine" "toGNUCommandLineShell" "toCommandLine" "toCommandLineGNU" "toCommandLineShell" "toCommandLineShellGNU" ];
    filesystem = [ "haskellPathsInDir" "listFilesRecursive" "locateDominatingFile" "resolveDefaultNix" ];
    trivial = [ "pathType" "oldestSupportedRelease" "release" "codeName" "versionSuffix" "revisionWithDefault" ];
    customisation = [ ];
    versions = [ "major" "minor" "patch" "majorMinor" "pad" "splitVersion" ];
    fetchers = [ "normalizeHash" "withNormalizedHash" "proxyImpureEnvVars" ];
    modules = [ "errors" "collect" "declare" "spread" "dischargeOne" ];
  };

  build = lib:
    let
      own = families lib;
      flat = builtins.foldl'
        (all: name: all // removeAttrs own.${name} (hidden.${name} or [ ]))
        { }
        flattened;
    in
    flat // own // {
      misc = { };
      inherit (own.trivial) pathExists;
      inherit (builtins)
        add addErrorContext attrNames attrValues bitAnd bitOr bitXor catAttrs ceil compareVersions concatLists concatMap concatStringsSep
        deepSeq dirOf div elem elemAt filter floor fromJSON fromTOML genericClosure genList getAttr getContext
        groupBy hasAttr hasContext hashFile hashString head intersectAttrs isAttrs isBool isFloat isInt isList isPath isString
        length lessThan listToAttrs match mul parseDrvName partition placeholder readDir readFile readFileType removeAttrs
        replaceStrings seq sort split splitVersion stringLength sub substring tail toFile toJSON toString toXML trace tryEval
        typeOf unsafeDiscardOutputDependency unsafeDiscardStringContext unsafeGetAttrPos zipAttrsWith appendContext baseNameOf
        filterSource map;
      inherit (own.trivial) isFunction functionArgs;
      inherit (own.lists) foldl foldl';
      inherit (own.strings) isStringLike isConvertibleWithToString;
      inherit (own.types) mkOptionType isType setType isOptionType defaultFunctor defaultTypeMerge;
      inherit (own.generators) mkLuaInline;
      inherit (builtins) all any convertHash flakeRefToString parseFlakeRef addDrvOutputDependencies;
      or = own.trivial."or";
    };
in
fixedPoints.makeExtensible build
