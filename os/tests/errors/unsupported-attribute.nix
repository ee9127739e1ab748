# A module with `config' and options beside it.
let lib = import ../../lib; in with lib;
(evalModules { modules = [ { _file = "m.nix"; config = { }; services.x = 1; } ]; }).config
