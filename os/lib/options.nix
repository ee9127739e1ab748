# Options as values: mkOption and its relatives, names of options as text, lists of options for documentation.
{ lib }:
let
  inherit (builtins) isAttrs isString head tail elem length;
  say = lib.modules.errors;
in
rec {
  isOption = v: isAttrs v && v._type or null == "option";

  # An option's declaration; all parts are optional: default, defaultText, example, description, type, apply,
  # internal, visible, readOnly, relatedPackages.
  mkOption = parts: { _type = "option"; } // parts;

  mkEnableOption = name: mkOption {
    default = false;
    example = true;
    description = if name ? _type && name._type == "mdDoc" then "Whether to enable ${name.text}." else "Whether to enable ${name}.";
    type = lib.types.bool;
  };

  # `mkPackageOption pkgs "nginx" { }`: an option that holds a package, with that package as its default.
  mkPackageOption = pkgs: name:
    { nullable ? false, default ? name, example ? null, extraDescription ? "", pkgsText ? "pkgs" }:
    let
      label = if builtins.isList name then lib.last name else name;
      path = if default == null then null else lib.toList default;
      text = lib.optionalString (path != null) (lib.concatStringsSep "." path);
      found = lib.attrByPath path (throw "${text} cannot be found in ${pkgsText}") pkgs;
    in
    mkOption ({
      type = if nullable then lib.types.nullOr lib.types.package else lib.types.package;
      description = "The ${label} package to use." + lib.optionalString (extraDescription != "") " ${extraDescription}";
    }
    // (if default != null then { default = found; defaultText = literalExpression "${pkgsText}.${text}"; }
        else if nullable then { default = null; } else { })
    // lib.optionalAttrs (example != null) {
      example = literalExpression (if builtins.isList example then "${pkgsText}.${lib.concatStringsSep "." example}" else example);
    });
  mkPackageOptionMD = mkPackageOption;

  # Swallows every definition that no option wants.
  mkSinkUndeclaredOptions = parts: mkOption ({
    internal = true;
    visible = false;
    default = false;
    description = "Takes definitions of options that are not declared.";
    type = lib.mkOptionType { name = "sink"; check = _: true; merge = _: _: false; };
    apply = _: throw "Option value is not readable because the option is not declared.";
  } // parts);

  # Text for documentation that is not Nix data.
  literalExpression = text: if isString text then { _type = "literalExpression"; inherit text; } else throw "literalExpression expects a string.";
  literalMD = text: if isString text then { _type = "literalMD"; inherit text; } else throw "literalMD expects a string.";
  mdDoc = text: text;

  # Merge functions for types.
  mergeDefaultOption = loc: defs:
    let values = getValues defs; first = head values; in
    if length defs == 1 then first
    else if builtins.all lib.isFunction values then x: mergeDefaultOption loc (map (f: { file = ""; value = f x; }) values)
    else if builtins.all builtins.isList values then lib.concatLists values
    else if builtins.all isAttrs values then lib.foldl' (a: b: a // b) { } values
    else if builtins.all builtins.isBool values then builtins.any (b: b) values
    else if builtins.all isString values then lib.concatStrings values
    else if builtins.all builtins.isInt values && builtins.all (x: x == first) values then first
    else throw "Cannot merge definitions of `${showOption loc}'. Definition values:${showDefs defs}";
  mergeOneOption = mergeUniqueOption { message = ""; };
  mergeUniqueOption = args@{ message ? "", merge ? null }: loc: defs:
    if length defs == 1 then (if merge == null then (head defs).value else merge loc defs)
    else throw (say.notUnique loc defs message);
  mergeEqualOption = loc: defs:
    if defs == [ ] then abort "This case should never happen."
    else if length defs == 1 then (head defs).value
    else (lib.foldl'
      (first: def: if def.value != first.value then throw (say.conflict loc [ first def ]) else first)
      (head defs)
      (tail defs)).value;

  getValues = map (d: d.value);
  getFiles = map (d: d.file);

  # An option's name as it is written in a configuration.
  showOption = parts: lib.concatStringsSep "." (map showPart parts);
  showPart = part:
    if builtins.match "[a-zA-Z_][a-zA-Z0-9_'-]*" part != null || elem part [ "*" "<name>" "<function body>" ] || builtins.match "<[a-zA-Z0-9 _-]+>" part != null
    then part else lib.strings.escapeNixString part;
  showFiles = files: lib.concatStringsSep " and " (map (f: "`${f}'") files);
  showDefs = defs: lib.concatMapStrings (def: "\n- In `${say.place def}'" + (let v = say.shortly def.value; in ": ${v}")) defs;
  showOptionWithDefLocs = opt: "  ${showOption opt.loc}, with values defined in:\n"
    + lib.concatMapStringsSep "\n" (f: "    - ${f}") opt.files;
  unknownModule = "<unknown-file>";

  # Every option below `options` as a flat list of plain data, as documentation tools read it.
  optionAttrSetToDocList = optionAttrSetToDocList' [ ];
  optionAttrSetToDocList' = _: options:
    lib.concatMap
      (opt:
        let
          name = showOption opt.loc;
          doc = {
            inherit (opt) loc;
            inherit name;
            description = let d = opt.description or null; in if isAttrs d && d ? text then d.text else d;
            declarations = builtins.filter (x: x != unknownModule) opt.declarations;
            internal = opt.internal or false;
            visible = let v = opt.visible or true; in if builtins.isBool v then v else v != "transparent";
            readOnly = opt.readOnly or false;
            type = opt.type.description or "unspecified";
          }
          // lib.optionalAttrs (opt ? example) { example = renderOptionValue opt.example; }
          // lib.optionalAttrs (opt ? defaultText || opt ? default) {
            default = renderOptionValue (opt.defaultText or opt.default);
          }
          // lib.optionalAttrs (opt ? relatedPackages && opt.relatedPackages != null) { inherit (opt) relatedPackages; };
          sub = let ss = opt.type.getSubOptions opt.loc; in
            if ss != { } && (opt.visible or true) != "shallow" && (opt.visible or true) != false then optionAttrSetToDocList' opt.loc ss else [ ];
        in
        [ doc ] ++ sub)
      (lib.collect isOption options);
  renderOptionValue = v:
    if v ? _type && v ? text then v
    else literalExpression (lib.generators.toPretty { multiline = true; allowPrettyValues = true; } v);
  scrubOptionValue = v:
    if lib.isDerivation v then v // { drvPath = v.name; outPath = v.name; }
    else if builtins.isList v then map scrubOptionValue v
    else if isAttrs v then builtins.mapAttrs (_: scrubOptionValue) (removeAttrs v [ "_args" ])
    else v;
}
