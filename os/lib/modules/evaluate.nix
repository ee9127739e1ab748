# evalModules: the fixed point of modules, options and configuration.
{ lib }:
let
  inherit (builtins) mapAttrs filter head;
  inherit (lib) mkOption types showOption;
  inherit (lib.modules.collect) collectModules;
  inherit (lib.modules) mergeModules mkOptionDefault;
  say = lib.modules.errors;
  # Set by `lib.extend` when options that Firn lacks are to be reported instead of refused.
  lenient = lib.lenientModules or false;

  values = mapAttrs (_: v: if v._type or null == "option" then v.value else values v);

  evalModules = evalArgs@{ modules, prefix ? [ ], specialArgs ? { }, class ? null, args ? { }, check ? true }:
    let
      base = {
        _file = "lib/modules.nix";
        key = "lib/modules.nix";
        options._module = {
          args = mkOption {
            type = types.lazyAttrsOf types.raw;
            internal = prefix != [ ];
            description = "Further arguments for every module function.";
          };
          check = mkOption { type = types.bool; internal = true; default = check; description = "Whether definitions without an option are errors."; };
          freeformType = mkOption {
            type = types.nullOr types.optionType;
            internal = true;
            default = null;
            description = "A type that takes every definition for which there is no option.";
          };
          specialArgs = mkOption { readOnly = true; internal = true; type = types.raw; description = "The arguments that `imports' may use."; };
        };
        config._module = {
          args = { inherit extendModules; moduleType = type; };
          inherit specialArgs;
        };
      };
      legacyArgs = lib.optional (args != { }) { _file = "lib/modules.nix"; key = "lib/modules.nix:args"; config._module = { inherit args; }; };

      collected = collectModules class (specialArgs.modulesPath or "") (modules ++ legacyArgs ++ [ base ])
        ({ inherit lib options specialArgs; inherit config; _class = class; _prefix = prefix; } // specialArgs);
      merged = mergeModules prefix (lib.reverseList collected);

      inherit (merged) options;
      declared = values options;
      # Definitions without an option go to the freeform type, where there is one.
      freeformType = declared._module.freeformType;
      freeform =
        let
          drop = builtins.length prefix;
          defs = map (d: { inherit (d) file at; value = lib.setAttrByPath (lib.drop drop d.loc) d.value; }) merged.unmatched;
        in
        if defs == [ ] then freeformType.emptyValue.value or { } else freeformType.merge prefix defs;
      config =
        if freeformType == null then declared
        else lib.recursiveUpdateUntil (path: _: _: isDeclared path options) freeform declared;
      isDeclared = path: tree: lib.isOption (lib.attrByPath path { } tree);

      strangers = if freeformType != null then [ ] else merged.unmatched;
      checkStrangers =
        if strangers == [ ] || !config._module.check then null
        else if lenient then builtins.seq (builtins.foldl' (n: d: builtins.seq (lib.warn (say.ignored d) n) n) 0 strangers) null
        else throw (say.unknownOptions options strangers);
      checked = builtins.seq checkStrangers;

      extendModules = extra@{ modules ? [ ], specialArgs ? { }, prefix ? [ ] }:
        evalModules (evalArgs // {
          modules = evalArgs.modules ++ modules;
          specialArgs = evalArgs.specialArgs or { } // specialArgs;
          prefix = if extra ? prefix then extra.prefix else evalArgs.prefix or [ ];
        });
      type = types.submoduleWith { inherit modules specialArgs class; };
    in
    {
      _type = "configuration";
      options = checked options;
      config = checked (removeAttrs config [ "_module" ]);
      inherit (config) _module;
      inherit extendModules type class;
      # Definitions for which there is no option: [ { loc; file; at; value; } ].
      unmatched = strangers;
      graph = map (m: { inherit (m) key; file = m._file; disabled = false; imports = [ ]; }) collected;
    };
in
{ inherit evalModules; }
