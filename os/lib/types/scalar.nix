# Types of single values: numbers, strings, paths, packages, and the types that take anything.
{ lib, mkOptionType }:
let
  inherit (builtins) isString isInt isBool isFloat isAttrs isList isPath isFunction head tail length match all concatStringsSep;
  inherit (lib) mergeEqualOption mergeOneOption hasPrefix isStringLike isDerivation isStorePath;

  noun = name: description: check: mkOptionType { inherit name description check; descriptionClass = "noun"; merge = mergeEqualOption; };
  # A type with a further condition: another name, another description, the same rest.
  narrowed = type: name: description: check: type // {
    inherit name description;
    descriptionClass = "noun";
    check = v: type.check v && check v;
    functor = type.functor // { inherit name; };
    typeMerge = g: if g.name == name then narrowed type name description check else null;
  };
  joined = separator: name: mkOptionType {
    inherit name;
    description = if separator == "" then "Concatenated string" else "strings concatenated with ${builtins.toJSON separator}";
    descriptionClass = "noun";
    check = isString;
    merge = _: defs: concatStringsSep separator (lib.getValues defs);
    functor = {
      inherit name;
      payload = { sep = separator; };
      type = p: separatedString p.sep;
      binOp = a: b: if a.sep == b.sep then a else null;
    };
  };
  separatedString = separator: joined separator "separatedString";
  # `lines` and its kin keep a name of their own in messages and merge with their likes.
  named = name: description: type: type // {
    inherit description;
    name = "separatedString";
  };

  int = noun "int" "signed integer" isInt;
  float = noun "float" "floating point number" isFloat;
  str = mkOptionType { name = "str"; description = "string"; descriptionClass = "noun"; check = isString; merge = mergeEqualOption; };
  between = lowest: highest:
    assert lib.assertMsg (lowest <= highest) "ints.between: lowest must be smaller than highest";
    narrowed int "intBetween" "integer between ${toString lowest} and ${toString highest} (both inclusive)" (x: x >= lowest && x <= highest)
    // { typeMerge = g: if g.name == "intBetween" && g.range or null == [ lowest highest ] then between lowest highest else null;
         functor = { name = "intBetween"; range = [ lowest highest ]; wrapped = null; payload = null; binOp = _: _: null; type = null; }; };
  sized = name: bits: lowest: highest: kind:
    narrowed int name "${toString bits} bit ${kind} integer; between ${toString lowest} and ${toString highest} (both inclusive)" (x: x >= lowest && x <= highest);
  numberBetween = lowest: highest:
    assert lib.assertMsg (lowest <= highest) "numbers.between: lowest must be smaller than highest";
    narrowed number "numberBetween" "integer or floating point number between ${toString lowest} and ${toString highest} (both inclusive)" (x: x >= lowest && x <= highest);
  number = mkOptionType {
    name = "either";
    description = "signed integer or floating point number";
    descriptionClass = "conjunction";
    check = x: isInt x || isFloat x;
    merge = mergeEqualOption;
    functor = { name = "number"; type = number; payload = null; wrapped = null; binOp = _: _: null; };
  };
