//! The disk that a system is to be installed on: what is on it now, and whether anything uses it. Looks only.

use crate::block_device::BlockDevice;
use crate::mount_info;
use crate::places::{Places, line};
use std::path::PathBuf;
use thiserror::Error;

/// A disk that may be written over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// Its node, `/dev/NAME`.
    pub node: PathBuf,
    /// What sysfs says.
    pub device: BlockDevice,
}

/// Why a disk is not taken.
#[derive(Debug, Error)]
pub enum DiskError {
    /// Not a block device.
    #[error("{node} is no disk; there {}", if disks.is_empty() { "are none".to_owned() } else { format!("are {}", disks.join(", ")) })]
    NoDisk {
        /// What was named.
        node: String,
        /// The disks that there are.
        disks: Vec<String>,
    },
    /// A part of one.
    #[error("{partition} is a partition; a whole disk is needed, and that is {disk}")]
    Partition {
        /// What was named.
        partition: String,
        /// Its disk.
        disk: String,
    },
    /// Write-protected.
    #[error("{0} is read-only")]
    ReadOnly(String),
    /// Something on it is mounted.
    #[error(
        "{device} is mounted at {target}: unmount it first (`umount -R {target}`) if the disk is the right one"
    )]
    Mounted {
        /// Disk or partition.
        device: String,
        /// Where.
        target: String,
    },
    /// It is swapped to.
    #[error("{0} is in use as swap space: `swapoff {0}` first if the disk is the right one")]
    Swap(String),
    /// Something is made of it.
    #[error("{device} is in use by {}: close it first if the disk is the right one", holders.join(", "))]
    Held {
        /// Disk or partition.
        device: String,
        /// Kernel's names of the devices on top.
        holders: Vec<String>,
    },
    /// Sectors that the writers do not know.
    #[error("{0} has sectors of {1} bytes; only such of 512 can be laid out")]
    Sector(String, u64),
    /// The table of mounts.
    #[error("cannot read what is mounted: {0}")]
    Mounts(#[from] std::io::Error),
}

/// Looks at the disk behind a node, or a link to one.
///
/// # Errors
/// When it is none, or something is using it.
pub fn examine(places: &Places, node: &str) -> Result<Disk, DiskError> {
    let Some(device) = BlockDevice::of_node(places, node).filter(|device| device.size > 0) else {
        let disks = crate::block_device::all(places)
            .into_iter()
            .filter(|device| device.partition.is_none() && !device.is_virtual())
            .map(|device| format!("{} ({} MiB)", device.path(), device.size >> 20));
        return Err(DiskError::NoDisk { node: node.to_owned(), disks: disks.collect() });
    };
    if device.partition.is_some() {
        let disk = device.disk(places).map_or_else(String::new, |disk| disk.path());
        return Err(DiskError::Partition { partition: device.path(), disk });
    }
    if device.is_read_only() {
        return Err(DiskError::ReadOnly(device.path()));
    }
    let sector = line(&device.directory.join("queue/logical_block_size")).and_then(|size| size.parse().ok());
    if let Some(size) = sector.filter(|size| *size != 512) {
        return Err(DiskError::Sector(device.path(), size));
    }
    let mounts = mount_info::read(&places.proc)?;
    let swaps = std::fs::read_to_string(places.proc.join("swaps")).unwrap_or_default();
    let swaps: Vec<BlockDevice> = swaps
        .lines()
        .skip(1)
        .filter_map(|line| BlockDevice::of_node(places, line.split_ascii_whitespace().next()?))
        .collect();
    for part in std::iter::once(device.clone()).chain(device.partitions()) {
        let mounted = mounts.iter().find(|mount| {
            // Btrfs gives its mounts numbers of their own.
            BlockDevice::numbered(places, mount.device).is_some_and(|mounted| mounted.name == part.name)
                || mount.is_on_device()
                    && BlockDevice::of_node(places, &mount.source)
                        .is_some_and(|mounted| mounted.name == part.name)
        });
        if let Some(mount) = mounted {
            return Err(DiskError::Mounted { device: part.path(), target: mount.target.clone() });
        }
        if swaps.iter().any(|swap| swap.name == part.name) {
            return Err(DiskError::Swap(part.path()));
        }
        let holders = part.holders();
        if !holders.is_empty() {
            return Err(DiskError::Held { device: part.path(), holders });
        }
    }
    Ok(Disk { node: places.node(&device.name), device })
}

impl Disk {
    /// One line for the disk and one for everything on it that would be lost.
    pub fn contents(&self, places: &Places) -> Vec<String> {
        let describe = |device: &BlockDevice| {
            let size = format!("{:>8} MiB", device.size >> 20);
            let found = device.superblock(places).map(|found| {
                let label =
                    if found.label.is_empty() { String::new() } else { format!(" \"{}\"", found.label) };
                format!("  {}{label}", found.fs_type)
            });
            (size, found)
        };
        let (size, found) = describe(&self.device);
        let mut lines =
            vec![format!("{:<12} {size}  {}", self.device.path(), self.device.model()).trim_end().to_owned()];
        let partitions = self.device.partitions();
        match found {
            Some(found) if partitions.is_empty() => lines.push(format!("  the whole disk: {}", found.trim())),
            None if partitions.is_empty() => {
                lines.push("  no partitions and no file system that is known".to_owned());
            }
            _ => {}
        }
        for partition in partitions {
            let (size, found) = describe(&partition);
            let found = found.unwrap_or_else(|| "  (nothing that is known)".to_owned());
            lines.push(format!("  {:<12}{size}{found}", partition.path()));
        }
        lines
    }
}

#[cfg(test)]
mod tests;
