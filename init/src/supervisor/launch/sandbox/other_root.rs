//! RootDirectory=: a directory that is the root of the service's namespace in the end, and what the service has of the machine's in it.

use super::place;
use nix::mount::{MsFlags, mount};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// What a service with another root has of the machine's: the kernel's file systems, and where it says that it is ready.
pub(super) const FROM_OUTSIDE: [&str; 3] = ["/sys", "/dev", "/run/firn/notify"];

/// RootDirectory=. Paths are resolved in it while the list is worked through, so that no link in it leads out; it becomes the
/// namespace's root at the end.
pub(super) struct OtherRoot<'a> {
    path: &'a Path,
    machines: OwnedFd,
    /// The directory that we were in, and are in again: the machine's /proc.
    here: OwnedFd,
}

impl<'a> OtherRoot<'a> {
    pub(super) fn enter(path: &'a Path) -> io::Result<Self> {
        let failed = |error: nix::Error| {
            io::Error::new(io::Error::from(error).kind(), format!("{}: {error}", path.display()))
        };
        // The root of a namespace is a mount.
        mount(Some(path), path, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
            .map_err(failed)?;
        let this = Self { path, machines: place(Path::new("/"))?, here: place(Path::new("/proc"))? };
        this.enter_again()?;
        Ok(this)
    }

    /// Enters what is mounted there now.
    pub(super) fn enter_again(&self) -> io::Result<()> {
        nix::unistd::fchdir(&self.machines)?;
        nix::unistd::chroot(".")?;
        nix::unistd::chroot(self.path)?;
        Ok(nix::unistd::fchdir(&self.here)?)
    }

    /// Makes it the namespace's root and lets the machine's go.
    pub(super) fn stay(self) -> io::Result<()> {
        nix::unistd::chdir("/")?;
        let ours = place(Path::new("/"))?;
        nix::unistd::fchdir(&self.machines)?;
        nix::unistd::chroot(".")?;
        nix::unistd::fchdir(&ours)?;
        match nix::unistd::pivot_root(".", ".") {
            Ok(()) => nix::mount::umount2(".", nix::mount::MntFlags::MNT_DETACH)?,
            // The machine's root is the kernel's first file system, which stays.
            Err(nix::Error::EINVAL) => nix::unistd::chroot(".")?,
            Err(error) => return Err(error.into()),
        }
        Ok(nix::unistd::chdir("/")?)
    }
}
