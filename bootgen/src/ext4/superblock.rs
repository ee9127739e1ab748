//! The superblock, the group descriptors and the bitmaps, written last (kernel Documentation/filesystems/ext4/super.rst,
//! group_descr.rst, bitmaps.rst).

use super::geometry::{DESCRIPTOR, GROUP_BLOCKS, LOG_FLEX, has_superblock};
use super::inode::Inode;
use super::{BLOCK, Ext4Error, FIRST_INODE, INODE_SIZE, JOURNAL_INODE, Summary, Writer};
use crate::checksum::crc32c;
use crate::identity::Uuid;

/// has_journal, ext_attr, dir_index.
const COMPATIBLE: u32 = 0x8 | 0x20;
const HAS_JOURNAL: u32 = 0x4;
/// filetype, extents, 64bit, flex_bg.
const INCOMPATIBLE: u32 = 0x2 | 0x40 | 0x80 | 0x200;
/// sparse_super, large_file, huge_file, dir_nlink, extra_isize, metadata_csum.
const READ_ONLY_COMPATIBLE: u32 = 0x1 | 0x2 | 0x8 | 0x20 | 0x40 | 0x400;
/// The inode table is zeroed (a new sparse file is).
const TABLE_ZEROED: u16 = 4;
/// Directory hashes are of signed characters: on x86 they are.
const SIGNED_HASH: u32 = 1;

/// Bytes that numbers are put in, little-endian.
struct Record(Vec<u8>);

impl Record {
    fn put(&mut self, at: usize, value: &[u8]) {
        if let Some(place) = self.0.get_mut(at..at + value.len()) {
            place.copy_from_slice(value);
        }
    }

    fn put16(&mut self, at: usize, value: u64) {
        self.put(at, &(value as u16).to_le_bytes());
    }

    fn put32(&mut self, at: usize, value: u64) {
        self.put(at, &(value as u32).to_le_bytes());
    }

    /// A number whose upper half lies elsewhere.
    fn split(&mut self, low: usize, high: usize, value: u64) {
        self.put32(low, value);
        self.put32(high, value >> 32);
    }

    /// The same with halves of 16 bits.
    fn split16(&mut self, low: usize, high: usize, value: u64) {
        self.put16(low, value);
        self.put16(high, value >> 16);
    }
}

/// Writes bitmaps, descriptors, and the superblock with its copies. `next_inode` is the first one that is free.
pub(super) fn write(
    writer: &Writer<'_>,
    next_inode: u32,
    journal: Option<&Inode>,
) -> Result<Summary, Ext4Error> {
    let geometry = writer.geometry;
    let mut descriptors = Record(vec![0; geometry.descriptor_blocks as usize * BLOCK]);
    for group in 0..geometry.groups.len() {
        let descriptor = describe(writer, group, next_inode)?;
        descriptors.put(group * DESCRIPTOR, &descriptor);
    }
    let inodes = geometry.inodes();
    let summary = Summary {
        blocks: geometry.blocks,
        free_blocks: writer.blocks.free(),
        inodes,
        free_inodes: inodes - (next_inode - 1),
    };
    for group in (0..geometry.groups.len() as u64).filter(|group| has_superblock(*group)) {
        let start = group * GROUP_BLOCKS * BLOCK as u64;
        let superblock = encode(writer, &summary, group, journal);
        // The first 1,024 bytes of the disk belong to a boot loader.
        let offset = if group == 0 { 1024 } else { 0 };
        writer.region.write(start + offset, &superblock)?;
        writer.region.write(start + BLOCK as u64, &descriptors.0)?;
    }
    Ok(summary)
}

