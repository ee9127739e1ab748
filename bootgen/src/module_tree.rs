//! A kernel's modules as a tree on disk (`lib/modules/VERSION`): which files there are, what is built in, in which
//! order a set of modules must be inserted. Dependencies are read from the modules themselves, so that a tree that
//! `depmod` never saw (as a distribution's package ships it) is enough.
//!
//! Follows modules(5) for the meaning of `depends`, `softdep` and `alias`; names compare with `-` and `_` as equal.

mod depmod;
mod index;
mod modinfo;

pub use depmod::{DepmodError, write_indexes};
pub use modinfo::Modinfo;

use crate::nearest::nearest;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use thiserror::Error;

/// What can be wrong with a tree of modules or with a wish for one.
#[derive(Debug, Error)]
pub enum ModuleError {
    /// A file or directory cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// What was read.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// No `lib/modules/VERSION` below the path.
    #[error("{}: holds no lib/modules/VERSION directory, so it is not a tree of kernel modules", .0.display())]
    NoVersion(PathBuf),
    /// More than one version below the path.
    #[error("{}: holds modules of several kernels ({}); one is expected", path.display(), versions.join(", "))]
    ManyVersions {
        /// The tree.
        path: PathBuf,
        /// The versions found.
        versions: Vec<String>,
    },
    /// A module that is neither a file, nor built in, nor an alias.
    #[error("kernel {version} has no module `{name}`{}{}", dependent(needed_by.as_deref()), did_you_mean(nearest.as_deref()))]
    Missing {
        /// The name as it was asked for.
        name: String,
        /// The kernel's version.
        version: String,
        /// The module that depends on it, if it was not asked for directly.
        needed_by: Option<String>,
        /// A module with a similar name.
        nearest: Option<String>,
    },
    /// A file that is not an ELF object.
    #[error("{}: is not a kernel module (no ELF file)", .0.display())]
    NotElf(PathBuf),
}

fn dependent(module: Option<&str>) -> String {
    module.map(|module| format!(", which `{module}` depends on")).unwrap_or_default()
}

fn did_you_mean(name: Option<&str>) -> String {
    name.map(|name| format!("; the nearest name is `{name}`")).unwrap_or_default()
}

/// A module's name as the kernel writes it: with underscores.
pub fn normalise(name: &str) -> String {
    name.replace('-', "_")
}

/// The modules of one kernel version.
#[derive(Debug)]
pub struct ModuleTree {
    /// The `lib/modules/VERSION` directory.
    directory: PathBuf,
    version: String,
    /// Module name → path below `directory`, with its compression suffix.
    files: BTreeMap<String, String>,
    builtin: BTreeSet<String>,
    aliases: OnceLock<Vec<(String, String)>>,
}

/// One module, read and decompressed.
#[derive(Debug, Clone)]
pub struct Module {
    /// Its name, with underscores.
    pub name: String,
    /// Its path below `lib/modules/VERSION` without a compression suffix: `kernel/fs/erofs/erofs.ko`.
    pub path: String,
    /// The ELF file.
    pub bytes: Vec<u8>,
    /// What it says about itself.
    pub info: Modinfo,
}

