//! Writes an ISO 9660 file system from a tree of files: ECMA-119 (1987) with Rock Ridge names, permissions and links, and an El Torito boot
//! catalogue. It is what the kernel's isofs, GRUB and a firmware's boot manager read.
//!
//! Sectors of 2 KiB: 16 that belong to the machine (a partition table may lie there), descriptors, catalogue, room for the boot images,
//! path tables, directories, their continuations, files. Directories may be deeper than ECMA-119's eight levels, as every
//! reader of Rock Ridge takes them. The bytes depend on the tree and the options alone; contents are streamed.

mod descriptors;
mod names;
mod record;
mod rock_ridge;
#[cfg(test)]
mod tests;

use crate::file_tree::{Contents, FileTree, Kind, NodeId};
use crate::region::Region;
use descriptors::{BootEntry, PathEntry, Primary};
use record::Extent;
use std::fs::File;
use std::path::PathBuf;
use thiserror::Error;

/// Bytes of a sector.
pub const SECTOR: u64 = descriptors::SECTOR as u64;
/// Where the primary descriptor stands; what is before belongs to the machine.
const DESCRIPTORS: u32 = 16;
/// Bytes behind the last file: drives that read ahead must not run into the medium's end.
const PADDING: u64 = 300 << 10;

/// What is not in the tree.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The label, at most 32 bytes.
    pub volume_id: String,
    /// When it was made, seconds since 1970.
    pub time: u64,
    /// Bytes of the image that a BIOS starts, if there is one; the firmware loads its first 2 KiB.
    pub bios_image: Option<u64>,
    /// Bytes of the FAT file system that UEFI reads, if there is one.
    pub efi_image: Option<u64>,
}

/// Why no file system could be written.
#[derive(Debug, Error)]
pub enum Iso9660Error {
    /// A file of the host.
    #[error("{}: cannot be copied into the ISO 9660 file system: {source}", path.display())]
    Source {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The image.
    #[error("writing the ISO 9660 file system: {0}")]
    Write(#[from] std::io::Error),
    /// A label that is too long or has letters that labels do not have.
    #[error(
        "`{0}` cannot be a volume's label (isoImage.volumeID): it has 1 to 32 letters, digits, blanks and _ - . +"
    )]
    Label(String),
    /// A name or target that is too long.
    #[error("`{0}` is too long for an ISO 9660 file system (names: 253 bytes, targets of links: about 1900)")]
    Name(String),
    /// 4 GiB or more.
    #[error("`{0}` is too large for an ISO 9660 file system (4 GiB for each file)")]
    TooLarge(String),
    /// More directories than the path table counts.
    #[error("{0} directories are more than an ISO 9660 file system can have (65535)")]
    Directories(usize),
    /// More than 8 TiB.
    #[error("{0} bytes are more than an ISO 9660 file system can have")]
    Size(u64),
}

/// Where everything lies.
#[derive(Debug)]
pub struct Plan<'a> {
    tree: &'a FileTree,
    options: &'a Options,
    /// In the order of the path table: by depth, then by the directory above, then by name.
    directories: Vec<Directory>,
    /// By node: the first sector of a file's data, the place of a directory in the list.
    places: Vec<u32>,
    bios_image: u32,
    efi_image: u32,
    path_tables: [u32; 2],
    continuations: u32,
    size: u64,
}

/// A directory and its records.
#[derive(Debug)]
struct Directory {
    id: NodeId,
    /// The directory above, by place in the list; the root's is itself.
    parent: usize,
    plain_name: Vec<u8>,
    records: Vec<Record>,
    size: u32,
    sector: u32,
}

/// A record without the places, which are known later.
#[derive(Debug)]
struct Record {
    plain_name: Vec<u8>,
    node: NodeId,
    /// The fields in the record.
    inside: Vec<u8>,
    /// The fields that go on elsewhere.
    outside: Vec<u8>,
    /// Where that is: bytes from the beginning of the continuations.
    continuation: u64,
    /// Bytes from the beginning of the directory.
    place: u32,
}

