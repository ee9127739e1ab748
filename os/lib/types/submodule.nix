# Submodules: values that are configurations of their own; and modules as values.
{ lib, mkOptionType }:
let
  inherit (builtins) isAttrs map;
  inherit (lib) isFunction setDefaultModuleLocation mkOption;
in
rec {
  # Modules given as an option's value, to be used elsewhere.
  deferredModule = deferredModuleWith { };
  deferredModuleWith = { staticModules ? [ ] }: mkOptionType {
    name = "deferredModule";
    description = "module";
    descriptionClass = "noun";
    check = x: isAttrs x || isFunction x || lib.types.path.check x;
    merge = loc: defs: {
      imports = staticModules ++ map (def: setDefaultModuleLocation "${def.file}, via option ${lib.showOption loc}" def.value) defs;
    };
    getSubOptions = prefix: if staticModules == [ ] then { } else
      (lib.evalModules { inherit prefix; modules = staticModules; check = false; }).options;
    getSubModules = if staticModules == [ ] then null else staticModules;
    substSubModules = m: deferredModuleWith { staticModules = m; };
    functor = {
      name = "deferredModule";
      wrapped = null;
      payload = { inherit staticModules; };
      type = deferredModuleWith;
      binOp = a: b: { staticModules = a.staticModules ++ b.staticModules; };
    };
  };

  # `submodule { options = …; }`, `submodule ({ name, config, ... }: …)` or a list of such.
  submodule = modules: submoduleWith { shorthandOnlyDefinesConfig = true; modules = lib.toList modules; };

  submoduleWith = { modules, specialArgs ? { }, shorthandOnlyDefinesConfig ? false, description ? null, class ? null }@args:
    let
      only = if shorthandOnlyDefinesConfig == null then false else shorthandOnlyDefinesConfig;
      asModule = def:
        if isAttrs def.value && only then { _file = def.file; config = def.value; }
        else setDefaultModuleLocation def.file def.value;
      evaluate = prefix: name: extra: lib.evalModules {
        inherit class specialArgs prefix;
        modules = [ { _file = "lib/types/submodule.nix"; key = "submodule:name"; config._module.args.name = name; } ] ++ modules ++ extra;
      };
      freeform = (evaluate [ ] (lib.mkOptionDefault "‹name›") [ ])._module.freeformType;
    in
    mkOptionType {
      name = "submodule";
      description = if description != null then description
        else if class == null then "submodule" else "module of class ${class}";
      check = x: isAttrs x || isFunction x || lib.types.path.check x;
      merge = loc: defs: (evaluate loc (lib.last loc) (map asModule defs)).config;
      emptyValue.value = (evaluate [ ] (lib.mkOptionDefault "‹name›") [ ]).config;
      getSubOptions = prefix:
        let docs = (evaluate prefix (lib.mkOptionDefault "‹name›") [ ]).options; in
        removeAttrs docs [ "_module" ];
      getSubModules = modules;
      substSubModules = m: submoduleWith (args // { modules = m; });
      nestedTypes = { };
      functor = {
        name = "submodule";
        wrapped = null;
        type = submoduleWith;
        payload = { inherit modules specialArgs class description; shorthandOnlyDefinesConfig = args.shorthandOnlyDefinesConfig or null; };
        binOp = a: b:
          let
            common = builtins.intersectAttrs a.specialArgs b.specialArgs;
            one = what: x: y:
              if x == null then y else if y == null || x == y then x
              else throw "A submoduleWith option is declared twice with different ${what}";
          in
          if common != { } then throw "A submoduleWith option is declared twice with the same specialArgs \"${toString (builtins.attrNames common)}\""
          else {
            modules = a.modules ++ b.modules;
            specialArgs = a.specialArgs // b.specialArgs;
            shorthandOnlyDefinesConfig = one "shorthandOnlyDefinesConfig values" a.shorthandOnlyDefinesConfig b.shorthandOnlyDefinesConfig;
            description = one "descriptions" a.description b.description;
            class = one "class" a.class b.class;
          };
      };
    };
}
