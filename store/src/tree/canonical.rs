//! Makes a tree that a builder wrote canonical: owner, modes 0444/0555, times 1, no set-id bits, no extended attributes.
//! Refuses files that the build user does not own (a hard link to somebody's file) and everything that is no file,
//! directory or link. Each file is opened first and then examined and changed by its descriptor.

use super::dump::sorted_names;
use super::{CANONICAL_TIMES, OPEN_DIRECTORY, OPEN_FILE, type_name};
use crate::error::{Error, Result};
use formats::nar;
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, Stat, Uid, fchmod, fchown, flistxattr, fremovexattr, fstat, futimens,
    openat, statat, utimensat,
};
use std::collections::BTreeSet;
use std::ffi::{CStr, OsStr, OsString};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

/// A file's identity.
pub(crate) type Inode = (u64, u64);

/// What the walk knows.
struct Walk<'a> {
    builder: Option<u32>,
    owner: (u32, u32),
    seen: &'a mut BTreeSet<Inode>,
    entries: usize,
}

/// Makes the tree at `path` canonical. With `builder`, every file must belong to that user or be one of `seen`
/// (made canonical in this build before). Returns how many entries there are.
pub(crate) fn canonicalise(path: &Path, builder: Option<u32>, seen: &mut BTreeSet<Inode>) -> Result<usize> {
    let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let mut walk = Walk { builder, owner, seen, entries: 0 };
    walk.node(CWD, path.as_os_str(), path, 0)?;
    Ok(walk.entries)
}

/// Extended attributes that stay: the system's, not the builder's.
const KEPT_ATTRIBUTES: [&[u8]; 2] = [b"security.selinux", b"system.nfs4_acl"];

impl Walk<'_> {
    fn node(&mut self, directory: BorrowedFd<'_>, name: &OsStr, place: &Path, depth: usize) -> Result<()> {
        if depth > nar::DEPTH_LIMIT {
            return Err(Error::Invalid(format!(
                "directories are nested deeper than {}, which no archive can hold",
                nar::DEPTH_LIMIT
            )));
        }
        self.entries += 1;
        let found =
            statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).map_err(Error::call("examining", place))?;
        match FileType::from_raw_mode(found.st_mode) {
            FileType::Symlink => {
                self.check_owner(&found, place)?;
                let (uid, gid) = self.owner;
                if found.st_uid != uid || found.st_gid != gid {
                    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
                    rustix::fs::chownat(directory, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
                        .map_err(Error::call("changing the owner of", place))?;
                }
                utimensat(directory, name, &CANONICAL_TIMES, AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(Error::call("setting the times of", place))?;
                self.seen.insert((found.st_dev, found.st_ino));
                Ok(())
            }
            FileType::RegularFile => {
                // A file without read permission must still be opened.
                let file = self.open(directory, name, &found, OPEN_FILE, place)?;
                self.settle(&file, FileType::RegularFile, place)
            }
            FileType::Directory => {
                let inner = self.open(directory, name, &found, OPEN_DIRECTORY, place)?;
                // Writable while the walk is in it.
                let state = fstat(&inner).map_err(Error::call("examining", place))?;
                self.check_owner(&state, place)?;
                fchmod(&inner, Mode::RWXU).map_err(Error::call("changing the mode of", place))?;
                for entry in sorted_names(inner.as_fd(), place)? {
                    let entry = OsString::from_vec(entry.into_bytes());
                    self.node(inner.as_fd(), &entry, &place.join(&entry), depth + 1)?;
                }
                self.settle(&inner, FileType::Directory, place)
            }
            other => Err(Error::FileType { path: place.to_owned(), kind: type_name(other) }),
        }
    }

    fn open(
        &self,
        directory: BorrowedFd<'_>,
        name: &OsStr,
        found: &Stat,
        flags: rustix::fs::OFlags,
        place: &Path,
    ) -> Result<OwnedFd> {
        self.check_owner(found, place)?;
        match openat(directory, name, flags, Mode::empty()) {
            Err(rustix::io::Errno::ACCESS) => {
                super::unlock(directory, name).map_err(Error::call("changing the mode of", place))?;
                openat(directory, name, flags, Mode::empty())
            }
            other => other,
        }
        .map_err(Error::call("opening", place))
    }

    fn check_owner(&self, found: &Stat, place: &Path) -> Result<()> {
        match self.builder {
            Some(builder)
                if found.st_uid != builder && !self.seen.contains(&(found.st_dev, found.st_ino)) =>
            {
                Err(Error::Invalid(format!(
                    "build output `{}` belongs to user {} and not to the builder: suspicious ownership, rejected",
                    place.display(),
                    found.st_uid
                )))
            }
            _ => Ok(()),
        }
    }

    /// Gives an open file or directory its canonical metadata.
    fn settle(&mut self, file: &OwnedFd, kind: FileType, place: &Path) -> Result<()> {
        let found = fstat(file).map_err(Error::call("examining", place))?;
        if FileType::from_raw_mode(found.st_mode) != kind {
            return Err(Error::Invalid(format!("`{}` changed while it was registered", place.display())));
        }
        self.check_owner(&found, place)?;
        remove_attributes(file, place)?;
        let (uid, gid) = self.owner;
        if found.st_uid != uid || found.st_gid != gid {
            fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
                .map_err(Error::call("changing the owner of", place))?;
        }
        let executable = kind == FileType::Directory || found.st_mode & 0o100 != 0;
        fchmod(file, Mode::from_raw_mode(if executable { 0o555 } else { 0o444 }))
            .map_err(Error::call("changing the mode of", place))?;
        futimens(file, &CANONICAL_TIMES).map_err(Error::call("setting the times of", place))?;
        self.seen.insert((found.st_dev, found.st_ino));
        Ok(())
    }
}

fn remove_attributes(file: &OwnedFd, place: &Path) -> Result<()> {
    let mut names = [0u8; 4096];
    let length = match flistxattr(file, &mut names) {
        Ok(length) => length,
        Err(rustix::io::Errno::NOTSUP | rustix::io::Errno::NODATA) => 0,
        Err(error) => return Err(Error::call("listing the extended attributes of", place)(error)),
    };
    for name in names.get(..length).unwrap_or_default().split_inclusive(|byte| *byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else { continue };
        if KEPT_ATTRIBUTES.contains(&name.to_bytes()) {
            continue;
        }
        fremovexattr(file, name).map_err(Error::call("removing an extended attribute of", place))?;
    }
    Ok(())
}
