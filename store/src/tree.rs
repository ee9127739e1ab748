//! File trees of the store: written out as NAR, restored from NAR, made canonical, made durable, removed. Always by
//! directory descriptors and never following links, because a builder may have made the tree.

mod canonical;
mod copy;
mod describe;
mod dump;
mod durable;
mod link;
mod nothing;
mod remove;
mod rename;
mod restore;
mod single;
mod unpack;

pub(crate) use canonical::{Inode, canonicalise};
pub(crate) use copy::{Copied, copy};
pub(crate) use describe::{describe, dump_by};
pub use dump::{dump, hash_file, hash_tree};
pub(crate) use durable::{sync_directory, sync_file_system, sync_tree};
pub(crate) use link::link;
pub(crate) use nothing::Nothing;
pub(crate) use remove::Directory;
pub use remove::remove;
pub(crate) use rename::{exchange, rename};
pub(crate) use restore::restore;
pub(crate) use single::{archive_of, only_file};
pub use unpack::unpack;

use rustix::fs::{FileType, Mode, OFlags, Timespec, Timestamps, chmod, fstat, openat};
use std::ffi::OsStr;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// How files of a tree are opened: whatever was put there, nothing is followed and nothing blocks.
pub(crate) const OPEN_FILE: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);
/// How directories of a tree are opened.
pub(crate) const OPEN_DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::DIRECTORY);

/// The time of everything in a store: one second past 1970, because zero confuses some programs.
pub(crate) const CANONICAL_TIMES: Timestamps = Timestamps {
    last_access: Timespec { tv_sec: 1, tv_nsec: 0 },
    last_modification: Timespec { tv_sec: 1, tv_nsec: 0 },
};

/// The name of a type of file that no store holds.
pub(crate) const fn type_name(kind: FileType) -> &'static str {
    match kind {
        FileType::Socket => "socket",
        FileType::Fifo => "named pipe",
        FileType::CharacterDevice => "character device",
        FileType::BlockDevice => "block device",
        _ => "file of unknown type",
    }
}

/// Lets us read a file, or work in a directory, that its builder locked, without following links: the mode of what the
/// descriptor names is changed, whatever the name means meanwhile. A file keeps its executable bits.
pub(crate) fn unlock(directory: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<()> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(directory, name, flags, Mode::empty())?;
    let found = fstat(&file)?;
    let mode = match FileType::from_raw_mode(found.st_mode) {
        FileType::Directory => Mode::RWXU,
        _ => Mode::from_raw_mode(found.st_mode & 0o111) | Mode::RUSR,
    };
    chmod(format!("/proc/self/fd/{}", file.as_raw_fd()), mode)
}