impl Record {
    fn new(
        tree: &FileTree,
        node: NodeId,
        plain_name: Vec<u8>,
        name: Option<&[u8]>,
        is_root: bool,
    ) -> Result<Self, Iso9660Error> {
        let shown = || String::from_utf8_lossy(name.unwrap_or_default()).into_owned();
        if name.is_some_and(|name| name.len() > rock_ridge::LONGEST_NAME) {
            return Err(Iso9660Error::Name(shown()));
        }
        let fields = rock_ridge::fields(tree.node(node), links(tree, node), name, is_root);
        let most = record::LARGEST - record::length(&plain_name, 0);
        let all: usize = fields.iter().map(Vec::len).sum();
        // An odd area is filled up to an even length, which is one byte more.
        let room = if all.next_multiple_of(2) <= most { most } else { most - rock_ridge::POINTER - 1 };
        let (mut inside, mut outside) = (Vec::new(), Vec::new());
        for field in fields {
            if outside.is_empty() && inside.len() + field.len() <= room {
                inside.extend(field);
            } else {
                outside.extend(field);
            }
        }
        if outside.len() > rock_ridge::LARGEST_CONTINUATION {
            return Err(Iso9660Error::Name(shown()));
        }
        Ok(Self { plain_name, node, inside, outside, continuation: 0, place: 0 })
    }

    fn length(&self) -> u32 {
        let pointer = if self.outside.is_empty() { 0 } else { rock_ridge::POINTER };
        record::length(&self.plain_name, self.inside.len() + pointer) as u32
    }
}

