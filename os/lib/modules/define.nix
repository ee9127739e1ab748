# Definitions: what many files say about one option, as one value.
{ lib }:
let
  inherit (builtins) concatMap map filter isAttrs addErrorContext length;
  inherit (lib) showOption;
  inherit (lib.modules) dischargeProperties filterOverrides' sortProperties mkOptionDefault;
  say = lib.modules.errors;
in
rec {
  # The steps from raw definitions to a value, each open to those who want to see it.
  mergeDefinitions = loc: type: defs: rec {
    defsFinal' =
      let
        discharged = concatMap
          (def: map (value: def // { inherit value; })
            (addErrorContext "while evaluating definitions from `${def.file}':" (dischargeProperties def.value)))
          defs;
        winners = filterOverrides' discharged;
      in
      { inherit (winners) highestPrio; values = sortProperties winners.values; };
    defsFinal = defsFinal'.values;
    isDefined = defsFinal != [ ];
    mergedValue =
      if isDefined then
        let wrong = filter (def: !(type.check def.value)) defsFinal; in
        if wrong == [ ] then type.merge loc defsFinal else throw (say.wrongType loc type wrong)
      else if type.emptyValue or { } ? value then type.emptyValue.value
      else throw (say.noValue loc type);
    optionalValue = if isDefined then { value = mergedValue; } else { };
  };

  evalOptionValue = loc: opt: defs:
    let
      withDefault =
        if opt ? default then defs ++ [ { file = if opt.declarations or [ ] == [ ] then "<default>" else builtins.head opt.declarations; value = mkOptionDefault opt.default; at = null; } ]
        else defs;
      explicit = concatMap (def: map (value: def // { inherit value; }) (dischargeProperties def.value)) defs;
      merged =
        if opt.readOnly or false && length explicit > (if opt ? default then 0 else 1)
        then throw (say.readOnly loc opt explicit)
        else mergeDefinitions loc opt.type withDefault;
      value = if opt ? apply then opt.apply merged.mergedValue else merged.mergedValue;
    in
    opt // {
      value = addErrorContext "while evaluating the option `${showOption loc}':" value;
      inherit loc;
      inherit (merged.defsFinal') highestPrio;
      definitions = map (def: def.value) merged.defsFinal;
      files = map (def: def.file) merged.defsFinal;
      definitionsWithLocations = map (def: { inherit (def) file value; } // (if def.at or null == null then { } else { inherit (def) at; })) merged.defsFinal;
      inherit (merged) isDefined;
      __toString = _: showOption loc;
    };
}