impl ModuleTree {
    /// Opens the tree below `root`: either `root/lib/modules/VERSION` with one version, or `root` is that directory itself.
    ///
    /// # Errors
    /// When nothing or more than one version is found, or a directory cannot be read.
    pub fn open(root: &Path) -> Result<Self, ModuleError> {
        let directory = version_directory(root)?;
        let version = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut files = BTreeMap::new();
        collect_modules(&directory, "", &mut files)?;
        let builtin = match std::fs::read_to_string(directory.join("modules.builtin")) {
            Ok(text) => text.lines().filter_map(module_name).collect(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeSet::new(),
            Err(source) => return Err(ModuleError::Read { path: directory.join("modules.builtin"), source }),
        };
        Ok(Self { directory, version, files, builtin, aliases: OnceLock::new() })
    }

    /// The kernel's version, as in `lib/modules/VERSION`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The `lib/modules/VERSION` directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether the kernel has that module linked in.
    pub fn is_builtin(&self, name: &str) -> bool {
        self.builtin.contains(&normalise(name))
    }

    /// Whether there is a file for that module.
    pub fn has_file(&self, name: &str) -> bool {
        self.files.contains_key(&normalise(name))
    }

    /// All modules that are files: name and path below the version directory.
    pub fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(name, path)| (name.as_str(), path.as_str()))
    }

    /// Reads one module, decompressed.
    ///
    /// # Errors
    /// When there is no such file, it cannot be read or is not a module.
    pub fn module(&self, name: &str) -> Result<Module, ModuleError> {
        let name = normalise(name);
        let Some(relative) = self.files.get(&name) else { return Err(self.missing(&name, None)) };
        let path = self.directory.join(relative);
        let bytes =
            read_decompressed(&path).map_err(|source| ModuleError::Read { path: path.clone(), source })?;
        let info = Modinfo::from_elf(&bytes).ok_or(ModuleError::NotElf(path))?;
        let stem = relative.find(".ko").map_or(relative.as_str(), |end| &relative[..end]);
        Ok(Module { path: format!("{stem}.ko"), name, bytes, info })
    }

    /// The modules to insert so that all of `names` (module names or aliases) are there, dependencies first, each once.
    /// What is built in needs no file. Soft dependencies are taken where the tree has them.
    ///
    /// # Errors
    /// When a name or a hard dependency is neither a file, built in, nor an alias.
    pub fn insertion_order<'a>(
        &self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<Vec<Module>, ModuleError> {
        let mut order = Insertion { tree: self, seen: BTreeSet::new(), modules: Vec::new() };
        for name in names {
            order.want(name, None)?;
        }
        Ok(order.modules)
    }

    /// Modules whose alias matches the name (a device's `modalias`), in the tree's order.
    ///
    /// # Errors
    /// When the aliases cannot be read.
    pub fn by_alias(&self, name: &str) -> Result<Vec<String>, ModuleError> {
        if self.aliases.get().is_none() {
            let read = self.read_aliases()?;
            // Another thread may have been first; both read the same.
            drop(self.aliases.set(read));
        }
        let aliases = self.aliases.get().map(Vec::as_slice).unwrap_or_default();
        let normal = normalise(name);
        Ok(aliases
            .iter()
            .filter(|(pattern, _)| matches_pattern(normalise(pattern).as_bytes(), normal.as_bytes()))
            .map(|(_, module)| module.clone())
            .collect())
    }

    /// Aliases from `modules.alias` where depmod (or Firn) wrote one, else from every module.
    fn read_aliases(&self) -> Result<Vec<(String, String)>, ModuleError> {
        if let Ok(text) = std::fs::read_to_string(self.directory.join("modules.alias")) {
            return Ok(text
                .lines()
                .filter_map(|line| {
                    let mut words = line.split_ascii_whitespace();
                    (words.next()? == "alias").then_some((words.next()?.to_owned(), words.next()?.to_owned()))
                })
                .collect());
        }
        let mut aliases = Vec::new();
        for name in self.files.keys() {
            let module = self.module(name)?;
            aliases.extend(module.info.aliases.into_iter().map(|alias| (alias, name.clone())));
        }
        Ok(aliases)
    }

    fn missing(&self, name: &str, needed_by: Option<&str>) -> ModuleError {
        let known = self.files.keys().chain(&self.builtin).map(String::as_str);
        ModuleError::Missing {
            name: name.to_owned(),
            version: self.version.clone(),
            needed_by: needed_by.map(str::to_owned),
            nearest: nearest(&normalise(name), known).map(str::to_owned),
        }
    }
}

/// Modules that the kernel asks for by name at run time, through a modprobe that an initrd does not have.
const ASKED_FOR_LATER: &[(&str, &[&str])] = &[
    ("vfat", &["nls_cp437", "nls_iso8859_1", "nls_ascii", "nls_utf8"]),
    ("ext4", &["crc32c"]),
    ("btrfs", &["crc32c", "xxhash64", "blake2b_256", "sha256"]),
];