impl<'a> Plan<'a> {
    /// Lays the tree out.
    ///
    /// # Errors
    /// When the label, a name or a file is too long.
    pub fn new(tree: &'a FileTree, options: &'a Options) -> Result<Self, Iso9660Error> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b" _-.+".contains(&byte);
        if !(1..=32).contains(&options.volume_id.len()) || !options.volume_id.bytes().all(is_allowed) {
            return Err(Iso9660Error::Label(options.volume_id.clone()));
        }
        let mut directories = directories(tree)?;
        let mut continuations = 0;
        for directory in &mut directories {
            directory.place_records(&mut continuations)?;
        }
        // Sectors are given out in order; a count that is too large for 32 bits is found at the end.
        let mut next = u64::from(DESCRIPTORS);
        let mut take = |bytes: u64| {
            let sector = next as u32;
            next += bytes.div_ceil(SECTOR);
            sector
        };
        // Descriptors (primary, boot record, terminator) and the catalogue.
        take(4 * SECTOR);
        let bios_image = take(options.bios_image.unwrap_or(0));
        let efi_image = take(options.efi_image.unwrap_or(0));
        let path_table_size: u64 =
            path_entries(&directories).map(|entry| 8 + entry.name.len() as u64 + 1).sum();
        let path_tables = [take(path_table_size), take(path_table_size)];
        for directory in &mut directories {
            directory.sector = take(u64::from(directory.size));
        }
        let continuations = take(continuations);
        let mut places = vec![0; tree.nodes().len()];
        for (place, directory) in (0..).zip(&directories) {
            places[directory.id.index()] = place;
        }
        for (id, _) in tree.walk() {
            if let Kind::File(contents) = &tree.node(id).kind {
                places[id.index()] = take(contents.size());
            }
        }
        let size = (next * SECTOR + PADDING).next_multiple_of(1 << 20);
        if size / SECTOR > u64::from(u32::MAX) {
            return Err(Iso9660Error::Size(size));
        }
        Ok(Self {
            tree,
            options,
            directories,
            places,
            bios_image,
            efi_image,
            path_tables,
            continuations,
            size,
        })
    }

    /// Bytes of the file system.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Where the caller puts the image that a BIOS starts, in sectors.
    pub fn bios_image(&self) -> u32 {
        self.bios_image
    }

    /// Where the caller puts the FAT file system that UEFI reads, in sectors.
    pub fn efi_image(&self) -> u32 {
        self.efi_image
    }

    /// Writes everything but the boot images into the region, which must read as zeros.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn write(&self, region: &Region<'_>) -> Result<(), Iso9660Error> {
        let at = |sector: u32| u64::from(sector) * SECTOR;
        self.write_descriptors(region)?;
        for directory in &self.directories {
            for record in &directory.records {
                let (system_use, outside) = self.system_use(record);
                let bytes = self.encode(directory, record, &system_use);
                region.write(at(directory.sector) + u64::from(record.place), &bytes)?;
                region.write(at(self.continuations) + record.continuation, outside)?;
            }
        }
        for (id, _) in self.tree.walk() {
            let Kind::File(contents) = &self.tree.node(id).kind else { continue };
            let place = at(self.places[id.index()]);
            match contents {
                Contents::Bytes(bytes) => region.write(place, bytes)?,
                Contents::Host { path, size, .. } => File::open(path)
                    .and_then(|file| region.copy(place, &file, 0, *size))
                    .map_err(|source| Iso9660Error::Source { path: path.clone(), source })?,
            }
        }
        Ok(())
    }

    fn write_descriptors(&self, region: &Region<'_>) -> Result<(), Iso9660Error> {
        let at = |sector: u32| u64::from(sector) * SECTOR;
        let (little, big) = descriptors::path_tables(path_entries(&self.directories));
        region.write(at(self.path_tables[0]), &little)?;
        region.write(at(self.path_tables[1]), &big)?;
        let root = self.directories.first().map_or(Extent { sector: 0, size: 0 }, Directory::extent);
        let primary = Primary {
            volume_id: &self.options.volume_id,
            sectors: (self.size / SECTOR) as u32,
            path_table_size: little.len() as u32,
            path_table_little: self.path_tables[0],
            path_table_big: self.path_tables[1],
            root: &record::encode(b"\0", root, true, self.options.time, &[]),
            time: self.options.time,
        };
        let catalogue = DESCRIPTORS + 3;
        let entry = |size: Option<u64>, sector, count| size.map(|_| BootEntry { sector, count });
        // The loader in the first sector of a BIOS' image loads the rest; UEFI is told how much it may read.
        let bios = entry(self.options.bios_image, self.bios_image, 4);
        let efi_count = u16::try_from(self.options.efi_image.unwrap_or(0) / 512).unwrap_or(0);
        let efi = entry(self.options.efi_image, self.efi_image, efi_count);
        let boots = bios.or(efi).is_some();
        let mut sectors = vec![primary.encode()];
        if boots {
            sectors.push(descriptors::boot_record(catalogue));
        }
        sectors.push(descriptors::terminator());
        region.write(at(DESCRIPTORS), &sectors.concat())?;
        if boots {
            region.write(at(catalogue), &descriptors::boot_catalogue(bios, efi))?;
        }
        Ok(())
    }

    /// A record's system use area, and what goes on elsewhere.
    fn system_use<'b>(&self, record: &'b Record) -> (Vec<u8>, &'b [u8]) {
        let mut inside = record.inside.clone();
        if !record.outside.is_empty() {
            let sector = self.continuations + (record.continuation / SECTOR) as u32;
            let offset = (record.continuation % SECTOR) as u32;
            inside.extend(rock_ridge::pointer(sector, offset, record.outside.len() as u32));
        }
        (inside, &record.outside)
    }

    fn encode(&self, directory: &Directory, record: &Record, system_use: &[u8]) -> Vec<u8> {
        let node = self.tree.node(record.node);
        let extent = match &node.kind {
            Kind::Directory(_) => match record.plain_name.as_slice() {
                b"\0" => directory.extent(),
                b"\x01" => self.directories[directory.parent].extent(),
                _ => self.directory(record.node),
            },
            // Sizes are below 4 GiB, which the plan has made sure of.
            Kind::File(contents) => {
                Extent { sector: self.places[record.node.index()], size: contents.size() as u32 }
            }
            _ => Extent { sector: 0, size: 0 },
        };
        let is_directory = matches!(node.kind, Kind::Directory(_));
        record::encode(&record.plain_name, extent, is_directory, node.attributes.mtime, system_use)
    }

    fn directory(&self, id: NodeId) -> Extent {
        self.directories[self.places[id.index()] as usize].extent()
    }
}

