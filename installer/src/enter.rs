//! Going into an installed system that is mounted somewhere: a mount namespace of one's own with the kernel's file systems and
//! an empty /run in the system, then its root as this process's root; chroot(2), mount_namespaces(7).

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why a system cannot be entered.
#[derive(Debug, Error)]
pub enum EnterError {
    /// No rights, or no such kernel feature.
    #[error("cannot make a mount namespace: {source}{}", if *source == Errno::EPERM { " (only root may)" } else { "" })]
    Namespace {
        /// Why.
        source: Errno,
    },
    /// A mount.
    #[error("cannot mount {what} at {}: {source}", target.display())]
    Mount {
        /// What.
        what: &'static str,
        /// Where.
        target: PathBuf,
        /// Why.
        source: Errno,
    },
    /// A directory or file.
    #[error("cannot make {}: {source}", path.display())]
    Make {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The change of the root directory.
    #[error("cannot make {} the root directory: {source}", root.display())]
    Root {
        /// Where.
        root: PathBuf,
        /// Why.
        source: Errno,
    },
}

/// Shows one directory in the place of another, which is made if need be, to this thread and its children alone.
///
/// # Errors
/// With the mount that failed.
pub fn show_as(directory: &Path, place: &Path) -> Result<(), EnterError> {
    own_mounts(CloneFlags::CLONE_NEWNS)?;
    make_directory(place)?;
    let (none, target) = (None::<&str>, place.to_path_buf());
    mount(Some(directory), place, none, MsFlags::MS_BIND, none).map_err(|source| EnterError::Mount {
        what: "a directory",
        target,
        source,
    })
}

/// Makes a place in which the system can be activated: this machine's devices, and a /run in memory. /proc and /sys are not there
/// yet, so that nobody takes this kernel's settings for the system's own.
///
/// # Errors
/// With the mount that failed. Nothing of it is seen outside this thread and its children, and it is gone when they are.
pub fn prepare(root: &Path) -> Result<(), EnterError> {
    own_mounts(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS)?;
    share(root, "dev")?;
    let run = root.join("run");
    make_directory(&run)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), &run, Some("tmpfs"), flags, Some("mode=0755")).map_err(|source| EnterError::Mount {
        what: "run",
        target: run,
        source,
    })
}

/// A namespace whose mounts nobody else sees.
fn own_mounts(namespaces: CloneFlags) -> Result<(), EnterError> {
    unshare(namespaces).map_err(|source| EnterError::Namespace { source })?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).map_err(|source| EnterError::Mount {
        what: "privately",
        target: PathBuf::from("/"),
        source,
    })
}

/// Shows the system this machine's processes and hardware, for programs that are run in it. Call [`prepare`] first.
///
/// # Errors
/// With the mount that failed.
pub fn share_kernel(root: &Path) -> Result<(), EnterError> {
    share(root, "proc")?;
    share(root, "sys")
}

fn share(root: &Path, name: &'static str) -> Result<(), EnterError> {
    let (source, target) = (Path::new("/").join(name), root.join(name));
    make_directory(&target)?;
    mount(Some(&source), &target, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
        .map_err(|source| EnterError::Mount { what: name, target, source })
}

/// Lets the system find names as this machine does, where it has no /etc/resolv.conf of its own making.
///
/// # Errors
/// With the mount that failed.
pub fn share_name_servers(root: &Path) -> Result<(), EnterError> {
    let (source, target) = (Path::new("/etc/resolv.conf"), root.join("etc/resolv.conf"));
    let Ok(source) = source.canonicalize() else { return Ok(()) };
    match target.symlink_metadata() {
        Ok(found) if found.is_symlink() => return Ok(()),
        Ok(_) => {}
        Err(_) => {
            let make = |source| EnterError::Make { path: target.clone(), source };
            drop(std::fs::File::create(&target).map_err(make)?);
        }
    }
    let none = None::<&str>;
    mount(Some(&source), &target, none, MsFlags::MS_BIND, none).map_err(|source| EnterError::Mount {
        what: "/etc/resolv.conf",
        target,
        source,
    })
}

/// Makes the directory this process's root and working directory. Call [`prepare`] first.
///
/// # Errors
/// When the kernel refuses.
pub fn change_root(root: &Path) -> Result<(), EnterError> {
    let failed = |source| EnterError::Root { root: root.to_path_buf(), source };
    nix::unistd::chroot(root).map_err(failed)?;
    nix::unistd::chdir("/").map_err(failed)
}

fn make_directory(path: &Path) -> Result<(), EnterError> {
    std::fs::create_dir_all(path).map_err(|source| EnterError::Make { path: path.to_path_buf(), source })
}
