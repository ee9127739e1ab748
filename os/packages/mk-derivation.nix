# `stdenv.mkDerivation` for what a configuration builds itself: nixpkgs' phases, run by the channel's bash with the
# channel's tools. A compiler is there when `nativeBuildInputs` names one (`gcc`, `gnumake`).
{ lib, scripted, pkgs }:
let
  phase = name: default: attributes: ''
    ${name}() {
    ${attributes.${name} or default}
    }
  '';

  own = [ "phases" "src" "srcs" "patches" "name" "pname" "version" "meta" "passthru" "buildCommand" "preUnpack" "postUnpack" ]
    ++ map (p: "${p}Phase") [ "unpack" "patch" "configure" "build" "check" "install" "fixup" ]
    ++ lib.concatMap (p: [ "pre${p}" "post${p}" ]) [ "Patch" "Configure" "Build" "Check" "Install" "Fixup" ];

  run = attributes: name: let upper = lib.toUpper (builtins.substring 0 1 name) + builtins.substring 1 (-1) name; in ''
    echo "phase: ${name}"
    ${attributes."pre${upper}" or ""}
    ${name}Phase
    ${attributes."post${upper}" or ""}
  '';

  make = attributes:
    let
      hasSource = attributes ? src || attributes ? srcs;
      wanted = lib.optionals (hasSource && !(attributes.dontUnpack or false)) [ "unpack" ]
        ++ lib.optional (hasSource || attributes ? patchPhase) "patch"
        ++ lib.optional (!(attributes.dontConfigure or false) && (hasSource || attributes ? configurePhase)) "configure"
        ++ lib.optional (!(attributes.dontBuild or false) && (hasSource || attributes ? buildPhase)) "build"
        ++ lib.optional (attributes.doCheck or false) "check"
        ++ lib.optional (!(attributes.dontInstall or false)) "install"
        ++ lib.optional (attributes ? fixupPhase) "fixup";
      script =
        if attributes ? buildCommand then attributes.buildCommand
        else ''
          source=${lib.escapeShellArg (lib.concatMapStringsSep " " (s: "${s}") (attributes.srcs or (lib.optional (attributes ? src) attributes.src)))}
          patches=${lib.escapeShellArg (lib.concatMapStringsSep " " (p: "${p}") (attributes.patches or [ ]))}
          runHook() { :; }
        ''
        + phase "unpackPhase" ''
          for one in $source; do
            if [ -d "$one" ]; then cp -r "$one" source; else tar xf "$one"; fi
          done
          chmod -R u+w .
          for directory in *; do
            if [ -d "$directory" ]; then cd "''${sourceRoot:-$directory}"; break; fi
          done
        '' attributes
        + phase "patchPhase" ''for one in $patches; do patch -p1 < "$one"; done'' attributes
        + phase "configurePhase" ''if [ -x ./configure ]; then ./configure --prefix="$out" ''${configureFlags:-}; fi'' attributes
        + phase "buildPhase" ''if [ -e Makefile ]; then make ''${makeFlags:-}; fi'' attributes
        + phase "checkPhase" ''make check'' attributes
        + phase "installPhase" ''make install PREFIX="$out" prefix="$out" ''${makeFlags:-} ''${installFlags:-}'' attributes
        + phase "fixupPhase" ":" attributes
        + lib.concatMapStrings (run attributes) wanted;
    in
    scripted (attributes.name or "${attributes.pname}-${attributes.version}") (removeAttrs attributes own // {
      passthru = attributes.passthru or { } // lib.optionalAttrs (attributes ? pname) { inherit (attributes) pname version; };
      meta = attributes.meta or { };
    }) script // { overrideAttrs = f: make (attributes // f attributes); };
in
attributes: make (if lib.isFunction attributes then lib.fix attributes else attributes)
