//! Inodes: their 256 bytes (kernel Documentation/filesystems/ext4/inodes.rst) and the table that they are written to.

use super::geometry::Geometry;
use super::{BLOCK, Ext4Error, INODE_SIZE};
use crate::checksum::crc32c;
use crate::file_tree::Attributes;
use crate::region::Region;

/// The body holds extents.
pub(super) const EXTENTS: u32 = 0x8_0000;
/// A directory with a hash tree.
pub(super) const INDEXED: u32 = 0x1000;

/// An inode.
#[derive(Debug, Clone)]
pub(super) struct Inode {
    pub(super) mode: u32,
    attributes: Attributes,
    links: u32,
    pub(super) size: u64,
    /// Units of 512 bytes.
    pub(super) sectors: u64,
    pub(super) flags: u32,
    /// Extents, a short link's target, or a device number.
    pub(super) body: [u8; 60],
}

/// The seed of an inode's checksums: the file system's, its number, its generation (0).
pub(super) fn seed(file_system: u32, number: u32) -> u32 {
    crc32c(crc32c(file_system, &number.to_le_bytes()), &[0; 4])
}

impl Inode {
    /// An empty one of that type.
    pub(super) fn new(file_type: u32, attributes: Attributes, links: u32) -> Self {
        let mode = file_type | attributes.mode & 0o7777;
        Self { mode, attributes, links, size: 0, sectors: 0, flags: 0, body: [0; 60] }
    }

    /// Makes it a device: the old encoding in the first word where it fits, else the new one in the second.
    pub(super) fn device(&mut self, major: u32, minor: u32) {
        let (old, new) = if major < 256 && minor < 256 {
            (major << 8 | minor, 0)
        } else {
            (0, minor & 0xff | major << 8 | (minor & !0xff) << 12)
        };
        self.body[..4].copy_from_slice(&old.to_le_bytes());
        self.body[4..8].copy_from_slice(&new.to_le_bytes());
    }

    /// Its bytes, with the checksum.
    pub(super) fn encode(&self, file_system_seed: u32, number: u32) -> [u8; INODE_SIZE] {
        let mut bytes = [0; INODE_SIZE];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        let time = (self.attributes.mtime as u32).to_le_bytes();
        // Bits 32 and 33 of the seconds in the lowest two bits; no nanoseconds.
        let epoch = ((self.attributes.mtime >> 32) as u32 & 3).to_le_bytes();
        put(0, &(self.mode as u16).to_le_bytes());
        put(2, &(self.attributes.uid as u16).to_le_bytes());
        put(4, &(self.size as u32).to_le_bytes());
        for at in [8, 12, 16] {
            put(at, &time);
        }
        put(24, &(self.attributes.gid as u16).to_le_bytes());
        put(26, &(self.links as u16).to_le_bytes());
        put(28, &(self.sectors as u32).to_le_bytes());
        put(32, &self.flags.to_le_bytes());
        put(40, &self.body);
        put(108, &((self.size >> 32) as u32).to_le_bytes());
        put(116, &((self.sectors >> 32) as u16).to_le_bytes());
        put(120, &((self.attributes.uid >> 16) as u16).to_le_bytes());
        put(122, &((self.attributes.gid >> 16) as u16).to_le_bytes());
        // 32 bytes after the first 128 are used.
        put(128, &32_u16.to_le_bytes());
        for at in [132, 136, 140, 148] {
            put(at, &epoch);
        }
        put(144, &time);
        let checksum = crc32c(seed(file_system_seed, number), &bytes);
        bytes[124..126].copy_from_slice(&(checksum as u16).to_le_bytes());
        bytes[130..132].copy_from_slice(&((checksum >> 16) as u16).to_le_bytes());
        bytes
    }
}

/// Writes inodes into the groups' tables, a block at a time as long as the numbers go up.
pub(super) struct InodeWriter<'a> {
    region: &'a Region<'a>,
    geometry: &'a Geometry,
    seed: u32,
    /// The block under construction.
    place: Option<u64>,
    block: Vec<u8>,
    /// Directories in each group.
    pub(super) directories: Vec<u32>,
}

impl<'a> InodeWriter<'a> {
    pub(super) fn new(region: &'a Region<'a>, geometry: &'a Geometry, seed: u32) -> Self {
        let directories = vec![0; geometry.groups.len()];
        Self { region, geometry, seed, place: None, block: vec![0; BLOCK], directories }
    }

    /// Puts an inode in its place.
    pub(super) fn put(&mut self, number: u32, inode: &Inode) -> Result<(), Ext4Error> {
        let group = ((number - 1) / self.geometry.inodes_per_group) as usize;
        let slot = ((number - 1) % self.geometry.inodes_per_group) as usize;
        let Some(metadata) = self.geometry.groups.get(group) else {
            // The geometry was made for more inodes than there are nodes.
            return Err(Ext4Error::TooManyFiles {
                size: self.region.length(),
                needed: u64::from(number),
                possible: u64::from(self.geometry.inodes()),
            });
        };
        if inode.mode & 0o170_000 == 0o040_000 {
            self.directories[group] += 1;
        }
        let per_block = BLOCK / INODE_SIZE;
        let place = metadata.inode_table + (slot / per_block) as u64;
        if self.place != Some(place) {
            self.finish()?;
            self.region.read(place * BLOCK as u64, &mut self.block)?;
            self.place = Some(place);
        }
        let at = slot % per_block * INODE_SIZE;
        self.block[at..at + INODE_SIZE].copy_from_slice(&inode.encode(self.seed, number));
        Ok(())
    }

    /// Writes the block under construction.
    pub(super) fn finish(&mut self) -> Result<(), Ext4Error> {
        if let Some(place) = self.place.take() {
            self.region.write(place * BLOCK as u64, &self.block)?;
        }
        Ok(())
    }
}
