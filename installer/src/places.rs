//! Where the kernel shows the machine: `/proc`, `/sys`, `/dev`, or directories in their place, so that a test is a tree of files.

use std::path::{Path, PathBuf};

/// The kernel's three directories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// proc(5).
    pub proc: PathBuf,
    /// sysfs(5).
    pub sys: PathBuf,
    /// The device nodes.
    pub dev: PathBuf,
}

impl Places {
    /// Those of the machine.
    pub fn of_the_machine() -> Self {
        Self::below(Path::new("/"))
    }

    /// Those below another directory.
    pub fn below(root: &Path) -> Self {
        Self { proc: root.join("proc"), sys: root.join("sys"), dev: root.join("dev") }
    }

    /// A device node by its usual name, `/dev/…`.
    pub fn node(&self, name: &str) -> PathBuf {
        self.dev.join(name.trim_start_matches("/dev/"))
    }
}

/// A file's text without white space at its ends, if it can be read.
pub(crate) fn line(path: &Path) -> Option<String> {
    Some(String::from_utf8_lossy(&std::fs::read(path).ok()?).trim().to_owned())
}

/// The last name of what a link leads to.
pub(crate) fn link_name(path: &Path) -> Option<String> {
    let target = std::fs::read_link(path).ok()?;
    Some(target.file_name()?.to_string_lossy().into_owned())
}

/// A directory's entries, sorted; none when it is not there.
pub(crate) fn entries(directory: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    found.sort();
    found
}
