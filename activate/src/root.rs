//! The root directory that activation works on: `/` on a machine, any other directory in a test or an image.
//! Every path goes through here, so that the same code runs on both and no link leads out of the given root.

use crate::error::{Error, Result};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// How many links one path may pass through, as the kernel counts (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// A root directory.
#[derive(Debug, Clone)]
pub struct Root {
    directory: PathBuf,
    owns_files: bool,
}

impl Root {
    /// The root at this directory. Ownership of files is set only when the process may do so.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), owns_files: rustix::process::geteuid().is_root() }
    }

    /// Whether this is the running system's own root: only then are the kernel's settings touched.
    pub fn is_running_system(&self) -> bool {
        self.directory == Path::new("/")
    }

    /// Whether owners are set: an ordinary user who prepares a directory cannot.
    pub fn sets_owners(&self) -> bool {
        self.owns_files
    }

    /// The directory itself.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The place of an absolute path, links not followed.
    pub fn join(&self, absolute: impl AsRef<Path>) -> PathBuf {
        let mut place = self.directory.clone();
        for component in absolute.as_ref().components() {
            match component {
                Component::Normal(name) => place.push(name),
                Component::ParentDir | Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
            }
        }
        place
    }

    /// The place of an absolute path with every link followed inside this root; what does not exist is taken literally.
    ///
    /// # Errors
    /// When links go round in a circle.
    pub fn resolve(&self, absolute: impl AsRef<Path>) -> Result<PathBuf> {
        let original = absolute.as_ref();
        let mut pending: VecDeque<OsString> = original.iter().map(OsString::from).collect();
        let mut resolved = PathBuf::new();
        let mut links = 0;
        while let Some(part) = pending.pop_front() {
            if part == "/" || part == "." {
                continue;
            }
            if part == ".." {
                resolved.pop();
                continue;
            }
            let here = self.directory.join(&resolved).join(&part);
            let Ok(target) = std::fs::read_link(&here) else {
                resolved.push(part);
                continue;
            };
            links += 1;
            if links > MAX_LINKS {
                return Err(Error::LinkLoop { path: original.to_path_buf() });
            }
            if target.is_absolute() {
                resolved = PathBuf::new();
            }
            for part in target.iter().rev() {
                pending.push_front(part.to_os_string());
            }
        }
        Ok(self.directory.join(resolved))
    }

    /// As [`Root::resolve`], but the last component's own link is not followed.
    ///
    /// # Errors
    /// When links go round in a circle.
    pub fn resolve_parent(&self, absolute: impl AsRef<Path>) -> Result<PathBuf> {
        let path = absolute.as_ref();
        match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => Ok(self.resolve(parent)?.join(name)),
            _ => self.resolve(path),
        }
    }

    /// The absolute path that a place inside this root has for those who live in it.
    pub fn inside(&self, place: &Path) -> PathBuf {
        match place.strip_prefix(&self.directory) {
            Ok(relative) => Path::new("/").join(relative),
            Err(_) => place.to_path_buf(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_stay_inside() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        std::fs::create_dir_all(root.join("/nix/store/a/etc")).unwrap();
        std::fs::create_dir(root.join("/etc")).unwrap();
        symlink("/nix/store/a/etc", root.join("/etc/static")).unwrap();
        symlink("../../../../../nix", root.join("/up")).unwrap();
        symlink("/etc/loop", root.join("/etc/loop")).unwrap();
        for (path, expected) in [
            ("/etc/static/passwd", "nix/store/a/etc/passwd"),
            ("/up/store", "nix/store"),
            ("/../../nix", "nix"),
            ("/missing/x", "missing/x"),
            ("/", ""),
        ] {
            assert_eq!(root.resolve(path).unwrap(), directory.path().join(expected), "{path}");
        }
        assert!(matches!(root.resolve("/etc/loop/x"), Err(Error::LinkLoop { .. })));
        assert_eq!(root.resolve_parent("/etc/loop").unwrap(), directory.path().join("etc/loop"));
        assert_eq!(root.inside(&directory.path().join("etc/x")), Path::new("/etc/x"));
    }
}
