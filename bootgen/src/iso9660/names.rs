//! Plain names (ECMA-119 section 7.5, 7.6): eight and three capitals, digits and `_`, for readers that know no Rock Ridge. They are
//! made of the real ones as far as that goes, and differ from each other within their directory.

use crate::file_tree::{FileTree, Kind, NodeId};
use std::collections::BTreeMap;

/// What stands before the dot and behind it.
type Parts = (Vec<u8>, Vec<u8>);

/// A directory's entries by plain name, in the order in which records stand (section 9.3).
pub(super) fn sorted(tree: &FileTree, directory: NodeId) -> Vec<(Vec<u8>, Vec<u8>, NodeId)> {
    let mut named: BTreeMap<Parts, (Vec<u8>, NodeId)> = BTreeMap::new();
    let mut next = 0_u32;
    for (name, child) in tree.entries(directory) {
        let is_directory = matches!(tree.node(child).kind, Kind::Directory(_));
        let (stem, extension) = split(name, is_directory);
        let mut key = (stem.clone(), extension.clone());
        while named.contains_key(&key) {
            let number = format!("{next:04}").into_bytes();
            next += 1;
            let kept = 8_usize.saturating_sub(number.len()).min(stem.len());
            key.0 = [&stem[..kept], &number].concat();
        }
        named.insert(key, (name.to_vec(), child));
    }
    let plain = |(stem, extension): Parts, child: NodeId| match tree.node(child).kind {
        Kind::Directory(_) => stem,
        _ => [&stem[..], b".", &extension[..], b";1"].concat(),
    };
    named.into_iter().map(|(key, (name, child))| (plain(key, child), name, child)).collect()
}

/// A name's two parts in the letters that are allowed.
fn split(name: &[u8], is_directory: bool) -> Parts {
    let dot = name.iter().rposition(|byte| *byte == b'.').filter(|dot| *dot > 0 && !is_directory);
    let (stem, extension) = match dot {
        Some(dot) => (&name[..dot], &name[dot + 1..]),
        None => (name, &[][..]),
    };
    let allowed = |bytes: &[u8], most: usize| -> Vec<u8> {
        let upper = bytes.iter().take(most).map(u8::to_ascii_uppercase);
        upper.map(|byte| if byte.is_ascii_alphanumeric() { byte } else { b'_' }).collect()
    };
    (allowed(stem, 8), allowed(extension, 3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file_tree::{Attributes, Contents};

    #[test]
    fn names_differ_and_are_sorted() {
        let mut tree = FileTree::new(Attributes::root(0o755, 1));
        for number in 0..12_000 {
            let kind = Kind::File(Contents::Bytes(Vec::new()));
            tree.add(format!("a-long-name-{number}.text"), kind, Attributes::root(0o644, 1)).unwrap();
        }
        tree.add_directory("Directory.d", Attributes::root(0o755, 1)).unwrap();
        let names: Vec<Vec<u8>> = sorted(&tree, NodeId::ROOT).into_iter().map(|(plain, ..)| plain).collect();
        assert_eq!(names.len(), 12_001);
        assert!(names.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(names.contains(&b"A_LONG_N.TEX;1".to_vec()) && names.contains(&b"DIRECTOR".to_vec()));
        assert!(names.iter().all(|name| name.len() <= 14));
    }
}
