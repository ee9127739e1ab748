//! Moves a canonical tree within the store.

use super::CANONICAL_TIMES;
use crate::error::{Error, Result};
use rustix::fs::{AtFlags, CWD, RenameFlags, renameat_with, utimensat};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Lets two trees change places, if something is at `to`, and otherwise renames. `from` is canonical.
pub(crate) fn exchange(from: &Path, to: &Path) -> Result<()> {
    let Ok(damaged) = fs::symlink_metadata(to) else { return rename(from, to) };
    let found = fs::symlink_metadata(from).map_err(Error::file("examining", from))?;
    let unlock = |path: &Path, found: &fs::Metadata| {
        if !found.is_dir() {
            return Ok(());
        }
        fs::set_permissions(path, Permissions::from_mode(0o755))
            .map_err(Error::file("changing the mode of", path))
    };
    unlock(from, &found)?;
    unlock(to, &damaged)?;
    match renameat_with(CWD, from, CWD, to, RenameFlags::EXCHANGE) {
        Ok(()) => {}
        // A file system that cannot: for a moment nothing is there.
        Err(rustix::io::Errno::INVAL) => {
            super::remove(to)?;
            fs::rename(from, to).map_err(Error::file("moving", from))?;
        }
        Err(error) => return Err(Error::call("exchanging", to)(error)),
    }
    if found.is_dir() {
        fs::set_permissions(to, Permissions::from_mode(0o555))
            .map_err(Error::file("changing the mode of", to))?;
        utimensat(CWD, to, &CANONICAL_TIMES, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(Error::call("setting the times of", to))?;
    }
    Ok(())
}

/// Renames a canonical tree. A directory must be writable to get another parent, if we are not root.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<()> {
    let found = fs::symlink_metadata(from).map_err(Error::file("examining", from))?;
    if !found.is_dir() {
        return fs::rename(from, to).map_err(Error::file("moving", from));
    }
    let mode = |path: &Path, mode: u32| {
        fs::set_permissions(path, Permissions::from_mode(mode))
            .map_err(Error::file("changing the mode of", path))
    };
    mode(from, 0o755)?;
    fs::rename(from, to).map_err(Error::file("moving", from))?;
    mode(to, 0o555)?;
    utimensat(CWD, to, &CANONICAL_TIMES, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(Error::call("setting the times of", to))
}
