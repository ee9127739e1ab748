//! The store from outside: builds in the sandbox, faults of every kind, taking turns with the real Nix.

mod builds;
mod faults;
mod fixture;
mod turns;