/// A depth-first walk along the dependencies.
struct Insertion<'a> {
    tree: &'a ModuleTree,
    seen: BTreeSet<String>,
    modules: Vec<Module>,
}

impl Insertion<'_> {
    /// Takes a module in, whatever it takes; an error if that cannot be.
    fn want(&mut self, name: &str, needed_by: Option<&str>) -> Result<(), ModuleError> {
        let normal = normalise(name);
        if self.seen.contains(&normal) {
            return Ok(());
        }
        if self.tree.has_file(&normal) {
            return self.insert(&normal);
        }
        if self.tree.is_builtin(&normal) {
            return Ok(());
        }
        let candidates = self.tree.by_alias(name)?;
        if candidates.is_empty() {
            return Err(self.tree.missing(name, needed_by));
        }
        candidates.iter().try_for_each(|module| self.insert(module))
    }

    /// Takes a module in if the tree has it.
    fn wish(&mut self, name: &str) -> Result<(), ModuleError> {
        match self.want(name, None) {
            Err(ModuleError::Missing { .. }) => Ok(()),
            other => other,
        }
    }

    /// Inserts a module that has a file, after what it depends on.
    fn insert(&mut self, name: &str) -> Result<(), ModuleError> {
        if !self.seen.insert(name.to_owned()) {
            return Ok(());
        }
        let module = self.tree.module(name)?;
        for wanted in &module.info.softdep_pre {
            self.wish(wanted)?;
        }
        for needed in &module.info.depends {
            self.want(needed, Some(name))?;
        }
        for (_, later) in ASKED_FOR_LATER.iter().filter(|(asking, _)| *asking == name) {
            for wanted in *later {
                self.wish(wanted)?;
            }
        }
        let after = module.info.softdep_post.clone();
        self.modules.push(module);
        for wanted in &after {
            self.wish(wanted)?;
        }
        Ok(())
    }
}

/// The one `lib/modules/VERSION` below `root`.
fn version_directory(root: &Path) -> Result<PathBuf, ModuleError> {
    for base in ["lib/modules", "usr/lib/modules"] {
        let base = root.join(base);
        if !base.is_dir() {
            continue;
        }
        let mut versions: Vec<String> = read_directory(&base)?
            .into_iter()
            .filter(|(_, path)| path.is_dir())
            .map(|(name, _)| name)
            .collect();
        return match versions.len() {
            0 => Err(ModuleError::NoVersion(root.to_owned())),
            1 => Ok(base.join(versions.remove(0))),
            _ => Err(ModuleError::ManyVersions { path: root.to_owned(), versions }),
        };
    }
    if root.join("kernel").is_dir() || root.join("modules.builtin").is_file() {
        return Ok(root.to_owned());
    }
    Err(ModuleError::NoVersion(root.to_owned()))
}

/// A directory's entries by name.
fn read_directory(path: &Path) -> Result<Vec<(String, PathBuf)>, ModuleError> {
    let failed = |source| ModuleError::Read { path: path.to_owned(), source };
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        entries.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
    }
    entries.sort();
    Ok(entries)
}

/// Finds `*.ko`, `*.ko.xz`, `*.ko.zst`, `*.ko.gz` below a directory. A module in `updates/` wins over the kernel's own, as
/// depmod.d(5)'s default search order has it.
fn collect_modules(
    directory: &Path,
    prefix: &str,
    files: &mut BTreeMap<String, String>,
) -> Result<(), ModuleError> {
    for (name, path) in read_directory(directory)? {
        let relative = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
        // `build` and `source` are links out of the tree.
        let is_link = path.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink());
        if path.is_dir() {
            if !(is_link && prefix.is_empty() && matches!(name.as_str(), "build" | "source")) {
                collect_modules(&path, &relative, files)?;
            }
        } else if let Some(module) = module_name(&relative) {
            let overridden = files.get(&module).is_some_and(|old| old.starts_with("updates/"));
            if !overridden {
                files.insert(module, relative);
            }
        }
    }
    Ok(())
}

