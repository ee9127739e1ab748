//! Writes an uncompressed erofs from a tree of files: a read-only file system that needs no journal, no bitmaps and no spare room
//! (kernel Documentation/filesystems/erofs.rst, fs/erofs/erofs_fs.h for the layout).
//!
//! Blocks of 4 KiB. Superblock, then inodes in the tree's order, each with the last, incomplete block of its data behind it where that fits
//! ("flat inline"), then whole blocks of data. The bytes depend on the tree and the options alone; contents are streamed.

mod directory;

use crate::checksum::crc32c;
use crate::file_tree::{Contents, FileTree, Kind, Node, NodeId};
use crate::identity::Uuid;
use crate::region::Region;
use std::fs::File;
use std::path::PathBuf;
use thiserror::Error;

const BLOCK: u64 = 4096;
/// Inodes are numbered by their place, in units of this.
const SLOT: u64 = 32;
const SUPERBLOCK: u64 = 1024;
/// The root's inode stands right behind the superblock's 128 bytes.
const FIRST_INODE: u64 = SUPERBLOCK + 128;
const MAGIC: u32 = 0xe0f5_e1e2;
/// The superblock has a checksum; times are those of the contents' last change.
const COMPATIBLE: u32 = 1 | 2;

/// What is not in the tree.
#[derive(Debug, Clone)]
pub struct Options {
    /// The label, at most 15 bytes.
    pub label: String,
    /// Its UUID.
    pub uuid: Uuid,
    /// When it was made, seconds since 1970. Nodes of that time take half an inode less.
    pub time: u64,
}

/// Why no file system could be written.
#[derive(Debug, Error)]
pub enum ErofsError {
    /// A file of the host.
    #[error("{}: cannot be copied into the file system: {source}", path.display())]
    Source {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The image.
    #[error("writing the file system: {0}")]
    Write(#[from] std::io::Error),
    /// It does not fit.
    #[error("the file system takes {needed} bytes and there are {available} for it")]
    Full {
        /// What it takes.
        needed: u64,
        /// What there is.
        available: u64,
    },
    /// A label or name that is too long.
    #[error("`{0}` is too long for a label (15 bytes) or name (255 bytes)")]
    Name(String),
}

/// Where everything lies.
#[derive(Debug)]
pub struct Plan<'a> {
    tree: &'a FileTree,
    order: Vec<(NodeId, NodeId)>,
    places: Vec<Place>,
    size: u64,
}

/// Where a node lies.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    /// Byte offset of the inode.
    inode: u64,
    /// 64 bytes instead of 32.
    extended: bool,
    /// Bytes of the data.
    size: u64,
    /// First block of the data.
    block: u64,
    /// Bytes of the data that stand behind the inode.
    tail: u64,
}

impl Place {
    fn inode_size(&self) -> u64 {
        if self.extended { 64 } else { 32 }
    }

    /// The inode's number.
    fn number(&self) -> u64 {
        self.inode / SLOT
    }
}

impl<'a> Plan<'a> {
    /// Lays the tree out.
    ///
    /// # Errors
    /// When the label or a name is too long.
    pub fn new(tree: &'a FileTree, options: &Options) -> Result<Self, ErofsError> {
        if options.label.len() > 15 {
            return Err(ErofsError::Name(options.label.clone()));
        }
        let order = tree.walk();
        let mut places = vec![Place::default(); tree.nodes().len()];
        let mut next = FIRST_INODE;
        for (id, _) in &order {
            let node = tree.node(*id);
            let size = match &node.kind {
                Kind::Directory(_) => directory::size(tree, *id)?,
                Kind::File(contents) => contents.size(),
                Kind::Symlink(target) => target.len() as u64,
                _ => 0,
            };
            let mut place =
                Place { size, extended: needs_extended(node, size, options.time), ..Place::default() };
            let tail = size % BLOCK;
            place.tail = if place.inode_size() + tail <= BLOCK { tail } else { 0 };
            let length = place.inode_size() + place.tail;
            // Neither an inode nor its tail may cross the edge of a block.
            place.inode = if next % BLOCK + length > BLOCK { next.next_multiple_of(BLOCK) } else { next };
            next = (place.inode + length).next_multiple_of(SLOT);
            places[id.index()] = place;
        }
        let mut block = next.div_ceil(BLOCK);
        for (id, _) in &order {
            let place = &mut places[id.index()];
            place.block = block;
            block += (place.size - place.tail).div_ceil(BLOCK);
        }
        Ok(Self { tree, order, places, size: block * BLOCK })
    }

    /// Bytes of the file system.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Writes it into the region, which must read as zeros.
    ///
    /// # Errors
    /// When the region is too small, or a file cannot be read or written.
    pub fn write(&self, region: &Region<'_>, options: &Options) -> Result<(), ErofsError> {
        if self.size > region.length() {
            return Err(ErofsError::Full { needed: self.size, available: region.length() });
        }
        for (number, (id, parent)) in (1..).zip(&self.order) {
            let node = self.tree.node(*id);
            let place = self.places[id.index()];
            let inode = encode(node, &place, self.links(*id), number);
            region.write(place.inode, &inode)?;
            match &node.kind {
                Kind::Directory(_) => {
                    let number_of = |id: NodeId| self.places[id.index()].number();
                    let bytes = directory::encode(self.tree, *id, *parent, &number_of);
                    Self::write_bytes(region, &place, &bytes)?;
                }
                Kind::Symlink(target) => Self::write_bytes(region, &place, target)?,
                Kind::File(Contents::Bytes(bytes)) => Self::write_bytes(region, &place, bytes)?,
                Kind::File(Contents::Host { path, .. }) if place.size > 0 => {
                    Self::copy(region, &place, path)
                        .map_err(|source| ErofsError::Source { path: path.clone(), source })?;
                }
                _ => {}
            }
        }
        Ok(self.superblock(region, options)?)
    }

