//! The supervisor.

pub mod engine;
