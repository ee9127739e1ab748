//! Garbage collector roots: links below `gcroots` and `profiles`, links anywhere that are registered in `gcroots/auto`, and
//! what running processes use. Nix manual, "Garbage Collector Roots".

use crate::error::{Error, Result};
use crate::open::Store;
use formats::hash::{Algorithm, Hash};
use formats::store_path::StorePath;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// Why a path is alive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Root {
    /// The path kept.
    pub target: StorePath,
    /// The link that keeps it, or `{memory:PID}`-like words for running processes.
    pub link: PathBuf,
}

impl Store {
    /// Makes `link` (anywhere) point to the path and keeps the path as long as the link stays.
    pub fn add_permanent_root(&self, path: &StorePath, link: &Path) -> Result<()> {
        self.add_root_to(path, Path::new(&self.dir().print(path)), link)
    }

    /// The same for people who follow links: of a store that is not at the place that its paths name (a user's own, on a
    /// machine without `/nix`), the link points to where the object really is. Only Firn's collector knows such a link.
    pub fn add_followable_root(&self, path: &StorePath, link: &Path) -> Result<()> {
        self.add_root_to(path, &self.real_path(path), link)
    }

    fn add_root_to(&self, path: &StorePath, target: &Path, link: &Path) -> Result<()> {
        // What is not here can have no link to it.
        if self.remote.as_ref().is_some_and(|keeper| !keeper.has_roots()) {
            return Ok(());
        }
        self.add_temp_root(path)?;
        let link = std::path::absolute(link).map_err(Error::file("making absolute", link))?;
        if link.starts_with(&self.layout.real_store) || link.starts_with(self.dir().as_str()) {
            return Err(Error::Invalid(format!("a root cannot be in the store: `{}`", link.display())));
        }
        if let Ok(found) = fs::symlink_metadata(&link)
            && !(found.is_symlink() && fs::read_link(&link).is_ok_and(|target| self.is_in_store(&target)))
        {
            return Err(Error::Invalid(format!(
                "cannot make the root `{}`: something else is there",
                link.display()
            )));
        }
        replace_link(target, &link)?;
        self.add_indirect_root(&link)
    }

    /// Registers a link that somebody else made as a root.
    pub fn add_indirect_root(&self, link: &Path) -> Result<()> {
        if let Some(remote) = &self.remote {
            return remote.add_indirect_root(link);
        }
        if link.starts_with(self.layout.roots()) || link.starts_with(self.layout.profiles()) {
            return Ok(()); // found there anyway
        }
        let name = Hash::of(Algorithm::Sha1, link.as_os_str().as_bytes()).digits32();
        replace_link(link, &self.layout.roots().join("auto").join(name))
    }

    pub(crate) fn is_in_store(&self, target: &Path) -> bool {
        self.pointed_at(target).is_some()
    }

    /// The object that a link's target is or lies in: by its name, or by where it really is.
    fn pointed_at(&self, target: &Path) -> Option<StorePath> {
        if let Ok((path, _)) = self.dir().parse_below(target.to_str()?) {
            return Some(path);
        }
        let name = target.strip_prefix(&self.layout.real_store).ok()?.components().next()?;
        StorePath::from_base_name(name.as_os_str().to_str()?).ok()
    }

    /// All roots: links first, then what processes use.
    pub fn find_roots(&self) -> Result<BTreeSet<Root>> {
        if let Some(remote) = &self.remote {
            return remote.find_roots();
        }
        let mut roots = BTreeSet::new();
        self.walk_roots(&self.layout.roots(), &mut roots)?;
        self.walk_roots(&self.layout.profiles(), &mut roots)?;
        if self.layout.real_store == Path::new(self.dir().as_str()) {
            for link in ["/run/booted-system", "/run/current-system"] {
                self.add_link(Path::new(link), &mut roots);
            }
        }
        self.add_runtime_roots(&mut roots);
        Ok(roots)
    }

    fn add_link(&self, link: &Path, roots: &mut BTreeSet<Root>) -> bool {
        let Ok(target) = fs::read_link(link) else { return false };
        let Some(target) = self.pointed_at(&target) else { return false };
        roots.insert(Root { target, link: link.to_owned() })
    }

