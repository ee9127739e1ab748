# A read-only option set.
let lib = import ../../lib; in with lib;
(evalModules { modules = [ { options.a = mkOption { type = types.int; default = 1; readOnly = true; }; }
  { a = 2; } ]; }).config.a
