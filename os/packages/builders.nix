# nixpkgs' trivial builders, without a stdenv: files are written by `firn-tools`, scripts run in the channel's bash.
{ lib, system, pkgs }:
let
  inherit (builtins) isAttrs isString toJSON;

  # Attributes that speak to Nix code and not to the builder.
  ofNixCode = [ "meta" "passthru" "derivationArgs" ];

  # A derivation that a command of firn-tools builds, with what nixpkgs' packages have besides.
  toolDerivation = command: attributes:
    let
      make = attributes:
        derivation ({
          inherit system;
          builder = "${pkgs.firn-tools}";
          args = [ command ];
          __structuredAttrs = true;
        } // removeAttrs attributes ofNixCode) // {
          meta = { inherit (attributes) name; } // attributes.meta or { };
          passthru = attributes.passthru or { };
          overrideAttrs = f: make (attributes // (if lib.isFunction f then f attributes else f));
        } // attributes.passthru or { };
    in
    make attributes;

  # `script` run by bash, with stdenv's customs: attributes are variables, `nativeBuildInputs` are in $PATH.
  scripted = name: environment: script:
    let
      inputs = lib.flatten ((environment.nativeBuildInputs or [ ]) ++ (environment.buildInputs or [ ]));
      own = removeAttrs environment [ "nativeBuildInputs" "buildInputs" "shell" "script" "path" ];
    in
    toolDerivation "run-script" (own // environment.derivationArgs or { } // {
      inherit name script;
      shell = "${pkgs.bash}/bin/bash";
      path = map (input: "${lib.getBin input}") (lib.filter (input: input != null) inputs ++ basicTools);
    });

  # What stdenv's setup would have in $PATH.
  basicTools = with pkgs; [ coreutils findutils diffutils sed grep gawk tar gzip xz-utils bzip2 bash patch ];

  writeTextFile =
    { name
    , text
    , executable ? false
    , destination ? ""
    , checkPhase ? ""
    , meta ? { }
    , passthru ? { }
    , allowSubstitutes ? false
    , preferLocalBuild ? true
    , derivationArgs ? { }
    }:
    let
      isProgram = destination != "" && executable && lib.hasPrefix "/bin/" destination;
      attributes = derivationArgs // {
        inherit name text allowSubstitutes preferLocalBuild passthru;
        meta = lib.optionalAttrs isProgram { mainProgram = lib.removePrefix "/bin/" destination; } // meta;
      } // lib.optionalAttrs executable { inherit executable; } // lib.optionalAttrs (destination != "") { inherit destination; };
      file = toolDerivation "write-file" attributes;
    in
    if checkPhase == "" then file
    else
      scripted name { inherit meta passthru; file = "${file}"; } ''
        cp -r "$file" "$out"
        target="$out"${lib.escapeShellArg destination}
        ${checkPhase}
      '';

  shebang = "#!${pkgs.bash}/bin/bash\n";
