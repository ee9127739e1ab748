//! erofs directories: in each block first the entries (inode, place of the name, type), then the names; names sorted by their bytes
//! throughout, `.` and `..` among them, so that a reader can search by halves.

use super::{BLOCK, ErofsError};
use crate::file_tree::{FileTree, Kind, NodeId};

/// Bytes of an entry without its name.
const ENTRY: usize = 12;

/// An entry before it has a place.
type Named<'a> = (&'a [u8], NodeId);

/// The entries in order.
fn sorted(tree: &FileTree, id: NodeId, parent: NodeId) -> Vec<Named<'_>> {
    let mut entries: Vec<Named<'_>> = vec![(b".", id), (b"..", parent)];
    entries.extend(tree.entries(id));
    entries.sort_unstable_by(|left, right| left.0.cmp(right.0));
    entries
}

/// The entries block by block.
fn blocks<'a, 'b>(entries: &'b [Named<'a>]) -> Vec<&'b [Named<'a>]> {
    let mut blocks = Vec::new();
    let (mut start, mut used) = (0, 0);
    for (number, (name, _)) in entries.iter().enumerate() {
        let length = ENTRY + name.len();
        if used + length > BLOCK as usize {
            blocks.extend(entries.get(start..number));
            start = number;
            used = 0;
        }
        used += length;
    }
    blocks.extend(entries.get(start..));
    blocks
}

/// Bytes of one block's entries.
fn used(block: &[Named<'_>]) -> usize {
    block.iter().map(|(name, _)| ENTRY + name.len()).sum()
}

/// Bytes of a directory.
pub(super) fn size(tree: &FileTree, id: NodeId) -> Result<u64, ErofsError> {
    let entries = sorted(tree, id, id);
    if let Some((name, _)) = entries.iter().find(|(name, _)| name.len() > 255) {
        return Err(ErofsError::Name(String::from_utf8_lossy(name).into_owned()));
    }
    let blocks = blocks(&entries);
    let whole = (blocks.len() - 1) as u64 * BLOCK;
    Ok(whole + blocks.last().map_or(0, |block| used(block)) as u64)
}

/// A directory's bytes.
pub(super) fn encode(
    tree: &FileTree,
    id: NodeId,
    parent: NodeId,
    number_of: &dyn Fn(NodeId) -> u64,
) -> Vec<u8> {
    let entries = sorted(tree, id, parent);
    let mut bytes = Vec::new();
    for block in blocks(&entries) {
        // All blocks but the last are filled up.
        bytes.resize(bytes.len().next_multiple_of(BLOCK as usize), 0);
        let mut name_at = block.len() * ENTRY;
        for (name, child) in block {
            bytes.extend_from_slice(&number_of(*child).to_le_bytes());
            bytes.extend_from_slice(&(name_at as u16).to_le_bytes());
            bytes.extend_from_slice(&[file_type(&tree.node(*child).kind), 0]);
            name_at += name.len();
        }
        for (name, _) in block {
            bytes.extend_from_slice(name);
        }
    }
    bytes
}

/// The type that entries say.
fn file_type(kind: &Kind) -> u8 {
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
