# From what stands in `modules` and `imports` — paths, functions, sets — to a flat list of uniform modules:
# { file; key; class; disabled; imports; options; config; }
{ lib }:
let
  inherit (builtins) isAttrs isPath isString functionArgs attrNames filter elem genericClosure toString;
  inherit (lib) mkIf mkMerge showOption;

  glue = [ "_class" "_file" "_name" "key" "disabledModules" "imports" "options" "config" "meta" "freeformType" "require" ];

  # A function module gets the arguments that it names; those that nobody gave come lazily from `_module.args`.
  call = key: f: args:
    let
      wanted = lib.functionArgs f;
      given = builtins.mapAttrs
        (name: _: builtins.addErrorContext "while evaluating the module argument `${name}' in \"${key}\":"
          (args.${name} or args.config._module.args.${name}))
        wanted;
    in
    f (args // given);
in
rec {
  applyModuleArgsIfFunction = key: f: args: if lib.isFunction f then call key f args else f;

  # A module (not a path) in uniform shape.
  unifyModuleSyntax = file: key: m:
    let
      explicit = m ? config || m ? options;
      strangers = filter (n: !(elem n glue)) (attrNames m);
      meta = lib.optional (m ? meta) { inherit (m) meta; };
      freeform = lib.optional (m ? freeformType) { _module.freeformType = m.freeformType; };
      plain = if explicit then m.config or { } else removeAttrs m (lib.remove "meta" glue);
      extra = freeform ++ (if explicit then meta else [ ]);
    in
    if !(isAttrs m) then throw "A module must be a set, a function or a path, but `${key}' is of type ${builtins.typeOf m}."
    else if m ? _type && elem m._type [ "if" "override" "merge" "order" ] then
      throw ("The module `${file}' is wrapped in mk${{ "if" = "If"; override = "Override"; merge = "Merge"; order = "Order"; }.${m._type}} as a whole."
        + " Wrap its `config' instead: config = lib.mk${{ "if" = "If"; override = "Override"; merge = "Merge"; order = "Order"; }.${m._type}} …;")
    else if m ? _type && m._type != "module" && m._type != "override" then
      throw ("Could not load a value as a module, because it is of type ${builtins.toJSON m._type}, in file ${file}."
        + lib.optionalString (m._type == "flake") " Write `inputs.NAME.nixosModules.default' to use a flake's module.")
    else if explicit && strangers != [ ] then
      throw ("Module `${file}' has an unsupported attribute `${lib.head strangers}'. It has a top-level `config' or `options',"
        + " so everything that sets options belongs into `config'; move: ${lib.concatStringsSep ", " strangers}.")
    else {
      _file = toString (m._file or file);
      key = toString (m.key or key);
      class = m._class or null;
      disabled = m.disabledModules or [ ];
      imports = (m.imports or [ ]) ++ (m.require or [ ]);
      options = m.options or { };
      config = if extra == [ ] then plain else mkMerge ([ plain ] ++ extra);
    };

  # One entry of an `imports` list.
  load = args: parentFile: parentKey: n: m:
    let
      anonymous = "${parentKey}:anon-${toString n}";
      fromFile = path:
        let text = toString path; value = import path; in
        unifyModuleSyntax text text (applyModuleArgsIfFunction text value args);
    in
    if isPath m then fromFile m
    else if isString m && lib.hasPrefix "/" m then fromFile m
    else if isString m then throw "The module \"${m}\" imported in `${parentFile}' is a string that is no absolute path. Write ./${m} without quotes."
    else if lib.isFunction m then unifyModuleSyntax parentFile anonymous (call anonymous m args)
    else if isAttrs m && m ? outPath && !(m ? options) && !(m ? config) && !(m ? imports) && !(m ? _file) then fromFile "${m}"
    else if isAttrs m && m._type or null == "if" then
      throw "`imports' in `${parentFile}' contains an mkIf: what is imported cannot depend on the configuration. Import always, and put mkIf into the module's `config'."
    else unifyModuleSyntax (toString (m._file or parentFile)) (toString (m.key or anonymous)) m;

  # All modules reachable from `modules`, without the disabled ones and each key once; importers before imported.
  collectModules = class: modulesPath: modules: args:
    let
      node = parentFile: parentKey: n: m:
        let mod = load args parentFile parentKey n m; in
        if class != null && mod.class != null && mod.class != class
        then throw "The module `${mod._file}' is of class \"${mod.class}\" and cannot be imported into a configuration of class \"${class}\"."
        else { inherit (mod) key; module = mod; };
      start = lib.imap1 (node "<unknown-file>" "") modules;
      children = item: lib.imap1 (node item.module._file item.key) item.module.imports;
      all = map (i: i.module) (genericClosure { startSet = start; operator = children; });
      disabledKeys = lib.concatMap (m: map (disabledKey m._file) m.disabled) all;
      withoutDisabled = map (i: i.module) (genericClosure {
        startSet = filter (i: !(elem i.key disabledKeys)) start;
        operator = item: filter (i: !(elem i.key disabledKeys)) (children item);
      });
      disabledKey = file: d:
        if isPath d then toString d
        else if isString d then (if lib.hasPrefix "/" d then d else "${toString modulesPath}/${d}")
        else if isAttrs d && d ? key then toString d.key
        else if isAttrs d && d ? _file then throw "`disabledModules' in `${file}' names a module that has no `key' attribute, so it cannot be told apart."
        else throw "`disabledModules' in `${file}' may hold paths, strings and sets with a `key', not a ${builtins.typeOf d}.";
    in
    if disabledKeys == [ ] then all else withoutDisabled;

  # Gives a module a file name for error messages.
  setDefaultModuleLocation = file: m: { _file = file; imports = [ m ]; };

  # A file that holds a function of static arguments that returns a module.
  importApply = file: staticArgs: setDefaultModuleLocation file (import file staticArgs);
}
