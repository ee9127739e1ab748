//! Writes an ext4 file system from a tree of files, without mounting anything (kernel Documentation/filesystems/ext4/).
//!
//! Features: extents, 64bit, flex_bg, filetype, metadata_csum, a journal, large and huge files, any number of subdirectories. Blocks of
//! 4 KiB, inodes of 256 bytes, groups of 128 MiB in flexible groups of 16. The bytes depend on the tree and the options
//! alone. Contents are streamed: memory is needed for the tree's names and for one bit per block.
//!
//! One pass in the order of the tree: directories first, then each file's blocks one after another as far as group metadata lets
//! them. What will not fit is found before the first byte is written.

mod allocation;
mod directory;
mod extents;
mod geometry;
mod inode;
mod superblock;

use crate::checksum::crc32c;
use crate::file_tree::{Contents, FileTree, Kind, NodeId};
use crate::identity::Uuid;
use crate::region::Region;
use allocation::Blocks;
use extents::Extent;
use geometry::Geometry;
use inode::{Inode, InodeWriter};
use std::fs::File;
use std::path::PathBuf;
use thiserror::Error;

/// Bytes in a block.
pub(crate) const BLOCK: usize = 4096;
/// Bytes in an inode.
const INODE_SIZE: usize = 256;
/// Inodes below this number have a purpose of their own; 11 is lost+found.
const FIRST_INODE: u32 = 11;
const ROOT_INODE: u32 = 2;
const JOURNAL_INODE: u32 = 8;

/// What is not in the tree.
#[derive(Debug, Clone)]
pub struct Options {
    /// The label, at most 16 bytes.
    pub label: String,
    /// Its UUID.
    pub uuid: Uuid,
    /// When it was made, seconds since 1970.
    pub time: u64,
    /// Size of the journal in bytes, 0 for none. `None`: by the size of the file system, as mke2fs does.
    pub journal: Option<u64>,
    /// A place for one inode per this many bytes.
    pub bytes_per_inode: u64,
}

impl Options {
    /// The usual values, and an UUID made from the label and the seed.
    pub fn new(label: &str, seed: &[u8], time: u64) -> Self {
        Self {
            label: label.to_owned(),
            uuid: Uuid::derive(seed, &format!("ext4 {label}")),
            time,
            journal: None,
            bytes_per_inode: 16384,
        }
    }
}

/// Why no file system could be written.
#[derive(Debug, Error)]
pub enum Ext4Error {
    /// A file of the host cannot be read, or has changed since it was looked at.
    #[error("{}: cannot be copied into the file system: {source}", path.display())]
    Source {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The image cannot be written.
    #[error("writing the file system: {0}")]
    Write(#[from] std::io::Error),
    /// It does not fit.
    #[error(
        "the file system of {} MiB is too small: {} MiB are needed for the files and {} MiB are free for them",
        size >> 20, needed.div_ceil(1 << 20), available >> 20
    )]
    Full {
        /// Size of the file system.
        size: u64,
        /// Bytes in blocks that the tree takes.
        needed: u64,
        /// Bytes in blocks that are there.
        available: u64,
    },
    /// Too small for any file system.
    #[error("{0} bytes are too few for an ext4 file system (8 MiB at least)")]
    TooSmall(u64),
    /// More inodes than groups can hold.
    #[error("{needed} files do not fit in a file system of {size} bytes: it can have {possible} inodes")]
    TooManyFiles {
        /// Size of the file system.
        size: u64,
        /// Inodes needed.
        needed: u64,
        /// Inodes possible.
        possible: u64,
    },
    /// A label that is too long.
    #[error("the label `{0}` is longer than 16 bytes")]
    Label(String),
    /// A name that is too long.
    #[error("the file name `{0}` is longer than 255 bytes")]
    Name(String),
    /// A link's target that is too long.
    #[error("a symbolic link's target of {0} bytes is longer than 4095")]
    Target(usize),
    /// More pieces than an extent tree of two levels can hold.
    #[error("a file would be in {0} pieces, more than can be written")]
    Fragments(usize),
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Blocks of 4 KiB in all.
    pub blocks: u64,
    /// Blocks left.
    pub free_blocks: u64,
    /// Inodes in all.
    pub inodes: u32,
    /// Inodes left.
    pub free_inodes: u32,
}

