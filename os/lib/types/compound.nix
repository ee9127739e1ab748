# Types made from other types: lists, sets, alternatives, conversions, functions.
{ lib, mkOptionType }:
let
  inherit (builtins) isAttrs isList isString map mapAttrs length head tail elem concatMap zipAttrsWith unsafeGetAttrPos;
  inherit (lib) showOption mergeEqualOption mergeOneOption concatMapStringsSep;
  inherit (lib.modules) mergeDefinitions;
  phrase = lib.types.optionDescriptionPhrase;
  isNounish = c: c == "noun" || c == "composite";

  # The functor of a type with one element type.
  wrapping = name: make: elemType: {
    inherit name;
    payload = { inherit elemType; };
    wrapped = elemType;
    type = p: make (p.elemType or p);
    binOp = a: b: let m = a.elemType.typeMerge b.elemType.functor; in if m == null then null else { elemType = m; };
  };
  forward = elemType: make: {
    getSubModules = elemType.getSubModules;
    substSubModules = modules: make (elemType.substSubModules modules);
  };

  # Definitions of a set as one list of definitions per name.
  byName = defs:
    zipAttrsWith (_: ds: ds) (map
      (def: mapAttrs (name: value: { inherit (def) file; inherit value; at = unsafeGetAttrPos name def.value; }) def.value)
      (concatMap (def: map (value: { inherit (def) file; inherit value; }) (spreadKeeping def.value)) defs));
  spreadKeeping = v: if v ? _type then lib.modules.pushDownProperties v else [ v ];

  setOf = { name, lazy, placeholder, elemType }:
    let
      again = t: setOf { inherit name lazy placeholder; elemType = t; };
      what = if lazy then "lazy attribute set" else "attribute set";
    in
    mkOptionType ({
      inherit name;
      description = "${what} of ${phrase isNounish elemType}";
      descriptionClass = "composite";
      check = isAttrs;
      merge = loc: defs:
        let merged = mapAttrs (n: ds: mergeDefinitions (loc ++ [ n ]) elemType ds) (byName defs); in
        if lazy then mapAttrs (_: m: m.optionalValue.value or elemType.emptyValue.value or m.mergedValue) merged
        else mapAttrs (_: m: m.mergedValue) (lib.filterAttrs (_: m: m.isDefined) merged);
      emptyValue.value = { };
      getSubOptions = prefix: elemType.getSubOptions (prefix ++ [ "<${placeholder}>" ]);
      functor = {
        inherit name;
        wrapped = elemType;
        payload = { inherit elemType lazy placeholder; };
        type = p: setOf { inherit name; inherit (p) elemType lazy placeholder; };
        binOp = a: b:
          let m = a.elemType.typeMerge b.elemType.functor; in
          if m == null || a.lazy != b.lazy then null
          else { elemType = m; inherit (a) lazy; placeholder = if a.placeholder == b.placeholder then a.placeholder else "name"; };
      };
      nestedTypes = { inherit elemType; };
    } // forward elemType again);
in
rec {
  attrs = mkOptionType {
    name = "attrs";
    description = "attribute set";
    descriptionClass = "noun";
    check = isAttrs;
    merge = _: lib.foldl' (acc: def: acc // def.value) { };
    emptyValue.value = { };
  };

  listOf = elemType: mkOptionType ({
    name = "listOf";
    description = "list of ${phrase isNounish elemType}";
    descriptionClass = "composite";
    check = isList;
    merge = loc: defs:
      map (m: m.value) (builtins.filter (m: m ? value) (lib.concatLists (lib.imap1
        (n: def: lib.imap1
          (m: value: (mergeDefinitions (loc ++ [ "[definition ${toString n}-entry ${toString m}]" ]) elemType
            [ { inherit (def) file; at = def.at or null; inherit value; } ]).optionalValue)
          def.value)
        defs)));
    emptyValue.value = [ ];
    getSubOptions = prefix: elemType.getSubOptions (prefix ++ [ "*" ]);
    functor = wrapping "listOf" listOf elemType;
    nestedTypes = { inherit elemType; };
  } // forward elemType listOf);

  nonEmptyListOf = elemType:
    let list = addCheck (listOf elemType) (l: l != [ ]); in
    list // { description = "non-empty ${phrase (c: c == "noun") list}"; emptyValue = { }; substSubModules = m: nonEmptyListOf (elemType.substSubModules m); };

  attrsOf = elemType: setOf { name = "attrsOf"; lazy = false; placeholder = "name"; inherit elemType; };
  lazyAttrsOf = elemType: setOf { name = "lazyAttrsOf"; lazy = true; placeholder = "name"; inherit elemType; };
  attrsWith = { elemType, lazy ? false, placeholder ? "name" }:
    setOf { name = if lazy then "lazyAttrsOf" else "attrsOf"; inherit lazy placeholder elemType; };
  # A list or a set was once accepted; now a set.
  loaOf = attrsOf;
  attrListOf = elemType: listOf (attrsOf elemType);

  # A set with exactly one name, which says what kind of value it holds.
  attrTag = tags: mkOptionType {
    name = "attrTag";
    description = "attribute-tagged union";
    descriptionClass = "noun";
    check = v: isAttrs v && length (builtins.attrNames v) == 1 && tags ? ${head (builtins.attrNames v)};
    merge = loc: defs:
      let names = lib.unique (map (d: head (builtins.attrNames d.value)) defs); name = head names; in
      if length names == 1
      then { ${name} = (lib.modules.evalOptionValue (loc ++ [ name ]) tags.${name} (map (d: { inherit (d) file; at = d.at or null; value = d.value.${name}; }) defs)).value; }
      else throw "The option `${showOption loc}' is defined both as ${concatMapStringsSep " and " (n: "`${n}'") names}, in ${lib.showFiles (lib.getFiles defs)}.";
    getSubOptions = prefix: mapAttrs (n: opt: opt // { loc = prefix ++ [ n ]; declarations = opt.declarations or [ ]; }) tags;
    functor = { name = "attrTag"; payload = { inherit tags; }; wrapped = null; type = p: attrTag p.tags; binOp = a: b: { tags = a.tags // b.tags; }; };
  };

  nullOr = elemType: mkOptionType ({
    name = "nullOr";
    description = "null or ${phrase (c: c == "noun" || c == "conjunction") elemType}";
    descriptionClass = "conjunction";
    check = x: x == null || elemType.check x;
    merge = loc: defs:
      let nulls = builtins.filter (d: d.value == null) defs; in
      if length nulls == length defs then null
      else if nulls != [ ] then throw "The option `${showOption loc}' is defined both null and not null, in ${lib.showFiles (lib.getFiles defs)}."
      else elemType.merge loc defs;
    emptyValue.value = null;
    getSubOptions = elemType.getSubOptions;
    functor = wrapping "nullOr" nullOr elemType;
    nestedTypes = { inherit elemType; };
  } // forward elemType nullOr);

  enum = values:
    let
      show = v: if isString v then "\"${v}\"" else if builtins.isInt v then toString v else if builtins.isBool v then lib.boolToString v else "<${builtins.typeOf v}>";
    in
    mkOptionType {
      name = "enum";
      description = if values == [ ] then "impossible (empty enum)"
        else if length values == 1 then "value ${show (head values)} (singular enum)"
        else "one of ${concatMapStringsSep ", " show values}";
      descriptionClass = if length values < 2 then "noun" else "conjunction";
      check = v: elem v values;
      merge = mergeEqualOption;
      functor = {
        name = "enum";
        payload = { inherit values; };
        wrapped = null;
        type = p: enum p.values;
        binOp = a: b: { values = lib.unique (a.values ++ b.values); };
      };
    };

  either = a: b: mkOptionType {
    name = "either";
    description = "${phrase (c: c == "noun" || c == "conjunction") a} or ${phrase (c: c == "noun" || c == "conjunction" || c == "composite") b}";
    descriptionClass = "conjunction";
    check = x: a.check x || b.check x;
    merge = loc: defs:
      if builtins.all (d: a.check d.value) defs then a.merge loc defs
      else if builtins.all (d: b.check d.value) defs then b.merge loc defs
      else mergeOneOption loc defs;
    typeMerge = g:
      let l = a.typeMerge (head g.wrapped).functor; r = b.typeMerge (lib.last g.wrapped).functor; in
      if g.name == "either" && l != null && r != null then either l r else null;
    functor = { name = "either"; wrapped = [ a b ]; payload = null; type = either; binOp = _: _: null; };
    nestedTypes = { left = a; right = b; };
  };
  oneOf = types:
    if types == [ ] then throw "List of types must be non-empty" else lib.foldl' either (head types) (tail types);

  coercedTo = from: convert: to:
    assert lib.assertMsg (from.getSubModules == null) "coercedTo: coercedType must not have submodules (it’s a ${from.description})";
    mkOptionType {
      name = "coercedTo";
      description = "${phrase isNounish to} or ${phrase isNounish from} convertible to it";
      check = x: from.check x && to.check (convert x) || to.check x;
      merge = loc: defs:
        to.merge loc (map (d: if from.check d.value then d // { value = convert d.value; } else d) defs);
      emptyValue = to.emptyValue;
      getSubOptions = to.getSubOptions;
      getSubModules = to.getSubModules;
      substSubModules = m: coercedTo from convert (to.substSubModules m);
      typeMerge = _: null;
      functor = { name = "coercedTo"; wrapped = to; payload = null; type = null; binOp = _: _: null; };
      nestedTypes = { coercedType = from; finalType = to; };
    };

  # One definition only; `uniq` without an explanation.
  unique = { message }: type: mkOptionType ({
    name = "unique";
    inherit (type) description descriptionClass check;
    merge = lib.options.mergeUniqueOption { inherit message; inherit (type) merge; };
    inherit (type) emptyValue getSubOptions;
    functor = wrapping "unique" (unique { inherit message; }) type;
    nestedTypes.elemType = type;
  } // forward type (unique { inherit message; }));
  uniq = unique { message = ""; };

  functionTo = elemType: mkOptionType ({
    name = "functionTo";
    description = "function that evaluates to a(n) ${phrase isNounish elemType}";
    descriptionClass = "composite";
    check = lib.isFunction;
    merge = loc: defs:
      let
        result = arg: (mergeDefinitions (loc ++ [ "<function body>" ]) elemType
          (map (d: { inherit (d) file; at = d.at or null; value = d.value arg; }) defs)).mergedValue;
      in
      lib.setFunctionArgs result (lib.zipAttrsWith (_: builtins.all (optional: optional)) (map (d: lib.functionArgs d.value) defs));
    getSubOptions = prefix: elemType.getSubOptions (prefix ++ [ "<function body>" ]);
    functor = wrapping "functionTo" functionTo elemType;
    nestedTypes = { inherit elemType; };
  } // forward elemType functionTo);

  addCheck = type: check: type // { check = x: type.check x && check x; };
}