in
rec {
  inherit toolDerivation writeTextFile;

  writeText = name: text: writeTextFile { inherit name text; };
  writeTextDir = path: text: writeTextFile { name = baseNameOf path; inherit text; destination = "/${path}"; };
  writeScript = name: text: writeTextFile { inherit name text; executable = true; };
  writeScriptBin = name: text: writeTextFile { inherit name text; executable = true; destination = "/bin/${name}"; };
  writeShellScript = name: text: writeTextFile { inherit name; executable = true; text = shebang + text; };
  writeShellScriptBin = name: text: writeTextFile { inherit name; executable = true; destination = "/bin/${name}"; text = shebang + text; };
  writeShellApplication =
    { name, text, runtimeInputs ? [ ], runtimeEnv ? null, meta ? { }, passthru ? { }, checkPhase ? null, excludeShellChecks ? [ ], extraShellCheckFlags ? [ ], bashOptions ? [ "errexit" "nounset" "pipefail" ], derivationArgs ? { }, inheritPath ? true }:
    writeTextFile {
      inherit name meta passthru derivationArgs;
      executable = true;
      destination = "/bin/${name}";
      text = shebang
        + lib.concatMapStrings (option: "set -o ${option}\n") bashOptions
        + lib.optionalString (runtimeEnv != null) (lib.concatStrings (lib.mapAttrsToList (variable: value: "${lib.toShellVar variable value}\nexport ${variable}\n") runtimeEnv))
        + lib.optionalString (runtimeInputs != [ ] || !inheritPath) ''export PATH="${lib.makeBinPath runtimeInputs}${lib.optionalString inheritPath ":$PATH"}"${"\n"}''
        + "\n" + text;
    };
  writeJSON = name: value: writeText name (toJSON value);

  runCommand = name: environment: script: scripted name environment script;
  runCommandLocal = name: environment: script: scripted name ({ preferLocalBuild = true; allowSubstitutes = false; } // environment) script;
  runCommandCC = name: environment: script: scripted name (environment // { nativeBuildInputs = environment.nativeBuildInputs or [ ] ++ [ pkgs.gcc ]; }) script;
  runCommandNoCC = runCommand;
  emptyFile = writeText "empty-file" "";
  emptyDirectory = runCommandLocal "empty-directory" { } ''mkdir "$out"'';

  buildEnv = { name, paths, pathsToLink ? [ "/" ], ignoreCollisions ? false, extraPrefix ? "", meta ? { }, passthru ? { }, postBuild ? "", nativeBuildInputs ? [ ], buildInputs ? [ ], manifest ? "", extraOutputsToInstall ? [ ], checkCollisionContents ? true }:
    let
      environment = toolDerivation "build-env" ({
        inherit name pathsToLink ignoreCollisions meta passthru;
        paths = map source (lib.filter (path: path != null) (lib.flatten paths));
      } // lib.optionalAttrs (extraPrefix != "") { inherit extraPrefix; });
      # A package's priority, where it has one of its own.
      source = path:
        if isAttrs path && path ? meta.priority && path.meta.priority != 5 then { path = "${path}"; inherit (path.meta) priority; }
        else "${path}";
    in
    if postBuild == "" then environment
    else scripted name { inherit meta passthru nativeBuildInputs buildInputs; environment = "${environment}"; } ''
      mkdir -p "$out"
      cp -rsf "$environment/." "$out/"
      chmod -R u+w "$out"
      ${postBuild}
    '';
  symlinkJoin = { name ? "${arguments.pname}-${arguments.version}", paths, postBuild ? "", preferLocalBuild ? true, allowSubstitutes ? false, ... }@arguments:
    if postBuild == "" then buildEnv { inherit name paths; ignoreCollisions = true; meta = arguments.meta or { }; passthru = arguments.passthru or { }; }
    else
      scripted name (removeAttrs arguments [ "name" "postBuild" "paths" ] // { paths = map (path: "${path}") (lib.flatten paths); }) ''
        mkdir -p "$out"
        for path in $paths; do
          cp -rsf --no-preserve=mode "$path/." "$out/"
        done
        chmod -R u+w "$out"
        ${postBuild}
      '';
  linkFarm = name: entries:
    toolDerivation "link-farm" {
      inherit name;
      entries =
        if isAttrs entries then lib.mapAttrsToList (name: path: { inherit name; path = "${path}"; }) entries
        else map ({ name, path }: { inherit name; path = "${path}"; }) entries;
    };
  linkFarmFromDrvs = name: packages: linkFarm name (map (package: { inherit (package) name; path = package; }) packages);
  concatTextFile = { name, files, executable ? false, destination ? "" }: writeTextFile { inherit name executable destination; text = lib.concatMapStrings builtins.readFile files; };
  concatText = name: files: concatTextFile { inherit name files; };

  fetchurl =
    { url ? "", urls ? [ ], name ? null, hash ? "", sha256 ? "", sha512 ? "", sha1 ? "", outputHash ? "", outputHashAlgo ? "", executable ? false, meta ? { }, passthru ? { }, ... }:
    let
      address = if url != "" then url else lib.head urls;
      given =
        if hash != "" then { outputHash = hash; outputHashAlgo = null; }
        else if sha512 != "" then { outputHash = sha512; outputHashAlgo = "sha512"; }
        else if sha256 != "" then { outputHash = sha256; outputHashAlgo = "sha256"; }
        else if sha1 != "" then { outputHash = sha1; outputHashAlgo = "sha1"; }
        else if outputHash != "" then { inherit outputHash; outputHashAlgo = if outputHashAlgo == "" then null else outputHashAlgo; }
        else throw "fetchurl: ${address} has no hash; add hash = lib.fakeHash and take the right one from the error";
    in
    derivation ({
      name = if name != null then name else baseNameOf address;
      builder = "builtin:fetchurl";
      system = "builtin";
      url = address;
      outputHashMode = if executable then "recursive" else "flat";
      inherit executable;
      unpack = false;
      preferLocalBuild = true;
    } // given) // { inherit meta passthru; };

  stdenv = {
    inherit system shell;
    hostPlatform = lib.systems.elaborate system;
    buildPlatform = lib.systems.elaborate system;
    targetPlatform = lib.systems.elaborate system;
    isLinux = true;
    isDarwin = false;
    isx86_64 = lib.hasPrefix "x86_64" system;
    isAarch64 = lib.hasPrefix "aarch64" system;
    mkDerivation = import ./mk-derivation.nix { inherit lib scripted pkgs; };
  };
  stdenvNoCC = stdenv;
  inherit (stdenv) hostPlatform buildPlatform targetPlatform;
  shell = "${pkgs.bash}/bin/bash";
  runtimeShell = shell;
  runtimeShellPackage = pkgs.bash;
}
