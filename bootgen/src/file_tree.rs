//! What a file system image is to hold: a tree of nodes with owner, permissions and time, built from lists and from
//! directories of the host. Contents stay where they are until a writer copies them, so that a tree costs memory for its names
//! only. A node with several names is a hard link.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Component, Path, PathBuf};
use thiserror::Error;

/// What is wrong with a tree or its sources.
#[derive(Debug, Error)]
pub enum TreeError {
    /// A file of the host.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why it cannot be read.
        source: std::io::Error,
    },
    /// A path with `..` or nothing in it.
    #[error("`{}` is not a path within an image", .0.display())]
    Path(PathBuf),
    /// Two things at one path.
    #[error("the image has two different things at /{}", .0.display())]
    Twice(PathBuf),
}

/// A node of a tree, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeId(u32);

impl NodeId {
    /// The root directory.
    pub const ROOT: Self = Self(0);

    /// Its place in a vector as long as the tree.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Owner, permissions, time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits with set-uid, set-gid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of the last change, seconds since 1970.
    pub mtime: u64,
}

impl Attributes {
    /// Root's, with these permissions and that time.
    pub fn root(mode: u32, mtime: u64) -> Self {
        Self { mode, uid: 0, gid: 0, mtime }
    }
}

/// Where a file's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contents {
    /// Here.
    Bytes(Vec<u8>),
    /// In a file of the host.
    Host {
        /// The file.
        path: PathBuf,
        /// Its size.
        size: u64,
        /// The parts that are no holes; `None`: all of it.
        data: Option<Vec<Range<u64>>>,
    },
}

impl Contents {
    /// Bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Host { size, .. } => *size,
        }
    }

    /// The parts that are not holes, in order.
    pub fn data(&self) -> Vec<Range<u64>> {
        match self {
            Self::Host { data: Some(ranges), .. } => ranges.clone(),
            other if other.size() == 0 => Vec::new(),
            other => std::iter::once(0..other.size()).collect(),
        }
    }
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory with its entries, sorted by name.
    Directory(BTreeMap<Vec<u8>, NodeId>),
    /// A regular file.
    File(Contents),
    /// A symbolic link.
    Symlink(Vec<u8>),
    /// A character device: major, minor.
    CharDevice(u32, u32),
    /// A block device: major, minor.
    BlockDevice(u32, u32),
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

/// A file, directory, link or device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Owner, permissions, time.
    pub attributes: Attributes,
    /// How many names it has.
    pub names: u32,
}

/// The tree.
#[derive(Debug, Clone)]
pub struct FileTree {
    nodes: Vec<Node>,
}

/// What becomes of the owner and time of files taken from the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// Kept.
    Keep,
    /// Root's, at that time: what the store's paths are.
    Root {
        /// Seconds since 1970.
        mtime: u64,
    },
}

impl FileTree {
    /// A tree with nothing but its root directory.
    pub fn new(root: Attributes) -> Self {
        Self { nodes: vec![Node { kind: Kind::Directory(BTreeMap::new()), attributes: root, names: 1 }] }
    }

    /// All nodes; the first is the root. Order is the order in which they were added.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// A node.
    pub fn node(&self, id: NodeId) -> &Node {
        // A NodeId comes from this tree alone, and nodes are never removed.
        &self.nodes[id.index()]
    }

    /// A directory's entries; nothing for other nodes.
    pub fn entries(&self, id: NodeId) -> impl Iterator<Item = (&[u8], NodeId)> {
        let entries = match &self.node(id).kind {
            Kind::Directory(entries) => Some(entries),
            _ => None,
        };
        entries.into_iter().flatten().map(|(name, child)| (name.as_slice(), *child))
    }

    /// The entry of that name in a directory.
    pub fn child(&self, directory: NodeId, name: &[u8]) -> Option<NodeId> {
        match &self.node(directory).kind {
            Kind::Directory(entries) => entries.get(name).copied(),
            _ => None,
        }
    }

    /// Every node once, a directory before its entries, entries by name; a hard link where its first name is.
    /// With each the directory that it was found in (the root's is itself).
    pub fn walk(&self) -> Vec<(NodeId, NodeId)> {
        let mut seen = vec![false; self.nodes.len()];
        let mut order = Vec::with_capacity(self.nodes.len());
        let mut stack = vec![(NodeId::ROOT, NodeId::ROOT)];
        while let Some((id, parent)) = stack.pop() {
            if std::mem::replace(&mut seen[id.index()], true) {
                continue;
            }
            order.push((id, parent));
            let below: Vec<NodeId> = self.entries(id).map(|(_, child)| child).collect();
            stack.extend(below.into_iter().rev().map(|child| (child, id)));
        }
        order
    }

