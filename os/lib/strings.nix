# Functions on strings: joining, splitting, escaping, numbers.
{ lib }:
let
  inherit (builtins) stringLength substring replaceStrings concatStringsSep elemAt match isList isString isInt isAttrs split genList
    filter map listToAttrs;
  ascii = import ./ascii.nix;
in
rec {
  inherit (builtins) compareVersions elem elemAt filter fromJSON genList head isInt isList isAttrs isPath isString match parseDrvName
    readFile replaceStrings split storeDir stringLength substring tail toJSON typeOf unsafeDiscardStringContext concatStringsSep
    hasContext appendContext getContext length;

  concatStrings = concatStringsSep "";
  join = concatStringsSep;
  concatMapStrings = f: xs: concatStrings (map f xs);
  concatImapStrings = f: xs: concatStrings (lib.imap1 f xs);
  concatMapStringsSep = sep: f: xs: concatStringsSep sep (map f xs);
  concatImapStringsSep = sep: f: xs: concatStringsSep sep (lib.imap1 f xs);
  concatMapAttrsStringSep = sep: f: set: concatStringsSep sep (lib.mapAttrsToList f set);
  concatLines = concatMapStrings (line: line + "\n");
  intersperse = sep: xs: if xs == [ ] then [ ] else lib.tail (lib.concatMap (x: [ sep x ]) xs);
  replicate = n: s: concatStrings (lib.lists.replicate n s);
  optionalString = cond: s: if cond then s else "";
  replaceString = from: to: replaceStrings [ from ] [ to ];

  # Search paths.
  makeSearchPath = sub: paths: concatMapStringsSep ":" (p: "${p}/${sub}") (filter (p: p != null) paths);
  makeSearchPathOutput = output: sub: pkgs: makeSearchPath sub (map (lib.getOutput output) pkgs);
  makeLibraryPath = pkgs: makeSearchPath "lib" (map lib.getLib pkgs);
  makeIncludePath = pkgs: makeSearchPath "include" (map lib.getInclude pkgs);
  makeBinPath = makeSearchPathOutput "bin" "bin";
  normalizePath = s: concatStrings
    (lib.foldl' (acc: c: if c == "/" && acc != [ ] && lib.last acc == "/" then acc else acc ++ [ c ]) [ ] (stringToCharacters s));

  # Tests.
  hasPrefix = prefix: s: substring 0 (stringLength prefix) s == prefix;
  hasSuffix = suffix: s:
    let n = stringLength s; m = stringLength suffix; in n >= m && substring (n - m) n s == suffix;
  hasInfix = infix: s: match ".*${escapeRegex infix}.*" "${s}" != null;
  isConvertibleWithToString = x:
    isStringLike x || builtins.elem (builtins.typeOf x) [ "null" "int" "float" "bool" ]
    || isList x && builtins.all isConvertibleWithToString x;
  isStringLike = x: isString x || builtins.isPath x || x ? outPath || x ? __toString;
  isCoercibleToString = isConvertibleWithToString;
  isValidPosixName = name: match "[a-zA-Z_][a-zA-Z0-9_]*" name != null;
  isStorePath = x:
    isStringLike x && (let s = toString x; in
      substring 0 1 s == "/" && (dirOf s == builtins.storeDir || match "/[0-9a-z]{52}" s != null));

  # Cutting.
  removePrefix = prefix: s:
    let n = stringLength prefix; in if substring 0 n s == prefix then substring n (-1) s else s;
  removeSuffix = suffix: s:
    let n = stringLength s; m = stringLength suffix; in
    if m <= n && substring (n - m) m s == suffix then substring 0 (n - m) s else s;
  splitString = sep: s:
    let parts = filter isString (split (escapeRegex (toString sep)) (toString s)); in
    map (p: builtins.appendContext p (builtins.getContext "${toString s}")) parts;
  splitStringBy = pred: keepSplit: s:
    let
      n = stringLength s;
      go = pos: from: acc:
        if pos == n then acc ++ [ (substring from (n - from) s) ]
        else if pred (if pos == 0 then "" else substring (pos - 1) 1 s) (substring pos 1 s) then
          go (pos + 1) (if keepSplit then pos else pos + 1) (acc ++ [ (substring from (pos - from) s) ])
        else go (pos + 1) from acc;
    in
    if n == 0 then [ "" ] else go 0 0 [ ];
  trim = trimWith { start = true; end = true; };
  trimWith = { start ? false, end ? false }: s:
    let
      blank = " \t\r\n";
      regex =
        if start && end then "[${blank}]*(.*[^${blank}])[${blank}]*"
        else if start then "[${blank}]*(.*)"
        else if end then "(.*[^${blank}])[${blank}]*"
        else "(.*)";
      found = match regex s;
    in
    if found == null then "" else elemAt found 0;
  stringToCharacters = s: genList (i: substring i 1 s) (stringLength s);
  stringAsChars = f: s: concatStrings (map f (stringToCharacters s));
  charToInt = c: ascii.codes.${c};

  # Case.
  lowerChars = stringToCharacters "abcdefghijklmnopqrstuvwxyz";
  upperChars = stringToCharacters "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
  toLower = replaceStrings upperChars lowerChars;
  toUpper = replaceStrings lowerChars upperChars;
  toSentenceCase = s:
    lib.throwIfNot (isString s) "toSentenceCase does only accepts string values, but got ${builtins.typeOf s}"
      (toUpper (substring 0 1 s) + toLower (substring 1 (-1) s));
  toCamelCase = s:
    lib.throwIfNot (isString s) "toCamelCase does only accepts string values, but got ${builtins.typeOf s}" (
      let
        separators = splitStringBy (_: c: builtins.elem c [ "-" "_" " " ]) false s;
        parts = lib.concatMap
          (splitStringBy (p: c: match "[a-z]" p != null && match "[A-Z]" c != null) true)
          separators;
        first = if parts == [ ] then "" else toLower (lib.head parts);
      in
      concatStrings ([ first ] ++ map toSentenceCase (if parts == [ ] then [ ] else lib.tail parts))
    );

  # Escaping.
  escape = chars: replaceStrings chars (map (c: "\\${c}") chars);
  escapeC = chars: replaceStrings chars (map (c: "\\x${fixedWidthString 2 "0" (toLower (lib.toHexString (charToInt c)))}") chars);
  escapeURL =
    let
      plain = stringToCharacters "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~";
      others = lib.subtractLists plain (builtins.attrNames ascii.codes);
    in
    replaceStrings others (map (c: "%" + fixedWidthString 2 "0" (lib.toHexString (charToInt c))) others);
  escapeShellArg = arg:
    let s = toString arg; in
    if match "[[:alnum:],._+:@%/-]+" s != null then s else "'${replaceStrings [ "'" ] [ "'\\''" ] s}'";
  escapeShellArgs = concatMapStringsSep " " escapeShellArg;
  escapeNixString = s: escape [ "$" ] (builtins.toJSON s);
  escapeRegex = escape (stringToCharacters "\\[{()^$?*+|.");
  escapeNixIdentifier = s:
    if match "[a-zA-Z_][a-zA-Z0-9_'-]*" s != null
      && !(builtins.elem s [ "assert" "else" "if" "in" "inherit" "let" "or" "rec" "then" "with" ])
    then s else escapeNixString s;
  escapeXML = replaceStrings [ "\"" "'" "<" ">" "&" ] [ "&quot;" "&apos;" "&lt;" "&gt;" "&amp;" ];
  # A unit name from a path, as `systemd-escape --path` prints it.
  escapeSystemdPath = s:
    let
      trimmed = removeSuffix "/" (removePrefix "/" (normalizePath s));
      keep = stringToCharacters "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:_.";
      others = lib.subtractLists (keep ++ [ "/" ]) (builtins.attrNames ascii.codes);
      escaped = replaceStrings ([ "/" ] ++ others)
        ([ "-" ] ++ map (c: "\\x${fixedWidthString 2 "0" (toLower (lib.toHexString (charToInt c)))}") others)
        trimmed;
    in
    if trimmed == "" then "-"
    else if hasPrefix "." trimmed then "\\x2e" + substring 1 (-1) escaped
    else escaped;

  # Shell variables from values: strings, lists (arrays) and sets (associative arrays).
  toShellVar = name: value:
    lib.throwIfNot (isValidPosixName name) "toShellVar: ${name} is not a valid shell variable name" (
      if isAttrs value && !isStringLike value then
        "declare -A ${name}=(${concatStringsSep " " (lib.mapAttrsToList (n: v: "[${escapeShellArg n}]=${escapeShellArg v}") value)})"
      else if isList value then "declare -a ${name}=(${escapeShellArgs value})"
      else "${name}=${escapeShellArg value}"
    );
  toShellVars = vars: concatStringsSep "\n" (lib.mapAttrsToList toShellVar vars);

  # Names and versions.
  getName = let parse = drv: (builtins.parseDrvName drv).name; in x: if isString x then parse x else x.pname or (parse x.name);
  getVersion = let parse = drv: (builtins.parseDrvName drv).version; in x: if isString x then parse x else x.version or (parse x.name);
  nameFromURL = url: sep:
    let file = lib.last (splitString "/" url); in lib.head (splitString sep file);
  versionOlder = v1: v2: builtins.compareVersions v2 v1 == 1;
  versionAtLeast = v1: v2: !versionOlder v1 v2;
  sanitizeDerivationName = x:
    let
      s = builtins.unsafeDiscardStringContext (toString x);
      cleaned = concatMapStrings (p: if isList p then "-" else p) (split "[^[:alnum:]+._?=-]+" (lib.head (match "\\.*(.*)" s)));
      n = stringLength cleaned;
      short = if n > 207 then substring (n - 207) (-1) cleaned else cleaned;
    in
    if short == "" then "unknown" else short;

  # Flags for build systems.
  cmakeOptionType = type: feature: value:
    assert builtins.elem (toUpper type) [ "BOOL" "PATH" "FILEPATH" "STRING" "INTERNAL" "LIST" ];
    assert isString feature && isString value;
    "-D${feature}:${toUpper type}=${value}";
  cmakeBool = name: on: assert builtins.isBool on; cmakeOptionType "bool" name (toUpper (lib.boolToString on));
  cmakeFeature = cmakeOptionType "string";
  mesonOption = name: value: assert isString name && isString value; "-D${name}=${value}";
  mesonBool = name: on: assert builtins.isBool on; mesonOption name (lib.boolToString on);
  mesonEnable = name: on: assert builtins.isBool on; mesonOption name (if on then "enabled" else "disabled");
  enableFeature = on: name: assert builtins.isBool on; "--${if on then "enable" else "disable"}-${name}";
  enableFeatureAs = on: name: value: enableFeature on name + optionalString on "=${value}";
  withFeature = on: name: "--${if on then "with" else "without"}-${name}";
  withFeatureAs = on: name: value: withFeature on name + optionalString on "=${value}";

  # Numbers.
  fixedWidthString = width: filler: s:
    let missing = width - stringLength s; in
    assert lib.assertMsg (missing >= 0)
      "fixedWidthString: requested string length (${toString width}) must not be shorter than actual length (${toString (stringLength s)})";
    if missing == 0 then s else filler + fixedWidthString (width - 1) filler s;
  fixedWidthNumber = width: n: fixedWidthString width "0" (toString n);
  floatToString = f: toString f;
  toInt = text:
    let
      found = match "[[:space:]]*(-?[[:digit:]]+)[[:space:]]*" text;
      ambiguous = match "[[:space:]]*0[[:digit:]]+[[:space:]]*" text != null;
    in
    if found == null then throw "toInt: Could not convert ${builtins.toJSON text} to int."
    else if ambiguous then throw "toInt: Ambiguity in interpretation of ${builtins.toJSON text} between octal and zero padded integer."
    else builtins.fromJSON (elemAt found 0);
  toIntBase10 = text:
    let found = match "[[:space:]]*(-?)0*([[:digit:]]+)[[:space:]]*" text; in
    if found == null then throw "toIntBase10: Could not convert ${builtins.toJSON text} to int."
    else builtins.fromJSON (concatStrings found);

  fileContents = file: removeSuffix "\n" (builtins.readFile file);
  readPathsFromFile = root: file:
    map (p: root + "/${p}") (filter (p: p != "" && !hasPrefix "#" p) (splitString "\n" (builtins.readFile file)));
  addContextFrom = src: target: substring 0 0 src + target;
  levenshtein = lib.nearest.distance;
  levenshteinAtMost = k: a: b: lib.nearest.distance a b <= k;
  commonPrefixLength = a: b:
    let m = lib.min (stringLength a) (stringLength b); go = i: if i >= m || substring i 1 a != substring i 1 b then i else go (i + 1); in go 0;
  commonSuffixLength = a: b:
    let
      la = stringLength a; lb = stringLength b; m = lib.min la lb;
      go = i: if i >= m || substring (la - i - 1) 1 a != substring (lb - i - 1) 1 b then i else go (i + 1);
    in
    go 0;
}
