# What the user reads when modules do not fit together: always the place, what was found, and what to do.
{ lib }:
let
  inherit (builtins) isAttrs isString isInt isList isBool isFunction typeOf length head tail stringLength substring tryEval;
  inherit (lib) showOption concatMapStrings concatMapStringsSep concatStringsSep optionalString;

  articles = {
    int = "the integer"; bool = "the boolean"; string = "the string"; list = "a list"; set = "a set"; lambda = "a function";
    null = "null"; path = "the path"; float = "the number";
  };
  # A value in a few words. Never deep: evaluating more might fail by itself.
  shortly = v:
    let t = typeOf v; in
    if t == "string" then (if stringLength v > 60 then "\"${substring 0 57 (lib.escape [ "\"" ] v)}…\"" else lib.strings.escapeNixString v)
    else if t == "int" || t == "float" || t == "path" then toString v
    else if t == "bool" then lib.boolToString v
    else if t == "null" then "null"
    else if t == "lambda" then "<function>"
    else if t == "list" then "[ ${concatMapStringsSep " " (x: let r = tryEval (if isAttrs x || isList x then "…" else shortly x); in if r.success then r.value else "…") (lib.take 4 v)}${optionalString (length v > 4) " …"} ]"
    else if (tryEval (v.type or null)).value == "derivation" then "<derivation>"
    else let names = builtins.attrNames v; in "{ ${concatMapStringsSep " " (n: "${n} = …;") (lib.take 4 names)}${optionalString (length names > 4) " …"} }";
  described = v:
    let t = typeOf v; in
    if t == "null" || t == "lambda" then articles.${t}
    else if t == "list" && v == [ ] then "an empty list"
    else "${articles.${t}} ${shortly v}";

  # Where a definition stands: file and line when they are known.
  place = def:
    let at = def.at or null; in
    if at != null && lib.hasPrefix "/" (toString at.file) then "${at.file}:${toString at.line}"
    else def.file;
  where = def: "\n  in ${place def}";

  hint = type: v:
    let name = type.name or ""; t = typeOf v; wantsText = lib.hasPrefix "str" name || builtins.elem name [ "separatedString" "lines" "commas" "singleLineStr" "nonEmptyStr" ]; in
    if t == "string" && builtins.match "-?[0-9]+" v != null && (lib.hasInfix "int" (lib.toLower name) || lib.hasInfix "integer" (type.description or "")) then "\n  hint: write ${v} without the quotes"
    else if t == "string" && builtins.elem v [ "true" "false" "yes" "no" ] && name == "bool" then "\n  hint: write ${if v == "yes" || v == "true" then "true" else "false"} without the quotes"
    else if (t == "int" || t == "float" || t == "bool") && wantsText then "\n  hint: put it in quotes: \"${if isBool v then lib.boolToString v else toString v}\""
    else if name == "listOf" && t != "list" then "\n  hint: put it in brackets: [ ${if t == "set" then "…" else shortly v} ]"
    else if t == "list" && length v == 1 && name != "listOf" then "\n  hint: write it without the brackets"
    else if t == "set" && builtins.elem (v._type or null) [ "option" ] then "\n  hint: this is an option declaration; it belongs under `options'"
    else if t == "string" && name == "package" then "\n  hint: write pkgs.${v} without the quotes"
    else if t == "lambda" then "\n  hint: a function is missing its arguments here, or a list element needs parentheses"
    else if name == "enum" && t == "string" && type.functor.payload.values or [ ] != [ ] then
      let near = lib.nearest.suggest v (builtins.filter isString type.functor.payload.values); in
      optionalString (near != [ ]) "\n  hint: did you mean ${concatMapStringsSep " or " (n: "\"${n}\"") near}?"
    else "";

  # An option's name in quotes; an element of a list by its number.
  named = loc:
    let element = builtins.match "\\[definition [0-9]+-entry ([0-9]+)]" (lib.last loc); in
    if loc != [ ] && element != null then "`${showOption (lib.init loc)}' (element ${head element})" else "`${showOption loc}'";

  # Every option's name, as far as the tree tells it without evaluating values.
  optionNames = prefix: tree:
    lib.concatLists (lib.mapAttrsToList
      (n: v: if lib.hasPrefix "_" n then [ ] else if v._type or null == "option" then [ (showOption (prefix ++ [ n ])) ] else optionNames (prefix ++ [ n ]) v)
      tree);
in
{
  inherit shortly place;

  unknownOptions = options: strangers:
    let
      one = d:
        let
          name = lib.last d.loc;
          parent = lib.init d.loc;
          near = lib.nearest.suggest name d.siblings;
          # The same last name elsewhere helps when the path and not the name is wrong.
          elsewhere = builtins.filter (o: lib.hasSuffix ".${name}" o) (optionNames [ ] options);
          candidates =
            if near != [ ] then map (n: showOption (parent ++ [ n ])) near
            else lib.take 3 elsewhere;
        in
        "The option `${showOption d.loc}' does not exist.${where d}"
        + optionalString (candidates != [ ]) "\n  did you mean ${concatMapStringsSep " or " (c: "`${c}'") candidates}?";
      shown = lib.take 20 strangers;
    in
    concatStringsSep "\n" (map one shown)
    + optionalString (length strangers > 20) "\n… and ${toString (length strangers - 20)} more"
    + "\nFirn may lack an option that NixOS has: --allow-unsupported reports such options instead of refusing them.";

  ignored = d: "the option `${showOption d.loc}' is not supported and was ignored (${place d})";

  notASet = prefix: c: value:
    "The option `${showOption prefix}' holds further options, so it wants a set, but got ${described value}${where { inherit (c) file; at = c.at or null; }}";

  wrongType = loc: type: wrong:
    "A definition for option ${named loc} is not of type `${type.description or type.name}'."
    + concatMapStrings (def: "\n  got ${described def.value}${where def}${hint type def.value}") wrong;

  noValue = loc: type:
    "The option `${showOption loc}' was accessed but has no value defined. Try setting the option (it wants ${type.description or type.name}).";

  conflict = loc: defs:
    "The option `${showOption loc}' has conflicting definition values:"
    + concatMapStrings (def: "\n  ${shortly def.value}${where def}") defs
    + "\n  hint: keep one of them, or mark the one that should win: lib.mkForce ${let v = (lib.last defs).value; in if isAttrs v || isList v then "…" else shortly v}";

  notUnique = loc: defs: message:
    "The option `${showOption loc}' is defined multiple times while it's expected to be unique.\n${message}${optionalString (message != "") "\n"}"
    + "Definition values:" + concatMapStrings (def: "\n  ${shortly def.value}${where def}") defs
    + "\n  hint: keep one of them, or mark the one that should win with lib.mkForce";

  readOnly = loc: opt: defs:
    "The option `${showOption loc}' is read-only, but it's set ${if length defs == 1 then "here" else "multiple times"}:"
    + concatMapStrings (def: "\n  ${shortly def.value}${where def}") defs;

  declaredTwice = loc: files: why:
    "The option `${showOption loc}' is declared more than once, ${why}:" + concatMapStrings (f: "\n  in ${f}") (lib.unique files);

  optionIsPrefix = loc: decls: below:
    "The option `${showOption loc}' in ${lib.showFiles (map (d: d._file) decls)} is a prefix of options in ${lib.showFiles (map (d: d._file) below)}."
    + " Its type would have to be a submodule to hold further options.";
}
