//! The Nix language: parse, resolve, evaluate, explain. Touches the world through one trait only.
