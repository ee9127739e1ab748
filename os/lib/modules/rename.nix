# Modules that stand for options of the past: removed, renamed, merged, changed.
{ lib }:
let
  inherit (lib) mkOption mkIf mkMerge setAttrByPath getAttrFromPath showOption optional types attrByPath;
  inherit (lib.modules) mkAliasAndWrapDefinitions mkAliasAndWrapDefsWithPriority mkOverride;
in
rec {
  mkRemovedOptionModule = path: replacement: { options, ... }: {
    options = setAttrByPath path (mkOption {
      visible = false;
      apply = _: throw "The option `${showOption path}' can no longer be used since it's been removed. ${replacement}";
    });
    config.assertions =
      let opt = getAttrFromPath path options; in [
        {
          assertion = !opt.isDefined;
          message = "The option definition `${showOption path}' in ${lib.showFiles opt.files} no longer has any effect; please remove it.\n${replacement}";
        }
      ];
  };

  mkRenamedOptionModule = from: to: doRename {
    inherit from to;
    visible = false;
    warn = true;
    use = builtins.trace "Obsolete option `${showOption from}' is used. It was renamed to `${showOption to}'.";
  };

  mkRenamedOptionModuleWith = { from, to, sinceRelease }: doRename {
    inherit from to;
    visible = false;
    warn = lib.oldestSupportedReleaseIsAtLeast sinceRelease;
    use = lib.id;
  };

  # Several old options whose values make up one new one.
  mkMergedOptionModule = from: to: mergeFn: { config, options, ... }: {
    options = lib.foldl' lib.recursiveUpdate { } (map
      (path: setAttrByPath path (mkOption { visible = false; default = "_mkMergedOptionModule"; }))
      from);
    config = {
      warnings = lib.concatMap
        (path:
          let opt = getAttrFromPath path options; in
          optional (getAttrFromPath path config != "_mkMergedOptionModule")
            "The option `${showOption path}' defined in ${lib.showFiles opt.files} has been changed to `${showOption to}' that has a different type. Please read `${showOption to}' documentation and update your configuration accordingly.")
        from;
    } // setAttrByPath to (mkMerge (optional
      (builtins.any (path: getAttrFromPath path config != "_mkMergedOptionModule") from)
      (mergeFn config)));
  };

  mkChangedOptionModule = from: to: changeFn: mkMergedOptionModule [ from ] to changeFn;

  mkAliasOptionModule = from: to: doRename { inherit from to; visible = true; warn = false; use = lib.id; };
  mkAliasOptionModuleMD = mkAliasOptionModule;

  # `from` becomes a second name of `to`.
  doRename = { from, to, visible, warn, use, withPriority ? true, condition ? true }: { config, options, ... }:
    let
      fromOpt = getAttrFromPath from options;
      toOpt = attrByPath to { } options;
      toType = toOpt.type or (types.submodule { });
      toValue = attrByPath to (abort "Renaming error: option `${showOption to}' does not exist.") config;
      wrap = if withPriority then mkAliasAndWrapDefsWithPriority else mkAliasAndWrapDefinitions;
    in
    {
      options = setAttrByPath from (mkOption ({
        inherit visible;
        description = "Alias of `${showOption to}'.";
        apply = _: use toValue;
      } // lib.optionalAttrs (toOpt ? type) { type = toType; }));
      config = mkIf condition (mkMerge [
        (lib.optionalAttrs (options ? warnings) {
          warnings = optional (warn && fromOpt.isDefined)
            "The option `${showOption from}' defined in ${lib.showFiles fromOpt.files} has been renamed to `${showOption to}'.";
        })
        (wrap (setAttrByPath to) fromOpt)
      ]);
    };
}
