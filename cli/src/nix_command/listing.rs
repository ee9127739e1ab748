//! `nix nar ls`, `nix nar cat`, `nix store ls`: what is in an archive or a path. nix3-nar-ls(1). The JSON is that of the
//! listings that binary caches keep: `narOffset` is where a file's contents begin in the archive.

use crate::nix_front::{Arguments, Front};
use anyhow::{Context as _, Result, bail};
use formats::nar::Visitor;
use serde_json::{Map, Value, json};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;

/// One thing in a tree.
enum Node {
    Directory(BTreeMap<String, Self>),
    File { executable: bool, size: u64, offset: Option<u64> },
    Link(String),
}

/// What the command line asks for.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
struct Wish {
    json: bool,
    recursive: bool,
    directory: bool,
    long: bool,
    words: Vec<String>,
}

fn read(front: &mut Front, arguments: &mut Arguments) -> Result<Wish> {
    let mut wish = Wish::default();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => wish.json = true,
            "-R" | "--recursive" => wish.recursive = true,
            "-d" | "--directory" => wish.directory = true,
            "-l" | "--long" => wish.long = true,
            _ if front.take(&argument, arguments)? => {}
            flag if flag.starts_with('-') => bail!("unrecognised flag '{flag}'"),
            _ => wish.words.push(argument),
        }
    }
    Ok(wish)
}

/// `nix nar ls NAR PATH`.
pub(super) fn nar_ls(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let wish = read(front, arguments)?;
    let [archive, path] = wish.words.as_slice() else {
        bail!("'nix nar ls' takes an archive and a path in it")
    };
    let read = Rc::new(Cell::new(0));
    let mut input = Counting { input: open(archive)?, read: Rc::clone(&read) };
    let mut listing = Listing { read, open: Vec::new(), root: None };
    formats::nar::read(&mut input, &mut listing).with_context(|| format!("reading '{archive}'"))?;
    let root = listing.root.with_context(|| format!("'{archive}' is empty"))?;
    show(&root, path, &wish)
}

/// `nix nar cat NAR PATH`.
pub(super) fn nar_cat(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let wish = read(front, arguments)?;
    let [archive, path] = wish.words.as_slice() else {
        bail!("'nix nar cat' takes an archive and a path in it")
    };
    let mut cat = Cat { wanted: path.trim_matches('/').to_owned(), open: Vec::new(), found: false };
    formats::nar::read(&mut open(archive)?, &mut cat).with_context(|| format!("reading '{archive}'"))?;
    if !cat.found {
        bail!("path '{path}' is not a file in the NAR '{archive}'");
    }
    Ok(ExitCode::SUCCESS)
}

/// `nix store ls PATH`.
pub(super) fn store_ls(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let wish = read(front, arguments)?;
    let [path] = wish.words.as_slice() else { bail!("'nix store ls' takes one path") };
    let store = front.open()?;
    let (root, inside) = store.dir().parse_below(path)?;
    store.path_info(&root)?;
    let node = of_tree(&store.real_path(&root))?;
    show(&node, inside, &wish)
}

fn open(archive: &str) -> Result<BufReader<File>> {
    Ok(BufReader::with_capacity(
        64 * 1024,
        File::open(archive).with_context(|| format!("opening the archive '{archive}'"))?,
    ))
}

/// The tree of files at a place.
fn of_tree(place: &Path) -> Result<Node> {
    let found = fs::symlink_metadata(place).with_context(|| format!("examining {}", place.display()))?;
    if found.is_symlink() {
        return Ok(Node::Link(fs::read_link(place)?.to_string_lossy().into_owned()));
    }
    if !found.is_dir() {
        let executable = found.permissions().mode() & 0o100 != 0;
        return Ok(Node::File { executable, size: found.len(), offset: None });
    }
    let mut entries = BTreeMap::new();
    for entry in fs::read_dir(place).with_context(|| format!("reading {}", place.display()))? {
        let entry = entry?;
        entries.insert(entry.file_name().to_string_lossy().into_owned(), of_tree(&entry.path())?);
    }
    Ok(Node::Directory(entries))
}

