# A service user without a group.
let evaluate = import ../fixtures/evaluate.nix; root = { fileSystems."/".device = "/dev/vda"; }; in
(evaluate { imports = [ root ]; users.users.app.isSystemUser = true; }).config.system.build.toplevel.drvPath
