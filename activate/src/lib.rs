//! From a generation to a running system: /etc, users, wrappers, tmpfiles, the switch plan.

pub mod accounts;
mod durable;
pub mod error;
pub mod etc;
pub mod root;
