//! Which directory holds a shared library: of the package itself, or of one of its dependencies.

use crate::layout;
use crate::relocate::elf_facts::ElfFacts;
use crate::unpack::Tree;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// The libraries that a package's files can be linked with.
#[derive(Debug)]
pub struct Libraries<'a> {
    tree: &'a Tree,
    dependencies: &'a [PathBuf],
    /// Name of a file in a dependency's `lib` → that directory. The first dependency that has it counts.
    index: BTreeMap<String, PathBuf>,
    /// Name of a file anywhere in the package → its place's directory, for libraries in private directories.
    own: BTreeMap<String, PathBuf>,
}

impl<'a> Libraries<'a> {
    /// Reads the dependencies' `lib` directories.
    pub fn new(tree: &'a Tree, dependencies: &'a [PathBuf]) -> io::Result<Self> {
        let mut index = BTreeMap::new();
        for dependency in dependencies {
            let directory = dependency.join("lib");
            let entries = match std::fs::read_dir(&directory) {
                Ok(entries) => entries,
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
                {
                    continue;
                }
                Err(error) => {
                    return Err(io::Error::new(
                        error.kind(),
                        format!("cannot list {}: {error}", directory.display()),
                    ));
                }
            };
            for entry in entries {
                if let Ok(name) = entry?.file_name().into_string()
                    && name.contains(".so")
                {
                    index.entry(name).or_insert_with(|| directory.clone());
                }
            }
        }
        let mut own = BTreeMap::new();
        for place in tree.files.keys().chain(tree.links.keys()).chain(tree.hard_links.keys()) {
            if let (Some(name), Some(directory)) =
                (place.file_name().and_then(|name| name.to_str()), place.parent())
                && name.contains(".so")
            {
                own.entry(name.to_owned()).or_insert_with(|| directory.to_path_buf());
            }
        }
        Ok(Self { tree, dependencies, index, own })
    }

    /// The directory of a library that a file needs. It is looked for where the file itself said (`DT_RUNPATH`), in the
    /// package's `lib`, in the dependencies' `lib`, and last in the package's private directories.
    pub fn directory_of(&self, soname: &str, facts: &ElfFacts, origin: &Path) -> Option<PathBuf> {
        let stated = facts.search_path.iter().find_map(|directory| self.in_stated(directory, soname, origin));
        stated
            .or_else(|| self.in_standard(soname))
            .or_else(|| Some(self.tree.root.join(self.own.get(soname)?)))
    }

    /// The directory of a library that is found without the file's own search path.
    pub fn in_standard(&self, soname: &str) -> Option<PathBuf> {
        if self.tree.has(&Path::new("lib").join(soname)) {
            return Some(self.tree.root.join("lib"));
        }
        self.index.get(soname).cloned()
    }

    /// The store's directory for one of the file's own search path, if the library is there.
    fn in_stated(&self, directory: &str, soname: &str, origin: &Path) -> Option<PathBuf> {
        let beside = origin.parent().unwrap_or(Path::new("/")).to_str()?;
        let directory = directory.replace("${ORIGIN}", beside).replace("$ORIGIN", beside);
        if !directory.starts_with('/') {
            return None;
        }
        let place = layout::place(&layout::normal(Path::new(&directory)))?;
        if self.tree.has(&place.join(soname)) {
            return Some(self.tree.root.join(place));
        }
        let mut candidates = self.dependencies.iter().map(|dependency| dependency.join(&place));
        candidates.find(|directory| directory.join(soname).symlink_metadata().is_ok())
    }
}
