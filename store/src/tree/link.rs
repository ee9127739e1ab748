//! Shows a canonical tree at a second place: its directories are made anew, its files are the same ones. Nobody but us may be able
//! to write to them there either.

use super::OPEN_DIRECTORY;
use super::dump::sorted_names;
use crate::error::{Error, Result};
use rustix::fs::{AtFlags, CWD, FileType, Mode, fchmod, fstat, linkat, mkdirat, openat, statat};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

/// Links what is at `from` below `to`, a directory that somebody else may write to, under `name`.
pub(crate) fn link(from: &Path, to: &Path, name: &OsStr) -> Result<()> {
    let target = openat(CWD, to, OPEN_DIRECTORY, Mode::empty()).map_err(Error::call("opening", to))?;
    node((CWD, from.as_os_str()), (target.as_fd(), name), from)
}

fn node(from: (BorrowedFd<'_>, &OsStr), to: (BorrowedFd<'_>, &OsStr), place: &Path) -> Result<()> {
    let found = statat(from.0, from.1, AtFlags::SYMLINK_NOFOLLOW).map_err(Error::call("examining", place))?;
    if FileType::from_raw_mode(found.st_mode) != FileType::Directory {
        return linkat(from.0, from.1, to.0, to.1, AtFlags::empty()).map_err(Error::call("linking", place));
    }
    let source =
        openat(from.0, from.1, OPEN_DIRECTORY, Mode::empty()).map_err(Error::call("opening", place))?;
    mkdirat(to.0, to.1, Mode::RWXU).map_err(Error::call("showing", place))?;
    let target = openat(to.0, to.1, OPEN_DIRECTORY, Mode::empty()).map_err(Error::call("showing", place))?;
    // Who may write to the parent could have put something else there meanwhile.
    let made = fstat(&target).map_err(Error::call("showing", place))?;
    if made.st_uid != rustix::process::geteuid().as_raw() {
        return Err(Error::Invalid(format!("`{}` changed while it was shown to a builder", place.display())));
    }
    for entry in sorted_names(source.as_fd(), place)? {
        let entry = OsString::from_vec(entry.into_bytes());
        node((source.as_fd(), &entry), (target.as_fd(), &entry), &place.join(&entry))?;
    }
    fchmod(&target, Mode::from_raw_mode(0o555)).map_err(Error::call("closing", place))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, symlink};

    #[test]
    fn files_are_the_same_and_directories_closed() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        fs::create_dir_all(from.join("a/b")).unwrap();
        fs::create_dir(&to).unwrap();
        fs::write(from.join("a/file"), "x").unwrap();
        symlink("file", from.join("a/link")).unwrap();
        link(&from, &to, OsStr::new("shown")).unwrap();
        let inode = |path: &Path| fs::symlink_metadata(path).unwrap().ino();
        for name in ["a/file", "a/link"] {
            assert_eq!(inode(&from.join(name)), inode(&to.join("shown").join(name)));
        }
        assert_eq!(fs::metadata(to.join("shown/a/b")).unwrap().mode() & 0o777, 0o555);
        let error = link(&from, &to, OsStr::new("shown")).unwrap_err().to_string();
        assert!(error.contains("exist"), "{error}");
        super::super::remove(&to).unwrap();
        assert_eq!(fs::read_to_string(from.join("a/file")).unwrap(), "x");
    }
}
