//! The database of valid paths: SQLite, schema 10 as Nix has it, so that Nix and Firn take turns on it. Its rules: a row
//! in `ValidPaths` says that the path is complete on disk; `Refs` is its references, closed under validity.

mod big_lock;
mod connection;
mod delete;
mod queries;
mod realisations;
mod register;
mod schema;

pub(crate) use connection::Database;
pub(crate) use delete::{Doomed, Moment};
pub(crate) use queries::Graph;
pub(crate) use register::NewPath;