/// Prints what is at a path in a tree.
fn show(root: &Node, path: &str, wish: &Wish) -> Result<ExitCode> {
    let mut node = root;
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        node = match node {
            Node::Directory(entries) => entries.get(part),
            _ => None,
        }
        .with_context(|| format!("path '{path}' does not exist in NAR"))?;
    }
    let mut out = io::stdout().lock();
    if wish.json {
        writeln!(out, "{}", to_json(node, wish.recursive))?;
        return Ok(ExitCode::SUCCESS);
    }
    match node {
        Node::Directory(entries) if !wish.directory => show_entries(&mut out, entries, ".", wish)?,
        Node::Directory(_) => show_node(&mut out, node, ".", wish)?,
        _ => show_node(&mut out, node, path.rsplit('/').next().unwrap_or(path), wish)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn show_entries(
    out: &mut impl Write,
    entries: &BTreeMap<String, Node>,
    under: &str,
    wish: &Wish,
) -> Result<()> {
    for (name, node) in entries {
        show_node(out, node, &format!("{under}/{name}"), wish)?;
    }
    Ok(())
}

fn show_node(out: &mut impl Write, node: &Node, name: &str, wish: &Wish) -> Result<()> {
    if wish.long {
        let (kind, size) = match node {
            Node::Directory(_) => ("dr-xr-xr-x", 0),
            Node::File { executable: true, size, .. } => ("-r-xr-xr-x", *size),
            Node::File { size, .. } => ("-r--r--r--", *size),
            Node::Link(_) => ("lrwxrwxrwx", 0),
        };
        write!(out, "{kind} {size:>20} {name}")?;
        if let Node::Link(target) = node {
            write!(out, " -> {target}")?;
        }
        writeln!(out)?;
    } else {
        writeln!(out, "{name}")?;
    }
    match node {
        Node::Directory(entries) if wish.recursive => show_entries(out, entries, name, wish),
        _ => Ok(()),
    }
}

/// A node as JSON; a directory's entries are only named, unless it is recursive.
fn to_json(node: &Node, recursive: bool) -> Value {
    match node {
        Node::File { executable, size, offset } => {
            let mut value = json!({"type": "regular", "size": size});
            if let Value::Object(map) = &mut value {
                map.extend(executable.then(|| ("executable".to_owned(), json!(true))));
                map.extend(offset.map(|offset| ("narOffset".to_owned(), json!(offset))));
            }
            value
        }
        Node::Link(target) => json!({"type": "symlink", "target": target}),
        Node::Directory(entries) => {
            let below = |node: &Node| if recursive { to_json(node, true) } else { json!({}) };
            let entries: Map<String, Value> =
                entries.iter().map(|(name, node)| (name.clone(), below(node))).collect();
            json!({"type": "directory", "entries": entries})
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

/// Writes one file of an archive to standard output.
struct Cat {
    wanted: String,
    open: Vec<String>,
    found: bool,
}

impl Visitor for Cat {
    fn begin_directory(&mut self, name: Option<&[u8]>) -> io::Result<()> {
        self.open.push(String::from_utf8_lossy(name.unwrap_or_default()).into_owned());
        Ok(())
    }

    fn end_directory(&mut self) -> io::Result<()> {
        self.open.pop();
        Ok(())
    }

    fn file(&mut self, name: Option<&[u8]>, _: bool, _: u64, contents: &mut dyn Read) -> io::Result<()> {
        let mut parts = self.open.clone();
        parts.push(String::from_utf8_lossy(name.unwrap_or_default()).into_owned());
        if parts.join("/").trim_matches('/') == self.wanted {
            self.found = true;
            io::copy(contents, &mut io::stdout().lock())?;
        }
        Ok(())
    }

    fn symlink(&mut self, _: Option<&[u8]>, _: &[u8]) -> io::Result<()> {
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
        let read = Rc::new(Cell::new(0));
        let mut listing = Listing { read: Rc::clone(&read), open: Vec::new(), root: None };
        formats::nar::read(&mut Counting { input: archive.as_slice(), read }, &mut listing).unwrap();
        let root = listing.root.unwrap();
        let expected = json!({"type": "directory", "entries": {
            "bar": {"type": "regular", "size": 4, "narOffset": 232},
            "link": {"type": "symlink", "target": "xyzzy"}}});
        assert_eq!(to_json(&root, true), expected);
        assert_eq!(&archive[232..236], b"foo\n");
        assert_eq!(to_json(&root, false)["entries"]["bar"], json!({}));
    }
}
