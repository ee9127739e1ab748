# A misspelt option in a configuration.
let evaluate = import ../fixtures/evaluate.nix; root = { fileSystems."/".device = "/dev/vda"; }; in
(evaluate { imports = [ root ];
  services.ngnix.enable = true;
}).config.system.build.toplevel.drvPath
