# Declarations: the tree of options, and beside each option the definitions that reach it.
{ lib }:
let
  inherit (builtins) isAttrs concatMap attrNames mapAttrs filter head zipAttrsWith unsafeGetAttrPos all any;
  inherit (lib) isOption showOption types;
  say = lib.modules.errors;
  inherit (lib.modules) spread;

  # One module's `config` as definitions by name, positions kept (lazily).
  definitionsByName = { file, config }:
    map
      (part: mapAttrs
        (name: value: { file = part.file or file; value = part.wrap value; at = unsafeGetAttrPos name part.set; })
        part.set)
      (spread config);
in
rec {
  mergeModules = prefix: modules:
    mergeModules' prefix modules (map (m: { file = m._file; inherit (m) config; at = null; }) modules);

  # `declarers`: [ { _file; options; } ], `configs`: [ { file; config; at; } ].
  # Result: options (a tree), and the definitions for which there is no option.
  mergeModules' = prefix: declarers: configs:
    let
      declared = zipAttrsWith (_: ds: ds) (map
        (m:
          if isAttrs m.options then mapAttrs (name: options: { inherit (m) _file; inherit options; at = unsafeGetAttrPos name m.options; }) m.options
          else throw "`options' in `${m._file}' is not a set but a ${builtins.typeOf m.options}.")
        declarers);

      defined = zipAttrsWith (_: ds: ds) (concatMap
        (c:
          let bad = filter (p: !(isAttrs p.set)) (spread c.config); in
          if bad == [ ] then definitionsByName { inherit (c) file config; }
          else throw (say.notASet prefix c (head bad).set))
        configs);

      branch = name: decls:
        let
          loc = prefix ++ [ name ];
          defs = defined.${name} or [ ];
          optionDecls = filter (d: isOption d.options) decls;
          subtreeDecls = filter (d: !(isOption d.options)) decls;
          # An option whose type holds submodules takes further declarations below it as further submodules.
          open = head (filter (d: (d.options.type or null) != null && d.options.type.getSubModules or null != null) optionDecls);
          hasOpen = any (d: (d.options.type or null) != null && d.options.type.getSubModules or null != null) optionDecls;
          extended = map (d: d // { options = lib.mkOption { type = types.submoduleWith { modules = [ { _file = d._file; inherit (d) options; } ]; }; }; }) subtreeDecls;
        in
        if subtreeDecls == [ ] then
          let opt = fixupOptionType loc (mergeOptionDecls loc optionDecls); in
          { options = lib.modules.evalOptionValue loc opt defs; unmatched = [ ]; }
        else if optionDecls == [ ] then
          mergeModules' loc decls (map (d: { inherit (d) file at; config = d.value; }) defs)
        else if hasOpen then
          let opt = fixupOptionType loc (mergeOptionDecls loc (optionDecls ++ extended)); in
          { options = lib.modules.evalOptionValue loc opt defs; unmatched = [ ]; }
        else throw (say.optionIsPrefix loc optionDecls subtreeDecls);

      branches = mapAttrs branch declared;
      strayNames = filter (name: !(declared ? ${name})) (attrNames defined);
    in
    {
      options = mapAttrs (_: b: b.options) branches;
      unmatched =
        concatMap (name: branches.${name}.unmatched) (filter (n: defined ? ${n}) (attrNames branches))
        ++ concatMap (name: map (def: { inherit (def) file value at; loc = prefix ++ [ name ]; siblings = attrNames declared; }) defined.${name}) strayNames;
    };

  # Several declarations of one option as one; the parts must not contradict each other.
  mergeOptionDecls = loc: decls:
    let
      merge = acc: decl:
        let
          new = decl.options;
          both = what: acc ? ${what} && new ? ${what};
          mergedType = acc.type.typeMerge new.type.functor;
          type =
            if acc ? type && new ? type then
              (if mergedType == null then throw (say.declaredTwice loc (acc.declarations ++ [ decl._file ]) "with types that do not fit together") else mergedType)
            else acc.type or new.type or null;
          clash = lib.findFirst both null [ "default" "example" "description" "apply" ];
          subModules = if new ? options then [ { _file = decl._file; inherit (new) options; } ] else [ ];
        in
        if clash != null then throw (say.declaredTwice loc (acc.declarations ++ [ decl._file ]) "each with its own `${clash}'")
        else acc // removeAttrs new [ "options" ] // {
          declarations = acc.declarations ++ [ decl._file ];
          declarationPositions = acc.declarationPositions ++ (if decl.at or null == null then [ ] else [ decl.at ]);
          subModules = acc.subModules ++ subModules;
        } // (if type == null then { } else { inherit type; });
    in
    builtins.foldl' merge { inherit loc; declarations = [ ]; declarationPositions = [ ]; subModules = [ ]; } decls;

  # An option without a type takes anything; declarations below a submodule option join its type.
  fixupOptionType = loc: opt:
    let
      type = opt.type or types.unspecified;
      outer = type.getSubModules or null;
    in
    if opt.subModules or [ ] == [ ] then (if opt ? type then opt else opt // { inherit type; })
    else if outer == null then throw "The option `${showOption loc}' has nested options, but its type, ${type.description or type.name}, takes none."
    else opt // { type = type.substSubModules (outer ++ opt.subModules); subModules = [ ]; };
}
