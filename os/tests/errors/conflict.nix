# Two files define one option differently: both places.
let lib = import ../../lib; in with lib;
(evalModules { modules = [ { options.a = mkOption { type = types.str; }; }
  { a = "one"; }
  { a = "two"; } ]; }).config.a
