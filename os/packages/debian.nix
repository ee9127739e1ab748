# The Debian channel as packages (the index's format: cli/src/channel/index.rs). Each package is two derivations: one that
# fetches the .deb by its hash, and one that unpacks it into a store path of its own and makes it live there
# (`firn-tools unpack-deb`). Packages that depend on each other in a cycle share a path.
{ channel, system, lib, pkgs }:
let
  inherit (builtins) attrNames concatMap elem elemAt fromJSON genericClosure hashString head mapAttrs readFile replaceStrings substring;

  index = file: fromJSON (readFile (channel + "/${file}"));
  meta = index "meta.json";
  inherit (meta) groups sources;
  known = index "names.json";

  # Shards by name; each is read when one of its packages is asked for, once.
  shards = lib.genAttrs (map shardName allDigits) (shard: index "shards/${shard}.json");
  allDigits = lib.cartesianProduct { a = hexadecimal; b = hexadecimal; c = hexadecimal; };
  hexadecimal = lib.stringToCharacters "0123456789abcdef";
  shardName = { a, b, c }: a + b + c;

  # What the index says of a package; for a virtual package what it says of its provider.
  entryOf = name:
    let
      entry = shards.${substring 0 meta.shardDigits (hashString "sha256" name)}.${name} or (missing name);
    in
    if entry ? provider then entryOf entry.provider else entry // { inherit name; };

  missing = name:
    let near = lib.nearest.suggest name (attrNames known); in
    throw "the channel has no package '${name}'${lib.optionalString (near != [ ]) "; there is ${lib.concatMapStringsSep ", " (n: "'${n}'") near}"}";

  # A unit is what shares one store path: a package or a group of them.
  unitNameOf = name: let entry = entryOf name; in entry.group or entry.name;
  membersOf = unit: map entryOf (groups.${unit} or [ unit ]);
  directOf = unit: units.${unit}.direct;

  # What was worked out for a unit, kept: an attribute for each name, empty until asked for.
  units = mapAttrs (name: _: { direct = direct name; package = unitPackage name; }) known;
  direct = unit:
    let
      dependsOf = member:
        let own = overridesOf member; in
        lib.subtractLists (own.without or [ ]) member.depends ++ own.depends or [ ];
    in
    builtins.filter (other: other != unit) (lib.unique (concatMap (member: map unitNameOf (dependsOf member)) (membersOf unit)));

  # All that some units need, nearest first, without themselves.
  closureOf = units:
    let
      reached = genericClosure {
        startSet = map (key: { inherit key; }) (lib.unique (concatMap directOf units));
        operator = { key }: map (key: { inherit key; }) (directOf key);
      };
    in
    builtins.filter (unit: !(elem unit units)) (map (one: one.key) reached);

  # Debian's essential shells, which scripts use without saying so. What they are made of cannot itself use them.
  shells = map unitNameOf [ "dash" "bash" ];
  belowShells = shells ++ closureOf shells;

  # Names have no epoch (`2:9.0-1`), which nobody knows a program's version by.
  withoutEpoch = version: lib.last (builtins.split "^[0-9]+:" version);
  storeName = replaceStrings [ ":" "~" "/" ] [ "-" "-" "-" ];

  fetch = entry:
    derivation {
      name = storeName (baseNameOf entry.filename);
      builder = "builtin:fetchurl";
      system = "builtin";
      url = "${(elemAt sources (entry.source or 0)).base}/${entry.filename}";
      outputHash = entry.sha256;
      outputHashAlgo = "sha256";
      outputHashMode = "flat";
      executable = false;
      unpack = false;
      preferLocalBuild = true;
    };

  overrides = import ./overrides.nix;
  overridesOf = member:
    let own = overrides.${member.name} or { }; in
    if lib.isFunction own then own (withoutEpoch member.version) else own;
  forNixCode = [ "alone" "depends" "without" ];

  # Several packages as one store path.
  unpack =
    { name
    , version
      # Entries of the index.
    , members
      # Units whose store paths they may use.
    , dependencies
    , interpreters ? [ ]
    , description ? name
    , mainProgram ? name
    , ...
    }@arguments:
    lib.makeOverridable builder (arguments // { inherit name version members dependencies interpreters description mainProgram; });
  builder = { name, version, members, dependencies, interpreters, description, mainProgram, ... }@arguments:
    let
      extra = removeAttrs arguments [ "name" "version" "members" "dependencies" "interpreters" "description" "mainProgram" "passthru" ];
      unmet = concatMap (member: map (other: "${other} (for ${member.name})") (member.unmet or [ ])) members;
      make = change:
        let
          attributes = {
            name = "${storeName name}-${storeName (withoutEpoch version)}";
            pname = name;
            inherit system;
            version = withoutEpoch version;
            builder = "${pkgs.firn-tools}";
            args = [ "unpack-deb" ];
            __structuredAttrs = true;
            debs = map fetch members;
            dependencies = map unit dependencies;
          }
          // lib.optionalAttrs (interpreters != [ ]) { interpreters = map unit interpreters; }
          // extra;
          changed = attributes // change attributes;
        in
        derivation (removeAttrs changed [ "pname" "version" ]) // {
          inherit (changed) pname version;
          inherit system;
          meta = { inherit description mainProgram; name = changed.name; outputsToInstall = [ "out" ]; available = true; broken = false; };
          passthru = arguments.passthru or { };
          overrideAttrs = f: make (old: let before = change old; in before // (if lib.isFunction f then f (old // before) else f));
        } // (arguments.passthru or { });
    in
    if unmet != [ ] then throw "the package '${name}' needs ${lib.concatStringsSep ", " unmet}, which the channel does not have; add the suite or component that has it (firn channel add --suite, --component)"
    else make (_: { });

  # The store path of a unit.
  unit = name: units.${name}.package;
  unitPackage = name:
    let
      members = membersOf name;
      own = lib.foldl' (all: member: all // overridesOf member) { } members;
      first = if groups ? ${name} then entryOf name else head members;
      wanted = closureOf [ name ];
    in
    unpack ({
      inherit name members;
      inherit (first) version;
      dependencies = if own.alone or false then [ ] else wanted;
      interpreters = if elem name belowShells || own.alone or false then [ ] else builtins.filter (shell: !(elem shell wanted)) shells;
    } // removeAttrs own forNixCode);

  packages = mapAttrs (name: _: unit (unitNameOf name)) known;
in
packages // {
  debian = {
    inherit packages entryOf sources;
    # A package by a name that is computed; one that is not there is an error with near names.
    package = name: packages.${name} or (missing name);
    # Several packages in one store path: those that find each other's files by their own place.
    join = { name, packages, version ? (entryOf (head packages)).version, ... }@arguments:
      let joined = lib.unique (map unitNameOf packages); members = concatMap membersOf joined; wanted = closureOf joined; in
      unpack ({
        inherit name version members;
        dependencies = wanted;
        interpreters = builtins.filter (shell: !(elem shell wanted) && !(elem shell joined)) shells;
      } // lib.foldl' (all: member: all // removeAttrs (overridesOf member) forNixCode) { } members
      // removeAttrs arguments [ "packages" ]);
  };
}
