# The function `derivation`: what a call gives before anything is computed. The store derivation is made when one of
# `outPath` and `drvPath` is asked for, and once. Nix manual, "Derivations".
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
