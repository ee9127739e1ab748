//! Which blocks are taken: a bit for each, filled from the beginning to the end.

use super::extents::Extent;
use super::geometry::Geometry;
use std::ops::Range;

/// The longest run that one extent can name.
const LONGEST: u64 = 32768;

/// The blocks of the whole file system.
#[derive(Debug)]
pub(super) struct Blocks {
    /// A bit a block, the lowest first, as the bitmaps on disk have it.
    bits: Vec<u8>,
    /// What may not be given to files, in order.
    reserved: Vec<Range<u64>>,
    /// Index of the first reserved range that ends after `next`.
    ahead: usize,
    next: u64,
    blocks: u64,
    free: u64,
}

impl Blocks {
    /// Everything free but the geometry's own blocks.
    pub(super) fn new(geometry: &Geometry) -> Self {
        let mut blocks = Self {
            bits: vec![0; usize::try_from(geometry.blocks.div_ceil(8)).unwrap_or(0)],
            reserved: geometry.reserved.clone(),
            ahead: 0,
            next: 0,
            blocks: geometry.blocks,
            free: geometry.blocks,
        };
        for range in &geometry.reserved {
            blocks.mark(range.clone());
        }
        blocks
    }

    /// How many are left.
    pub(super) fn free(&self) -> u64 {
        self.free
    }

    /// The bits of a range that begins at a multiple of eight.
    pub(super) fn bitmap(&self, range: Range<u64>) -> &[u8] {
        self.bits.get((range.start / 8) as usize..range.end.div_ceil(8) as usize).unwrap_or_default()
    }

    /// Taken blocks in a range that begins at a multiple of eight.
    pub(super) fn taken(&self, range: Range<u64>) -> u64 {
        self.bitmap(range).iter().map(|byte| u64::from(byte.count_ones())).sum()
    }

    fn mark(&mut self, range: Range<u64>) {
        self.free -= range.end - range.start;
        for block in range {
            if let Some(byte) = self.bits.get_mut((block / 8) as usize) {
                *byte |= 1 << (block % 8);
            }
        }
    }

    /// Takes the next `count` blocks for a file from block `logical` of it on, in as few pieces as may be. `None` when there are not enough.
    pub(super) fn allocate(&mut self, logical: u64, count: u64) -> Option<Vec<Extent>> {
        let mut pieces = Vec::new();
        let mut done = 0;
        while done < count {
            let barrier = loop {
                match self.reserved.get(self.ahead) {
                    Some(range) if range.start <= self.next => {
                        self.next = self.next.max(range.end);
                        self.ahead += 1;
                    }
                    Some(range) => break range.start,
                    None => break self.blocks,
                }
            };
            let length = (count - done).min(barrier - self.next).min(LONGEST);
            if length == 0 {
                return None;
            }
            pieces.push(Extent {
                logical: u32::try_from(logical + done).ok()?,
                length: u16::try_from(length).ok()?,
                physical: self.next,
            });
            self.mark(self.next..self.next + length);
            self.next += length;
            done += length;
        }
        Some(pieces)
    }
}
