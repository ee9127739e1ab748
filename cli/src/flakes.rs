//! Flakes on the command line: what a word means, registries, the lock file on disk, the attributes that a word names.

pub(crate) mod locking;
pub(crate) mod outputs;
pub(crate) mod registries;
pub(crate) mod settings;
pub(crate) mod system;
pub(crate) mod words;
