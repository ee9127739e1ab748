//! Writes a FAT32 (from 36 MiB on) or FAT16 file system from a tree of files: the EFI system partition of an image (Microsoft FAT
//! specification, 2005; UEFI specification 13.3).
//!
//! Files lie in one piece each, in the tree's order. FAT has no owners, permissions or links: the first two are dropped, a symbolic link
//! or device is an error. Times are UTC and at least 1980. The bytes depend on the tree and the options alone.

mod name;

use crate::calendar::Moment;
use crate::file_tree::{Contents, FileTree, Kind, NodeId};
use crate::region::Region;
use name::ShortNames;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use thiserror::Error;

const SECTOR: u64 = 512;
/// Fewer clusters than this and a reader takes it for FAT16 (specification 3.5).
const FEWEST_FAT32: u64 = 65525;
/// Likewise FAT12.
const FEWEST_FAT16: u64 = 4085;
/// Entries of FAT16's root directory.
const ROOT_ENTRIES: u64 = 512;
/// Bytes of a directory entry.
const ENTRY: usize = 32;
const DIRECTORY: u8 = 0x10;
const ARCHIVE: u8 = 0x20;
const VOLUME: u8 = 0x08;

/// What is not in the tree.
#[derive(Debug, Clone)]
pub struct Options {
    /// The label, at most 11 characters; written in capitals.
    pub label: String,
    /// The serial number (`UUID=` shows it as `XXXX-XXXX`).
    pub serial: u32,
    /// Where the partition begins on its disk, in sectors of 512 bytes.
    pub hidden_sectors: u32,
    /// When it was made, seconds since 1970.
    pub time: u64,
}

/// Why no file system could be written.
#[derive(Debug, Error)]
pub enum FatError {
    /// A file of the host.
    #[error("{}: cannot be copied into the FAT file system: {source}", path.display())]
    Source {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The image.
    #[error("writing the FAT file system: {0}")]
    Write(#[from] std::io::Error),
    /// It does not fit.
    #[error("the FAT file system of {} KiB is too small: its files take {} KiB and {} KiB are free for them", size >> 10, needed.div_ceil(1024), available >> 10)]
    Full {
        /// Its size in bytes.
        size: u64,
        /// Bytes in clusters that the tree takes.
        needed: u64,
        /// Bytes in clusters that there are.
        available: u64,
    },
    /// Too small or too large for the format.
    #[error("{0} bytes are too few or too many for a FAT file system (4 MiB to 2 TiB)")]
    Size(u64),
    /// A node that FAT does not know.
    #[error("`{0}` is neither a file nor a directory, and a FAT file system knows nothing else")]
    Kind(String),
    /// A name that FAT does not take.
    #[error(
        "`{0}` cannot be a name on a FAT file system (at most 255 characters, none of \" * / : < > ? \\ |)"
    )]
    Name(String),
    /// Two names that differ in case only.
    #[error(
        "`{0}` and another file beside it differ in upper and lower case only, which FAT does not tell apart"
    )]
    SameName(String),
    /// 4 GiB or more.
    #[error("`{0}` is too large for a FAT file system (4 GiB)")]
    TooLarge(String),
    /// More entries than FAT16's root or any directory can hold.
    #[error("a directory has too many entries for a FAT file system")]
    Entries,
}

/// Where things lie, in sectors and clusters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Geometry {
    sectors: u64,
    sectors_per_cluster: u64,
    reserved: u64,
    fat_sectors: u64,
    clusters: u64,
    wide: bool,
}

impl Geometry {
    fn new(size: u64) -> Result<Self, FatError> {
        let sectors = size / SECTOR;
        if !(8192..=u64::from(u32::MAX)).contains(&sectors) {
            return Err(FatError::Size(size));
        }
        let wide = size >= 36 << 20;
        let fewest = if wide { FEWEST_FAT32 } else { FEWEST_FAT16 } + 16;
        let most = if wide { 0x0fff_fff0 } else { FEWEST_FAT32 - 16 };
        // Clusters of 4 KiB; smaller ones where there would be too few for the type, larger ones on huge disks.
        [8, 4, 2, 1, 16, 32, 64]
            .into_iter()
            .map(|sectors_per_cluster| Self::with_clusters(sectors, sectors_per_cluster, wide))
            .find(|geometry| (fewest..=most).contains(&geometry.clusters))
            .ok_or(FatError::Size(size))
    }

