//! From a generation to a running system: /etc, users and groups, wrappers, tmpfiles, kernel settings, snippets, and the
//! switch from one generation to another. Every part plans first (pure, from what is there and what is wanted), then
//! applies, and works on any root directory ([`root::Root`]), so that all of it is tested without a machine.

pub mod accounts;
pub mod capabilities;
mod durable;
pub mod error;
pub mod etc;
pub mod file_mode;
pub mod kernel;
pub mod lock;
pub mod root;
pub mod snippets;
pub mod steps;
pub mod switch;
pub mod tmpfiles;
pub mod toplevel;
pub mod wrappers;
