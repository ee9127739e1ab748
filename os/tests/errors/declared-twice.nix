# One option declared in two modules with two types.
let lib = import ../../lib; in with lib;
(evalModules { modules = [ { _file = "one.nix"; options.a = mkOption { type = types.int; }; } { _file = "two.nix"; options.a = mkOption { type = types.str; }; } ]; }).config.a
