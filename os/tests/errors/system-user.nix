# A user's misspelt attribute.
let evaluate = import ../fixtures/evaluate.nix; root = { fileSystems."/".device = "/dev/vda"; }; in
(evaluate { imports = [ root ];
  users.users.anna.isNormalUsr = true;
}).config.system.build.toplevel.drvPath
