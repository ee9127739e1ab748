//! `nix nar ls`, `nix nar cat`, `nix store ls`: what is in an archive or a path. nix3-nar-ls(1). The JSON is that of the
//! listings that binary caches keep: `narOffset` is where a file's contents begin in the archive.

use crate::nix_front::{Arguments, Front};
use anyhow::{Context as _, Result, bail};
use formats::nar::Visitor;
use formats::store_path::StorePath;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek as _, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::ExitCode;
use store::Store;
use store::nar_listing::Node;

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
    let root = Node::of_archive(&mut open(archive)?).with_context(|| format!("reading '{archive}'"))?;
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
    let node = if store.has_files() {
        of_tree(&store.real_path(&root))?
    } else {
        Node::of_archive(&mut archive_of(&store, &root)?)?
    };
    show(&node, inside, &wish)
}

/// The archive of a path of a store that is elsewhere.
fn archive_of(store: &Store, path: &StorePath) -> Result<BufReader<File>> {
    let mut file = tempfile::tempfile()?;
    store.archive(path, &mut file)?;
    file.rewind()?;
    Ok(BufReader::with_capacity(64 * 1024, file))
}

/// Writes a file of a path of such a store to standard output.
pub(super) fn cat_elsewhere(store: &Store, path: &StorePath, inside: &str) -> Result<()> {
    let mut cat = Cat { wanted: inside.trim_matches('/').to_owned(), open: Vec::new(), found: false };
    formats::nar::read(&mut archive_of(store, path)?, &mut cat)?;
    if !cat.found {
        bail!("path '{}/{inside}' does not exist", store.dir().print(path));
    }
    Ok(())
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
        writeln!(out, "{}", node.to_json(wish.recursive))?;
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
