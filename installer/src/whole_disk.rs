//! Writes a plan on its disk and mounts what came of it.

use crate::block_device::BlockDevice;
use crate::disk::Disk;
use crate::layout::Plan;
use crate::places::Places;
use bootgen::image::ImageError;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use thiserror::Error;

/// How often the kernel is asked to read a table anew while something, udev as a rule, still looks at the old one.
const ATTEMPTS: u32 = 50;
const BETWEEN: Duration = Duration::from_millis(100);

/// Why a disk was not written or mounted.
#[derive(Debug, Error)]
pub enum WholeDiskError {
    /// Somebody has it open for himself alone.
    #[error("{} is in use (the kernel does not say by what): {source}", disk.display())]
    InUse {
        /// The disk.
        disk: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be opened.
    #[error("cannot write to {}: {source}{}", disk.display(), if source.kind() == io::ErrorKind::PermissionDenied { " (only root may)" } else { "" })]
    Open {
        /// The disk.
        disk: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The writers.
    #[error(transparent)]
    Write(#[from] ImageError),
    /// The kernel does not take the new table.
    #[error("{} is written, but the kernel goes on with its old partitions: {source}; after a reboot it sees the new ones, and `firn install` can be run again", disk.display())]
    Table {
        /// The disk.
        disk: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A partition that should be there.
    #[error("{disk} has no partition {number} though it was just written")]
    Missing {
        /// The disk.
        disk: String,
        /// Which.
        number: u32,
    },
    /// A mount.
    #[error("cannot mount {} at {}: {source}{}", device.display(), target.display(), if *source == nix::errno::Errno::ENODEV { " (the running kernel has no driver for that file system)" } else { "" })]
    Mount {
        /// The partition.
        device: PathBuf,
        /// Where to.
        target: PathBuf,
        /// Why.
        source: nix::errno::Errno,
    },
    /// A directory.
    #[error("cannot make {}: {source}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Writes the partition table and the empty file systems. Whatever the disk held is lost.
///
/// # Errors
/// When the disk is in use or cannot be written.
pub fn write(plan: &Plan, disk: &Disk) -> Result<(), WholeDiskError> {
    // For itself alone: the kernel refuses while anything on the disk is mounted or otherwise claimed.
    let open = File::options().read(true).write(true).custom_flags(nix::libc::O_EXCL).open(&disk.node);
    let file = open.map_err(|source| {
        let disk = disk.node.clone();
        if source.kind() == io::ErrorKind::ResourceBusy {
            WholeDiskError::InUse { disk, source }
        } else {
            WholeDiskError::Open { disk, source }
        }
    })?;
    plan.image().write_over(&file, &disk.node)?;
    let mut result = Ok(());
    for _ in 0..ATTEMPTS {
        result = sys::block_device::read_partition_table(&file);
        if !result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ResourceBusy) {
            break;
        }
        std::thread::sleep(BETWEEN);
    }
    result.map_err(|source| WholeDiskError::Table { disk: disk.node.clone(), source })
}

/// The new file systems below a directory, for as long as this lives.
#[derive(Debug)]
pub struct Mounted {
    /// Mount points, in the order of mounting.
    targets: Vec<PathBuf>,
}

/// Mounts root and boot partition.
///
/// # Errors
/// When a partition is not there or cannot be mounted; what was mounted is unmounted again.
pub fn mount_at(places: &Places, disk: &Disk, root: &Path) -> Result<Mounted, WholeDiskError> {
    let partitions =
        BlockDevice::named(places, &disk.device.name).map(|disk| disk.partitions()).unwrap_or_default();
    let mut mounted = Mounted { targets: Vec::new() };
    for (number, target, fs_type) in [(3, root.to_path_buf(), "ext4"), (2, root.join("boot"), "vfat")] {
        let partition = partitions.iter().find(|partition| partition.partition == Some(number));
        let partition =
            partition.ok_or_else(|| WholeDiskError::Missing { disk: disk.device.path(), number })?;
        std::fs::create_dir_all(&target)
            .map_err(|source| WholeDiskError::Directory { path: target.clone(), source })?;
        let device = places.node(&partition.name);
        let options = if fs_type == "vfat" { Some("fmask=0077,dmask=0077") } else { None };
        mount(Some(&device), &target, Some(fs_type), MsFlags::MS_NOATIME, options)
            .map_err(|source| WholeDiskError::Mount { device, target: target.clone(), source })?;
        mounted.targets.push(target);
    }
    Ok(mounted)
}

impl Mounted {
    /// Unmounts; everything is on the disk when it succeeds.
    ///
    /// # Errors
    /// When something still uses a file there.
    pub fn unmount(mut self) -> io::Result<()> {
        while let Some(target) = self.targets.pop() {
            umount2(&target, MntFlags::empty())?;
        }
        Ok(())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        while let Some(target) = self.targets.pop() {
            if let Err(error) = umount2(&target, MntFlags::MNT_DETACH) {
                log::warn!("cannot unmount {}: {error}", target.display());
            }
        }
    }
}