/// The size in bytes of a file system that holds the tree and has about `free` bytes left.
pub fn size_for(tree: &FileTree, options: &Options, free: u64) -> u64 {
    let inodes = tree.nodes().len() as u64 + u64::from(FIRST_INODE);
    let mut size = 8 << 20;
    // The metadata depends on the size; three rounds are more than it takes to settle.
    for _ in 0..6 {
        let needed = match Geometry::new(size, inodes, options) {
            Ok(geometry) => {
                let wanted = needed_blocks(tree, &geometry) * BLOCK as u64 + free;
                let available = geometry.data_blocks() * BLOCK as u64;
                if wanted <= available {
                    return size;
                }
                size + (wanted - available)
            }
            Err(_) => size * 2,
        };
        size = (needed + needed / 128).next_multiple_of(1 << 20);
    }
    size
}

/// Blocks that the tree's files and directories and the journal take (never too few).
fn needed_blocks(tree: &FileTree, geometry: &Geometry) -> u64 {
    let mut blocks = geometry.journal_blocks + 8;
    for (id, node) in (0..).zip(tree.nodes()) {
        blocks += match &node.kind {
            Kind::Directory(_) => directory::block_count(tree, id) + 1,
            Kind::File(contents) => {
                let ranges = contents.data();
                let data: u64 =
                    extents::block_ranges(&ranges).iter().map(|range| range.end - range.start).sum();
                // A piece ends at each group's edge; 340 pieces fit in one block of the extent tree.
                let pieces = ranges.len() as u64 + data / 16384;
                data + if pieces > 4 { pieces / 300 + 2 } else { 0 }
            }
            Kind::Symlink(target) => u64::from(target.len() >= 60),
            _ => 0,
        };
    }
    blocks
}

/// Bytes that the groups' own metadata and the journal take of a file system of that size: what is left is for files.
///
/// # Errors
/// When it is too small for a file system.
pub fn overhead(size: u64, options: &Options) -> Result<u64, Ext4Error> {
    let geometry = Geometry::new(size, u64::from(FIRST_INODE), options)?;
    let usable = geometry.data_blocks().saturating_sub(geometry.journal_blocks);
    Ok(size.saturating_sub(usable * BLOCK as u64))
}

/// Writes the tree into the region.
///
/// # Errors
/// When it does not fit, a name or the label is too long, or a file cannot be read or written.
pub fn write(tree: &FileTree, region: &Region<'_>, options: &Options) -> Result<Summary, Ext4Error> {
    if options.label.len() > 16 {
        return Err(Ext4Error::Label(options.label.clone()));
    }
    let nodes = tree.nodes().len() as u64;
    let geometry = Geometry::new(region.length(), nodes + u64::from(FIRST_INODE), options)?;
    let needed = needed_blocks(tree, &geometry);
    if needed > geometry.data_blocks() {
        return Err(Ext4Error::Full {
            size: region.length(),
            needed: needed * BLOCK as u64,
            available: geometry.data_blocks() * BLOCK as u64,
        });
    }
    let seed = crc32c(!0, &options.uuid.0);
    let mut writer = Writer {
        tree,
        region,
        options,
        blocks: Blocks::new(&geometry),
        inodes: InodeWriter::new(region, &geometry, seed),
        numbers: vec![0; tree.nodes().len()],
        geometry: &geometry,
        seed,
    };
    writer.run()
}

/// Everything that one pass needs.
struct Writer<'a> {
    tree: &'a FileTree,
    region: &'a Region<'a>,
    options: &'a Options,
    geometry: &'a Geometry,
    blocks: Blocks,
    inodes: InodeWriter<'a>,
    /// Inode number of each node.
    numbers: Vec<u32>,
    /// The checksums' beginning: of the UUID.
    seed: u32,
}

