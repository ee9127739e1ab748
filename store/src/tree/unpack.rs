//! Makes a file tree from a NAR for its user and not for a store: the user may write to it.

use super::restore;
use crate::error::{Error, Result};
use std::fs::{self, Permissions};
use std::io::Read;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Reads one NAR into `path`, which must not exist.
pub fn unpack(path: &Path, input: &mut dyn Read) -> Result<()> {
    restore(path, input)?;
    make_writable(path)
}

fn make_writable(path: &Path) -> Result<()> {
    let found = fs::symlink_metadata(path).map_err(Error::file("examining", path))?;
    if found.is_symlink() {
        return Ok(());
    }
    let mode = if found.is_dir() || found.permissions().mode() & 0o111 != 0 { 0o755 } else { 0o644 };
    fs::set_permissions(path, Permissions::from_mode(mode))
        .map_err(Error::file("changing the mode of", path))?;
    if found.is_dir() {
        for entry in fs::read_dir(path).map_err(Error::file("reading directory", path))? {
            make_writable(&entry.map_err(Error::file("reading directory", path))?.path())?;
        }
    }
    Ok(())
}