/// `kernel/fs/erofs/erofs.ko.xz` → `erofs`; `None` for files that are no modules.
fn module_name(path: &str) -> Option<String> {
    let file = path.trim().rsplit('/').next()?;
    let (stem, suffix) = file.split_once(".ko")?;
    matches!(suffix, "" | ".xz" | ".zst" | ".gz").then(|| normalise(stem))
}

/// Reads a file and undoes the compression that its name tells.
fn read_decompressed(path: &Path) -> std::io::Result<Vec<u8>> {
    let file = std::fs::File::open(path)?;
    let mut bytes = Vec::new();
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => liblzma::read::XzDecoder::new(file).read_to_end(&mut bytes)?,
        Some("zst") => zstd::stream::read::Decoder::new(file)?.read_to_end(&mut bytes)?,
        Some("gz") => flate2::read::GzDecoder::new(file).read_to_end(&mut bytes)?,
        _ => std::io::BufReader::new(file).read_to_end(&mut bytes)?,
    };
    Ok(bytes)
}

/// fnmatch(3) as aliases use it: `*`, `?` and `[…]`.
fn matches_pattern(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            matches_pattern(rest, name)
                || name.split_first().is_some_and(|(_, shorter)| matches_pattern(pattern, shorter))
        }
        (Some((b'?', rest)), Some((_, shorter))) => matches_pattern(rest, shorter),
        (Some((b'[', rest)), Some((byte, shorter))) => match rest.iter().position(|end| *end == b']') {
            Some(end) => {
                let (set, rest) = rest.split_at(end);
                in_set(set, *byte) && matches_pattern(&rest[1..], shorter)
            }
            None => false,
        },
        (Some((wanted, rest)), Some((byte, shorter))) => wanted == byte && matches_pattern(rest, shorter),
        _ => false,
    }
}

/// Whether a bracket's contents (`0-9a-f`) hold the byte.
fn in_set(set: &[u8], byte: u8) -> bool {
    match set {
        [low, b'-', high, rest @ ..] => (*low..=*high).contains(&byte) || in_set(rest, byte),
        [one, rest @ ..] => *one == byte || in_set(rest, byte),
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (path, name) in [
            ("kernel/fs/erofs/erofs.ko", Some("erofs")),
            ("kernel/fs/nls/nls_iso8859-1.ko.xz", Some("nls_iso8859_1")),
            ("updates/dkms/x.ko.zst", Some("x")),
            ("modules.dep", None),
            ("kernel/x.ko.sig", None),
        ] {
            assert_eq!(module_name(path).as_deref(), name, "{path}");
        }
    }

    #[test]
    fn patterns() {
        for (pattern, name, expected) in [
            ("virtio:d00000002v*", "virtio:d00000002v00001AF4", true),
            ("pci:v*d*sv*sd*bc01sc06i01*", "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01", true),
            ("usb:v1d[0-9A-F]c?", "usb:v1dAc7", true),
            ("usb:v1d[0-9A-F]c?", "usb:v1dGc7", false),
            ("crc32c", "crc32", false),
        ] {
            assert_eq!(matches_pattern(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn missing_module_names_the_nearest() {
        let directory = tempfile::tempdir().unwrap();
        let version = directory.path().join("lib/modules/6.1.0-test");
        std::fs::create_dir_all(version.join("kernel/fs")).unwrap();
        std::fs::write(version.join("modules.builtin"), "kernel/fs/ext4/ext4.ko\n").unwrap();
        let tree = ModuleTree::open(directory.path()).unwrap();
        assert!(tree.insertion_order(["ext4"]).unwrap().is_empty());
        let error = tree.insertion_order(["ext5"]).unwrap_err();
        assert_eq!(error.to_string(), "kernel 6.1.0-test has no module `ext5`; the nearest name is `ext4`");
    }

    #[test]
    fn tree_without_modules() {
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(ModuleTree::open(directory.path()), Err(ModuleError::NoVersion(_))));
    }
}