/// Writes a group's bitmaps; gives its descriptor.
fn describe(writer: &Writer<'_>, group: usize, next_inode: u32) -> Result<Vec<u8>, Ext4Error> {
    let geometry = writer.geometry;
    let metadata = geometry.groups[group];
    let range = geometry.group_blocks(group);
    let per_group = geometry.inodes_per_group;
    let taken_blocks = writer.blocks.taken(range.clone());

    let mut block_bitmap = writer.blocks.bitmap(range.clone()).to_vec();
    let length = range.end - range.start;
    fill_bits(&mut block_bitmap, length);
    writer.region.write(metadata.block_bitmap * BLOCK as u64, &block_bitmap)?;

    // Inodes are given out in order, the reserved ones among them.
    let used = (next_inode - 1).saturating_sub(group as u32 * per_group).min(per_group);
    let mut inode_bitmap = vec![0xff; (used / 8) as usize];
    if !used.is_multiple_of(8) {
        inode_bitmap.push((1 << (used % 8)) - 1);
    }
    inode_bitmap.resize((per_group / 8) as usize, 0);
    let inode_checksum = crc32c(writer.seed, &inode_bitmap);
    inode_bitmap.resize(BLOCK, 0xff);
    writer.region.write(metadata.inode_bitmap * BLOCK as u64, &inode_bitmap)?;
    let block_checksum = crc32c(writer.seed, &block_bitmap);

    let mut record = Record(vec![0; DESCRIPTOR]);
    record.split(0, 32, metadata.block_bitmap);
    record.split(4, 36, metadata.inode_bitmap);
    record.split(8, 40, metadata.inode_table);
    record.split16(12, 44, length - taken_blocks);
    record.split16(14, 46, u64::from(per_group - used));
    record.split16(16, 48, u64::from(writer.inodes.directories[group]));
    record.put(18, &TABLE_ZEROED.to_le_bytes());
    record.split16(24, 56, u64::from(block_checksum));
    record.split16(26, 58, u64::from(inode_checksum));
    record.split16(28, 50, u64::from(per_group - used));
    let checksum = crc32c(crc32c(writer.seed, &(group as u32).to_le_bytes()), &record.0);
    record.put16(30, u64::from(checksum));
    Ok(record.0)
}

/// Makes a bitmap a block long; what lies beyond the group's end counts as taken.
fn fill_bits(bitmap: &mut Vec<u8>, length: u64) {
    if !length.is_multiple_of(8)
        && let Some(last) = bitmap.last_mut()
    {
        *last |= 0xff << (length % 8);
    }
    bitmap.resize(BLOCK, 0xff);
}

/// The 1,024 bytes of the superblock as group `group` has them.
fn encode(writer: &Writer<'_>, summary: &Summary, group: u64, journal: Option<&Inode>) -> Vec<u8> {
    let (geometry, options) = (writer.geometry, writer.options);
    let mut record = Record(vec![0; 1024]);
    record.put32(0, u64::from(summary.inodes));
    record.split(4, 336, summary.blocks);
    record.split(12, 344, summary.free_blocks);
    record.put32(16, u64::from(summary.free_inodes));
    for log_size in [24, 28] {
        record.put32(log_size, 2);
    }
    for per_group in [32, 36] {
        record.put32(per_group, GROUP_BLOCKS);
    }
    record.put32(40, u64::from(geometry.inodes_per_group));
    // Written; checked; made.
    for time in [48, 64, 264] {
        record.put32(time, options.time);
    }
    record.put16(54, 0xffff);
    record.put16(56, 0xef53);
    // Clean; on errors go on; dynamic inode sizes.
    record.put16(58, 1);
    record.put16(60, 1);
    record.put32(76, 1);
    record.put32(84, u64::from(FIRST_INODE));
    record.put16(88, INODE_SIZE as u64);
    record.put16(90, group);
    record.put32(92, u64::from(COMPATIBLE | if journal.is_some() { HAS_JOURNAL } else { 0 }));
    record.put32(96, u64::from(INCOMPATIBLE));
    record.put32(100, u64::from(READ_ONLY_COMPATIBLE));
    record.put(104, &options.uuid.0);
    record.put(120, options.label.as_bytes());
    record.put(236, &hash_seed(options.uuid).0);
    // Directory hash: half MD4.
    record.put(252, &[1]);
    if let Some(inode) = journal {
        record.put32(224, u64::from(JOURNAL_INODE));
        // A copy of the journal's inode, for the day when that is lost.
        record.put(253, &[1]);
        record.put(268, &inode.body);
        record.put32(268 + 60, inode.size >> 32);
        record.put32(268 + 64, inode.size);
    }
    record.put16(254, DESCRIPTOR as u64);
    // Extended attributes and access lists by default.
    record.put32(256, 0xc);
    record.put16(348, 32);
    record.put16(350, 32);
    record.put32(352, u64::from(SIGNED_HASH));
    record.put(372, &[LOG_FLEX, 1]);
    let checksum = crc32c(!0, &record.0[..1020]);
    record.put32(1020, u64::from(checksum));
    record.0
}

/// The seed of the directory hashes.
pub(super) fn hash_seed(uuid: Uuid) -> Uuid {
    Uuid::derive(&uuid.0, "ext4 directory hash")
}
