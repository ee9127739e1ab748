# A string where a port is wanted.
let lib = import ../../lib; in with lib;
(evalModules { modules = [ { options.ports = mkOption { type = types.listOf types.port; }; }
  { ports = [ 22 "80" ]; } ]; }).config