impl Writer<'_> {
    fn run(&mut self) -> Result<Summary, Ext4Error> {
        for range in &self.geometry.reserved {
            self.region.clear(range.start * BLOCK as u64, (range.end - range.start) * BLOCK as u64)?;
        }
        let order = self.tree.walk();
        // The root of the tree may have a lost+found of its own.
        let own_lost_found = self.tree.entries(NodeId::ROOT).find(|(name, _)| *name == directory::LOST_FOUND);
        let mut next = FIRST_INODE + 1;
        for (id, _) in &order {
            self.numbers[id.index()] = if *id == NodeId::ROOT {
                ROOT_INODE
            } else if own_lost_found.is_some_and(|(_, own)| own == *id) {
                FIRST_INODE
            } else {
                next += 1;
                next - 1
            };
        }
        for (id, parent) in &order {
            if let Kind::Directory(_) = self.tree.node(*id).kind {
                self.directory(*id, *parent, own_lost_found.is_none())?;
            }
        }
        if own_lost_found.is_none() {
            self.lost_found()?;
        }
        let journal = self.journal()?;
        for (id, _) in &order {
            self.leaf(*id)?;
        }
        self.inodes.finish()?;
        superblock::write(self, next, journal.as_ref())
    }

    /// A directory's blocks and inode.
    fn directory(&mut self, id: NodeId, parent: NodeId, add_lost_found: bool) -> Result<(), Ext4Error> {
        let number = self.numbers[id.index()];
        let mut entries = Vec::new();
        let mut subdirectories = 0_u32;
        for (name, child) in self.tree.entries(id) {
            if name.len() > 255 {
                return Err(Ext4Error::Name(String::from_utf8_lossy(name).into_owned()));
            }
            let kind = &self.tree.node(child).kind;
            subdirectories += u32::from(matches!(kind, Kind::Directory(_)));
            entries.push(directory::Entry {
                inode: self.numbers[child.index()],
                file_type: directory::file_type(kind),
                name,
            });
        }
        if id == NodeId::ROOT && add_lost_found {
            subdirectories += 1;
            entries.push(directory::Entry { inode: FIRST_INODE, file_type: 2, name: directory::LOST_FOUND });
        }
        let parent = self.numbers[parent.index()];
        self.write_directory(number, parent, &entries, subdirectories, self.tree.node(id).attributes)
    }

    /// The directory in which e2fsck puts what it finds.
    fn lost_found(&mut self) -> Result<(), Ext4Error> {
        let attributes = crate::file_tree::Attributes::root(0o700, self.options.time);
        self.write_directory(FIRST_INODE, ROOT_INODE, &[], 0, attributes)
    }

    fn write_directory(
        &mut self,
        number: u32,
        parent: u32,
        entries: &[directory::Entry<'_>],
        subdirectories: u32,
        attributes: crate::file_tree::Attributes,
    ) -> Result<(), Ext4Error> {
        let seed = inode::seed(self.seed, number);
        let packed = directory::pack(number, parent, entries, seed, self.options.uuid);
        let count = packed.blocks.len() as u64;
        let pieces = self.allocate(0, count)?;
        let mut blocks = packed.blocks.iter();
        for piece in &pieces {
            for block in piece.physical..piece.physical + u64::from(piece.length) {
                let bytes = blocks.next().map(Vec::as_slice).unwrap_or_default();
                self.region.write(block * BLOCK as u64, bytes)?;
            }
        }
        // Past 65,000 names ext4 says 1, which means "many".
        let links = if subdirectories + 2 >= 65000 { 1 } else { subdirectories + 2 };
        let mut inode = Inode::new(0o040_000, attributes, links);
        inode.size = count * BLOCK as u64;
        if packed.indexed {
            inode.flags |= inode::INDEXED;
        }
        self.store_extents(&mut inode, number, &pieces)?;
        self.inodes.put(number, &inode)
    }

    /// A node that is no directory.
    fn leaf(&mut self, id: NodeId) -> Result<(), Ext4Error> {
        let node = self.tree.node(id);
        let number = self.numbers[id.index()];
        let mut inode;
        match &node.kind {
            Kind::Directory(_) => return Ok(()),
            Kind::File(contents) => {
                inode = Inode::new(0o100_000, node.attributes, node.names);
                inode.size = contents.size();
                let pieces = self.file(contents)?;
                self.store_extents(&mut inode, number, &pieces)?;
            }
            Kind::Symlink(target) => {
                inode = Inode::new(0o120_000, node.attributes, node.names);
                inode.mode |= 0o777;
                inode.size = target.len() as u64;
                if target.len() >= BLOCK {
                    return Err(Ext4Error::Target(target.len()));
                }
                if target.len() < 60 {
                    inode.body.iter_mut().zip(target).for_each(|(to, from)| *to = *from);
                } else {
                    let pieces = self.allocate(0, 1)?;
                    if let Some(piece) = pieces.first() {
                        self.region.write(piece.physical * BLOCK as u64, target)?;
                    }
                    self.store_extents(&mut inode, number, &pieces)?;
                }
            }
            Kind::CharDevice(major, minor) => {
                inode = Inode::new(0o020_000, node.attributes, node.names);
                inode.device(*major, *minor);
            }
            Kind::BlockDevice(major, minor) => {
                inode = Inode::new(0o060_000, node.attributes, node.names);
                inode.device(*major, *minor);
            }
            Kind::Fifo => inode = Inode::new(0o010_000, node.attributes, node.names),
            Kind::Socket => inode = Inode::new(0o140_000, node.attributes, node.names),
        }
        self.inodes.put(number, &inode)
    }

    /// Copies a file's data; gives where it lies.
    fn file(&mut self, contents: &Contents) -> Result<Vec<Extent>, Ext4Error> {
        let mut pieces = Vec::new();
        for range in extents::block_ranges(&contents.data()) {
            pieces.extend(self.allocate(range.start, range.end - range.start)?);
        }
        let open = |path: &PathBuf| {
            File::open(path).map_err(|source| Ext4Error::Source { path: path.clone(), source })
        };
        let host = match contents {
            Contents::Host { path, size, .. } if *size > 0 => Some((path, open(path)?)),
            _ => None,
        };
        for piece in &pieces {
            let from = u64::from(piece.logical) * BLOCK as u64;
            let length = (u64::from(piece.length) * BLOCK as u64).min(contents.size() - from);
            let to = piece.physical * BLOCK as u64;
            match (contents, &host) {
                (Contents::Bytes(bytes), _) => {
                    let bytes = bytes.get(from as usize..(from + length) as usize).unwrap_or_default();
                    self.region.write(to, bytes)?;
                }
                (Contents::Host { .. }, Some((path, file))) => self
                    .region
                    .copy(to, file, from, length)
                    .map_err(|source| Ext4Error::Source { path: (*path).clone(), source })?,
                (Contents::Host { .. }, None) => {}
            }
        }
        Ok(pieces)
    }

    /// The journal: empty, its superblock in its first block (jbd2, big-endian). Gives its inode's body and size.
    fn journal(&mut self) -> Result<Option<Inode>, Ext4Error> {
        let length = self.geometry.journal_blocks;
        if length == 0 {
            return Ok(None);
        }
        let pieces = self.allocate(0, length)?;
        if let Some(piece) = pieces.first() {
            let mut header = Vec::new();
            // Magic, block type 4 (superblock, version 2), sequence, block size, length, first block, first sequence, start (0: clean).
            for word in [0xc03b_3998, 4, 0, BLOCK as u32, length as u32, 1, 1, 0] {
                header.extend_from_slice(&u32::to_be_bytes(word));
            }
            // One file system uses it.
            header.resize(64, 0);
            header.extend_from_slice(&1_u32.to_be_bytes());
            self.region.write(piece.physical * BLOCK as u64, &header)?;
        }
        let attributes = crate::file_tree::Attributes::root(0o600, self.options.time);
        let mut inode = Inode::new(0o100_000, attributes, 1);
        inode.size = length * BLOCK as u64;
        self.store_extents(&mut inode, JOURNAL_INODE, &pieces)?;
        self.inodes.put(JOURNAL_INODE, &inode)?;
        Ok(Some(inode))
    }

    fn allocate(&mut self, logical: u64, count: u64) -> Result<Vec<Extent>, Ext4Error> {
        let pieces = self.blocks.allocate(logical, count).ok_or_else(|| Ext4Error::Full {
            size: self.region.length(),
            needed: count * BLOCK as u64,
            available: self.blocks.free() * BLOCK as u64,
        })?;
        for piece in &pieces {
            self.region.clear(piece.physical * BLOCK as u64, u64::from(piece.length) * BLOCK as u64)?;
        }
        Ok(pieces)
    }

    /// Puts the extents in the inode, and in blocks of their own when there are more than four.
    fn store_extents(&mut self, inode: &mut Inode, number: u32, pieces: &[Extent]) -> Result<(), Ext4Error> {
        let seed = inode::seed(self.seed, number);
        let tree_blocks = extents::tree_blocks(pieces.len()).ok_or(Ext4Error::Fragments(pieces.len()))?;
        let places: Vec<u64> = self
            .allocate(0, tree_blocks)?
            .iter()
            .flat_map(|piece| piece.physical..piece.physical + u64::from(piece.length))
            .collect();
        let (body, blocks) = extents::encode(pieces, &places, seed);
        for (place, bytes) in blocks {
            self.region.write(place * BLOCK as u64, &bytes)?;
        }
        inode.body = body;
        inode.flags |= inode::EXTENTS;
        let data: u64 = pieces.iter().map(|piece| u64::from(piece.length)).sum();
        inode.sectors = (data + tree_blocks) * (BLOCK as u64 / 512);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
