//! Where a store's files are: the logical store directory (`/nix/store`, part of every hash) and the real directories
//! below a root. Nix manual, "Local Store" and "Chroot store".

use crate::error::{Error, Result};
use formats::store_path::{StoreDir, StorePath};
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// The directories of a store.
#[derive(Debug, Clone)]
pub struct Layout {
    /// What the store directory is called in paths.
    pub store_dir: StoreDir,
    /// Where its objects really are.
    pub real_store: PathBuf,
    /// Database, roots, profiles, locks.
    pub state: PathBuf,
    /// Build logs are in `drvs` below.
    pub log: PathBuf,
}

impl Layout {
    /// Nix's layout below a root directory: `/` or any other.
    #[must_use]
    pub fn below(root: &Path) -> Self {
        Self {
            store_dir: StoreDir::default(),
            real_store: root.join("nix/store"),
            state: root.join("nix/var/nix"),
            log: root.join("nix/var/log/nix"),
        }
    }

    /// Where an object really is.
    #[must_use]
    pub fn real(&self, path: &StorePath) -> PathBuf {
        self.real_store.join(path.base_name())
    }

    /// Where a path as derivations and links name it really is; other paths are themselves.
    #[must_use]
    pub fn real_of_logical(&self, logical: &Path) -> PathBuf {
        match logical.strip_prefix(self.store_dir.as_str()) {
            Ok(inside) if inside.as_os_str().is_empty() => self.real_store.clone(),
            Ok(inside) => self.real_store.join(inside),
            Err(_) => logical.to_owned(),
        }
    }

    /// The database's directory.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.state.join("db")
    }

    /// The directory of the processes' temporary roots.
    #[must_use]
    pub fn temp_roots(&self) -> PathBuf {
        self.state.join("temproots")
    }

    /// The directory of the roots.
    #[must_use]
    pub fn roots(&self) -> PathBuf {
        self.state.join("gcroots")
    }

    /// The directory of the profiles.
    #[must_use]
    pub fn profiles(&self) -> PathBuf {
        self.state.join("profiles")
    }

    /// Where hard links to deduplicated files are.
    #[must_use]
    pub fn links(&self) -> PathBuf {
        self.real_store.join(".links")
    }

    /// The log of a derivation's build: `drvs/<2 characters>/<rest>`, without its compression's suffix.
    #[must_use]
    pub fn build_log(&self, derivation: &StorePath) -> PathBuf {
        let (head, tail) = derivation.base_name().split_at(2);
        self.log.join("drvs").join(head).join(tail)
    }

    /// Creates what is missing.
    pub(crate) fn create(&self) -> Result<()> {
        make(&self.real_store, 0o755)?;
        for directory in [
            self.links(),
            self.database(),
            self.temp_roots(),
            self.log.join("drvs"),
            self.profiles().join("per-user"),
        ] {
            make(&directory, 0o755)?;
        }
        make(&self.roots().join("auto"), 0o755)?;
        let profiles = self.roots().join("profiles");
        if fs::symlink_metadata(&profiles).is_err() {
            match std::os::unix::fs::symlink(self.profiles(), &profiles) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(Error::file("linking", &profiles)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn make(directory: &Path, mode: u32) -> Result<()> {
    DirBuilder::new().recursive(true).mode(mode).create(directory).map_err(Error::file("creating", directory))
}
