//! The binary indexes that libkmod reads instead of the text files (`modules.dep.bin` and its sisters).
//!
//! Format, all numbers big-endian (read off kmod's own files): magic `b007f457`, version `00020001`, offset of the root
//! node. A node's offset carries flags in its upper bits for which of three parts follow each other there: a prefix (NUL-terminated;
//! `0x8…`), children (`0x2…`: first byte, last byte, one offset for each byte between, 0 for none), values (`0x4…`: count, then
//! priority and NUL-terminated text of each). The tree is a radix tree over the keys' bytes. Children stand before their
//! parent, the root last.

use std::collections::BTreeMap;

const MAGIC: u32 = 0xb007_f457;
const VERSION: u32 = 0x0002_0001;
const HAS_PREFIX: u32 = 0x8000_0000;
const HAS_VALUES: u32 = 0x4000_0000;
const HAS_CHILDREN: u32 = 0x2000_0000;

/// An index under construction: keys with any number of values, each with a priority (lower is first).
#[derive(Debug, Default)]
pub(super) struct Index {
    keys: BTreeMap<Vec<u8>, Vec<(u32, String)>>,
}

impl Index {
    /// Adds a value to a key. The same value twice counts once.
    pub(super) fn insert(&mut self, key: &str, value: &str, priority: u32) {
        let values = self.keys.entry(key.as_bytes().to_vec()).or_default();
        if values.iter().all(|(_, old)| old != value) {
            values.push((priority, value.to_owned()));
        }
    }

    /// The file's bytes.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for word in [MAGIC, VERSION, 0] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        let entries: Vec<Entry<'_>> =
            self.keys.iter().map(|(key, values)| (key.as_slice(), values.as_slice())).collect();
        let root = write_node(&mut out, &entries, 0);
        if let Some(place) = out.get_mut(8..12) {
            place.copy_from_slice(&root.to_be_bytes());
        }
        out
    }
}

/// A key with its values.
type Entry<'a> = (&'a [u8], &'a [(u32, String)]);

/// Writes the node for these sorted entries, which agree in their first `depth` bytes; gives its offset with flags.
fn write_node(out: &mut Vec<u8>, entries: &[Entry<'_>], depth: usize) -> u32 {
    let (Some((first, _)), Some((last, _))) = (entries.first(), entries.last()) else {
        // An index without keys: a root with nothing in it.
        return u32::try_from(out.len()).unwrap_or(u32::MAX);
    };
    // Sorted, so what the first and the last share, all share.
    let shared = first.iter().zip(*last).skip(depth).take_while(|(left, right)| left == right).count();
    let end = depth + shared;
    let prefix = first.get(depth..end).unwrap_or_default();
    let (own, below) = match entries.split_first() {
        Some(((key, values), rest)) if key.len() == end => (*values, rest),
        _ => (&[][..], entries),
    };
    let mut children: BTreeMap<u8, u32> = BTreeMap::new();
    let mut rest = below;
    while let Some(byte) = rest.first().and_then(|(key, _)| key.get(end)).copied() {
        let count = rest.iter().take_while(|(key, _)| key.get(end) == Some(&byte)).count();
        let (group, after) = rest.split_at(count);
        children.insert(byte, write_node(out, group, end + 1));
        rest = after;
    }
    let mut offset = u32::try_from(out.len()).unwrap_or(u32::MAX);
    if !prefix.is_empty() {
        out.extend_from_slice(prefix);
        out.push(0);
        offset |= HAS_PREFIX;
    }
    if let (Some((low, _)), Some((high, _))) = (children.first_key_value(), children.last_key_value()) {
        out.extend_from_slice(&[*low, *high]);
        for byte in *low..=*high {
            out.extend_from_slice(&children.get(&byte).copied().unwrap_or(0).to_be_bytes());
        }
        offset |= HAS_CHILDREN;
    }
    if !own.is_empty() {
        let mut values: Vec<&(u32, String)> = own.iter().collect();
        values.sort_by_key(|(priority, _)| *priority);
        out.extend_from_slice(&u32::try_from(values.len()).unwrap_or(u32::MAX).to_be_bytes());
        for (priority, value) in values {
            out.extend_from_slice(&priority.to_be_bytes());
            out.extend_from_slice(value.as_bytes());
            out.push(0);
        }
        offset |= HAS_VALUES;
    }
    offset
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads an index back the way libkmod walks it.
    fn read(bytes: &[u8], offset: u32, key: &mut Vec<u8>, found: &mut Vec<(String, String)>) {
        let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        let text = |at: usize| bytes[at..].split(|byte| *byte == 0).next().unwrap().to_vec();
        let length = key.len();
        let mut at = (offset & 0x0fff_ffff) as usize;
        if offset & HAS_PREFIX != 0 {
            let prefix = text(at);
            at += prefix.len() + 1;
            key.extend(prefix);
        }
        let mut children = Vec::new();
        if offset & HAS_CHILDREN != 0 {
            let (low, high) = (bytes[at], bytes[at + 1]);
            at += 2;
            for byte in low..=high {
                children.push((byte, word(at)));
                at += 4;
            }
        }
        if offset & HAS_VALUES != 0 {
            let count = word(at);
            at += 4;
            for _ in 0..count {
                let value = text(at + 4);
                at += 4 + value.len() + 1;
                found.push((String::from_utf8(key.clone()).unwrap(), String::from_utf8(value).unwrap()));
            }
        }
        for (byte, child) in children.into_iter().filter(|(_, child)| *child != 0) {
            key.push(byte);
            read(bytes, child, key, found);
            key.pop();
        }
        key.truncate(length);
    }

    #[test]
    fn round_trip() {
        let wanted = [("a", "1"), ("ab", "2"), ("abc", "3"), ("abd", "4"), ("x*y", "5"), ("zz", "6")];
        let mut index = Index::default();
        for (key, value) in wanted.iter().rev() {
            index.insert(key, value, 0);
        }
        let bytes = index.to_bytes();
        assert_eq!(bytes[..8], [0xb0, 0x07, 0xf4, 0x57, 0, 2, 0, 1]);
        let mut found = Vec::new();
        read(&bytes, u32::from_be_bytes(bytes[8..12].try_into().unwrap()), &mut Vec::new(), &mut found);
        let found: Vec<(&str, &str)> =
            found.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(found, wanted);
    }

    #[test]
    fn values_by_priority() {
        let mut index = Index::default();
        index.insert("alias", "late", 7);
        index.insert("alias", "early", 2);
        index.insert("alias", "late", 9);
        let bytes = index.to_bytes();
        let mut found = Vec::new();
        read(&bytes, u32::from_be_bytes(bytes[8..12].try_into().unwrap()), &mut Vec::new(), &mut found);
        assert_eq!(found.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>(), ["early", "late"]);
    }
}
