//! Rock Ridge (IEEE P1282 1.12, in the form RRIP_1991A that every reader knows) in the fields of the System Use Sharing Protocol
//! (IEEE P1281 1.12): real names, permissions, owners, times and symbolic links. What does not fit in its record goes on in a
//! continuation area.

use super::record::{both32, short_date};
use crate::file_tree::{Attributes, Kind, Node};

/// A continuation's length; it must fit in a sector.
pub(super) const LARGEST_CONTINUATION: usize = 2048;
/// Bytes of the field that says where an area goes on.
pub(super) const POINTER: usize = 28;
/// The longest name that the kernel reads whole (fs/isofs/rock.c).
pub(super) const LONGEST_NAME: usize = 253;
/// The bytes of a field but its head.
const FIELD: usize = 250;

/// The fields of a node under a name; of the root's own record when `is_root`, which announces them all.
pub(super) fn fields(node: &Node, links: u32, name: Option<&[u8]>, is_root: bool) -> Vec<Vec<u8>> {
    let mut fields = Vec::new();
    if is_root {
        fields.push(field(*b"SP", &[0xbe, 0xef, 0]));
    }
    fields.push(permissions(node, links));
    let mut time = vec![0x02];
    time.extend(short_date(node.attributes.mtime));
    fields.push(field(*b"TF", &time));
    if let Some(name) = name {
        fields.extend(pieces(*b"NM", name.iter().map(|byte| vec![*byte]), FIELD - 1));
    }
    match &node.kind {
        Kind::Symlink(target) => fields.extend(link(target)),
        Kind::CharDevice(major, minor) | Kind::BlockDevice(major, minor) => {
            // The kernel takes a number without a high half as one of 16 bits; others read nothing but that.
            let (high, low) =
                if *major < 256 && *minor < 256 { (0, major << 8 | minor) } else { (*major, *minor) };
            fields.push(field(*b"PN", &[both32(high), both32(low)].concat()));
        }
        _ => {}
    }
    if is_root {
        fields.push(announcement());
    }
    fields
}

/// A pointer to where the fields go on.
pub(super) fn pointer(sector: u32, offset: u32, length: u32) -> Vec<u8> {
    field(*b"CE", &[both32(sector), both32(offset), both32(length)].concat())
}

fn field(signature: [u8; 2], contents: &[u8]) -> Vec<u8> {
    let mut bytes = vec![signature[0], signature[1], (contents.len() + 4) as u8, 1];
    bytes.extend(contents);
    bytes
}

/// Mode, names, owner and group. A hard link is told by its place, so no serial number is given.
fn permissions(node: &Node, links: u32) -> Vec<u8> {
    let Attributes { mode, uid, gid, .. } = node.attributes;
    let kind = match node.kind {
        Kind::Directory(_) => 0o040_000,
        Kind::File(_) => 0o100_000,
        Kind::Symlink(_) => 0o120_000,
        Kind::CharDevice(..) => 0o020_000,
        Kind::BlockDevice(..) => 0o060_000,
        Kind::Fifo => 0o010_000,
        Kind::Socket => 0o140_000,
    };
    let mode = kind | if matches!(node.kind, Kind::Symlink(_)) { 0o777 } else { mode & 0o7777 };
    field(*b"PX", &[both32(mode), both32(links), both32(uid), both32(gid)].concat())
}

/// A target: its parts as components, of which `.`, `..` and the root have marks instead of names.
fn link(target: &[u8]) -> Vec<Vec<u8>> {
    let mut components = Vec::new();
    let rest = match target.strip_prefix(b"/") {
        Some(rest) => {
            components.push(vec![0x08, 0]);
            rest
        }
        None => target,
    };
    if !rest.is_empty() {
        for part in rest.split(|byte| *byte == b'/') {
            match part {
                b"." => components.push(vec![0x02, 0]),
                b".." => components.push(vec![0x04, 0]),
                part => {
                    let mut chunks = part.chunks(FIELD - 3).peekable();
                    if part.is_empty() {
                        components.push(vec![0, 0]);
                    }
                    while let Some(chunk) = chunks.next() {
                        let mut component = vec![u8::from(chunks.peek().is_some()), chunk.len() as u8];
                        component.extend(chunk);
                        components.push(component);
                    }
                }
            }
        }
    }
    pieces(*b"SL", components.into_iter(), FIELD - 1)
}

/// Parts gathered in as few fields as hold them; a flag in each but the last says that it goes on.
fn pieces(signature: [u8; 2], parts: impl Iterator<Item = Vec<u8>>, room: usize) -> Vec<Vec<u8>> {
    let mut contents = vec![vec![0]];
    for part in parts {
        match contents.last_mut() {
            Some(last) if last.len() + part.len() <= room + 1 => last.extend(part),
            Some(last) => {
                last[0] |= 1;
                let mut next = vec![0];
                next.extend(part);
                contents.push(next);
            }
            None => {}
        }
    }
    contents.iter().map(|contents| field(signature, contents)).collect()
}

/// The announcement of Rock Ridge itself.
fn announcement() -> Vec<u8> {
    const ID: &[u8] = b"RRIP_1991A";
    const WHAT: &[u8] =
        b"THE ROCK RIDGE INTERCHANGE PROTOCOL PROVIDES SUPPORT FOR POSIX FILE SYSTEM SEMANTICS";
    const WHERE: &[u8] = b"IEEE P1282";
    let mut contents = vec![ID.len() as u8, WHAT.len() as u8, WHERE.len() as u8, 1];
    contents.extend([ID, WHAT, WHERE].concat());
    field(*b"ER", &contents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_links_parts() {
        let one = |target: &str| {
            let fields = link(target.as_bytes());
            assert_eq!(fields.len(), 1);
            fields[0][4..].to_vec()
        };
        assert_eq!(one("/"), [0, 8, 0]);
        assert_eq!(one("/a/../b"), [0, 8, 0, 0, 1, b'a', 4, 0, 0, 1, b'b']);
        assert_eq!(one("./x"), [0, 2, 0, 0, 1, b'x']);
        let long = link("n".repeat(255).as_bytes());
        assert_eq!(long.len(), 2);
        assert_eq!(long[0][4..7], [1, 1, 247], "both the field and the component go on");
        assert_eq!(long[1][4..7], [0, 0, 8]);
        assert!(link(&b"a/".repeat(400)).iter().all(|field| field.len() <= 255));
    }
}