in
rec {
  inherit int float str number separatedString;

  raw = mkOptionType { name = "raw"; description = "raw value"; descriptionClass = "noun"; check = _: true; merge = mergeOneOption; };
  unspecified = mkOptionType { name = "unspecified"; description = "unspecified value"; descriptionClass = "noun"; };
  bool = noun "bool" "boolean" isBool;
  boolByOr = mkOptionType {
    name = "boolByOr";
    description = "boolean (merged using or)";
    descriptionClass = "noun";
    check = isBool;
    merge = _: defs: builtins.any (d: d.value) defs;
  };

  # Sets merge, lists and functions too; anything else must be equal.
  anything = mkOptionType {
    name = "anything";
    description = "anything";
    descriptionClass = "noun";
    check = _: true;
    merge = loc: defs:
      let
        kind = v: if isAttrs v && isStringLike v then "stringCoercibleSet" else builtins.typeOf v;
        kinds = lib.unique (map (d: kind d.value) defs);
        common = if length kinds == 1 then head kinds
          else throw "The option `${lib.showOption loc}' has conflicting option types in ${lib.showFiles (lib.getFiles defs)}";
        byKind = {
          set = (lib.types.lazyAttrsOf anything).merge;
          list = if length defs > 1 then (lib.types.listOf anything).merge else mergeOneOption;
          stringCoercibleSet = mergeOneOption;
          lambda = loc: defs: arg: anything.merge (loc ++ [ "<function body>" ]) (map (d: { inherit (d) file; value = d.value arg; }) defs);
        };
      in
      (byKind.${common} or mergeEqualOption) loc defs;
  };

  ints = {
    inherit between;
    unsigned = narrowed int "unsignedInt" "unsigned integer, meaning >=0" (x: x >= 0);
    positive = narrowed int "positiveInt" "positive integer, meaning >0" (x: x > 0);
    u8 = sized "unsignedInt8" 8 0 255 "unsigned";
    u16 = sized "unsignedInt16" 16 0 65535 "unsigned";
    u32 = sized "unsignedInt32" 32 0 4294967295 "unsigned";
    s8 = sized "signedInt8" 8 (-128) 127 "signed";
    s16 = sized "signedInt16" 16 (-32768) 32767 "signed";
    s32 = sized "signedInt32" 32 (-2147483648) 2147483647 "signed";
  };
  port = ints.u16;
  numbers = {
    between = numberBetween;
    nonnegative = narrowed number "numberNonnegative" "nonnegative integer or floating point number, meaning >=0" (x: x >= 0);
    positive = narrowed number "numberPositive" "positive integer or floating point number, meaning >0" (x: x > 0);
  };

  nonEmptyStr = mkOptionType {
    name = "nonEmptyStr";
    description = "non-empty string";
    descriptionClass = "noun";
    check = x: isString x && match "[ \t\n]*" x == null;
    merge = mergeEqualOption;
  };
  singleLineStr = mkOptionType {
    name = "singleLineStr";
    description = "(optionally newline-terminated) single-line string";
    descriptionClass = "noun";
    check = x: isString x && match "[^\n\r]*\n?" x != null;
    merge = loc: defs: lib.removeSuffix "\n" (mergeEqualOption loc defs);
  };
  strMatching = pattern: mkOptionType {
    name = "strMatching ${lib.strings.escapeNixString pattern}";
    description = "string matching the pattern ${pattern}";
    descriptionClass = "noun";
    check = x: isString x && match pattern x != null;
    merge = mergeEqualOption;
    functor = {
      name = "strMatching";
      payload = { inherit pattern; };
      type = p: strMatching p.pattern;
      binOp = a: b: if a == b then a else null;
      wrapped = null;
    };
  };
  string = separatedString "";
  lines = separatedString "\n";
  commas = separatedString ",";
  envVar = separatedString ":";
  # An entry of the password file: no colon, one line.
  passwdEntry = entry: lib.types.addCheck entry (x: !(lib.hasInfix ":" x || lib.hasInfix "\n" x)) // {
    name = "passwdEntry ${entry.name}";
    description = "${lib.types.optionDescriptionPhrase (c: c == "noun") entry}, not containing newlines or colons";
  };

  path = pathWith { absolute = true; } // { name = "path"; description = "absolute path"; };
  pathInStore = pathWith { inStore = true; } // { name = "pathInStore"; };
  externalPath = pathWith { absolute = true; inStore = false; } // { name = "externalPath"; };
  pathWith = { inStore ? null, absolute ? null }:
    let
      kind = lib.optionalString (absolute != null) (if absolute then "absolute " else "relative ");
      place = lib.optionalString (inStore != null) (if inStore then " in the Nix store" else " not in the Nix store");
      storePrefix = builtins.storeDir + "/";
    in
    mkOptionType {
      name = "pathWith";
      description = "${kind}path${place}";
      descriptionClass = "noun";
      check = x:
        let s = builtins.unsafeDiscardStringContext (toString x); in
        isStringLike x
        && (absolute == null || absolute == hasPrefix "/" s)
        && (inStore == null || inStore == (hasPrefix storePrefix s && match "[^.].*" (lib.removePrefix storePrefix s) != null));
      merge = mergeEqualOption;
      functor = {
        name = "pathWith";
        payload = { inherit inStore absolute; };
        type = pathWith;
        binOp = a: b: if a == b then a else null;
        wrapped = null;
      };
    };

  package = mkOptionType {
    name = "package";
    description = "package";
    descriptionClass = "noun";
    check = x: isDerivation x || isStorePath x;
    merge = loc: defs:
      let v = mergeOneOption loc defs; in
      if isPath v || isString v && !(builtins.hasContext v) then lib.toDerivation v else v;
  };
  shellPackage = package // { check = x: isDerivation x && x ? shellPath; };
  pkgs = noun "pkgs" "Nixpkgs package set" (x: x._type or null == "pkgs" || isAttrs x) // { merge = mergeOneOption; };
  fileset = noun "fileset" "fileset" (x: x._type or null == "fileset") // { merge = mergeOneOption; };

  optionType = mkOptionType {
    name = "optionType";
    description = "optionType";
    descriptionClass = "noun";
    check = v: v._type or null == "option-type";
    merge = loc: defs:
      if length defs == 1 then (head defs).value
      else
        lib.foldl'
          (t: d:
            let m = t.typeMerge d.value.functor; in
            if m == null then throw "The option `${lib.showOption loc}' is defined with types that do not fit together, in ${lib.showFiles (lib.getFiles defs)}." else m)
          (head defs).value
          (tail defs);
  };
}