impl Directory {
    fn extent(&self) -> Extent {
        Extent { sector: self.sector, size: self.size }
    }

    /// Gives each record its place, and its continuation's. None lies across a sector's edge.
    fn place_records(&mut self, continuations: &mut u64) -> Result<(), Iso9660Error> {
        const EDGE: u32 = SECTOR as u32;
        let mut next: u32 = 0;
        for record in &mut self.records {
            let length = record.length();
            if next % EDGE + length > EDGE {
                next = next.next_multiple_of(EDGE);
            }
            record.place = next;
            next = next.checked_add(length).ok_or(Iso9660Error::Size(u64::from(next)))?;
            let outside = record.outside.len() as u64;
            if *continuations % SECTOR + outside > SECTOR {
                *continuations = continuations.next_multiple_of(SECTOR);
            }
            record.continuation = *continuations;
            *continuations += outside;
        }
        self.size = next.next_multiple_of(EDGE);
        Ok(())
    }
}

/// The tree's directories in the path table's order, with their records.
fn directories(tree: &FileTree) -> Result<Vec<Directory>, Iso9660Error> {
    let mut list: Vec<Directory> = Vec::new();
    let mut level = vec![(NodeId::ROOT, 0_usize, b"\0".to_vec())];
    while !level.is_empty() {
        let mut below = Vec::new();
        for (id, parent, plain_name) in std::mem::take(&mut level) {
            let number = list.len();
            let above = list.get(parent).map_or(NodeId::ROOT, |directory| directory.id);
            let mut records = vec![
                Record::new(tree, id, b"\0".to_vec(), None, id == NodeId::ROOT)?,
                Record::new(tree, above, b"\x01".to_vec(), None, false)?,
            ];
            for (plain, name, child) in names::sorted(tree, id) {
                match &tree.node(child).kind {
                    Kind::Directory(_) => below.push((child, number, plain.clone())),
                    Kind::File(contents) if contents.size() > u64::from(u32::MAX) => {
                        return Err(Iso9660Error::TooLarge(String::from_utf8_lossy(&name).into_owned()));
                    }
                    _ => {}
                }
                records.push(Record::new(tree, child, plain, Some(&name), false)?);
            }
            list.push(Directory { id, parent, plain_name, records, size: 0, sector: 0 });
        }
        level = below;
    }
    if list.len() > usize::from(u16::MAX) {
        return Err(Iso9660Error::Directories(list.len()));
    }
    Ok(list)
}

/// How many names a node has; a directory has one in each of its subdirectories too.
fn links(tree: &FileTree, id: NodeId) -> u32 {
    match &tree.node(id).kind {
        Kind::Directory(entries) => {
            let is_directory = |child: &&NodeId| matches!(tree.node(**child).kind, Kind::Directory(_));
            2 + entries.values().filter(is_directory).count() as u32
        }
        _ => tree.node(id).names,
    }
}

fn path_entries(directories: &[Directory]) -> impl Iterator<Item = PathEntry<'_>> {
    directories.iter().map(|directory| PathEntry {
        name: &directory.plain_name,
        sector: directory.sector,
        // At most 65535, which the plan has made sure of.
        parent: (directory.parent + 1) as u16,
    })
}
