# Two modules name the machine differently.
let evaluate = import ../fixtures/evaluate.nix; root = { fileSystems."/".device = "/dev/vda"; }; in
(evaluate { imports = [ root
    { networking.hostName = "one"; }
    { networking.hostName = "two"; } ];
}).config.system.build.toplevel.drvPath
