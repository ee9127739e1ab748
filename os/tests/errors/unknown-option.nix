# A misspelt option: the place and the nearest name.
let lib = import ../../lib; in with lib;
(evalModules { modules = [ { options.boot.loader.systemd-boot = { enable = mkEnableOption "it"; editor = mkEnableOption "e"; }; }
  {
    boot.loader.systemd-boot.enabel = true;
  } ]; }).config
