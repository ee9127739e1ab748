//! Removes a tree by directory descriptors: a path that is swapped for a link meanwhile leads nowhere else
//! (CVE-2025-46415). Counts what becomes free.

use super::OPEN_DIRECTORY;
use super::dump::sorted_names;
use crate::error::{Error, Result};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, fchmod, openat, renameat, statat, unlinkat};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// How deep one walk goes: each level costs a descriptor and a piece of the stack. What is deeper, as a builder may have
/// made it, is moved up and removed after.
const DEPTH: usize = 256;

/// Tells moved pieces apart.
static COUNTER: AtomicU64 = AtomicU64::new(0);

/// Removes what is at `path`, if anything. Returns the bytes on disk that this frees: a file with other links frees
/// none, but for one in `.links`.
pub fn remove(path: &Path) -> Result<u64> {
    // The parent may be writable for others: everything below goes by descriptor.
    let mut moved = vec![path.to_owned()];
    let mut freed = 0;
    while let Some(path) = moved.pop() {
        freed += node(CWD, path.as_os_str(), &path, 0, &mut moved)?;
    }
    Ok(freed)
}

/// A directory whose entries are removed by name.
#[derive(Debug)]
pub(crate) struct Directory {
    descriptor: OwnedFd,
    place: PathBuf,
}

impl Directory {
    /// Opens it.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let descriptor = openat(CWD, path, OPEN_DIRECTORY.difference(OFlags::NOFOLLOW), Mode::empty())
            .map_err(Error::call("opening", path))?;
        Ok(Self { descriptor, place: path.to_owned() })
    }

    /// As [`remove`].
    pub(crate) fn remove(&self, name: &str) -> Result<u64> {
        let (mut moved, place) = (Vec::new(), self.place.join(name));
        let mut freed = node(self.descriptor.as_fd(), OsStr::new(name), &place, 0, &mut moved)?;
        for path in moved {
            freed += remove(&path)?;
        }
        Ok(freed)
    }
}

fn node(
    directory: BorrowedFd<'_>,
    name: &OsStr,
    place: &Path,
    depth: usize,
    moved: &mut Vec<PathBuf>,
) -> Result<u64> {
    let found = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => found,
        Err(Errno::NOENT) => return Ok(0),
        Err(error) => return Err(Error::call("examining", place)(error)),
    };
    let mut freed = 0;
    let mut flags = AtFlags::empty();
    if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
        let inner = open_writable(directory, name, place)?;
        if depth >= DEPTH {
            return move_up(directory, name, place, moved);
        }
        for entry in sorted_names(inner.as_fd(), place)? {
            let entry = OsString::from_vec(entry.into_bytes());
            freed += node(inner.as_fd(), &entry, &place.join(&entry), depth + 1, moved)?;
        }
        flags = AtFlags::REMOVEDIR;
    } else if found.st_nlink <= 2 {
        freed += found.st_blocks as u64 * 512;
    }
    match unlinkat(directory, name, flags) {
        Ok(()) | Err(Errno::NOENT) => Ok(freed),
        Err(error) => Err(Error::call("removing", place)(error)),
    }
}

/// Moves a directory from deep below to beside the tree's root.
fn move_up(directory: BorrowedFd<'_>, name: &OsStr, place: &Path, moved: &mut Vec<PathBuf>) -> Result<u64> {
    let top = place.ancestors().nth(DEPTH + 1).unwrap_or(Path::new("/"));
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let target = top.join(format!(".removed-{}-{number}", std::process::id()));
    renameat(directory, name, CWD, target.as_os_str()).map_err(Error::call("moving up", place))?;
    moved.push(target);
    Ok(0)
}

/// Opens a directory whose entries can then be removed.
fn open_writable(parent: BorrowedFd<'_>, name: &OsStr, place: &Path) -> Result<std::os::fd::OwnedFd> {
    let directory = match openat(parent, name, OPEN_DIRECTORY, Mode::empty()) {
        Err(Errno::ACCESS) => {
            super::unlock(parent, name).map_err(Error::call("changing the mode of", place))?;
            openat(parent, name, OPEN_DIRECTORY, Mode::empty())
        }
        other => other,
    }
    .map_err(Error::call("opening", place))?;
    fchmod(&directory, Mode::RWXU).map_err(Error::call("changing the mode of", place))?;
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn removes_read_only_trees_and_follows_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let (outside, tree) = (directory.path().join("outside"), directory.path().join("tree"));
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::write(&outside, "keep").unwrap();
        fs::write(tree.join("a/b/file"), "x").unwrap();
        symlink(&outside, tree.join("a/link")).unwrap();
        symlink(directory.path(), tree.join("up")).unwrap();
        for inside in ["a/b", "a", ""] {
            fs::set_permissions(tree.join(inside), fs::Permissions::from_mode(0o555)).unwrap();
        }
        remove(&tree).unwrap();
        assert!(fs::symlink_metadata(&tree).is_err());
        assert_eq!(fs::read_to_string(&outside).unwrap(), "keep");
        assert_eq!(remove(&tree).unwrap(), 0);
    }

    #[test]
    fn removes_what_is_deeper_than_any_stack() {
        let directory = tempfile::tempdir().unwrap();
        let mut inner = std::fs::File::open(directory.path()).unwrap().into();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&inner, "deep", Mode::RWXU).unwrap();
            inner = openat(&inner, "deep", OPEN_DIRECTORY, Mode::empty()).unwrap();
        }
        drop(inner);
        remove(&directory.path().join("deep")).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
