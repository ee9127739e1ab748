# Option types. A type says what a value must be (`check`), how several definitions become one (`merge`), how two
# declarations of one option become one (`typeMerge`), and how to speak of it (`description`).
# Names and behaviour follow the NixOS manual, "Options Types".
{ lib }:
let
  inherit (builtins) isAttrs;
  base = import ./types/base.nix { inherit lib; };
  scalar = import ./types/scalar.nix { inherit lib; inherit (base) mkOptionType; };
  compound = import ./types/compound.nix { inherit lib; inherit (base) mkOptionType; };
  submodule = import ./types/submodule.nix { inherit lib; inherit (base) mkOptionType; };
in
base // scalar // compound // submodule // { types = lib.types; }
