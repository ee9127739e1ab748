//! Directory blocks: entries one after another, the last one reaching to the block's end, and a checksum behind it (kernel
//! Documentation/filesystems/ext4/directory.rst).

use super::BLOCK;
use crate::checksum::crc32c;
use crate::file_tree::{FileTree, Kind};
use crate::identity::Uuid;

/// The name of the directory that e2fsck wants.
pub(super) const LOST_FOUND: &[u8] = b"lost+found";
/// What entries may fill: the last 12 bytes are a pretended entry with the checksum.
const SPACE: usize = BLOCK - 12;

/// An entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) inode: u32,
    pub(super) file_type: u8,
    pub(super) name: &'a [u8],
}

/// A directory's blocks.
pub(super) struct Packed {
    pub(super) blocks: Vec<Vec<u8>>,
    /// Whether the first of them is the root of a hash tree.
    pub(super) indexed: bool,
}

/// The type that entries say.
pub(super) fn file_type(kind: &Kind) -> u8 {
    match kind {
        Kind::File(_) => 1,
        Kind::Directory(_) => 2,
        Kind::CharDevice(..) => 3,
        Kind::BlockDevice(..) => 4,
        Kind::Fifo => 5,
        Kind::Socket => 6,
        Kind::Symlink(_) => 7,
    }
}

/// Bytes of an entry.
fn length(name: &[u8]) -> usize {
    (8 + name.len()).next_multiple_of(4)
}

/// How many blocks a directory of the tree takes at most.
pub(super) fn block_count(tree: &FileTree, index: u32) -> u64 {
    let Some(node) = tree.nodes().get(index as usize) else { return 0 };
    let Kind::Directory(entries) = &node.kind else { return 0 };
    let bytes: usize = 24 + length(LOST_FOUND) + entries.keys().map(|name| length(name)).sum::<usize>();
    if bytes <= SPACE {
        return 1;
    }
    // A block may stay empty by up to the longest entry; an index needs a block for 500 of them.
    let full = entries.keys().map(|name| length(name)).max().unwrap_or(0).max(24);
    let blocks = bytes.div_ceil(SPACE - full) as u64 + 2;
    blocks + blocks / 500 + 2
}

/// Makes the blocks of a directory.
pub(super) fn pack(number: u32, parent: u32, entries: &[Entry<'_>], seed: u32, _uuid: Uuid) -> Packed {
    let dots = [
        Entry { inode: number, file_type: 2, name: b"." },
        Entry { inode: parent, file_type: 2, name: b".." },
    ];
    let mut blocks = Vec::new();
    let mut block = Vec::with_capacity(BLOCK);
    let mut last = 0;
    for entry in dots.iter().chain(entries) {
        if block.len() + length(entry.name) > SPACE {
            finish(&mut block, last, seed);
            blocks.push(std::mem::take(&mut block));
        }
        last = block.len();
        put(&mut block, entry);
    }
    finish(&mut block, last, seed);
    blocks.push(block);
    Packed { blocks, indexed: false }
}

/// Appends an entry.
fn put(block: &mut Vec<u8>, entry: &Entry<'_>) {
    let start = block.len();
    block.extend_from_slice(&entry.inode.to_le_bytes());
    block.extend_from_slice(&(length(entry.name) as u16).to_le_bytes());
    block.extend_from_slice(&[entry.name.len() as u8, entry.file_type]);
    block.extend_from_slice(entry.name);
    block.resize(start + length(entry.name), 0);
}

/// Stretches the last entry (which begins at `last`) to the end and adds the checksum.
fn finish(block: &mut Vec<u8>, last: usize, seed: u32) {
    block.resize(SPACE, 0);
    if let Some(place) = block.get_mut(last + 4..last + 6) {
        place.copy_from_slice(&((SPACE - last) as u16).to_le_bytes());
    }
    let checksum = crc32c(seed, block);
    block.extend_from_slice(&[0, 0, 0, 0, 12, 0, 0, 0xde]);
    block.extend_from_slice(&checksum.to_le_bytes());
}
