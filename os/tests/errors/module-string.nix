# An import written as a string.
let lib = import ../../lib; in with lib;
(evalModules { modules = [ { _file = "m.nix"; imports = [ "foo.nix" ]; } ]; }).config
