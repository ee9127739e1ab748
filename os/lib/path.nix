# Functions on path values and on relative subpaths (strings).
{ lib }:
let
  problem = s:
    if !(builtins.isString s) then "the given value is of type ${builtins.typeOf s}, but a string was expected"
    else if s == "" then "the given string is empty"
    else if builtins.substring 0 1 s == "/" then "the given string \"${s}\" starts with a `/`, representing an absolute path"
    else if builtins.elem ".." (lib.splitString "/" s) then "the given string \"${s}\" contains a `..` component, which is not allowed in subpaths"
    else null;
  valid = who: s: let p = problem s; in if p == null then s else throw "lib.path.${who}: ${p}";
  parts = s: builtins.filter (c: c != "" && c != ".") (lib.splitString "/" s);
  absolute = p: builtins.filter (c: c != "") (lib.splitString "/" (toString p));
in
rec {
  append = path: sub: path + "/${subpath.normalise (valid "append" sub)}";
  hasPrefix = a: b: lib.lists.hasPrefix (absolute a) (absolute b);
  removePrefix = a: b:
    if hasPrefix a b then subpath.join (lib.drop (builtins.length (absolute a)) (absolute b))
    else throw "lib.path.removePrefix: The first path argument \"${toString a}\" is not a component-wise prefix of the second path argument \"${toString b}\".";
  splitRoot = path: { root = /.; subpath = subpath.join (absolute path); };
  hasStorePathPrefix = path: let p = absolute path; s = absolute builtins.storeDir; in
    lib.lists.hasPrefix s p && builtins.length p > builtins.length s
    && builtins.match "[0-9a-z]{32}-.*" (builtins.elemAt p (builtins.length s)) != null;
  subpath = {
    isValid = s: problem s == null;
    components = s: parts (valid "subpath.components" s);
    normalise = s: subpath.join [ (valid "subpath.normalise" s) ];
    join = subpaths:
      let cs = lib.concatMap (s: parts (valid "subpath.join" s)) subpaths; in
      if cs == [ ] then "./." else "./" + lib.concatStringsSep "/" cs;
  };
}