    fn with_clusters(sectors: u64, sectors_per_cluster: u64, wide: bool) -> Self {
        let root = if wide { 0 } else { ROOT_ENTRIES * ENTRY as u64 / SECTOR };
        let width = if wide { 4 } else { 2 };
        let mut reserved = if wide { 32 } else { 4 };
        // A table that is one entry too long does no harm; one that is too short does.
        let upper = (sectors - reserved - root) / sectors_per_cluster + 2;
        let fat_sectors = (upper * width).div_ceil(SECTOR);
        // Clusters begin at multiples of their size.
        let data = reserved + 2 * fat_sectors + root;
        reserved += data.next_multiple_of(sectors_per_cluster) - data;
        let data = reserved + 2 * fat_sectors + root;
        let clusters = sectors.saturating_sub(data) / sectors_per_cluster;
        Self { sectors, sectors_per_cluster, reserved, fat_sectors, clusters, wide }
    }

    fn cluster_bytes(&self) -> u64 {
        self.sectors_per_cluster * SECTOR
    }

    fn root_start(&self) -> u64 {
        (self.reserved + 2 * self.fat_sectors) * SECTOR
    }

    fn cluster_start(&self, cluster: u64) -> u64 {
        let root = if self.wide { 0 } else { ROOT_ENTRIES * ENTRY as u64 };
        self.root_start() + root + (cluster - 2) * self.cluster_bytes()
    }

    fn clusters_for(&self, bytes: u64) -> u64 {
        bytes.div_ceil(self.cluster_bytes())
    }
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Bytes in a cluster.
    pub cluster_bytes: u64,
    /// Clusters in all.
    pub clusters: u64,
    /// Clusters left.
    pub free_clusters: u64,
}

/// The size in bytes of a file system that holds the tree with about `free` bytes left.
pub fn size_for(tree: &FileTree, free: u64) -> u64 {
    let files: u64 = tree
        .nodes()
        .iter()
        .map(|node| match &node.kind {
            Kind::File(contents) => contents.size().next_multiple_of(4096),
            Kind::Directory(entries) => {
                let bytes: usize = entries.keys().map(|name| (name.len() / 13 + 3) * ENTRY).sum();
                (bytes as u64 + 96).next_multiple_of(4096)
            }
            _ => 0,
        })
        .sum();
    // The two tables take at most 4 + 4 bytes for 512.
    let size = files + free;
    (size + size / 50 + (1 << 20)).next_multiple_of(1 << 20).max(4 << 20)
}

/// Writes the tree into the region.
///
/// # Errors
/// When it does not fit, holds something that FAT does not know, or a file cannot be read or written.
pub fn write(tree: &FileTree, region: &Region<'_>, options: &Options) -> Result<Summary, FatError> {
    let geometry = Geometry::new(region.length())?;
    let mut writer = Writer { tree, region, options, geometry, next: 2, starts: vec![0; tree.nodes().len()] };
    let order = writer.check()?;
    let mut needed = 0;
    let mut directories = BTreeMap::new();
    for (id, parent) in &order {
        let node = tree.node(*id);
        let bytes = match &node.kind {
            Kind::Directory(_) => {
                let entries = writer.short_names(*id)?;
                let bytes = directory_size(*id, &entries);
                directories.insert(*id, (*parent, entries));
                if *id == NodeId::ROOT && !geometry.wide {
                    if bytes > ROOT_ENTRIES * ENTRY as u64 {
                        return Err(FatError::Entries);
                    }
                    0
                } else {
                    bytes.max(ENTRY as u64)
                }
            }
            Kind::File(contents) => contents.size(),
            _ => 0,
        };
        needed += geometry.clusters_for(bytes);
    }
    if needed > geometry.clusters {
        return Err(FatError::Full {
            size: region.length(),
            needed: needed * geometry.cluster_bytes(),
            available: geometry.clusters * geometry.cluster_bytes(),
        });
    }
    writer.run(&order, &directories)
}

