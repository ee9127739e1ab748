# A number where a string is wanted.
let lib = import ../../lib; in with lib;
(evalModules { modules = [ { options.name = mkOption { type = types.str; }; }
  { name = 5; } ]; }).config
