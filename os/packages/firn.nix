# Firn's own static programs, entered in the store by their contents, so that the same files give the same paths on the
# developer's machine and within the machine that was built there.
{ firn }:
let
  program = name: rec {
    type = "derivation";
    inherit name;
    pname = name;
    outPath = builtins.path { inherit name; path = firn + "/bin/${name}"; };
    outputs = [ "out" ];
    outputName = "out";
    out = outPath;
    drvPath = outPath;
    meta = { mainProgram = name; };
  };
in
{
  # Each is the program itself, not a directory.
  firn-tools = program "firn-tools";
  firn-init = program "firn-init";
  firn-activate = program "firn-activate";
  firn-agent = program "firn-agent";

  # The whole distribution: bin/ and os/, as `<firn>`.
  firn = rec {
    type = "derivation";
    name = "firn";
    pname = "firn";
    outPath = builtins.path { inherit name; path = firn; };
    outputs = [ "out" ];
    outputName = "out";
    out = outPath;
    drvPath = outPath;
    meta = { mainProgram = "firn"; };
  };
}
