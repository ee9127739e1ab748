# Kernel configuration answers, as `boot.kernelPatches` writes them.
{ lib }:
rec {
  yes = { tristate = "y"; optional = false; };
  no = { tristate = "n"; optional = false; };
  module = { tristate = "m"; optional = false; };
  unset = { tristate = null; optional = false; };
  option = x: x // { optional = true; };
  freeform = x: { freeform = x; optional = false; };
}
