//! Brings a tree's bytes to the disk before anybody calls the path valid: fsync(2), syncfs(2).

use super::dump::sorted_names;
use super::{OPEN_DIRECTORY, OPEN_FILE};
use crate::error::{Error, Result};
use rustix::fs::{AtFlags, CWD, FileType, Mode, fsync, openat, statat, syncfs};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

/// Up to this many files, each is synced by itself; beyond, the file system as a whole is cheaper.
const FEW: usize = 16;

/// Syncs the tree at `path`, which has about this many entries, and the directory that names it.
pub(crate) fn sync_tree(path: &Path, entries: usize) -> Result<()> {
    if entries > FEW {
        return sync_file_system(path.parent().unwrap_or(path));
    }
    node(CWD, path.as_os_str(), path)?;
    sync_directory(path.parent().unwrap_or(path))
}

/// Syncs all of the file system that the directory is on.
pub(crate) fn sync_file_system(directory: &Path) -> Result<()> {
    let open = openat(CWD, directory, OPEN_DIRECTORY.difference(rustix::fs::OFlags::NOFOLLOW), Mode::empty())
        .map_err(Error::call("opening", directory))?;
    syncfs(&open).map_err(Error::call("syncing", directory))
}

/// Syncs a directory's names.
pub(crate) fn sync_directory(directory: &Path) -> Result<()> {
    let open = openat(CWD, directory, OPEN_DIRECTORY.difference(rustix::fs::OFlags::NOFOLLOW), Mode::empty())
        .map_err(Error::call("opening", directory))?;
    fsync(&open).map_err(Error::call("syncing", directory))
}

fn node(directory: BorrowedFd<'_>, name: &OsStr, place: &Path) -> Result<()> {
    let found =
        statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).map_err(Error::call("examining", place))?;
    match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => {
            let file =
                openat(directory, name, OPEN_FILE, Mode::empty()).map_err(Error::call("opening", place))?;
            fsync(&file).map_err(Error::call("syncing", place))
        }
        FileType::Directory => {
            let inner = openat(directory, name, OPEN_DIRECTORY, Mode::empty())
                .map_err(Error::call("opening", place))?;
            for entry in sorted_names(inner.as_fd(), place)? {
                let entry = OsString::from_vec(entry.into_bytes());
                node(inner.as_fd(), &entry, &place.join(&entry))?;
            }
            fsync(&inner).map_err(Error::call("syncing", place))
        }
        _ => Ok(()), // a link is synced with its directory
    }
}
