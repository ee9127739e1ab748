//! The machine's block devices as sysfs shows them: which partition belongs to which disk, what lies on each, and which node a
//! mount's source means.

use crate::places::{Places, entries, line};
use formats::superblock::{self, Superblock};
use std::fs::File;
use std::path::{Path, PathBuf};

/// A block device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockDevice {
    /// The kernel's name: `sda2`.
    pub name: String,
    /// Its directory below `/sys/devices`.
    pub directory: PathBuf,
    /// Bytes.
    pub size: u64,
    /// Its number in its disk's table; `None` for whole disks.
    pub partition: Option<u32>,
}

impl BlockDevice {
    /// The device of that name.
    pub fn named(places: &Places, name: &str) -> Option<Self> {
        Self::at(&places.sys.join("class/block").join(name))
    }

    /// The device with these numbers.
    pub fn numbered(places: &Places, (major, minor): (u32, u32)) -> Option<Self> {
        Self::at(&places.sys.join(format!("dev/block/{major}:{minor}")))
    }

    /// The device that a node or a link to one means: `/dev/sda2`, `/dev/disk/by-label/root`, `/dev/mapper/name`.
    pub fn of_node(places: &Places, node: &str) -> Option<Self> {
        let real = places.node(node).canonicalize().ok()?;
        Self::named(places, &real.file_name()?.to_string_lossy())
    }

    fn at(link: &Path) -> Option<Self> {
        let directory = link.canonicalize().ok()?;
        Some(Self {
            name: directory.file_name()?.to_string_lossy().into_owned(),
            size: line(&directory.join("size"))?.parse::<u64>().ok()?.checked_mul(512)?,
            partition: line(&directory.join("partition")).and_then(|number| number.parse().ok()),
            directory,
        })
    }

    /// `/dev/NAME`.
    pub fn path(&self) -> String {
        format!("/dev/{}", self.name)
    }

    /// The whole disk: itself, or that of the partition.
    pub fn disk(&self, places: &Places) -> Option<Self> {
        match self.partition {
            None => Some(self.clone()),
            Some(_) => Self::named(places, &self.directory.parent()?.file_name()?.to_string_lossy()),
        }
    }

    /// A disk's partitions, by number.
    pub fn partitions(&self) -> Vec<Self> {
        let mut found: Vec<Self> = entries(&self.directory)
            .iter()
            .filter(|path| path.join("partition").exists())
            .filter_map(|path| Self::at(path))
            .collect();
        found.sort_by_key(|device| device.partition);
        found
    }

    /// Devices that are made of this one: encrypted volumes, RAID, LVM.
    pub fn holders(&self) -> Vec<String> {
        let names = entries(&self.directory.join("holders"));
        names.iter().filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect()
    }

    /// What lies on it.
    pub fn superblock(&self, places: &Places) -> Option<Superblock> {
        superblock::identify(&mut File::open(places.node(&self.name)).ok()?)
    }

    /// Whether it is in memory or made of another device's file.
    pub fn is_virtual(&self) -> bool {
        ["loop", "ram", "zram"].iter().any(|prefix| self.name.starts_with(prefix))
    }

    /// Whether it was read-only when it was found.
    pub fn is_read_only(&self) -> bool {
        line(&self.directory.join("ro")).as_deref() == Some("1")
    }

    /// Who made it and what it is called, for people.
    pub fn model(&self) -> String {
        let words = ["device/vendor", "device/model", "device/serial", "serial"];
        let known: Vec<String> = words
            .iter()
            .filter_map(|file| line(&self.directory.join(file)))
            .filter(|text| !text.is_empty() && !text.starts_with("0x"))
            .collect();
        known.join(" ")
    }
}

/// All block devices that have a size, by name.
pub fn all(places: &Places) -> Vec<BlockDevice> {
    let links = entries(&places.sys.join("class/block"));
    links.iter().filter_map(|link| BlockDevice::at(link)).filter(|device| device.size > 0).collect()
}
