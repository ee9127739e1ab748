//! The machine's block devices by /sys/class/block and what is on them, and the one that a source names.

use crate::sorted_map::sort_few;
use formats::stage1::Source;
use formats::superblock::{self, Superblock};
use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};

/// One device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockDevice {
    /// Its name in /dev.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// The file system on it.
    pub superblock: Option<Superblock>,
    /// Its id and name in its disk's partition table.
    pub partition: Option<(String, String)>,
}

impl BlockDevice {
    /// Its node.
    pub fn path(&self) -> PathBuf {
        Path::new("/dev").join(&self.name)
    }

    /// Whether a source means this device.
    pub fn is_meant(&self, source: &Source) -> bool {
        let block = |wanted: &str, get: fn(&Superblock) -> &str| {
            !wanted.is_empty()
                && self.superblock.as_ref().is_some_and(|found| get(found).eq_ignore_ascii_case(wanted))
        };
        match source {
            Source::Device(path) => self.path() == Path::new(path),
            Source::Uuid(id) => block(id, |found| &found.uuid),
            Source::Label(label) => {
                !label.is_empty() && self.superblock.as_ref().is_some_and(|found| found.label == *label)
            }
            Source::PartUuid(id) => {
                self.partition.as_ref().is_some_and(|(uuid, _)| uuid.eq_ignore_ascii_case(id))
            }
            Source::PartLabel(label) => self.partition.as_ref().is_some_and(|(_, name)| name == label),
            Source::Other(_) => false,
        }
    }
}

/// Reads what is on every block device now. Devices without content (empty loops, drives without medium) are left out.
pub fn scan() -> Vec<BlockDevice> {
    let Ok(entries) = std::fs::read_dir("/sys/class/block") else { return Vec::new() };
    let mut names: Vec<String> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    sort_few(&mut names, |one, other| one < other);
    names.iter().filter_map(|name| probe(name)).collect()
}

/// The device that a source names, if it is there. A node that is no block device of /sys counts when it exists.
pub fn find(source: &Source) -> Option<PathBuf> {
    if let Source::Device(path) = source {
        return Path::new(path).exists().then(|| PathBuf::from(path));
    }
    scan().into_iter().find(|device| device.is_meant(source)).map(|device| device.path())
}

/// The file system on a device's node.
pub fn file_system(node: &Path) -> Option<Superblock> {
    superblock::identify(&mut File::open(node).ok()?)
}

fn probe(name: &str) -> Option<BlockDevice> {
    let system = Path::new("/sys/class/block").join(name);
    let read =
        |file: &str| std::fs::read_to_string(system.join(file)).ok().map(|text| text.trim().to_owned());
    let size = read("size")?.parse::<u64>().ok()?.checked_mul(512)?;
    if size == 0 {
        return None;
    }
    let superblock = file_system(&Path::new("/dev").join(name));
    let partition = read("partition").and_then(|number| partition_of(&system, number.parse().ok()?));
    Some(BlockDevice { name: name.to_owned(), size, superblock, partition })
}

/// A partition's id and name, from the table of the disk that /sys shows above it.
fn partition_of(system: &Path, number: u32) -> Option<(String, String)> {
    let disk = std::fs::canonicalize(system).ok()?.parent()?.to_path_buf();
    let sector = std::fs::read_to_string(disk.join("queue/logical_block_size")).ok()?.trim().parse().ok()?;
    let mut device = File::open(Path::new("/dev").join(disk.file_name()?)).ok()?;
    let found = superblock::partitions(&mut device, sector);
    found
        .into_iter()
        .find(|partition| partition.number == number)
        .map(|partition| (partition.uuid, partition.label))
}

/// A table of the devices for people.
pub fn describe(devices: &[BlockDevice]) -> String {
    if devices.is_empty() {
        return "  (none: is the disk's driver among the initrd's modules?)\n".to_owned();
    }
    let mut text = String::new();
    for device in devices {
        let (mebibytes, name) = (device.size >> 20, &device.name);
        let mut line = format!("  /dev/{name:<8} {mebibytes:>8} MiB");
        let mut add = |what: &str, value: &str| {
            if !value.is_empty() {
                write!(line, " {what}{value}").unwrap_or_default();
            }
        };
        if let Some(found) = &device.superblock {
            add("", found.fs_type);
            add("UUID=", &found.uuid);
            add("LABEL=", &found.label);
        }
        if let Some((uuid, label)) = &device.partition {
            add("PARTUUID=", uuid);
            add("PARTLABEL=", label);
        }
        text.push_str(&line);
        text.push('\n');
    }
    text
}
