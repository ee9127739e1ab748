# Nothing is mounted at /.
let evaluate = import ../fixtures/evaluate.nix; root = { fileSystems."/".device = "/dev/vda"; }; in
(evaluate { }).config.system.build.toplevel.drvPath
