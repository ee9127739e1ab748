//! A Nix-compatible store: database, sandboxed builds, garbage collection, profiles, caches, daemon.
//!
//! [`Store::open`] opens (or creates) a store below a root directory; everything else is methods of [`Store`]. Nix and
//! this crate can take turns on one store: same paths, same database, same locks.

mod add;
mod add_stream;
pub mod build;
pub mod cache;
mod copy;
pub mod daemon;
mod database;
mod derivations;
mod error;
mod evaluation;
mod export;
mod garbage;
mod image_database;
mod keeper;
mod layout;
mod lock;
pub mod nar_listing;
mod nix_settings;
mod open;
mod optimise;
pub mod profile;
mod query;
mod realisation;
mod rebuild;
mod registration_text;
mod remote;
mod repair;
mod rewrite;
mod root;
mod scan;
mod serve;
mod ssh;
mod temp_roots;
mod temporary;
pub mod tree;
pub mod trust;
mod usage;
mod verify;

pub use add::TextObject;
pub use error::{Error, Result};
pub use garbage::{CollectOptions, Collected};
pub use layout::Layout;
pub use nix_settings::NixSettings;
pub use open::{Options, Store};
pub use optimise::Optimised;
pub use realisation::Realisation;
pub use rebuild::Rebuilt;
pub use root::Root;
pub use usage::{RootUsage, Usage};
pub use verify::{Mended, Problem};
