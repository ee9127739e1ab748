# Small functions of general use: logic, numbers, warnings, reading files.
{ lib }:
let
  inherit (builtins) isFunction functionArgs isAttrs length genList;
  callable = f: isFunction f || isAttrs f && f ? __functor && callable (f.__functor f);
in
rec {
  inherit (builtins) pathExists readFile isBool isInt isFloat add sub lessThan seq deepSeq genericClosure bitAnd bitOr bitXor;

  id = x: x;
  const = x: _: x;
  flip = f: a: b: f b a;
  pipe = builtins.foldl' (x: f: f x);
  concat = x: y: x ++ y;
  or = x: y: x || y;
  and = x: y: x && y;
  xor = x: y: (!x) != (!y);
  bitNot = builtins.sub (-1);
  boolToString = b: if b then "true" else "false";
  boolToYesNo = b: if b then "yes" else "no";
  mergeAttrs = x: y: x // y;
  defaultTo = default: x: if x == null then default else x;
  mapNullable = f: x: if x == null then null else f x;

  min = x: y: if x < y then x else y;
  max = x: y: if x > y then x else y;
  # The remainder of truncated division: its sign is the dividend's.
  mod = base: int: base - (int * (builtins.div base int));
  # -1, 0 or 1, as `sort`-like functions want it.
  compare = a: b: if a < b then -1 else if a > b then 1 else 0;
  # Orders by "p holds" first, then by `yes` among those for which it holds and by `no` among the rest.
  splitByAndCompare = p: yes: no: a: b:
    let pa = p a; pb = p b; in
    if pa then (if pb then yes a b else -1) else if pb then 1 else no a b;

  importJSON = path: builtins.fromJSON (builtins.readFile path);
  importTOML = path: builtins.fromTOML (builtins.readFile path);
  pathType = builtins.readFileType;

  release = "26.05";
  oldestSupportedRelease = 2511;
  isInOldestRelease = oldestSupportedReleaseIsAtLeast;
  oldestSupportedReleaseIsAtLeast = r: r <= oldestSupportedRelease;
  codeName = "Firn";
  versionSuffix = "";
  version = release + versionSuffix;
  nixpkgsVersion = version;
  revisionWithDefault = default: default;
  inNixShell = builtins.getEnv "IN_NIX_SHELL" != "";
  inPureEvalMode = !(builtins ? currentSystem);

  # Warnings go to standard error; NIX_ABORT_ON_WARN turns them into errors.
  warn =
    if builtins.elem (builtins.getEnv "NIX_ABORT_ON_WARN") [ "1" "true" "yes" ]
    then msg: builtins.trace "evaluation warning: ${msg}" (abort "NIX_ABORT_ON_WARN is set: warnings are errors here")
    else builtins.warn or (msg: builtins.trace "evaluation warning: ${msg}");
  warnIf = cond: msg: if cond then warn msg else id;
  warnIfNot = cond: warnIf (!cond);
  throwIf = cond: msg: if cond then throw msg else id;
  throwIfNot = cond: throwIf (!cond);
  info = msg: builtins.trace "INFO: ${msg}";
  showWarnings = warnings: res: lib.foldr warn res warnings;

  # `checkListOfEnum "colours" [ "red" "green" ] [ "red" ] value`: value, or an error that names the strangers.
  checkListOfEnum = msg: valid: given:
    let strangers = lib.subtractLists valid given; in
    throwIfNot (strangers == [ ])
      "${msg}: ${lib.concatStringsSep ", " strangers} unexpected; valid ones: ${lib.concatStringsSep ", " valid}";

  # Functions that say which arguments they take, and sets that can be called.
  setFunctionArgs = f: args: { __functor = _: f; __functionArgs = args; };
  functionArgs = f: if f ? __functor then f.__functionArgs or (functionArgs (f.__functor f)) else builtins.functionArgs f;
  isFunction = callable;
  mirrorFunctionArgs = f: let args = functionArgs f; in g: setFunctionArgs g args;
  toFunction = v: if callable v then v else _: v;

  fromHexString = text:
    let
      digits = {
        "0" = 0; "1" = 1; "2" = 2; "3" = 3; "4" = 4; "5" = 5; "6" = 6; "7" = 7; "8" = 8; "9" = 9;
        a = 10; b = 11; c = 12; d = 13; e = 14; f = 15;
      };
      parts = builtins.match "(0x)?([0-9a-fA-F]+)" text;
    in
    if parts == null then throw "fromHexString: ${builtins.toJSON text} is not a hexadecimal number"
    else builtins.foldl' (n: c: n * 16 + digits.${lib.toLower c}) 0 (lib.stringToCharacters (builtins.elemAt parts 1));

  toHexString = n:
    lib.concatMapStrings (d: builtins.elemAt [ "0" "1" "2" "3" "4" "5" "6" "7" "8" "9" "A" "B" "C" "D" "E" "F" ] d) (toBaseDigits 16 n);

  # The digits of a number that is not negative, most significant first.
  toBaseDigits = base: n:
    let go = rest: if rest < base then [ rest ] else go (rest / base) ++ [ (mod rest base) ]; in
    assert builtins.isInt base && builtins.isInt n && base >= 2 && n >= 0;
    go n;
}
