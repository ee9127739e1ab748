//! From a generation to a running system: /etc, users, wrappers, tmpfiles, the switch plan.

pub mod accounts;
pub mod capabilities;
mod durable;
pub mod error;
pub mod etc;
pub mod file_mode;
pub mod kernel;
pub mod root;
pub mod snippets;
pub mod tmpfiles;
pub mod wrappers;
