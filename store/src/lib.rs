//! A Nix-compatible store: database, sandboxed builds, garbage collection, profiles, caches, daemon.
