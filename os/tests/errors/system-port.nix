# A port in quotes.
let evaluate = import ../fixtures/evaluate.nix; root = { fileSystems."/".device = "/dev/vda"; }; in
(evaluate { imports = [ root ];
  networking.firewall.allowedTCPPorts = [ 80 "443" ];
}).config.system.build.toplevel.drvPath
