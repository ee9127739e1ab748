# What is accepted and has no effect is said once, with its place: nothing that a configuration asks for is dropped
# silently. Options without effect carry `inert = true`.
{ config, lib, options, ... }:
let
  inertOptions = tree: lib.concatLists (lib.mapAttrsToList
    (name: o:
      if lib.hasPrefix "_" name then [ ]
      else if o._type or null == "option" then lib.optional (o.inert or false) o
      else inertOptions o)
    tree);
  own = toString ../.;
  # Definitions by the user's files, with their places; the system's own modules may set what they like.
  byUser = o: builtins.filter (d: !(lib.hasPrefix own (toString d.file)) && !(d ? at && lib.hasPrefix own (toString d.at.file))) o.definitionsWithLocations;
  isDefault = o: o ? default && (let v = builtins.tryEval (o.value == o.default); in v.success && v.value);
  place = d: if d ? at && lib.hasPrefix "/" (toString d.at.file) then "${d.at.file}:${toString d.at.line}" else toString d.file;
  found = builtins.filter (o: o.highestPrio < 1500 && byUser o != [ ] && !(isDefault o)) (inertOptions options);
in
{
  options.firn.reportInert = lib.mkOption { type = lib.types.bool; default = true; description = "Whether a build names the options that are set and have no effect in Firn."; };
  config.warnings = lib.mkIf (config.firn.reportInert && found != [ ]) [
    "These options are accepted and have no effect in Firn: ${lib.concatMapStringsSep ", " (o: "${lib.showOption o.loc} (${place (lib.head (byUser o))})") found}."
  ];
}
