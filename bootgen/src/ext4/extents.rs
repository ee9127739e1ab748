//! Extents: runs of blocks of a file, four of them in the inode, more in a tree of blocks below it (kernel
//! Documentation/filesystems/ext4/ifork.rst).

use super::BLOCK;
use crate::checksum::crc32c;
use std::ops::Range;

const MAGIC: u16 = 0xf30a;
/// Entries in the inode.
const IN_INODE: usize = 4;
/// Entries in a block: 12 bytes each after the header of 12, with a checksum behind them.
const IN_BLOCK: usize = (BLOCK - 12 - 4) / 12;

/// A run of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// First block within the file.
    pub(super) logical: u32,
    /// Number of blocks, 32,768 at most.
    pub(super) length: u16,
    /// First block on the disk.
    pub(super) physical: u64,
}

/// The blocks that ranges of bytes touch, each once.
pub(super) fn block_ranges(bytes: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for range in bytes {
        let blocks = range.start / BLOCK as u64..range.end.div_ceil(BLOCK as u64);
        match ranges.last_mut() {
            Some(last) if blocks.start <= last.end => last.end = last.end.max(blocks.end),
            _ => ranges.push(blocks),
        }
    }
    ranges
}

/// How many blocks the tree for that many extents takes beside the inode. `None` when two levels do not hold them.
pub(super) fn tree_blocks(extents: usize) -> Option<u64> {
    if extents <= IN_INODE {
        return Some(0);
    }
    let leaves = extents.div_ceil(IN_BLOCK);
    if leaves <= IN_INODE {
        return Some(leaves as u64);
    }
    let nodes = leaves.div_ceil(IN_BLOCK);
    (nodes <= IN_INODE).then_some((leaves + nodes) as u64)
}

/// Blocks of an extent tree: where each lies and what is in it.
type TreeBlocks = Vec<(u64, Vec<u8>)>;

/// The inode's 60 bytes and the blocks at `places` (as many as [`tree_blocks`] says). `seed` is the inode's checksum seed.
pub(super) fn encode(extents: &[Extent], places: &[u64], seed: u32) -> ([u8; 60], TreeBlocks) {
    let mut entries: Vec<[u8; 12]> = extents.iter().map(leaf_entry).collect();
    let mut firsts: Vec<u32> = extents.iter().map(|extent| extent.logical).collect();
    let mut places = places.iter().copied();
    let mut blocks = Vec::new();
    let mut depth = 0_u16;
    while entries.len() > IN_INODE {
        let (mut above, mut above_firsts) = (Vec::new(), Vec::new());
        for (chunk, first) in entries.chunks(IN_BLOCK).zip(firsts.chunks(IN_BLOCK)) {
            let Some(place) = places.next() else { break };
            let mut bytes = header(chunk.len(), IN_BLOCK, depth).to_vec();
            bytes.extend(chunk.iter().flatten());
            bytes.resize(12 + IN_BLOCK * 12, 0);
            let checksum = crc32c(seed, &bytes);
            bytes.extend_from_slice(&checksum.to_le_bytes());
            blocks.push((place, bytes));
            let first = first.first().copied().unwrap_or(0);
            above.push(index_entry(first, place));
            above_firsts.push(first);
        }
        entries = above;
        firsts = above_firsts;
        depth += 1;
    }
    let mut body = [0; 60];
    let all = header(entries.len(), IN_INODE, depth).into_iter().chain(entries.into_iter().flatten());
    body.iter_mut().zip(all).for_each(|(to, from)| *to = from);
    (body, blocks)
}

fn header(entries: usize, most: usize, depth: u16) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..2].copy_from_slice(&MAGIC.to_le_bytes());
    bytes[2..4].copy_from_slice(&(entries as u16).to_le_bytes());
    bytes[4..6].copy_from_slice(&(most as u16).to_le_bytes());
    bytes[6..8].copy_from_slice(&depth.to_le_bytes());
    bytes
}

fn leaf_entry(extent: &Extent) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&extent.logical.to_le_bytes());
    bytes[4..6].copy_from_slice(&extent.length.to_le_bytes());
    bytes[6..8].copy_from_slice(&((extent.physical >> 32) as u16).to_le_bytes());
    bytes[8..].copy_from_slice(&(extent.physical as u32).to_le_bytes());
    bytes
}

fn index_entry(logical: u32, place: u64) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&logical.to_le_bytes());
    bytes[4..8].copy_from_slice(&(place as u32).to_le_bytes());
    bytes[8..10].copy_from_slice(&((place >> 32) as u16).to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_ranges() {
        assert_eq!(block_ranges(&[0..1, 4000..4097, 20_000..20_001]), [0..2, 4..5]);
        assert_eq!(block_ranges(&[]), []);
    }

    #[test]
    fn sizes_of_trees() {
        for (extents, blocks) in [(0, Some(0)), (4, Some(0)), (5, Some(1)), (340, Some(1)), (341, Some(2))] {
            assert_eq!(tree_blocks(extents), blocks, "{extents}");
        }
        assert_eq!(tree_blocks(4 * 340), Some(4));
        assert_eq!(tree_blocks(4 * 340 + 1), Some(5 + 1));
        assert_eq!(tree_blocks(10_000_000), None);
    }

    #[test]
    fn two_levels() {
        let extents: Vec<Extent> =
            (0..2000).map(|n| Extent { logical: n * 2, length: 1, physical: u64::from(n) * 7 }).collect();
        let places: Vec<u64> = (0..tree_blocks(extents.len()).unwrap()).collect();
        let (body, blocks) = encode(&extents, &places, 0);
        assert_eq!(blocks.len(), 7);
        assert_eq!(body[6], 2, "depth");
        assert!(blocks.iter().all(|(_, bytes)| bytes.len() == BLOCK));
    }
}
