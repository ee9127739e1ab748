//! The Nix language: parse, resolve, evaluate, explain. Touches the world through one trait only.
pub mod float_format;
pub mod regex;
pub mod versions;
