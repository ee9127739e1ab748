# Values as text in other notations.
{ lib }:
let
  inherit (builtins) isAttrs isList isString isInt isFloat isBool isPath isFunction typeOf toJSON toString;
in
rec {
  mkValueStringDefault = { }: v:
    if v == null then "null"
    else if v == true then "true"
    else if v == false then "false"
    else if isString v || isInt v || lib.isDerivation v || isPath v then toString v
    else if isFloat v then lib.floatToString v
    else if isList v then throw "generators.mkValueStringDefault: lists not supported: ${toPretty { } v}"
    else if isAttrs v then throw "generators.mkValueStringDefault: attrsets not supported: ${toPretty { } v}"
    else throw "generators.mkValueStringDefault: ${typeOf v}s not supported: ${toPretty { } v}";

  mkKeyValueDefault = { mkValueString ? mkValueStringDefault { } }: sep: k: v: "${lib.escape [ sep ] k}${sep}${mkValueString v}";

  toKeyValue = { mkKeyValue ? mkKeyValueDefault { } "=", listsAsDuplicateKeys ? false, indent ? "" }: set:
    let
      line = k: v: indent + mkKeyValue k v + "\n";
      lines = if listsAsDuplicateKeys then k: v: map (line k) (lib.toList v) else k: v: [ (line k v) ];
    in
    lib.concatStrings (lib.concatLists (lib.mapAttrsToList lines set));

  toINI = { mkSectionName ? lib.escape [ "[" "]" ], mkKeyValue ? mkKeyValueDefault { } "=", listsAsDuplicateKeys ? false }: sections:
    lib.concatStringsSep "\n" (lib.mapAttrsToList
      (name: set: "[${mkSectionName name}]\n" + toKeyValue { inherit mkKeyValue listsAsDuplicateKeys; } set)
      sections);

  toINIWithGlobalSection = { mkSectionName ? lib.escape [ "[" "]" ], mkKeyValue ? mkKeyValueDefault { } "=", listsAsDuplicateKeys ? false }:
    { globalSection, sections ? { } }:
    (if globalSection == { } then "" else toKeyValue { inherit mkKeyValue listsAsDuplicateKeys; } globalSection + "\n")
    + toINI { inherit mkSectionName mkKeyValue listsAsDuplicateKeys; } sections;

  toGitINI = set:
    let
      sectionName = names:
        let all = lib.splitString "." names; first = lib.head all; rest = lib.concatStringsSep "." (lib.tail all); in
        if rest == "" then first else "${first} \"${lib.escape [ "\\" "\"" ] rest}\"";
      value = v:
        let s = lib.escape [ "\\" "\"" ] (mkValueStringDefault { } v); in
        if isString v then "\"${lib.replaceStrings [ "\n" "\t" ] [ "\\n" "\\t" ] s}\"" else s;
      keyValue = k: v: "\t" + mkKeyValueDefault { mkValueString = value; } " = " k v;
      isLeaf = v: !(isAttrs v && !lib.isDerivation v);
      walk = path: v:
        let
          leaves = lib.filterAttrs (_: isLeaf) v;
          inner = lib.filterAttrs (_: x: !isLeaf x) v;
        in
        lib.optional (leaves != { } && path != [ ]) { name = lib.concatStringsSep "." path; value = leaves; }
        ++ lib.concatLists (lib.mapAttrsToList (n: walk (path ++ [ n ])) inner);
    in
    toINI { listsAsDuplicateKeys = true; mkSectionName = sectionName; mkKeyValue = keyValue; } (lib.listToAttrs (walk [ ] set));

  mkDconfKeyValue = mkKeyValueDefault { } "=";

  toJSON = { }: builtins.toJSON;
  toYAML = toJSON;

  toPlist = { escape ? false }: v:
    let
      text = if escape then lib.escapeXML else lib.id;
      expr = ind: x:
        if x == null then ""
        else if isBool x then ind + (if x then "<true/>" else "<false/>")
        else if isInt x then "${ind}<integer>${toString x}</integer>"
        else if isString x then "${ind}<string>${text x}</string>"
        else if isPath x then "${ind}<string>${text (toString x)}</string>"
        else if isFloat x then "${ind}<real>${toString x}</real>"
        else if isList x then "${ind}<array>\n${lib.concatMapStringsSep "\n" (expr "${ind}\t") x}\n${ind}</array>"
        else if isAttrs x then
          "${ind}<dict>\n${lib.concatStringsSep "\n" (lib.concatLists (lib.mapAttrsToList
            (n: y: lib.optional (y != null) "${ind}\t<key>${text n}</key>\n${expr "${ind}\t" y}") x))}\n${ind}</dict>"
        else abort "generators.toPlist: should never happen (v = ${toString x})";
    in
    ''
      <?xml version="1.0" encoding="UTF-8"?>
      <!DOCTYPE plist PUBLIC "-//Apple Computer//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
      <plist version="1.0">
      ${expr "" v}
      </plist>'';

  toDhall = { }@args: v:
    if isAttrs v then "{ ${lib.concatStringsSep ", " (lib.mapAttrsToList (k: x: "${k} = ${toDhall args x}") v)} }"
    else if isList v then "[ ${lib.concatMapStringsSep ", " (toDhall args) v} ]"
    else if isInt v then "${if v < 0 then "" else "+"}${toString v}"
    else if isBool v then (if v then "True" else "False")
    else if isFunction v then abort "generators.toDhall: cannot convert a function to Dhall"
    else if v == null then abort "generators.toDhall: cannot convert a null to Dhall"
    else builtins.toJSON v;

  mkLuaInline = expr: { _type = "lua-inline"; inherit expr; };
  toLua = { multiline ? true, indent ? "", asBindings ? false }@args: v:
    let
      deeper = "${indent}  ";
      inner = args // { indent = if asBindings then indent else deeper; asBindings = false; };
      sep = ",${if multiline then "\n" else " "}";
      pad = if multiline then deeper else "";
      wrap = items: "{${if multiline then "\n" else " "}${lib.concatStringsSep sep (map (i: pad + i) items)}${if multiline then "\n${indent}" else " "}}";
      bound = n: x:
        lib.throwIf (builtins.match "[a-zA-Z_][[:alnum:]_]*(\\.[a-zA-Z_][[:alnum:]_]*)*" n == null) "attribute ${builtins.toJSON n} is not a valid Lua binding"
          "${n} = ${toLua inner x}";
    in
    if asBindings then lib.concatStringsSep (if multiline then "\n" else " ") (lib.mapAttrsToList (n: x: indent + bound n x) v) + lib.optionalString multiline "\n"
    else if v == null then "nil"
    else if isInt v || isFloat v || isString v || isBool v then builtins.toJSON v
    else if isPath v || lib.isDerivation v then builtins.toJSON "${v}"
    else if isList v then (if v == [ ] then "{}" else wrap (map (toLua inner) v))
    else if isAttrs v then
      if v._type or null == "lua-inline" then "(${v.expr})"
      else if v == { } then "{}"
      else wrap (lib.mapAttrsToList (n: x: "[${builtins.toJSON n}] = ${toLua inner x}") v)
    else abort "generators.toLua: type ${typeOf v} is unsupported";

  # Cuts deep values so that they can be shown in an error.
  withRecursion = { depthLimit, throwOnDepthLimit ? true }:
    let
      special = [ "__functor" "__functionArgs" "__toString" "__pretty" "__functionArgs" ];
      go = depth: v:
        if depth > depthLimit then
          (if throwOnDepthLimit then throw "Exceeded maximum eval-depth limit of ${toString depthLimit} while trying to evaluate with `generators.withRecursion'!" else "<unevaluated>")
        else if isList v then map (go (depth + 1)) v
        else if isAttrs v then builtins.mapAttrs (n: x: if builtins.elem n special then (if n == "__functionArgs" || n == "__toString" then x else x) else go (depth + 1) x) v
        else v;
    in
    go 0;

  # Nix notation for people.
  toPretty = { allowPrettyValues ? false, multiline ? true, indent ? "" }:
    let
      go = indent: v:
        let
          open = if multiline then "\n${indent}  " else " ";
          close = if multiline then "\n${indent}" else " ";
        in
        if isInt v then toString v
        else if isFloat v then builtins.toJSON v
        else if isString v then
          let
            lines = builtins.filter isString (builtins.split "\n" v);
            text = s: lib.replaceStrings [ "\${" "''" ] [ "''\${" "'''" ] s;
            single = "\"${lib.concatMapStringsSep "\\n" (lib.escape [ "\\" "\"" "$" ]) lines}\"";
            block = "''" + open + lib.concatStringsSep open (map text (lib.init lines))
              + (if lib.last lines == "" then close else open + text (lib.last lines)) + "''";
          in
          if multiline && builtins.length lines > 1 then block else single
        else if v == true then "true"
        else if v == false then "false"
        else if v == null then "null"
        else if isPath v then toString v
        else if isList v then (if v == [ ] then "[ ]" else "[" + open + lib.concatMapStringsSep open (go (indent + "  ")) v + close + "]")
        else if isFunction v then
          let
            args = lib.functionArgs v;
            shown = lib.concatStringsSep ", " (lib.mapAttrsToList (n: opt: if opt then "${n}?" else n) args);
          in
          if args == { } then "<function>" else "<function, args: {${shown}}>"
        else if isAttrs v then
          if allowPrettyValues && v ? __pretty && v ? val then v.__pretty v.val
          else if v == { } then "{ }"
          else if v ? type && v.type == "derivation" then "<derivation ${v.name or "???"}>"
          else "{" + open + lib.concatStringsSep open (lib.mapAttrsToList
            (n: x: "${lib.strings.escapeNixIdentifier n} = ${builtins.addErrorContext "while evaluating an attribute `${n}`" (go (indent + "  ") x)};") v)
          + close + "}"
        else abort "generators.toPretty: should never happen (v = ${typeOf v})";
    in
    go indent;
}
