//! A mount namespace for this thread and those it starts: where a read-only store is made writable for its owner alone.
//! unshare(2), mount_namespaces(7).

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statvfs::{FsFlags, statvfs};
use std::io;
use std::path::Path;

/// Whether the mount that the path is on is read-only.
pub fn is_read_only(path: &Path) -> io::Result<bool> {
    Ok(statvfs(path)?.flags().contains(FsFlags::ST_RDONLY))
}

/// Gives this thread a mount namespace of its own, in which `mount_point` is remounted writable. Call it before
/// starting threads: they inherit it. Needs root.
pub fn make_writable_here(mount_point: &Path) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    mount(none, mount_point, none, MsFlags::MS_REMOUNT | MsFlags::MS_BIND, none)?;
    Ok(())
}
