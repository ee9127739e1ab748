# The function `derivation`: what a call gives before anything is computed. The store derivation is made when one of
# `outPath` and `drvPath` is asked for, and once. Nix manual, "Derivations".
/**
  A package: what a call gives is a set that becomes a path where a string is
  wanted, and is built where that path is.

  `name`, `builder` (a program) and `system` must be there; `args` are the
  builder's arguments, `outputs` the names of what it makes; all other
  attributes are in its environment, as strings.

      derivation {
        name = "hello";
        system = "x86_64-linux";
        builder = "/bin/sh";
        args = [ "-c" "echo hello > $out" ];
      }
*/
drvAttrs@{ outputs ? [ "out" ], ... }:
let
  strict = derivationStrict drvAttrs;

  shared = drvAttrs // builtins.listToAttrs perOutput // {
    all = map (output: output.value) perOutput;
    inherit drvAttrs;
  };

  forOutput = outputName: {
    name = outputName;
    value = shared // {
      outPath = builtins.getAttr outputName strict;
      drvPath = strict.drvPath;
      type = "derivation";
      inherit outputName;
    };
  };

  perOutput = map forOutput outputs;
in
(builtins.head perOutput).value
