# A value where a set of options is.
let lib = import ../../lib; in with lib;
(evalModules { modules = [ { options.services.nginx.enable = mkEnableOption "n"; }
  { services.nginx = true; } ]; }).config
