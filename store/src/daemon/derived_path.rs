//! What clients ask to build: `/nix/store/….drv!out,dev`, `….drv!*`, or a path that must be there.

use crate::build::Wanted;
use crate::error::{Error, Result};
use crate::open::Store;
use formats::store_path::StorePath;

/// One request.
#[derive(Debug, Clone)]
pub(crate) enum DerivedPath {
    /// A path as it is.
    Opaque(StorePath),
    /// Outputs of a derivation.
    Built(StorePath, Wanted),
}

impl DerivedPath {
    pub(crate) fn parse(store: &Store, text: &str) -> Result<Self> {
        Ok(match text.split_once('!') {
            None => Self::Opaque(store.dir().parse(text)?),
            Some((_, outputs)) if outputs.contains('!') => {
                return Err(Error::Invalid(
                    "Building dynamic derivations in one shot is not yet implemented: build the derivation first".to_owned(),
                ));
            }
            Some((path, "*")) => Self::Built(store.dir().parse(path)?, Wanted::All),
            Some((path, outputs)) => {
                let outputs = outputs.split(',').map(str::to_owned).collect();
                Self::Built(store.dir().parse(path)?, Wanted::Outputs(outputs))
            }
        })
    }
}
