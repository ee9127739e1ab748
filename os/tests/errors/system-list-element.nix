# A package's name in quotes.
let evaluate = import ../fixtures/evaluate.nix; root = { fileSystems."/".device = "/dev/vda"; }; in
(evaluate { imports = [ root ];
  environment.systemPackages = [ "htop" ];
}).config.system.build.toplevel.drvPath
