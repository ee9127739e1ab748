//! The Nix language: parse, resolve, evaluate, explain. Touches the world through one trait only.

mod api;
mod arena;
mod ast;
mod attrs;
mod builtins;
mod code;
mod coerce;
mod context;
mod diagnostic;
mod documentation;
mod error;
mod escape;
mod eval;
mod evaluator;
pub mod flake;
pub mod float_format;
pub mod io;
mod lexer;
mod messages;
mod operators;
mod options;
mod parser;
mod paths;
mod position;
mod print_ast;
mod print_value;
mod profile;
pub mod regex;
mod resolve;
mod scan;
mod shapes;

mod suggest;
mod symbol;
pub mod trace;
mod value;
pub mod versions;

pub use api::{Dependency, DerivationInfo, Handle, Result, Statistics};
pub use arena::Arena;
pub use builtins::builtin_names;
pub use diagnostic::{EvalError, Explanation, TraceLine};
pub use documentation::Documentation;
pub use error::ErrorKind;
pub use evaluator::Evaluator;
pub use io::EvalIo;
pub use options::Options;
pub use position::Location;
pub use print_value::Style;

/// Up to five names of these that are at most two changes away from another one, the closest first.
pub fn closest_names(wanted: &str, known: &[String]) -> Vec<String> {
    suggest::closest_names(wanted.as_bytes(), known.iter().map(String::as_bytes))
}
