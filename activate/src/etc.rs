//! /etc: links through `/etc/static`, direct links and copies. Observes, plans (`plan`), applies. The order lets no file
//! flicker: `/etc/static` is moved by one rename, so whatever both generations have is there at every moment;
//! links that are new come next, stale ones go last. Only what Firn made is ever removed.

pub mod plan;

use crate::accounts::Names;
use crate::durable;
use crate::error::{Error, Result};
use crate::root::Root;
use plan::{Change, EtcPlan, Ledger, Node, Observed};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// The link that every `symlink` entry passes through.
pub const STATIC: &str = "/etc/static";
/// What Firn wrote into /etc other than links through [`STATIC`]: beside what it describes, so that both live equally long.
const LEDGER: &str = "/etc/.firn-files";

/// Reads /etc as it is: every node below it, and hashes of the files that matter.
///
/// # Errors
/// When a directory cannot be read.
pub fn observe(root: &Root, activation: &formats::activation::Activation) -> Result<Observed> {
    let ledger = Ledger::parse(&durable::read_if_there(&root.join(LEDGER))?.unwrap_or_default());
    let mut nodes = BTreeMap::new();
    walk(&root.join("/etc"), "", &mut nodes)?;
    let copies =
        activation.etc.iter().filter(|entry| plan::is_copy(&entry.mode)).map(|entry| entry.target.as_str());
    let mut hashes = BTreeMap::new();
    for target in copies.chain(ledger.copies.keys().map(String::as_str)) {
        if matches!(nodes.get(target), Some(Node::File { .. })) {
            let place = root.join("/etc").join(target);
            if let Some(bytes) = durable::read_if_there(&place)? {
                hashes.insert(target.to_owned(), hash(&bytes));
            }
        }
    }
    Ok(Observed { nodes, hashes, ledger })
}

fn walk(directory: &Path, prefix: &str, nodes: &mut BTreeMap<String, Node>) -> Result<()> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::file("list", directory)(error)),
    };
    for entry in entries {
        let entry = entry.map_err(Error::file("list", directory))?;
        let path = entry.path();
        // Names that are no UTF-8 cannot be ours.
        let Ok(name) = entry.file_name().into_string() else { continue };
        let target = format!("{prefix}{name}");
        let metadata = path.symlink_metadata().map_err(Error::file("look at", &path))?;
        let node = if metadata.is_symlink() {
            Node::Link(std::fs::read_link(&path).map_err(Error::file("read the link", &path))?)
        } else if metadata.is_dir() {
            walk(&path, &format!("{target}/"), nodes)?;
            Node::Directory
        } else if metadata.is_file() {
            Node::File { mode: metadata.mode() & 0o7777, uid: metadata.uid(), gid: metadata.gid() }
        } else {
            Node::Other
        };
        nodes.insert(target, node);
    }
    Ok(())
}

/// The directory of a toplevel that `/etc/static` points to: `TOPLEVEL/etc`, links resolved. A tree that has its files
/// one level lower (`$out/etc/…`) is recognised by the entries that it should hold.
///
/// # Errors
/// When links go round in a circle.
pub fn static_directory(
    root: &Root,
    toplevel: &Path,
    activation: &formats::activation::Activation,
) -> Result<Option<PathBuf>> {
    let Some(probe) = activation.etc.iter().find(|entry| entry.mode == "symlink") else { return Ok(None) };
    let tree = root.resolve(toplevel.join("etc"))?;
    for candidate in [tree.clone(), tree.join("etc")] {
        if candidate.join(&probe.target).symlink_metadata().is_ok() {
            return Ok(Some(root.inside(&candidate)));
        }
    }
    Ok(None)
}

/// Plans what /etc of this root needs.
///
/// # Errors
/// When /etc cannot be read or an entry is impossible.
pub fn changes(
    root: &Root,
    toplevel: &Path,
    activation: &formats::activation::Activation,
    names: &Names,
) -> Result<EtcPlan> {
    let observed = observe(root, activation)?;
    let mut contents = BTreeMap::new();
    for entry in activation.etc.iter().filter(|entry| plan::is_copy(&entry.mode)) {
        let source = root.resolve(&entry.source)?;
        let bytes = std::fs::read(&source).map_err(Error::file("read the source", &source))?;
        contents.insert(entry.target.clone(), hash(&bytes));
    }
    let directory = static_directory(root, toplevel, activation)?;
    let wanted =
        plan::Wanted { activation, static_directory: directory, contents, names, owners: root.sets_owners() };
    plan::plan(&observed, &wanted)
}

