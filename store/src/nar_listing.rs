//! What is in an archive: names, kinds, sizes, and where each file's contents begin, as binary caches tell it in their `.ls`
//! files. Nix manual, "Nix Archive (NAR) listing".

use crate::error::{Error, Result};
use formats::nar::{NarError, Visitor};
use serde_json::{Map, Value, json};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::rc::Rc;

/// One thing in a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A directory, by the names in it.
    Directory(BTreeMap<String, Self>),
    /// A file.
    File {
        /// Whether it may be executed.
        executable: bool,
        /// Its length.
        size: u64,
        /// Where its contents begin in the archive.
        offset: Option<u64>,
    },
    /// A link, by its target.
    Link(String),
}

impl Node {
    /// Lists an archive without keeping its contents.
    pub fn of_archive(input: &mut dyn Read) -> Result<Self> {
        let read = Rc::new(Cell::new(0));
        let mut listing = Listing { read: Rc::clone(&read), open: Vec::new(), root: None };
        let listed: Result<(), NarError> = formats::nar::read(&mut Counting { input, read }, &mut listing);
        listed.map_err(Error::nar("listing an archive"))?;
        listing.root.ok_or_else(|| Error::Invalid("the archive is empty".to_owned()))
    }

    /// What is at a path inside, such as `lib/debug`.
    #[must_use]
    pub fn at(&self, path: &str) -> Option<&Self> {
        path.split('/').filter(|part| !part.is_empty() && *part != ".").try_fold(
            self,
            |node, part| match node {
                Self::Directory(entries) => entries.get(part),
                _ => None,
            },
        )
    }

    /// As JSON; a directory's entries are only named, unless it is recursive.
    #[must_use]
    pub fn to_json(&self, recursive: bool) -> Value {
        match self {
            Self::File { executable, size, offset } => {
                let mut value = json!({"type": "regular", "size": size});
                if let Value::Object(map) = &mut value {
                    map.extend(executable.then(|| ("executable".to_owned(), json!(true))));
                    map.extend(offset.map(|offset| ("narOffset".to_owned(), json!(offset))));
                }
                value
            }
            Self::Link(target) => json!({"type": "symlink", "target": target}),
            Self::Directory(entries) => {
                let below = |node: &Self| if recursive { node.to_json(true) } else { json!({}) };
                let entries: Map<String, Value> =
                    entries.iter().map(|(name, node)| (name.clone(), below(node))).collect();
                json!({"type": "directory", "entries": entries})
            }
        }
    }
}

/// Counts what is read: where in the archive the reader stands.
struct Counting<R> {
    input: R,
    read: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.read.set(self.read.get() + count as u64);
        Ok(count)
    }
}

/// Notes the tree of an archive and skips its contents.
struct Listing {
    read: Rc<Cell<u64>>,
    open: Vec<(String, BTreeMap<String, Node>)>,
    root: Option<Node>,
}

impl Listing {
    fn put(&mut self, name: Option<&[u8]>, node: Node) {
        match (self.open.last_mut(), name) {
            (Some((_, entries)), Some(name)) => {
                entries.insert(String::from_utf8_lossy(name).into_owned(), node);
            }
            _ => self.root = Some(node),
        }
    }
}

impl Visitor for Listing {
    fn begin_directory(&mut self, name: Option<&[u8]>) -> io::Result<()> {
        self.open.push((String::from_utf8_lossy(name.unwrap_or_default()).into_owned(), BTreeMap::new()));
        Ok(())
    }

    fn end_directory(&mut self) -> io::Result<()> {
        if let Some((name, entries)) = self.open.pop() {
            self.put(Some(name.as_bytes()), Node::Directory(entries));
        }
        Ok(())
    }

    fn file(&mut self, name: Option<&[u8]>, executable: bool, size: u64, _: &mut dyn Read) -> io::Result<()> {
        let offset = Some(self.read.get());
        self.put(name, Node::File { executable, size, offset });
        Ok(())
    }

    fn symlink(&mut self, name: Option<&[u8]>, target: &[u8]) -> io::Result<()> {
        self.put(name, Node::Link(String::from_utf8_lossy(target).into_owned()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use formats::nar::Writer;

    #[test]
    fn a_listing_says_where_contents_begin() {
        let mut writer = Writer::new(Vec::new()).unwrap();
        writer.begin_directory().unwrap();
        writer.entry(b"bar").unwrap();
        writer.file(false, 4, &mut &b"foo\n"[..]).unwrap();
        writer.entry(b"link").unwrap();
        writer.symlink(b"xyzzy").unwrap();
        writer.end_directory().unwrap();
        let archive = writer.finish().unwrap();
        let root = Node::of_archive(&mut archive.as_slice()).unwrap();
        let expected = json!({"type": "directory", "entries": {
            "bar": {"type": "regular", "size": 4, "narOffset": 232},
            "link": {"type": "symlink", "target": "xyzzy"}}});
        assert_eq!(root.to_json(true), expected);
        assert!(root.at("bar").is_some() && root.at("bar/x").is_none());
        assert_eq!(&archive[232..236], b"foo\n");
        assert_eq!(root.to_json(false)["entries"]["bar"], json!({}));
    }
}