    /// Adds a node at a path, and directories (root's, 0755, of the same time) above it as needed. A directory that is there already
    /// gets the new attributes.
    ///
    /// # Errors
    /// When the path is taken by something else or leaves the tree.
    pub fn add(
        &mut self,
        path: impl AsRef<Path>,
        kind: Kind,
        attributes: Attributes,
    ) -> Result<NodeId, TreeError> {
        let path = path.as_ref();
        let (parent, name) = self.parent_of(path, attributes.mtime)?;
        let Some(name) = name else {
            self.nodes[NodeId::ROOT.index()].attributes = attributes;
            return Ok(NodeId::ROOT);
        };
        if let Some(old) = self.child(parent, &name) {
            let node = &mut self.nodes[old.index()];
            return match (&node.kind, &kind) {
                (Kind::Directory(_), Kind::Directory(_)) => {
                    node.attributes = attributes;
                    Ok(old)
                }
                (left, right) if left == right && node.attributes == attributes => Ok(old),
                _ => Err(TreeError::Twice(path.to_owned())),
            };
        }
        let id = self.push(kind, attributes);
        self.link(parent, name, id);
        Ok(id)
    }

    /// Adds a directory.
    ///
    /// # Errors
    /// As [`FileTree::add`].
    pub fn add_directory(
        &mut self,
        path: impl AsRef<Path>,
        attributes: Attributes,
    ) -> Result<NodeId, TreeError> {
        self.add(path, Kind::Directory(BTreeMap::new()), attributes)
    }

    /// Adds a file of the host or a whole directory of it. Files that are hard links of each other stay so.
    ///
    /// # Errors
    /// When something cannot be read, or a path is taken.
    pub fn add_from_host(
        &mut self,
        path: impl AsRef<Path>,
        host: &Path,
        ownership: Ownership,
        links: &mut HardLinks,
    ) -> Result<(), TreeError> {
        let path = path.as_ref();
        let default_time = match ownership {
            Ownership::Root { mtime } => mtime,
            Ownership::Keep => 0,
        };
        let (parent, name) = self.parent_of(path, default_time)?;
        let name = name.ok_or_else(|| TreeError::Path(path.to_owned()))?;
        self.copy_in(parent, name, host, ownership, links, path)
    }

    fn copy_in(
        &mut self,
        parent: NodeId,
        name: Vec<u8>,
        host: &Path,
        ownership: Ownership,
        links: &mut HardLinks,
        path: &Path,
    ) -> Result<(), TreeError> {
        let failed = |source| TreeError::Read { path: host.to_owned(), source };
        if self.child(parent, &name).is_some() {
            return Err(TreeError::Twice(path.to_owned()));
        }
        let metadata = host.symlink_metadata().map_err(failed)?;
        let identity = (metadata.dev(), metadata.ino());
        let is_link = metadata.nlink() > 1 && !metadata.is_dir();
        if let Some(known) = links.known.get(&identity).filter(|_| is_link) {
            self.link(parent, name, *known);
            return Ok(());
        }
        let attributes = match ownership {
            Ownership::Keep => Attributes {
                mode: metadata.mode() & 0o7777,
                uid: metadata.uid(),
                gid: metadata.gid(),
                mtime: u64::try_from(metadata.mtime()).unwrap_or(0),
            },
            Ownership::Root { mtime } => Attributes::root(metadata.mode() & 0o7777, mtime),
        };
        let id = self.push(kind_of(host, &metadata)?, attributes);
        self.link(parent, name, id);
        if is_link {
            links.known.insert(identity, id);
        }
        if metadata.is_dir() {
            let mut names = Vec::new();
            for entry in std::fs::read_dir(host).map_err(failed)? {
                names.push(entry.map_err(failed)?.file_name());
            }
            names.sort();
            for name in names {
                let (below, inner) = (host.join(&name), path.join(&name));
                self.copy_in(id, name.into_vec(), &below, ownership, links, &inner)?;
            }
        }
        Ok(())
    }

