//! Flakes on the command line: what a word means, registries, the lock file on disk.

pub(crate) mod registries;
