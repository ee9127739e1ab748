//! Derivations: what a build is, as ATerm text, and the hashes that give its outputs their paths. Nix manual,
//! "Store derivation", "Derivation ATerm" and "Input-addressed derivation outputs" (hash modulo).

mod aterm;
mod draft;
mod modulo;

pub use aterm::{ParseError, parse};
pub use draft::{Draft, Finished};
pub use modulo::{ModuloHash, OutputMismatch};

use crate::content_address::{ContentAddress, Method};
use crate::hash::Algorithm;
use crate::store_path::{StoreDir, StorePath, StorePathError};
use std::collections::{BTreeMap, BTreeSet};

/// Strings of derivations are bytes: nothing says that they are UTF-8.
pub type Bytes = Vec<u8>;

/// One output of a derivation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// At a path computed from the derivation itself.
    InputAddressed(StorePath),
    /// Its content's hash is known beforehand; so its path is.
    Fixed(ContentAddress),
    /// Its path will follow from its content.
    Floating {
        /// What will be hashed.
        method: Method,
        /// With what.
        algorithm: Algorithm,
    },
    /// Input-addressed, but an input's path is not known yet.
    Deferred,
    /// Like floating, and never kept.
    Impure {
        /// What will be hashed.
        method: Method,
        /// With what.
        algorithm: Algorithm,
    },
}

impl Output {
    /// The path of the output of that name of that derivation, if it is known before the build.
    pub fn path(
        &self,
        store: &StoreDir,
        derivation: &str,
        name: &str,
    ) -> Result<Option<StorePath>, StorePathError> {
        match self {
            Self::InputAddressed(path) => Ok(Some(path.clone())),
            Self::Fixed(address) => {
                let name = crate::store_path::output_name(derivation, name);
                store.make_content_address_path(&name, address, &BTreeSet::new(), false).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Whether its path is known before the build.
    pub const fn has_path(&self) -> bool {
        matches!(self, Self::InputAddressed(_) | Self::Fixed(_))
    }

    /// What the variable with the output's name says: the path, printed; a placeholder where the builder is to write to a
    /// path of its own; nothing while an input's path is missing.
    pub fn variable(&self, store: &StoreDir, derivation: &str, name: &str) -> Result<String, StorePathError> {
        Ok(match (self.path(store, derivation, name)?, self) {
            (Some(path), _) => store.print(&path),
            (None, Self::Deferred) => String::new(),
            (None, _) => crate::store_path::placeholder(name),
        })
    }
}

/// A derivation. Its name is not in its text but in its store path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Derivation {
    /// The name: its store path's, without `.drv`.
    pub name: String,
    /// The outputs by name.
    pub outputs: BTreeMap<String, Output>,
    /// Derivations whose outputs, by name, are inputs.
    pub input_drvs: BTreeMap<StorePath, BTreeSet<String>>,
    /// Store paths that are inputs as they are.
    pub input_srcs: BTreeSet<StorePath>,
    /// The system that it builds on, such as `x86_64-linux`.
    pub platform: Bytes,
    /// The program that builds, or `builtin:…`.
    pub builder: Bytes,
    /// Its arguments, without `argv[0]`.
    pub args: Vec<Bytes>,
    /// Its environment.
    pub env: BTreeMap<Bytes, Bytes>,
}

impl Derivation {
    /// Whether its only output is fixed: it may use the network.
    #[must_use]
    pub fn is_fixed_output(&self) -> bool {
        self.fixed_output().is_some()
    }

    /// The content address of the fixed output, if that is what this is.
    #[must_use]
    pub fn fixed_output(&self) -> Option<&ContentAddress> {
        match self.outputs.get("out") {
            Some(Output::Fixed(address)) if self.outputs.len() == 1 => Some(address),
            _ => None,
        }
    }

    /// Whether the builder is one of the store's own (`builtin:fetchurl`).
    #[must_use]
    pub fn is_builtin(&self) -> bool {
        self.builder.starts_with(b"builtin:")
    }

    /// The path of one output, if it is known before the build.
    pub fn output_path(&self, store: &StoreDir, output: &str) -> Result<Option<StorePath>, StorePathError> {
        self.outputs.get(output).map_or(Ok(None), |kind| kind.path(store, &self.name, output))
    }

    /// The paths of all outputs; `None` for those that only the build will tell.
    pub fn output_paths(
        &self,
        store: &StoreDir,
    ) -> Result<BTreeMap<String, Option<StorePath>>, StorePathError> {
        self.outputs.keys().map(|output| Ok((output.clone(), self.output_path(store, output)?))).collect()
    }

    /// What its store object refers to: all inputs.
    #[must_use]
    pub fn references(&self) -> BTreeSet<StorePath> {
        self.input_srcs.iter().chain(self.input_drvs.keys()).cloned().collect()
    }

    /// Its text and the store path that the text has.
    pub fn to_store_path(&self, store: &StoreDir) -> Result<(StorePath, Vec<u8>), StorePathError> {
        let text = self.unparse(store)?;
        let path = store.make_text_path(&format!("{}.drv", self.name), &text, &self.references())?;
        Ok((path, text))
    }

    /// A variable of its environment.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&[u8]> {
        self.env.get(name.as_bytes()).map(Vec::as_slice)
    }
}
