# Strings, their contexts and derivations that depend on each other: what `ci/bench-instructions` counts.
let
  inherit (builtins) concatStringsSep elemAt genList length replaceStrings toJSON;
  script = ''
    for file in $src/*; do
      echo "installing $file" && cp "$file" $out/
    done
  '';
  make =
    n: inputs:
    derivation {
      name = "step-${toString n}";
      system = "x86_64-linux";
      builder = "/bin/sh";
      args = [ "-c" script ];
      outputs = [ "out" "dev" ];
      inherit inputs;
      PATH = concatStringsSep ":" (map (input: "${input}/bin") inputs);
      flags = replaceStrings [ "@number@" ] [ (toString n) ] (concatStringsSep " " (genList (m: "--with-@number@-${toString m}") 20));
      configuration = toJSON { inherit n; names = map (input: input.name) inputs; text = script; };
    };
  steps = genList (n: make n (if n < 3 then [ ] else [ (elemAt steps (n - 1)) (elemAt steps (n - 3)).dev ])) 150;
in
[ (length steps) (elemAt steps 149).drvPath ]
