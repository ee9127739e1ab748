# What every type is made of.
{ lib }:
rec {
  isType = kind: v: v._type or null == kind;
  setType = kind: v: v // { _type = kind; };
  isOptionType = isType "option-type";

  defaultFunctor = name: { inherit name; type = lib.types.${name} or null; wrapped = null; payload = null; binOp = _: _: null; };

  # Two declarations fit together when the types have one name and their parts, if any, can be joined.
  defaultTypeMerge = f: g:
    let
      joined = if f.payload == null || g.payload == null then null else f.binOp f.payload g.payload;
      wrapped = if f.wrapped == null || g.wrapped == null then null else f.wrapped.typeMerge g.wrapped.functor;
    in
    if f.name != g.name then null
    else if f.payload == null && g.payload == null then
      (if f.wrapped == null && g.wrapped == null then f.type else if wrapped == null then null else f.type wrapped)
    else if joined == null then null
    else f.type joined;

  mkOptionType =
    { name
    , description ? null
    , descriptionClass ? null
    , check ? (_: true)
    , merge ? lib.options.mergeDefaultOption
    , emptyValue ? { }
    , getSubOptions ? (_prefix: { })
    , getSubModules ? null
    , substSubModules ? (_modules: null)
    , typeMerge ? defaultTypeMerge functor
    , functor ? defaultFunctor name
    , deprecationMessage ? null
    , nestedTypes ? { }
    }: {
      _type = "option-type";
      inherit name descriptionClass check merge emptyValue getSubOptions getSubModules substSubModules typeMerge deprecationMessage nestedTypes;
      functor = { wrapped = null; payload = null; binOp = _: _: null; type = null; } // functor;
      description = if description == null then name else description;
    };

  # A description with parentheses where it would be read wrongly otherwise.
  optionDescriptionPhrase = unparenthesised: t:
    let d = t.description or "unspecified"; in
    if unparenthesised (t.descriptionClass or null) then d else "(${d})";
}