/// Carries a plan out.
///
/// # Errors
/// With the first step that fails; all steps before are complete, and a new run goes on from there.
pub fn apply(root: &Root, plan: &EtcPlan) -> Result<()> {
    let etc = root.join("/etc");
    if plan.is_empty() {
        return Ok(());
    }
    durable::make_directories(&etc)?;
    // The ledger first, with old and new together: what is made from here on is known to be ours.
    write_ledger(root, &plan.ledger_meanwhile)?;
    for change in &plan.changes {
        carry_out(root, &etc, change)?;
    }
    write_ledger(root, &plan.ledger)?;
    durable::sync_filesystem(&etc)
}

fn write_ledger(root: &Root, ledger: &Ledger) -> Result<()> {
    let place = root.join(LEDGER);
    let text = ledger.render();
    let there = durable::read_if_there(&place)?;
    if there.as_deref() == Some(text.as_bytes()) || (there.is_none() && text.is_empty()) {
        return Ok(());
    }
    durable::write(&place, text.as_bytes(), 0o644, root.sets_owners().then_some((0, 0)))
}

fn carry_out(root: &Root, etc: &Path, change: &Change) -> Result<()> {
    match change {
        Change::Static { to } => durable::link(to, &root.join(STATIC)),
        Change::Open { target, keep } => open_directory(root, etc, target, keep),
        Change::Keep { target } => {
            let place = etc.join(target);
            let kept = plan::kept_name(&place);
            std::fs::rename(&place, &kept).map_err(Error::file("set aside", &place))
        }
        Change::Link { target, to } => {
            let place = etc.join(target);
            prepare_parent(&place)?;
            if place.symlink_metadata().is_ok_and(|found| found.is_dir()) {
                return exchange_directory(&place, to);
            }
            durable::link(to, &place)
        }
        Change::Copy { target, source, mode, owner } => {
            let place = etc.join(target);
            prepare_parent(&place)?;
            let from = root.resolve(source)?;
            let bytes = std::fs::read(&from).map_err(Error::file("read", &from))?;
            durable::write(&place, &bytes, *mode, root.sets_owners().then_some(*owner))
        }
        Change::Remove { target } => {
            let place = etc.join(target);
            durable::remove_if_there(&place)?;
            remove_empty_parents(etc, &place);
            Ok(())
        }
    }
}

fn prepare_parent(place: &Path) -> Result<()> {
    place.parent().map_or(Ok(()), durable::make_directories)
}

/// Turns our link to a directory into a real directory with links to the same files, in one exchange.
fn open_directory(root: &Root, etc: &Path, target: &str, keep: &[String]) -> Result<()> {
    let place = etc.join(target);
    let shown = root.resolve(root.inside(&place))?;
    let temporary = durable::temporary_name(&place);
    remove_tree_if_there(&temporary)?;
    std::fs::create_dir(&temporary).map_err(Error::file("make the directory", &temporary))?;
    std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o755))
        .map_err(Error::file("set the mode of", &temporary))?;
    for name in keep.iter().filter(|name| shown.join(name).symlink_metadata().is_ok()) {
        durable::link(&Path::new(STATIC).join(target).join(name), &temporary.join(name))?;
    }
    exchange(&temporary, &place)?;
    durable::remove_if_there(&temporary)
}

/// Puts a link where a directory is that holds nothing but ours.
fn exchange_directory(place: &Path, to: &Path) -> Result<()> {
    let temporary = durable::temporary_name(place);
    remove_tree_if_there(&temporary)?;
    std::os::unix::fs::symlink(to, &temporary).map_err(Error::file("make the link", &temporary))?;
    exchange(&temporary, place)?;
    remove_tree_if_there(&temporary)
}

fn exchange(one: &Path, other: &Path) -> Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).map_err(Error::call("exchange", other))
}

pub(crate) fn remove_tree_if_there(path: &Path) -> Result<()> {
    match path.symlink_metadata() {
        Ok(found) if found.is_dir() => std::fs::remove_dir_all(path).map_err(Error::file("remove", path)),
        Ok(_) => durable::remove_if_there(path),
        Err(_) => Ok(()),
    }
}

/// Directories that held only what was removed.
fn remove_empty_parents(etc: &Path, place: &Path) {
    let mut parent = place.parent();
    while let Some(directory) = parent.filter(|directory| *directory != etc) {
        if std::fs::remove_dir(directory).is_err() {
            return;
        }
        parent = directory.parent();
    }
}

fn hash(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        if write!(text, "{byte:02x}").is_err() {
            text.clear();
        }
        text
    })
}

#[cfg(test)]
mod tests;
