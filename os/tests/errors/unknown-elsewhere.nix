# The right last name in the wrong place.
let lib = import ../../lib; in with lib;
(evalModules { modules = [ { options.networking.firewall.allowedTCPPorts = mkOption { default = [ ]; }; options.networking.other = mkEnableOption "x"; }
  { networking.allowedTCPPorts = [ 80 ]; } ]; }).config
