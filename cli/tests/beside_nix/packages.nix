# A few derivations that need nothing but a shell.
let
  make = name: script: extra: derivation ({
    inherit name;
    system = "x86_64-linux";
    builder = "/bin/sh";
    args = [ "-c" "export PATH=/usr/bin:/bin; ${script}" ];
  } // extra);
in
rec {
  base = make "base-1.2" "mkdir $out; echo base > $out/f; ln -s f $out/l" { };
  lib = make "lib-2.0" "mkdir $out $dev; echo ${base} > $out/x; echo $out > $dev/y" { outputs = [ "out" "dev" ]; };
  top = make "top-3" "mkdir -p $out/bin; echo ${lib} ${lib.dev} > $out/bin/t; chmod +x $out/bin/t" { };
  fixed = make "fixed" "echo hello > $out" { outputHash = "sha256-WJG1tSLDBkS+hZPsV8sLm6M3EQm6H8J5pHMWY6eKJwY="; outputHashMode = "flat"; outputHashAlgo = "sha256"; };
  bad = make "bad" "echo line1; echo line2 >&2; exit 7" { };
  structured = make "structured" ". ./.attrs.sh; echo done > \${outputs[out]}" { __structuredAttrs = true; list = [ 1 "a" ]; set.a = null; };
}
