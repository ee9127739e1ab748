# Something that Firn cannot do yet.
let evaluate = import ../fixtures/evaluate.nix; root = { fileSystems."/".device = "/dev/vda"; }; in
(evaluate { imports = [ root ];
  services.nginx = { enable = true; virtualHosts."a.example" = { enableACME = true; forceSSL = true; }; };
}).config.system.build.toplevel.drvPath
