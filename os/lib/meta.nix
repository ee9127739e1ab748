# Functions on packages' meta attributes: priorities, platforms, the main program.
{ lib }:
rec {
  addMetaAttrs = new: drv: if drv ? overrideAttrs
    then drv.overrideAttrs (old: { meta = (old.meta or { }) // (if lib.isFunction new then new (old.meta or { }) else new); })
    else drv // { meta = (drv.meta or { }) // new; };
  dontDistribute = addMetaAttrs { hydraPlatforms = [ ]; };
  setName = name: drv: drv // { inherit name; };
  updateName = f: drv: drv // { name = f drv.name; };
  appendToName = suffix: updateName (name:
    let x = builtins.parseDrvName name; in "${x.name}-${suffix}${lib.optionalString (x.version != "") "-${x.version}"}");
  mapDerivationAttrset = f: set: lib.mapAttrs (_: p: if lib.isDerivation p then f p else p) set;
  defaultPriority = 5;
  setPrio = priority: drv: drv // { meta = (drv.meta or { }) // { inherit priority; }; };
  lowPrio = setPrio 10;
  hiPrio = setPrio (-10);
  lowPrioSet = mapDerivationAttrset lowPrio;
  hiPrioSet = mapDerivationAttrset hiPrio;
  platformMatch = platform: elem: if builtins.isString elem then elem == platform.system
    else builtins.all (n: (platform.${n} or platform.parsed.${n} or null) == elem.${n}) (builtins.attrNames elem);
  availableOn = platform: pkg:
    (!(pkg ? meta.platforms) || builtins.any (platformMatch platform) pkg.meta.platforms)
    && !(builtins.any (platformMatch platform) (pkg.meta.badPlatforms or [ ]));
  licensesSpdx = lib.mapAttrs' (_: l: lib.nameValuePair l.spdxId l) (lib.filterAttrs (_: l: l ? spdxId) lib.licenses);
  getLicenseFromSpdxId = id: getLicenseFromSpdxIdOr id (lib.warn "getLicenseFromSpdxId: No license matches the given SPDX ID: ${id}" { shortName = id; });
  getLicenseFromSpdxIdOr = id: default:
    let byLower = lib.mapAttrs' (n: l: lib.nameValuePair (lib.toLower n) l) licensesSpdx; in byLower.${lib.toLower id} or default;
  # The path of a package's main program.
  getExe = x: getExe' x (x.meta.mainProgram or (
    lib.warn "getExe: Package \"${x.meta.name or x.pname or x.name}\" does not have the meta.mainProgram attribute. Assuming \"${lib.getName x}\"."
      (lib.getName x)));
  getExe' = x: program:
    assert lib.assertMsg (lib.isDerivation x) "lib.meta.getExe': The first argument is of type ${builtins.typeOf x}, but it should be a derivation instead.";
    assert lib.assertMsg (builtins.isString program) "lib.meta.getExe': The second argument is of type ${builtins.typeOf program}, but it should be a string instead.";
    assert lib.assertMsg (builtins.match ".*/.*" program == null) "lib.meta.getExe': The second argument \"${program}\" is a nested path with a \"/\" character, but it should just be the name of the executable instead.";
    "${lib.getBin x}/bin/${program}";
}
