//! Small initrds for tests: files of the host under names in the guest, as a cpio archive in the "newc" format
//! (Documentation/driver-api/early-userspace/buffer-format.rst in Linux), uncompressed.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// What will be in the archive: names without a leading slash, sorted.
#[derive(Debug, Clone, Default)]
pub struct Initrd {
    entries: BTreeMap<String, (u32, Vec<u8>)>,
}

const DIRECTORY: u32 = 0o040_755;
const SYMLINK: u32 = 0o120_777;
const FILE: u32 = 0o100_000;

impl Initrd {
    /// Adds a file with these bytes and permission bits.
    #[must_use]
    pub fn file(mut self, name: &str, mode: u32, bytes: impl Into<Vec<u8>>) -> Self {
        self.add(name, FILE | mode, bytes.into());
        self
    }

    /// Adds a symbolic link.
    #[must_use]
    pub fn link(mut self, name: &str, target: &str) -> Self {
        self.add(name, SYMLINK, target.into());
        self
    }

    /// Adds an empty directory.
    #[must_use]
    pub fn directory(mut self, name: &str) -> Self {
        self.add(name, DIRECTORY, Vec::new());
        self
    }

    /// Adds an executable of the host.
    pub fn program(self, name: &str, from: &Path) -> Result<Self> {
        let bytes = std::fs::read(from).map_err(Error::file("cannot read", from))?;
        Ok(self.file(name, 0o755, bytes))
    }

    /// Adds the files and links of a directory of the host whose names there (without a leading slash) `is_wanted`.
    pub fn tree(mut self, root: &Path, is_wanted: impl Fn(&str) -> bool) -> Result<Self> {
        let mut waiting = vec![root.to_owned()];
        while let Some(directory) = waiting.pop() {
            let failed = || Error::file("cannot read", &directory);
            for entry in std::fs::read_dir(&directory).map_err(failed())? {
                let path = entry.map_err(failed())?.path();
                let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
                let metadata = path.symlink_metadata().map_err(Error::file("cannot read", &path))?;
                if metadata.is_dir() {
                    waiting.push(path);
                } else if !is_wanted(&name) {
                } else if metadata.is_symlink() {
                    let target = std::fs::read_link(&path).map_err(Error::file("cannot read", &path))?;
                    self.add(&name, SYMLINK, target.into_os_string().into_encoded_bytes());
                } else if metadata.is_file() {
                    let bytes = std::fs::read(&path).map_err(Error::file("cannot read", &path))?;
                    self.add(&name, FILE | metadata.permissions().mode() & 0o7777, bytes);
                }
            }
        }
        Ok(self)
    }

    /// Adds kernel modules and those that they need, and `modules.list`: their names in the order of loading.
    /// `tree` is the directory with `modules.dep`, or without one the tree is searched by file name.
    pub fn modules(self, tree: &Path, names: &[&str]) -> Result<Self> {
        let mut order = Vec::new();
        let index = module_index(tree)?;
        let mut seen = BTreeSet::new();
        for name in names {
            load_order(name, &index, &mut seen, &mut order)?;
        }
        let mut initrd = self;
        let mut list = String::new();
        for path in order {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let bytes = std::fs::read(&path).map_err(Error::file("cannot read", &path))?;
            initrd = initrd.file(&format!("modules/{name}"), 0o644, bytes);
            list.push_str(&name);
            list.push('\n');
        }
        Ok(initrd.file("modules.list", 0o644, list))
    }

