# systemd-boot without a boot partition.
let evaluate = import ../fixtures/evaluate.nix; root = { fileSystems."/".device = "/dev/vda"; }; in
(evaluate { imports = [ root ]; boot.loader.systemd-boot.enable = true; }).config.system.build.toplevel.drvPath
