# An unknown name inside a submodule.
let lib = import ../../lib; in with lib;
(evalModules { modules = [ { options.users = mkOption { type = types.attrsOf (types.submodule { options.isNormalUser = mkEnableOption "n"; }); }; }
  { users.anna.isNormalUsr = true; } ]; }).config
