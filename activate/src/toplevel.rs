//! A generation's toplevel as activation sees it: where it lies and its `activation.json`.

use crate::error::{Error, Result};
use crate::root::Root;
use formats::activation::Activation;
use std::path::{Path, PathBuf};

/// The running generation, a link.
pub const CURRENT_SYSTEM: &str = "/run/current-system";

/// One generation's files.
#[derive(Debug, Clone)]
pub struct Toplevel {
    /// Its store path, inside the root.
    pub path: PathBuf,
    /// Its document.
    pub activation: Activation,
}

impl Toplevel {
    /// Reads the toplevel at this path inside the root; links on the way are followed to the store path.
    ///
    /// # Errors
    /// When there is no readable `activation.json`.
    pub fn read(root: &Root, path: &Path) -> Result<Self> {
        let path = root.inside(&root.resolve(path)?);
        let place = root.resolve(path.join("activation.json"))?;
        let bytes = std::fs::read(&place).map_err(Error::file("read", &place))?;
        let activation =
            Activation::parse(&bytes).map_err(|source| Error::Document { toplevel: path.clone(), source })?;
        Ok(Self { path, activation })
    }

    /// The toplevel's service graph, if it has one.
    pub fn service_graph(&self) -> PathBuf {
        self.path.join("services.graph")
    }
}

/// The generation that runs now, if any.
///
/// # Errors
/// When links go round in a circle.
pub fn current(root: &Root) -> Result<Option<PathBuf>> {
    let link = root.join(CURRENT_SYSTEM);
    if link.symlink_metadata().is_err() {
        return Ok(None);
    }
    Ok(Some(root.inside(&root.resolve(CURRENT_SYSTEM)?)))
}

/// The toplevel that a program was started from as `TOPLEVEL/activate`. The name it was called by is not resolved: the
/// file itself lies elsewhere in the store.
pub fn of_program_name(name: &Path) -> Option<PathBuf> {
    let directory = name.parent().filter(|directory| !directory.as_os_str().is_empty())?;
    let directory = std::path::absolute(directory).ok()?;
    directory.join("activation.json").exists().then_some(directory)
}
