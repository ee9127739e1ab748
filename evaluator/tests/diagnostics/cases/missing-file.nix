import ./nothing.nix
