//! Writing files so that every moment shows either the old file or the new one, whole, also after a power cut:
//! write a temporary file, fsync, rename, fsync the directory.

use crate::error::{Error, Result};
use std::fs::{File, OpenOptions, Permissions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Owner and group of a new file; `None` leaves them as the process makes them.
pub(crate) type Owner = Option<(u32, u32)>;

/// Puts `contents` at `path` with exactly this mode and owner.
pub(crate) fn write(path: &Path, contents: &[u8], mode: u32, owner: Owner) -> Result<()> {
    let temporary = temporary_name(path);
    remove_if_there(&temporary)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(Error::file("create", &temporary))?;
    file.write_all(contents).map_err(Error::file("write", &temporary))?;
    if let Some((uid, gid)) = owner {
        std::os::unix::fs::fchown(&file, Some(uid), Some(gid))
            .map_err(Error::file("set the owner of", &temporary))?;
    }
    file.set_permissions(Permissions::from_mode(mode)).map_err(Error::file("set the mode of", &temporary))?;
    file.sync_all().map_err(Error::file("write out", &temporary))?;
    std::fs::rename(&temporary, path).map_err(Error::file("replace", path))?;
    sync_parent(path)
}

/// Puts a link at `path`, in place of whatever file or link is there. The directory is not synced: a batch of links
/// ends with one [`sync_filesystem`].
pub(crate) fn link(target: &Path, path: &Path) -> Result<()> {
    let temporary = temporary_name(path);
    remove_if_there(&temporary)?;
    std::os::unix::fs::symlink(target, &temporary).map_err(Error::file("make the link", &temporary))?;
    std::fs::rename(&temporary, path).map_err(Error::file("replace", path))
}

/// Removes a file or link that may not be there.
pub(crate) fn remove_if_there(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::file("remove", path)(error)),
    }
}

/// Reads a file that may not be there.
pub(crate) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::file("read", path)(error)),
    }
}

/// Makes a directory and its parents, mode 0755, unless they exist.
pub(crate) fn make_directories(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).map_err(Error::file("make the directory", path))
}

/// Makes the names in a file's directory durable.
pub(crate) fn sync_parent(path: &Path) -> Result<()> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    let directory = File::open(parent).map_err(Error::file("open", parent))?;
    directory.sync_all().map_err(Error::file("write out", parent))
}

/// Makes everything on the file system that holds `path` durable.
pub(crate) fn sync_filesystem(path: &Path) -> Result<()> {
    let directory = File::open(path).map_err(Error::file("open", path))?;
    rustix::fs::syncfs(&directory).map_err(Error::call("write out the file system of", path))
}

/// The name under which a file is written before it gets its own. Fixed, so that a leftover is found again.
pub(crate) fn temporary_name(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".firn-new");
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn a_file_is_replaced_with_its_mode_and_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("shadow");
        std::fs::write(temporary_name(&path), "left over").unwrap();
        write(&path, b"one", 0o640, None).unwrap();
        write(&path, b"two", 0o600, None).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o600);
        link(Path::new("/x"), &path).unwrap();
        assert_eq!(std::fs::read_link(&path).unwrap(), Path::new("/x"));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