    fn push(&mut self, kind: Kind, attributes: Attributes) -> NodeId {
        let id = NodeId(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        self.nodes.push(Node { kind, attributes, names: 0 });
        id
    }

    fn link(&mut self, directory: NodeId, name: Vec<u8>, id: NodeId) {
        self.nodes[id.index()].names += 1;
        if let Kind::Directory(entries) = &mut self.nodes[directory.index()].kind {
            entries.insert(name, id);
        }
    }

    /// The directory that a path lies in (made if need be) and its last name; no name for the root.
    fn parent_of(&mut self, path: &Path, mtime: u64) -> Result<(NodeId, Option<Vec<u8>>), TreeError> {
        let mut names = Vec::new();
        for component in path.components() {
            match component {
                Component::Normal(name) => names.push(name.as_bytes().to_vec()),
                Component::RootDir | Component::CurDir => {}
                Component::ParentDir | Component::Prefix(_) => return Err(TreeError::Path(path.to_owned())),
            }
        }
        let Some(last) = names.pop() else { return Ok((NodeId::ROOT, None)) };
        let mut directory = NodeId::ROOT;
        for name in names {
            if !matches!(self.node(directory).kind, Kind::Directory(_)) {
                return Err(TreeError::Twice(path.to_owned()));
            }
            directory = if let Some(id) = self.child(directory, &name) {
                id
            } else {
                let id = self.push(Kind::Directory(BTreeMap::new()), Attributes::root(0o755, mtime));
                self.link(directory, name, id);
                id
            };
        }
        match self.node(directory).kind {
            Kind::Directory(_) => Ok((directory, Some(last))),
            _ => Err(TreeError::Twice(path.to_owned())),
        }
    }
}

/// The host's files with more than one name that a tree has already.
#[derive(Debug, Default)]
pub struct HardLinks {
    known: BTreeMap<(u64, u64), NodeId>,
}

/// Reads what a host file is.
fn kind_of(host: &Path, metadata: &std::fs::Metadata) -> Result<Kind, TreeError> {
    let failed = |source| TreeError::Read { path: host.to_owned(), source };
    let file_type = metadata.file_type();
    // Device numbers as glibc's makedev packs them.
    let device = metadata.rdev();
    let major = ((device >> 8) & 0xfff | (device >> 32) & !0xfff) as u32;
    let minor = (device & 0xff | (device >> 12) & 0xff_ff00) as u32;
    Ok(if file_type.is_dir() {
        Kind::Directory(BTreeMap::new())
    } else if file_type.is_symlink() {
        Kind::Symlink(std::fs::read_link(host).map_err(failed)?.into_os_string().into_vec())
    } else if file_type.is_char_device() {
        Kind::CharDevice(major, minor)
    } else if file_type.is_block_device() {
        Kind::BlockDevice(major, minor)
    } else if file_type.is_fifo() {
        Kind::Fifo
    } else if file_type.is_socket() {
        Kind::Socket
    } else {
        let size = metadata.size();
        let sparse = metadata.blocks() * 512 < size;
        let data = if sparse { Some(data_ranges(host, size).map_err(failed)?) } else { None };
        Kind::File(Contents::Host { path: host.to_owned(), size, data })
    })
}

/// The parts of a sparse file that are no holes (lseek(2), SEEK_DATA and SEEK_HOLE).
fn data_ranges(path: &Path, size: u64) -> std::io::Result<Vec<Range<u64>>> {
    use nix::errno::Errno;
    use nix::unistd::{Whence, lseek};
    let file = File::open(path)?;
    let mut ranges = Vec::new();
    let mut at = 0_i64;
    while (at as u64) < size {
        let start = match lseek(&file, at, Whence::SeekData) {
            Ok(start) => start,
            // Nothing but a hole up to the end.
            Err(Errno::ENXIO) => break,
            Err(Errno::EINVAL) => return Ok(std::iter::once(0..size).collect()),
            Err(error) => return Err(error.into()),
        };
        let end = lseek(&file, start, Whence::SeekHole)?;
        ranges.push(start as u64..(end as u64).min(size));
        at = end;
    }
    Ok(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt as _;

    fn names(tree: &FileTree, id: NodeId) -> Vec<String> {
        tree.entries(id).map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect()
    }

    #[test]
    fn parents_are_made() {
        let mut tree = FileTree::new(Attributes::root(0o755, 1));
        tree.add("/a/b/c", Kind::File(Contents::Bytes(vec![1])), Attributes::root(0o644, 1)).unwrap();
        tree.add_directory("a", Attributes::root(0o700, 5)).unwrap();
        assert_eq!(names(&tree, NodeId::ROOT), ["a"]);
        assert_eq!(tree.nodes().len(), 4);
        let (_, a) = tree.entries(NodeId::ROOT).next().unwrap();
        assert_eq!(tree.node(a).attributes.mode, 0o700);
        let twice = tree.add("a/b/c/d", Kind::Fifo, Attributes::root(0o644, 1));
        assert!(matches!(twice, Err(TreeError::Twice(_))));
        assert!(matches!(tree.add_directory("../x", Attributes::root(0, 0)), Err(TreeError::Path(_))));
    }

    #[test]
    fn host_directory_with_links_and_holes() {
        let directory = tempfile::tempdir().unwrap();
        let host = directory.path().join("host");
        std::fs::create_dir(&host).unwrap();
        std::fs::write(host.join("one"), "text").unwrap();
        std::fs::hard_link(host.join("one"), host.join("two")).unwrap();
        std::os::unix::fs::symlink("one", host.join("link")).unwrap();
        let sparse = File::create(host.join("sparse")).unwrap();
        sparse.set_len(10 << 20).unwrap();
        sparse.write_all_at(&[1; 4096], 5 << 20).unwrap();
        let mut tree = FileTree::new(Attributes::root(0o755, 1));
        tree.add_from_host("/nix/store/x", &host, Ownership::Root { mtime: 1 }, &mut HardLinks::default())
            .unwrap();
        let walked = tree.walk();
        // /, nix, store, x, link, one (= two), sparse
        assert_eq!(walked.len(), 7);
        let data: u64 = walked
            .iter()
            .filter_map(|(id, _)| match &tree.node(*id).kind {
                Kind::File(contents) => {
                    Some(contents.data().iter().map(|range| range.end - range.start).sum::<u64>())
                }
                _ => None,
            })
            .sum();
        assert_eq!(data, 4 + 4096);
        assert!(tree.nodes().iter().any(|node| node.names == 2));
    }
}
