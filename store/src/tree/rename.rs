//! Moves a canonical tree within the store.

use super::CANONICAL_TIMES;
use crate::error::{Error, Result};
use rustix::fs::{AtFlags, CWD, utimensat};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

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
