//! Finding what a path of Debian's tree is in the store: in the package itself, in a dependency, or among the
//! interpreters that every package may use.

use crate::layout;
use crate::unpack::Tree;
use std::path::{Path, PathBuf};

/// Where to look.
#[derive(Debug, Clone, Copy)]
pub struct Programs<'a> {
    /// The package.
    pub tree: &'a Tree,
    /// Its dependencies.
    pub dependencies: &'a [PathBuf],
    /// Packages of which only an interpreter may be used.
    pub interpreters: &'a [PathBuf],
}

impl Programs<'_> {
    /// The store path of an interpreter named by its path in Debian's tree.
    pub fn interpreter(&self, path: &Path) -> Option<PathBuf> {
        let place = layout::place(&layout::normal(path))?;
        self.at(&place).or_else(|| existing(self.interpreters, &place))
    }

    /// The store path of an interpreter named as in `$PATH`.
    pub fn interpreter_named(&self, name: &str) -> Option<PathBuf> {
        if name.contains('/') {
            return self.interpreter(Path::new(name));
        }
        let place = Path::new("bin").join(name);
        self.at(&place).or_else(|| existing(self.interpreters, &place))
    }

    /// The store path for a path in Debian's tree, in the package or a dependency.
    pub fn path(&self, path: &Path) -> Option<PathBuf> {
        self.at(&layout::place(&layout::normal(path))?)
    }

    /// The store path for a place in the layout.
    pub fn at(&self, place: &Path) -> Option<PathBuf> {
        if self.tree.has(place) {
            return Some(self.tree.root.join(place));
        }
        existing(self.dependencies, place)
    }
}

/// The first of some store paths that has something at a place.
pub(crate) fn existing(paths: &[PathBuf], place: &Path) -> Option<PathBuf> {
    paths.iter().map(|path| path.join(place)).find(|path| path.symlink_metadata().is_ok())
}
