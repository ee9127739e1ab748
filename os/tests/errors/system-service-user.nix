# An unknown attribute of a service.
let evaluate = import ../fixtures/evaluate.nix; root = { fileSystems."/".device = "/dev/vda"; }; in
(evaluate { imports = [ root ];
  systemd.services.mine.wantedby = [ "multi-user.target" ];
}).config.system.build.toplevel.drvPath
