//! Flakes: reading a `flake.nix`, computing its lock file in memory, calling its outputs. Nix manual, `nix flake`.
//!
//! Trees and registries are behind [`crate::EvalIo`]. Nothing is written here: whoever locks a flake gets the old and the
//! new lock file and decides.

mod call;
mod lock;
mod read;

pub use lock::LockFlags;

use formats::flake::{FlakeRef, LockFile};
use std::collections::{BTreeMap, BTreeSet};

/// What a flake asks for under a name.
#[derive(Debug, Clone, Default)]
pub(crate) struct FlakeInput {
    pub(crate) reference: Option<FlakeRef>,
    /// Whether just the tree is wanted.
    pub(crate) is_tree: bool,
    /// The path, from the root, of the input that it is to be the same as.
    pub(crate) follows: Option<Vec<String>>,
    /// What its own inputs are to be.
    pub(crate) overrides: FlakeInputs,
}

/// Inputs by name.
pub(crate) type FlakeInputs = BTreeMap<String, FlakeInput>;

/// A setting that a flake asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setting {
    /// A string or path.
    Text(String),
    /// A number.
    Int(i64),
    /// A truth.
    Bool(bool),
    /// A list of strings.
    List(Vec<String>),
}

/// A flake whose `flake.nix` was read.
#[derive(Debug, Clone)]
pub struct Flake {
    /// As it was asked for.
    pub original: FlakeRef,
    /// After the registries were looked at.
    pub resolved: FlakeRef,
    /// Exactly which tree.
    pub locked: FlakeRef,
    /// Where the `flake.nix` is: a directory in the store.
    pub directory: String,
    /// What it says of itself.
    pub description: Option<String>,
    /// `nixConfig`.
    pub settings: BTreeMap<String, Setting>,
    pub(crate) inputs: FlakeInputs,
    /// What `inputs.self` asks of its own tree.
    pub(crate) of_self: formats::flake::Attributes,
}

/// A tree that was fetched while a lock file was computed: a directory in the store.
pub(crate) type Trees = BTreeMap<usize, String>;

/// A flake with its lock file.
#[derive(Debug, Clone)]
pub struct LockedFlake {
    /// The flake itself.
    pub flake: Flake,
    /// The lock file that it had.
    pub old_lock: LockFile,
    /// The lock file that it should have.
    pub lock: LockFile,
    /// Whether it is to look as if it were not committed, because its lock file is not the one of its revision.
    pub is_dirty: bool,
    pub(crate) trees: Trees,
}

impl Flake {
    /// The names of its inputs, with what they refer to unless they follow others.
    pub fn inputs(&self) -> impl Iterator<Item = (&str, Option<&FlakeRef>)> {
        self.inputs.iter().map(|(name, input)| (name.as_str(), input.reference.as_ref()))
    }
}

impl LockedFlake {
    /// Takes the same flake as it is after something in it changed, such as its lock file.
    pub fn replace_flake(&mut self, flake: Flake) {
        self.trees.insert(0, flake.directory.clone());
        self.flake = flake;
    }
}

/// The inputs that were named on a command line and are none of the flake.
pub(crate) type Unused = BTreeSet<Vec<String>>;
