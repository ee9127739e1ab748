# Read, but never defined.
let lib = import ../../lib; in with lib;
(evalModules { modules = [ { options.name = mkOption { type = types.str; }; } ]; }).config
