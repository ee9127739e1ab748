# Immutable users and no way in.
let evaluate = import ../fixtures/evaluate.nix; root = { fileSystems."/".device = "/dev/vda"; }; in
(evaluate { imports = [ root ]; users.mutableUsers = false; }).config.system.build.toplevel.drvPath
