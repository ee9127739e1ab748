//! Where an ext4 file system of a given size has its metadata: groups of 32,768 blocks; copies of the superblock and the group
//! descriptors in groups 0, 1 and powers of 3, 5, 7 (sparse_super); bitmaps and inode tables of 16 groups side by side (flex_bg).

use super::{BLOCK, Ext4Error, Options};
use std::ops::Range;

/// Blocks in a group: as many as one block has bits.
pub(super) const GROUP_BLOCKS: u64 = 8 * BLOCK as u64;
/// Groups whose metadata lies together, as a power of two.
pub(super) const LOG_FLEX: u8 = 4;
const INODES_PER_BLOCK: u64 = (BLOCK / super::INODE_SIZE) as u64;
/// Bytes in a group descriptor.
pub(super) const DESCRIPTOR: usize = 64;

/// A group's metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) block_bitmap: u64,
    pub(super) inode_bitmap: u64,
    pub(super) inode_table: u64,
}

/// The layout.
#[derive(Debug, Clone)]
pub(super) struct Geometry {
    pub(super) blocks: u64,
    pub(super) inodes_per_group: u32,
    pub(super) groups: Vec<Group>,
    /// Blocks of one copy of the group descriptors.
    pub(super) descriptor_blocks: u64,
    pub(super) journal_blocks: u64,
    /// Everything that files may not use, in order.
    pub(super) reserved: Vec<Range<u64>>,
}

impl Geometry {
    /// Plans a file system of at most that many bytes with room for that many inodes.
    pub(super) fn new(size: u64, inodes: u64, options: &Options) -> Result<Self, Ext4Error> {
        let mut blocks = size / BLOCK as u64;
        if size < 8 << 20 {
            return Err(Ext4Error::TooSmall(size));
        }
        loop {
            let groups = blocks.div_ceil(GROUP_BLOCKS);
            let descriptor_blocks = (groups * DESCRIPTOR as u64).div_ceil(BLOCK as u64);
            let wanted = (size / options.bytes_per_inode.max(1024)).max(inodes + inodes / 8 + 16);
            let per_group = wanted.div_ceil(groups).next_multiple_of(INODES_PER_BLOCK);
            let most = GROUP_BLOCKS / 2;
            if per_group > most {
                return Err(Ext4Error::TooManyFiles { size, needed: inodes, possible: groups * most });
            }
            let last = blocks - (groups - 1) * GROUP_BLOCKS;
            // A last group that holds little more than its own metadata is not worth having.
            if groups > 1 && last < 3 + descriptor_blocks + per_group / INODES_PER_BLOCK + 64 {
                blocks -= last;
                continue;
            }
            return Self::place(size, blocks, per_group, descriptor_blocks, options);
        }
    }

    fn place(
        size: u64,
        blocks: u64,
        per_group: u64,
        descriptor_blocks: u64,
        options: &Options,
    ) -> Result<Self, Ext4Error> {
        let groups = blocks.div_ceil(GROUP_BLOCKS);
        let table_blocks = per_group / INODES_PER_BLOCK;
        let copies: Vec<Range<u64>> = (0..groups)
            .filter(|group| has_superblock(*group))
            .map(|group| group * GROUP_BLOCKS..group * GROUP_BLOCKS + 1 + descriptor_blocks)
            .collect();
        let mut place = Placement { copies: &copies, next: 0, blocks };
        let mut placed = Vec::new();
        let mut reserved = copies.clone();
        let flex = 1 << LOG_FLEX;
        for first in (0..groups).step_by(flex) {
            let count = (groups - first).min(flex as u64);
            place.next = place.next.max(first * GROUP_BLOCKS);
            let mut take = |length| {
                let start = place.take(length).ok_or(Ext4Error::TooSmall(size))?;
                reserved.push(start..start + length);
                Ok::<u64, Ext4Error>(start)
            };
            let block_bitmaps = (0..count).map(|_| take(1)).collect::<Result<Vec<_>, _>>()?;
            let inode_bitmaps = (0..count).map(|_| take(1)).collect::<Result<Vec<_>, _>>()?;
            for (block_bitmap, inode_bitmap) in block_bitmaps.into_iter().zip(inode_bitmaps) {
                placed.push(Group { block_bitmap, inode_bitmap, inode_table: take(table_blocks)? });
            }
        }
        reserved.sort_by_key(|range| range.start);
        Ok(Self {
            blocks,
            inodes_per_group: u32::try_from(per_group).unwrap_or(u32::MAX),
            groups: placed,
            descriptor_blocks,
            journal_blocks: journal_blocks(blocks, options.journal),
            reserved,
        })
    }

    /// Blocks that are no metadata of the groups.
    pub(super) fn data_blocks(&self) -> u64 {
        self.blocks - self.reserved.iter().map(|range| range.end - range.start).sum::<u64>()
    }

    /// All inodes.
    pub(super) fn inodes(&self) -> u32 {
        self.inodes_per_group * u32::try_from(self.groups.len()).unwrap_or(u32::MAX)
    }

    /// Blocks of a group; the last one may be short.
    pub(super) fn group_blocks(&self, group: usize) -> Range<u64> {
        let start = group as u64 * GROUP_BLOCKS;
        start..(start + GROUP_BLOCKS).min(self.blocks)
    }
}

/// Finds room for metadata between the copies of the superblock.
struct Placement<'a> {
    copies: &'a [Range<u64>],
    next: u64,
    blocks: u64,
}

impl Placement<'_> {
    fn take(&mut self, length: u64) -> Option<u64> {
        loop {
            let range = self.next..self.next + length;
            match self.copies.iter().find(|copy| copy.start < range.end && range.start < copy.end) {
                Some(copy) => self.next = copy.end,
                None if range.end <= self.blocks => {
                    self.next = range.end;
                    return Some(range.start);
                }
                None => return None,
            }
        }
    }
}

/// Whether a group has a copy of the superblock.
pub(super) fn has_superblock(group: u64) -> bool {
    let power_of = |base: u64| {
        let mut power = base;
        while power < group {
            power *= base;
        }
        power == group
    };
    group <= 1 || power_of(3) || power_of(5) || power_of(7)
}

/// The journal's size in blocks: what was asked for (1,024 blocks at least), or by the size of the file system as mke2fs has it.
fn journal_blocks(blocks: u64, wanted: Option<u64>) -> u64 {
    match wanted {
        Some(0) => 0,
        Some(bytes) => (bytes / BLOCK as u64).max(1024),
        None => match blocks {
            0..8192 => 0,
            8192..32768 => 1024,
            32768..262_144 => 4096,
            262_144..524_288 => 8192,
            524_288..4_194_304 => 16384,
            _ => 32768,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies() {
        let with: Vec<u64> = (0..100).filter(|group| has_superblock(*group)).collect();
        assert_eq!(with, [0, 1, 3, 5, 7, 9, 25, 27, 49, 81]);
    }

    #[test]
    fn nothing_overlaps() {
        let options = Options::new("x", b"", 0);
        for size in [8_u64 << 20, 130 << 20, 1 << 30, (16 << 30) + 4096 * 70, 100 << 30] {
            let geometry = Geometry::new(size, 10_000.min(size / 16384), &options).unwrap();
            for pair in geometry.reserved.windows(2) {
                assert!(pair[0].end <= pair[1].start, "{size}: {pair:?}");
            }
            assert!(geometry.reserved.last().unwrap().end <= geometry.blocks);
            assert_eq!(geometry.groups.len() as u64, geometry.blocks.div_ceil(GROUP_BLOCKS));
        }
    }
}
