# Functions that look at the file system.
{ lib }:
let
  inherit (builtins) readDir pathExists;
in
rec {
  pathType = path: if pathExists path then builtins.readFileType path else
    throw "lib.filesystem.pathType: Path ${toString path} does not exist.";
  pathIsDirectory = path: pathExists path && pathType path == "directory";
  pathIsRegularFile = path: pathExists path && pathType path == "regular";
  haskellPathsInDir = root: { };
  locateDominatingFile = pattern: file:
    let
      go = path:
        let
          found = builtins.filter (m: m != null) (map (n: builtins.match pattern n) (builtins.attrNames (readDir path)));
          matches = builtins.filter (n: builtins.match pattern n != null) (builtins.attrNames (readDir path));
        in
        if found != [ ] then { inherit path matches; }
        else if path == /. then null
        else go (dirOf path);
    in
    go (if pathIsDirectory file then file else dirOf file);
  listFilesRecursive = dir:
    lib.flatten (lib.mapAttrsToList
      (name: type: if type == "directory" then listFilesRecursive (dir + "/${name}") else dir + "/${name}")
      (readDir dir));
  # Packages from a directory: NAME.nix and NAME/package.nix are called, other directories become nested sets.
  packagesFromDirectoryRecursive = { callPackage, newScope ? null, directory, ... }:
    let
      entry = name: type:
        let path = directory + "/${name}"; in
        if type == "directory" then
          { ${name} = packagesFromDirectoryRecursive { inherit callPackage newScope; directory = path; }; }
        else if type == "regular" && lib.hasSuffix ".nix" name then { ${lib.removeSuffix ".nix" name} = callPackage path { }; }
        else { };
    in
    if pathExists (directory + "/package.nix") then callPackage (directory + "/package.nix") { }
    else lib.mergeAttrsList (lib.mapAttrsToList entry (readDir directory));
  resolveDefaultNix = x: if pathIsDirectory x then x + "/default.nix" else x;
}