/// The names of a directory's entries, each with its 8.3 form.
type Named = Vec<(String, [u8; 11], bool, NodeId)>;

struct Writer<'a> {
    tree: &'a FileTree,
    region: &'a Region<'a>,
    options: &'a Options,
    geometry: Geometry,
    next: u64,
    /// First cluster of each node, 0 for none.
    starts: Vec<u64>,
}

impl Writer<'_> {
    /// Whether everything in the tree is something that FAT has.
    fn check(&self) -> Result<Vec<(NodeId, NodeId)>, FatError> {
        let order = self.tree.walk();
        for (directory, _) in &order {
            for (name, child) in self.tree.entries(*directory) {
                let name = || String::from_utf8_lossy(name).into_owned();
                match &self.tree.node(child).kind {
                    Kind::Directory(_) => {}
                    Kind::File(contents) if contents.size() > u64::from(u32::MAX) => {
                        return Err(FatError::TooLarge(name()));
                    }
                    // Two names of one file would be cross-linked clusters.
                    Kind::File(_) if self.tree.node(child).names == 1 => {}
                    _ => return Err(FatError::Kind(name())),
                }
            }
        }
        Ok(order)
    }

    fn short_names(&self, directory: NodeId) -> Result<Named, FatError> {
        let mut short = ShortNames::default();
        let mut named = Vec::new();
        for (name, child) in self.tree.entries(directory) {
            let text = std::str::from_utf8(name)
                .map_err(|_| FatError::Name(String::from_utf8_lossy(name).into_owned()))?;
            let (alias, exact) = short.add(text)?;
            named.push((text.to_owned(), alias, exact, child));
        }
        Ok(named)
    }

    fn run(
        &mut self,
        order: &[(NodeId, NodeId)],
        directories: &BTreeMap<NodeId, (NodeId, Named)>,
    ) -> Result<Summary, FatError> {
        let mut chains = Vec::new();
        for (id, _) in order {
            let bytes = match &self.tree.node(*id).kind {
                Kind::File(contents) => contents.size(),
                _ if *id == NodeId::ROOT && !self.geometry.wide => 0,
                _ => directories.get(id).map_or(0, |(_, entries)| directory_size(*id, entries)),
            };
            let count = self.geometry.clusters_for(bytes);
            if count > 0 {
                self.starts[id.index()] = self.next;
                chains.push(self.next..self.next + count);
                self.next += count;
            }
        }
        // Tables, the root directory, and every cluster in use: what follows a name or a text must be zeros.
        self.region.clear(0, self.geometry.cluster_start(self.next))?;
        for (id, _) in order {
            let node = self.tree.node(*id);
            let start = self.starts[id.index()];
            match &node.kind {
                Kind::File(contents) if start != 0 => {
                    self.contents(contents, self.geometry.cluster_start(start))?;
                }
                Kind::Directory(_) => {
                    if let Some((parent, entries)) = directories.get(id) {
                        let bytes = self.directory(*id, *parent, entries);
                        let at = if start == 0 {
                            self.geometry.root_start()
                        } else {
                            self.geometry.cluster_start(start)
                        };
                        self.region.write(at, &bytes)?;
                    }
                }
                _ => {}
            }
        }
        self.tables(&chains)?;
        let free_clusters = self.geometry.clusters - (self.next - 2);
        self.boot_sectors(free_clusters)?;
        Ok(Summary {
            cluster_bytes: self.geometry.cluster_bytes(),
            clusters: self.geometry.clusters,
            free_clusters,
        })
    }

    fn contents(&self, contents: &Contents, at: u64) -> Result<(), FatError> {
        match contents {
            Contents::Bytes(bytes) => Ok(self.region.write(at, bytes)?),
            Contents::Host { path, size, .. } => File::open(path)
                .and_then(|file| self.region.copy(at, &file, 0, *size))
                .map_err(|source| FatError::Source { path: path.clone(), source }),
        }
    }

    /// A directory's entries as bytes.
    fn directory(&self, id: NodeId, parent: NodeId, entries: &Named) -> Vec<u8> {
        let mut bytes = Vec::new();
        let own_time = self.tree.node(id).attributes.mtime;
        if id == NodeId::ROOT {
            if !self.options.label.is_empty() {
                bytes.extend(entry(&padded(&self.options.label), VOLUME, 0, 0, self.options.time));
            }
        } else {
            // A subdirectory of the root says 0 for "..".
            let above = if parent == NodeId::ROOT { 0 } else { self.starts[parent.index()] };
            bytes.extend(entry(b".          ", DIRECTORY, self.starts[id.index()], 0, own_time));
            bytes.extend(entry(b"..         ", DIRECTORY, above, 0, own_time));
        }
        for (name, short, exact, child) in entries {
            if !exact {
                bytes.extend(name::long_entries(name, short));
            }
            let node = self.tree.node(*child);
            let (kind, size) = match &node.kind {
                Kind::File(contents) => (ARCHIVE, contents.size()),
                _ => (DIRECTORY, 0),
            };
            bytes.extend(entry(short, kind, self.starts[child.index()], size, node.attributes.mtime));
        }
        bytes
    }

    /// Both copies of the table.
    fn tables(&self, chains: &[std::ops::Range<u64>]) -> Result<(), FatError> {
        let width = if self.geometry.wide { 4 } else { 2 };
        let mut table = vec![0; (self.next * width) as usize];
        let mut set = |cluster: u64, value: u32| {
            let at = (cluster * width) as usize;
            if let Some(place) = table.get_mut(at..at + width as usize) {
                place.copy_from_slice(&value.to_le_bytes()[..width as usize]);
            }
        };
        // The medium; and: cleanly unmounted, no errors.
        set(0, 0x0fff_fff8);
        set(1, 0x0fff_ffff);
        for chain in chains {
            for cluster in chain.clone() {
                set(cluster, if cluster + 1 == chain.end { 0x0fff_ffff } else { (cluster + 1) as u32 });
            }
        }
        for copy in 0..2 {
            let at = (self.geometry.reserved + copy * self.geometry.fat_sectors) * SECTOR;
            self.region.write(at, &table)?;
        }
        Ok(())
    }

    fn boot_sectors(&self, free: u64) -> Result<(), FatError> {
        let boot = self.boot_sector();
        self.region.write(0, &boot)?;
        if self.geometry.wide {
            let mut info = [0; SECTOR as usize];
            info[..4].copy_from_slice(b"RRaA");
            info[484..488].copy_from_slice(b"rrAa");
            info[488..492].copy_from_slice(&(free as u32).to_le_bytes());
            info[492..496].copy_from_slice(&(self.next as u32).to_le_bytes());
            info[508..].copy_from_slice(&[0, 0, 0x55, 0xaa]);
            self.region.write(SECTOR, &info)?;
            self.region.write(6 * SECTOR, &boot)?;
            self.region.write(7 * SECTOR, &info)?;
        }
        Ok(())
    }

    fn boot_sector(&self) -> [u8; SECTOR as usize] {
        let geometry = &self.geometry;
        let mut bytes = [0; SECTOR as usize];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, if geometry.wide { &[0xeb, 0x58, 0x90] } else { &[0xeb, 0x3c, 0x90] });
        put(3, b"MSWIN4.1");
        put(11, &(SECTOR as u16).to_le_bytes());
        put(13, &[geometry.sectors_per_cluster as u8]);
        put(14, &(geometry.reserved as u16).to_le_bytes());
        put(16, &[2]);
        put(21, &[0xf8]);
        // Sectors in a track, heads: of no meaning, and what everybody writes.
        put(24, &63_u16.to_le_bytes());
        put(26, &255_u16.to_le_bytes());
        put(28, &self.options.hidden_sectors.to_le_bytes());
        let extended = if geometry.wide { 64 } else { 36 };
        if geometry.wide {
            put(32, &(geometry.sectors as u32).to_le_bytes());
            put(36, &(geometry.fat_sectors as u32).to_le_bytes());
            // Root directory's cluster, information sector, copy of the boot sector.
            put(44, &2_u32.to_le_bytes());
            put(48, &1_u16.to_le_bytes());
            put(50, &6_u16.to_le_bytes());
        } else {
            put(17, &(ROOT_ENTRIES as u16).to_le_bytes());
            match u16::try_from(geometry.sectors) {
                Ok(sectors) => put(19, &sectors.to_le_bytes()),
                Err(_) => put(32, &(geometry.sectors as u32).to_le_bytes()),
            }
            put(22, &(geometry.fat_sectors as u16).to_le_bytes());
        }
        put(extended, &[0x80, 0, 0x29]);
        put(extended + 3, &self.options.serial.to_le_bytes());
        let label = if self.options.label.is_empty() { *b"NO NAME    " } else { padded(&self.options.label) };
        put(extended + 7, &label);
        put(extended + 18, if geometry.wide { b"FAT32   " } else { b"FAT16   " });
        // Nothing boots from here: hlt, and again.
        put(extended + 26, &[0xf4, 0xeb, 0xfd]);
        put(510, &[0x55, 0xaa]);
        bytes
    }
}

