import ./half.nix