    /// The modules added, in the order of loading.
    pub fn module_order(&self) -> Vec<String> {
        let list =
            self.entries.get("modules.list").map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned());
        list.unwrap_or_default().lines().map(str::to_owned).collect()
    }

    fn add(&mut self, name: &str, mode: u32, bytes: Vec<u8>) {
        for (at, _) in name.match_indices('/') {
            let parent = name.get(..at).unwrap_or_default();
            self.entries.entry(parent.to_owned()).or_insert((DIRECTORY, Vec::new()));
        }
        self.entries.insert(name.to_owned(), (mode, bytes));
    }

    /// The archive.
    pub fn to_cpio(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (number, (name, (mode, bytes))) in self.entries.iter().enumerate() {
            header(&mut out, number as u32 + 1, *mode, name, bytes);
        }
        header(&mut out, 0, 0, "TRAILER!!!", &[]);
        out
    }

    /// Writes the archive to a file.
    pub fn write(&self, path: &Path) -> Result<()> {
        std::fs::write(path, self.to_cpio()).map_err(Error::file("cannot write", path))
    }
}

fn header(out: &mut Vec<u8>, inode: u32, mode: u32, name: &str, bytes: &[u8]) {
    let length = bytes.len() as u32;
    let fields = [inode, mode, 0, 0, 1, 0, length, 0, 0, 0, 0, name.len() as u32 + 1, 0];
    out.extend_from_slice(b"070701");
    out.extend(fields.iter().flat_map(|field| format!("{field:08x}").into_bytes()));
    out.extend_from_slice(name.as_bytes());
    out.push(0);
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend_from_slice(bytes);
    out.resize(out.len().next_multiple_of(4), 0);
}

/// Module name (with underscores) → file and the names it needs, from the modules' own `.modinfo` text.
fn module_index(tree: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut index = BTreeMap::new();
    let mut open = vec![tree.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).map_err(Error::file("cannot list", &directory))? {
            let entry = entry.map_err(Error::file("cannot list", &directory))?;
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "ko") {
                let stem = path.file_stem().unwrap_or_default().to_string_lossy().replace('-', "_");
                index.insert(stem, path);
            }
        }
    }
    Ok(index)
}

fn load_order(
    name: &str,
    index: &BTreeMap<String, PathBuf>,
    seen: &mut BTreeSet<String>,
    order: &mut Vec<PathBuf>,
) -> Result<()> {
    let name = name.replace('-', "_");
    if !seen.insert(name.clone()) {
        return Ok(());
    }
    // A module that is built in has no file.
    let Some(path) = index.get(&name) else { return Ok(()) };
    let bytes = std::fs::read(path).map_err(Error::file("cannot read", path))?;
    for needed in needs(&bytes) {
        load_order(&needed, index, seen, order)?;
    }
    order.push(path.clone());
    Ok(())
}

/// The names after `depends=` among the module's NUL-terminated `.modinfo` strings.
fn needs(module: &[u8]) -> Vec<String> {
    let text = module.split(|byte| *byte == 0).find_map(|string| string.strip_prefix(b"depends="));
    let text = String::from_utf8_lossy(text.unwrap_or_default()).into_owned();
    text.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_is_what_cpio_reads() {
        let archive = Initrd::default().file("bin/x", 0o755, "abc").link("init", "bin/x").to_cpio();
        let text = String::from_utf8_lossy(&archive);
        assert!(text.starts_with("070701"));
        assert_eq!(archive.len() % 4, 0);
        for name in ["bin\0", "bin/x\0", "init\0", "TRAILER!!!\0"] {
            assert!(text.contains(name), "{name:?}");
        }
        assert_eq!(text.matches("070701").count(), 4);
    }

    #[test]
    fn modules_come_after_what_they_need() {
        let tree = tempfile::tempdir().unwrap();
        for (name, needs) in [("a", "b-x,c"), ("b-x", "c"), ("c", "")] {
            std::fs::write(
                tree.path().join(format!("{name}.ko")),
                format!("\0depends={needs}\0name={name}\0"),
            )
            .unwrap();
        }
        let initrd = Initrd::default().modules(tree.path(), &["a", "built_in"]).unwrap();
        assert_eq!(initrd.entries["modules.list"].1, b"c.ko\nb-x.ko\na.ko\n");
    }
}
