//! What derivations run: unpack and relocate packages, compile service graphs, write initrds and images.
//!
//! One module a command; each has `pub fn run(derivation: &Derivation) -> anyhow::Result<()>` and a row in the table of
//! `main.rs`. A command reads its attributes with [`derivation::Derivation::attributes`] and writes its output to
//! [`derivation::Derivation::out`]; it takes nothing else from the world.

pub mod build_env;
pub mod deb;
pub mod derivation;
pub mod etc_tree;
pub mod grub_core;
pub mod initrd;
pub mod kernel_modules;
pub mod layout;
pub mod link_farm;
pub mod relocate;
pub mod run_script;
pub mod selection;
pub mod service_graph;
pub mod toplevel;
pub mod unpack;
pub mod unpack_deb;
pub mod wrap;
pub mod write_file;
