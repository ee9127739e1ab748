# Properties: marks around a value that say when, how strongly and in which order it counts.
{ lib }:
let
  inherit (builtins) concatMap isAttrs filter foldl' sort map;
in
rec {
  mkIf = condition: content: { _type = "if"; inherit condition content; };
  mkMerge = contents: { _type = "merge"; inherit contents; };
  mkOverride = priority: content: { _type = "override"; inherit priority content; };
  mkOrder = priority: content: { _type = "order"; inherit priority content; };
  mkAssert = assertion: message: content: mkIf (if assertion then true else throw "\nFailed assertion: ${message}") content;
  mkDefinition = args@{ file, value, ... }: args // { _type = "definition"; };

  # Priorities: the lowest number wins; a plain definition has 100.
  mkOptionDefault = mkOverride 1500;
  mkDefault = mkOverride 1000;
  defaultOverridePriority = 100;
  mkImageMediaOverride = mkOverride 60;
  mkForce = mkOverride 50;
  mkVMOverride = mkOverride 10;
  mkStrict = mkOverride 0;

  mkBefore = mkOrder 500;
  defaultOrderPriority = 1000;
  mkAfter = mkOrder 1500;

  mkFixStrictness = lib.id;
  fixMergeModules = modules: args: lib.evalModules { inherit modules args; check = false; };

  # A set under properties as plain sets, each with the wrapper that its members have to carry. The sets stay as the
  # user wrote them, so that the positions of their names remain known.
  spread = config:
    let
      kind = if isAttrs config then config._type or null else null;
      under = wrap: map (part: part // { wrap = v: wrap (part.wrap v); });
    in
    if kind == null then [ { set = config; wrap = v: v; } ]
    else if kind == "merge" then concatMap spread config.contents
    else if kind == "if" then under (mkIf config.condition) (spread config.content)
    else if kind == "override" then under (mkOverride config.priority) (spread config.content)
    else if kind == "definition" then map (part: part // { inherit (config) file; }) (spread config.value)
    else [ { set = config; wrap = v: v; } ];

  pushDownProperties = config:
    map (part: builtins.mapAttrs (_: part.wrap) part.set) (spread config);

  # The values that remain when conditions and merges are resolved. Overrides and orders stay around them, and what is in
  # those is not looked at: a default that loses is never evaluated.
  dischargeProperties = def:
    if !(isAttrs def && def ? _type) then [ def ]
    else if def._type == "merge" then concatMap dischargeProperties def.contents
    else if def._type == "if" then
      if builtins.isBool def.condition then (if def.condition then dischargeProperties def.content else [ ])
      else throw "‘mkIf’ called with a non-Boolean condition, a ${builtins.typeOf def.condition}"
    else [ def ];

  priorityOf = def: if isAttrs def.value && def.value._type or null == "override" then def.value.priority else defaultOverridePriority;

  filterOverrides = defs: (filterOverrides' defs).values;
  filterOverrides' = defs:
    let
      highestPrio = foldl' (best: def: let p = priorityOf def; in if p < best then p else best) 9999 defs;
      strip = def: if isAttrs def.value && def.value._type or null == "override" then def // { value = def.value.content; } else def;
    in
    { inherit highestPrio; values = map strip (filter (def: priorityOf def == highestPrio) defs); };

  sortProperties = defs:
    let
      ordered = def: isAttrs def.value && def.value._type or null == "order";
      strip = def: if ordered def then def // { value = def.value.content; inherit (def.value) priority; } else def;
      priority = def: def.priority or defaultOrderPriority;
    in
    if builtins.any ordered defs then sort (a: b: priority a < priority b) (map strip defs) else defs;

  # One option's definitions as definitions of another.
  mkAliasDefinitions = mkAliasAndWrapDefinitions lib.id;
  mkAliasAndWrapDefinitions = wrap: option: mkIf (lib.isOption option && option.isDefined) (wrap (mkMerge option.definitions));
  mkAliasAndWrapDefsWithPriority = wrap: option:
    let prio = option.highestPrio or defaultOverridePriority; in
    mkIf (lib.isOption option && option.isDefined) (wrap (mkMerge (map (mkOverride prio) option.definitions)));
  mkDerivedConfig = opt: f: mkOverride (opt.highestPrio or defaultOverridePriority) (f opt.value);
}