    /// How many names a node has; a directory has one in each of its subdirectories too.
    fn links(&self, id: NodeId) -> u32 {
        match &self.tree.node(id).kind {
            Kind::Directory(entries) => {
                let below = entries
                    .values()
                    .filter(|child| matches!(self.tree.node(**child).kind, Kind::Directory(_)))
                    .count();
                2 + u32::try_from(below).unwrap_or(u32::MAX - 2)
            }
            _ => self.tree.node(id).names,
        }
    }

    /// Data that is in memory: whole blocks to their place, the rest behind the inode.
    fn write_bytes(region: &Region<'_>, place: &Place, bytes: &[u8]) -> std::io::Result<()> {
        let (whole, tail) = bytes.split_at(bytes.len() - place.tail as usize);
        region.write(place.block * BLOCK, whole)?;
        region.write(place.inode + place.inode_size(), tail)
    }

    /// The same for a file of the host.
    fn copy(region: &Region<'_>, place: &Place, path: &PathBuf) -> std::io::Result<()> {
        let file = File::open(path)?;
        let whole = place.size - place.tail;
        region.copy(place.block * BLOCK, &file, 0, whole)?;
        region.copy(place.inode + place.inode_size(), &file, whole, place.tail)
    }

    fn superblock(&self, region: &Region<'_>, options: &Options) -> std::io::Result<()> {
        // The checksum is over the rest of the first block, inodes included.
        let mut bytes = vec![0; (BLOCK - SUPERBLOCK) as usize];
        region.read(SUPERBLOCK, &mut bytes)?;
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, &MAGIC.to_le_bytes());
        put(8, &COMPATIBLE.to_le_bytes());
        // Blocks of 2^12 bytes.
        put(12, &[12]);
        put(14, &((FIRST_INODE / SLOT) as u16).to_le_bytes());
        put(16, &(self.order.len() as u64).to_le_bytes());
        put(24, &options.time.to_le_bytes());
        put(36, &((self.size / BLOCK) as u32).to_le_bytes());
        put(48, &options.uuid.0);
        put(64, options.label.as_bytes());
        let checksum = crc32c(!0, &bytes);
        bytes[4..8].copy_from_slice(&checksum.to_le_bytes());
        region.write(SUPERBLOCK, &bytes)
    }
}

/// Whether a node says more than an inode of 32 bytes can.
fn needs_extended(node: &Node, size: u64, time: u64) -> bool {
    let attributes = node.attributes;
    // A directory's links are at most its entries and two.
    let links = match &node.kind {
        Kind::Directory(entries) => entries.len() + 2,
        _ => node.names as usize,
    };
    attributes.uid > 0xffff
        || attributes.gid > 0xffff
        || attributes.mtime != time
        || links > 0xffff
        || size > u64::from(u32::MAX)
}

/// An inode's bytes.
fn encode(node: &Node, place: &Place, links: u32, number: u32) -> Vec<u8> {
    let layout = if place.tail > 0 { 2 } else { 0 };
    let format: u16 = u16::from(place.extended) | layout << 1;
    let (file_type, device) = match &node.kind {
        Kind::Directory(_) => (0o040_000, None),
        Kind::File(_) => (0o100_000, None),
        Kind::Symlink(_) => (0o120_000, None),
        Kind::CharDevice(major, minor) => (0o020_000, Some((major, minor))),
        Kind::BlockDevice(major, minor) => (0o060_000, Some((major, minor))),
        Kind::Fifo => (0o010_000, None),
        Kind::Socket => (0o140_000, None),
    };
    let permissions =
        if matches!(node.kind, Kind::Symlink(_)) { 0o777 } else { node.attributes.mode & 0o7777 };
    let mode = (file_type | permissions) as u16;
    let where_it_is = match device {
        Some((major, minor)) => minor & 0xff | major << 8 | (minor & !0xff) << 12,
        None => place.block as u32,
    };
    let attributes = node.attributes;
    let mut bytes = vec![0; place.inode_size() as usize];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, &format.to_le_bytes());
    put(4, &mode.to_le_bytes());
    put(16, &where_it_is.to_le_bytes());
    put(20, &number.to_le_bytes());
    if place.extended {
        put(8, &place.size.to_le_bytes());
        put(24, &attributes.uid.to_le_bytes());
        put(28, &attributes.gid.to_le_bytes());
        put(32, &attributes.mtime.to_le_bytes());
        put(44, &links.to_le_bytes());
    } else {
        put(6, &(links as u16).to_le_bytes());
        put(8, &(place.size as u32).to_le_bytes());
        put(24, &(attributes.uid as u16).to_le_bytes());
        put(26, &(attributes.gid as u16).to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests;
