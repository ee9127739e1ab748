# Command lines from attribute sets.
{ lib }:
rec {
  toGNUCommandLineShell = options: set: lib.escapeShellArgs (toGNUCommandLine options set);
  toGNUCommandLine =
    { mkOptionName ? (k: if builtins.stringLength k == 1 then "-${k}" else "--${k}")
    , mkBool ? (k: v: lib.optional v (mkOptionName k))
    , mkList ? (k: v: lib.concatMap (mkOption k) v)
    , mkOption ? (k: v:
        if v == null then [ ]
        else if optionValueSeparator == null then [ (mkOptionName k) (lib.generators.mkValueStringDefault { } v) ]
        else [ "${mkOptionName k}${optionValueSeparator}${lib.generators.mkValueStringDefault { } v}" ])
    , optionValueSeparator ? null
    }: set:
    lib.concatLists (lib.mapAttrsToList
      (k: v: if builtins.isBool v then mkBool k v else if builtins.isList v then mkList k v else mkOption k v)
      set);

  toCommandLineShell = format: set: lib.escapeShellArgs (toCommandLine format set);
  # `format name` says { option; sep; explicitBool; formatArg } for each option.
  toCommandLine = format: set:
    let
      one = name: v:
        let
          f = format name;
          arg = (f.formatArg or (lib.generators.mkValueStringDefault { })) v;
          pair = if (f.sep or null) == null then [ f.option arg ] else [ "${f.option}${f.sep}${arg}" ];
        in
        if v == null then [ ]
        else if builtins.isList v then lib.concatMap (one name) v
        else if builtins.isBool v && !(f.explicitBool or false) then lib.optional v f.option
        else pair;
    in
    lib.concatLists (lib.mapAttrsToList one set);
  toCommandLineGNU = { isLong ? (n: builtins.stringLength n > 1), explicitBool ? false, formatArg ? lib.generators.mkValueStringDefault { } }:
    toCommandLine (name: {
      option = if isLong name then "--${name}" else "-${name}";
      sep = if isLong name then "=" else "";
      inherit explicitBool formatArg;
    });
  toCommandLineShellGNU = options: set: lib.escapeShellArgs (toCommandLineGNU options set);
}
