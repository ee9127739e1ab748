# Not one of the possible values.
let lib = import ../../lib; in with lib;
(evalModules { modules = [ { options.log = mkOption { type = types.enum [ "debug" "info" "warn" ]; }; }
  { log = "inof"; } ]; }).config