/// The bytes of a directory.
fn directory_size(id: NodeId, entries: &Named) -> u64 {
    let own = if id == NodeId::ROOT { 1 } else { 2 };
    let count: usize = entries
        .iter()
        .map(|(name, _, exact, _)| if *exact { 1 } else { 1 + name.encode_utf16().count().div_ceil(13) })
        .sum();
    ((own + count) * ENTRY) as u64
}

/// One entry of a directory.
fn entry(name: &[u8; 11], attributes: u8, cluster: u64, size: u64, time: u64) -> [u8; ENTRY] {
    let (date, clock) = dos_time(time);
    let mut bytes = [0; ENTRY];
    bytes[..11].copy_from_slice(name);
    bytes[11] = attributes;
    // Made, read, written.
    bytes[14..16].copy_from_slice(&clock.to_le_bytes());
    bytes[16..18].copy_from_slice(&date.to_le_bytes());
    bytes[18..20].copy_from_slice(&date.to_le_bytes());
    bytes[20..22].copy_from_slice(&((cluster >> 16) as u16).to_le_bytes());
    bytes[22..24].copy_from_slice(&clock.to_le_bytes());
    bytes[24..26].copy_from_slice(&date.to_le_bytes());
    bytes[26..28].copy_from_slice(&(cluster as u16).to_le_bytes());
    bytes[28..32].copy_from_slice(&(size as u32).to_le_bytes());
    bytes
}

/// A label in eleven bytes.
fn padded(label: &str) -> [u8; 11] {
    let mut bytes = [b' '; 11];
    for (to, from) in bytes.iter_mut().zip(label.bytes()) {
        *to = from.to_ascii_uppercase();
    }
    bytes
}

/// Seconds since 1970 as FAT's date and time (two-second steps, from 1980 to 2107).
fn dos_time(time: u64) -> (u16, u16) {
    const FIRST: u64 = 315_532_800;
    const LAST: u64 = 4_354_819_198;
    let time = time.clamp(FIRST, LAST);
    let moment = Moment::of(time as i64);
    let [month, day, hour, minute, second] =
        [moment.month, moment.day, moment.hour, moment.minute, moment.second].map(u16::from);
    ((moment.year - 1980) as u16 * 512 + month * 32 + day, hour * 2048 + minute * 32 + second / 2)
}

#[cfg(test)]
mod tests;
