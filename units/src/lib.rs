//! Unit definitions (from modules, from packages' unit files) to a checked service graph.
//!
//! [`definition`] is the shape in which units come, [`unit_file`] reads packages' files into it, [`directive`] is the
//! table of every directive that Firn honours, and [`compile`] makes the graph of `formats::service_graph`. Whatever can
//! be wrong with a unit is an error here, with the place of its definition, and not a surprise on the machine.

pub mod command_line;
pub mod compile;
pub mod definition;
pub mod directive;
pub mod error;
pub mod implicit;
pub mod nearest;
pub mod network_filter;
pub mod process_value;
pub mod seccomp;
pub mod specifier;
pub mod unit_file;
pub mod value;
