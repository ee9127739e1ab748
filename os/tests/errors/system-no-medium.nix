# A medium of a configuration that describes none.
let evaluate = import ../fixtures/evaluate.nix; in
(evaluate ../fixtures/uefi-server/configuration.nix).config.system.build.isoImage
