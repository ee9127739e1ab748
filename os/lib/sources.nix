# Source trees without what does not belong in a build.
{ lib }:
rec {
  pathType = lib.filesystem.pathType;
  inherit (lib.filesystem) pathIsDirectory pathIsRegularFile;
  pathIsGitRepo = path: builtins.pathExists (path + "/.git");
  commitIdFromGitRepo = repo:
    let
      git = repo + "/.git";
      head = lib.fileContents (git + "/HEAD");
      ref = lib.removePrefix "ref: " head;
      packed = builtins.filter (l: lib.hasSuffix " ${ref}" l) (lib.splitString "\n" (builtins.readFile (git + "/packed-refs")));
    in
    if ref == head then head
    else if builtins.pathExists (git + "/${ref}") then lib.fileContents (git + "/${ref}")
    else if builtins.pathExists (git + "/packed-refs") && packed != [ ] then lib.head (lib.splitString " " (lib.head packed))
    else throw "commitIdFromGitRepo: ${toString repo} does not say which commit ${ref} is";
  repoRevToName = _kind: _path: "source";
  cleanSourceFilter = name: type:
    let base = baseNameOf (toString name); in
    !(type == "directory" && builtins.elem base [ ".git" ".svn" "CVS" ".hg" ".jj" ".pijul" "_darcs" ]
      || lib.hasSuffix "~" base
      || builtins.match "\\.sw[a-z]$" base != null || builtins.match "\\..*\\.sw[a-z]$" base != null
      || lib.hasSuffix ".o" base || lib.hasSuffix ".so" base
      || type == "symlink" && lib.hasPrefix "result" base
      || type == "unknown");
  cleanSource = src: cleanSourceWith { filter = cleanSourceFilter; inherit src; };
  cleanSourceWith = { filter ? _: _: true, src, name ? null }:
    let
      nested = src ? _isLibCleanSourceWith;
      origSrc = if nested then src.origSrc else src;
      all = path: type: filter path type && (if nested then src.filter path type else true);
      finalName = if name != null then name else if nested then src.name else "source";
    in
    {
      _isLibCleanSourceWith = true;
      inherit origSrc;
      filter = all;
      name = finalName;
      outPath = builtins.path { filter = all; path = origSrc; name = finalName; };
    };
  sourceByRegex = src: regexes:
    let root = toString (src.origSrc or src) + "/"; in
    cleanSourceWith {
      inherit src;
      filter = path: _: let rel = lib.removePrefix root (toString path); in builtins.any (re: builtins.match re rel != null) regexes;
    };
  sourceFilesBySuffices = src: suffixes: cleanSourceWith {
    inherit src;
    filter = name: type: type == "directory" || builtins.any (s: lib.hasSuffix s (baseNameOf (toString name))) suffixes;
  };
  trace = src: src;
  canCleanSource = src: src ? _isLibCleanSourceWith || !(lib.pathHasContext (toString src));
  pathHasContext = builtins.hasContext or (p: lib.hasPrefix builtins.storeDir (toString p));
  sourceTypes = builtins.listToAttrs (map (shortName: { name = shortName; value = { inherit shortName; isSource = shortName == "fromSource"; }; })
    [ "fromSource" "binaryNativeCode" "binaryBytecode" "binaryFirmware" ]);
  urlToName = url: baseNameOf (lib.removeSuffix "/" (lib.last (lib.splitString ":" (toString url))));
}