    fn walk_roots(&self, directory: &Path, roots: &mut BTreeSet<Root>) -> Result<()> {
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) =>
            {
                return Ok(());
            }
            Err(error) => return Err(Error::file("reading directory", directory)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(Error::file("reading directory", directory))?;
            let path = entry.path();
            let kind = entry.file_type().map_err(Error::file("examining", &path))?;
            if kind.is_dir() {
                self.walk_roots(&path, roots)?;
            } else if kind.is_symlink() {
                self.follow_root(directory, &path, roots)?;
            } else if let Some(Ok(target)) =
                path.file_name().and_then(|name| name.to_str()).map(StorePath::from_base_name)
            {
                roots.insert(Root { target, link: path });
            }
        }
        Ok(())
    }

    /// A link to the store, or to a link to the store.
    fn follow_root(&self, directory: &Path, link: &Path, roots: &mut BTreeSet<Root>) -> Result<()> {
        if self.add_link(link, roots) {
            return Ok(());
        }
        let Ok(target) = fs::read_link(link) else { return Ok(()) };
        let target = directory.join(target);
        match fs::symlink_metadata(&target) {
            Ok(found) if found.is_symlink() => {
                self.add_link(&target, roots);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && directory.ends_with("gcroots/auto") => {
                log::info!("removing stale root {} -> {}", link.display(), target.display());
                fs::remove_file(link).map_err(Error::file("removing stale root", link))?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Paths that running processes execute, map, have open or name in their environment. What we may not look at is
    /// somebody else's, and so is the duty to protect it.
    fn add_runtime_roots(&self, roots: &mut BTreeSet<Root>) {
        let Ok(processes) = fs::read_dir("/proc") else { return };
        for process in processes.flatten() {
            if !process.file_name().as_bytes().iter().all(u8::is_ascii_digit) {
                continue;
            }
            let directory = process.path();
            for link in ["exe", "cwd"] {
                self.add_link(&directory.join(link), roots);
            }
            for descriptor in fs::read_dir(directory.join("fd")).into_iter().flatten().flatten() {
                self.add_link(&descriptor.path(), roots);
            }
            for file in ["maps", "environ"] {
                let path = directory.join(file);
                if let Ok(text) = fs::read(&path) {
                    for target in self.paths_in(&text) {
                        roots.insert(Root { target, link: path.clone() });
                    }
                }
            }
        }
        for file in
            ["/proc/sys/kernel/modprobe", "/proc/sys/kernel/fbsplash", "/proc/sys/kernel/poweroff_cmd"]
        {
            for target in self.paths_in(&fs::read(file).unwrap_or_default()) {
                roots.insert(Root { target, link: file.into() });
            }
        }
    }

    /// The store paths that a text mentions.
    pub(crate) fn paths_in(&self, text: &[u8]) -> BTreeSet<StorePath> {
        let prefix = format!("{}/", self.dir());
        let mut found = BTreeSet::new();
        let mut rest = text;
        while let Some(position) = rest.windows(prefix.len()).position(|window| window == prefix.as_bytes()) {
            rest = rest.get(position + prefix.len()..).unwrap_or_default();
            let end = rest
                .iter()
                .position(|byte| !(byte.is_ascii_alphanumeric() || b"+-._?=".contains(byte)))
                .unwrap_or(rest.len());
            let name = rest.get(..end).and_then(|name| std::str::from_utf8(name).ok()).unwrap_or_default();
            if let Ok(path) = StorePath::from_base_name(name) {
                found.insert(path);
            }
        }
        found
    }
}

/// Makes or replaces a symbolic link in one step.
pub(crate) fn replace_link(target: &Path, link: &Path) -> Result<()> {
    let parent = link.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent).map_err(Error::file("creating", parent))?;
    let name = link.file_name().unwrap_or_default().to_string_lossy();
    let temporary = parent.join(format!(".{name}.tmp-{}", std::process::id()));
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Error::file("removing", &temporary)(error));
        }
        _ => {}
    }
    std::os::unix::fs::symlink(target, &temporary).map_err(Error::file("linking", &temporary))?;
    fs::rename(&temporary, link).map_err(Error::file("replacing", link))?;
    crate::tree::sync_directory(parent)
}
