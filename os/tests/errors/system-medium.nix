# A medium that nothing could start.
let evaluate = import ../fixtures/evaluate.nix; in
(evaluate ({ modulesPath, ... }: {
  imports = [ (modulesPath + "/installer/cd-dvd/iso-image.nix") ];
  users.allowNoPasswordLogin = true;
  isoImage.makeBiosBootable = false;
  isoImage.makeEfiBootable = false;
})).config.system.build.toplevel.drvPath
