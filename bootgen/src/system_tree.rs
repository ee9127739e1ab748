//! The trees of files that disks of a Firn machine hold: the root file system of an installed system, the store of a virtual machine,
//! and the disk on which that machine keeps what it writes.

use crate::file_tree::{Attributes, Contents, FileTree, HardLinks, Kind, Ownership, TreeError};
use std::path::{Path, PathBuf};

/// The time of everything in a store, as Nix sets it.
const STORE_TIME: u64 = 1;
/// The database's text on an installation medium.
const MEDIUM_REGISTRATION: &str = "nix-path-registration";
/// The build users' group, which may write to the store directory (NixOS's fixed number).
const NIXBLD: u32 = 30000;

/// Store paths that belong together.
#[derive(Debug, Clone, Copy)]
pub struct Closure<'a> {
    /// The directory of the host below which `/nix/store` lies.
    pub store_root: &'a Path,
    /// The paths as they will be called on the machine: `/nix/store/…`.
    pub paths: &'a [String],
}

impl Closure<'_> {
    /// Adds the paths to a tree, each below `directory` by its last name.
    fn add_to(&self, tree: &mut FileTree, directory: &str) -> Result<(), TreeError> {
        let mut links = HardLinks::default();
        for path in self.paths {
            let host = self.store_root.join(path.trim_start_matches('/'));
            let name = host.file_name().ok_or_else(|| TreeError::Path(PathBuf::from(path)))?.to_owned();
            let place = Path::new(directory).join(name);
            tree.add_from_host(place, &host, Ownership::Root { mtime: STORE_TIME }, &mut links)?;
        }
        Ok(())
    }
}

/// A system's generation as the image's profile names it.
#[derive(Debug, Clone, Copy)]
pub struct Generation<'a> {
    /// Its number.
    pub number: u64,
    /// The toplevel, `/nix/store/…`.
    pub toplevel: &'a str,
}

/// The root file system of an installed machine: the store with its database, the system profile, and the empty places that activation
/// expects. `database` are files for `/nix/var/nix/db`: name and where they are on the host.
///
/// # Errors
/// When something cannot be read.
pub fn root(
    closure: Closure<'_>,
    generations: &[Generation<'_>],
    database: &[(String, PathBuf)],
    time: u64,
) -> Result<FileTree, TreeError> {
    let mut tree = FileTree::new(Attributes::root(0o755, time));
    skeleton(&mut tree, time)?;
    closure.add_to(&mut tree, "nix/store")?;
    let profiles = Path::new("nix/var/nix/profiles");
    for generation in generations {
        link(
            &mut tree,
            &profiles.join(format!("system-{}-link", generation.number)),
            generation.toplevel,
            time,
        )?;
    }
    // The newest is the one that is booted when nothing else is said.
    if let Some(newest) = generations.iter().max_by_key(|generation| generation.number) {
        link(&mut tree, &profiles.join("system"), &format!("system-{}-link", newest.number), time)?;
    }
    add_database(&mut tree, database, time)?;
    Ok(tree)
}

/// The store of a virtual machine, read-only and shared by all its boots: `/store/…` and the database's text in `/registration`.
///
/// # Errors
/// When something cannot be read.
pub fn store_image(closure: Closure<'_>, registration: &[u8]) -> Result<FileTree, TreeError> {
    let mut tree = FileTree::new(Attributes::root(0o755, STORE_TIME));
    tree.add_directory("store", store_directory(STORE_TIME))?;
    closure.add_to(&mut tree, "store")?;
    let registration = Kind::File(Contents::Bytes(registration.to_vec()));
    tree.add("registration", registration, Attributes::root(0o444, STORE_TIME))?;
    Ok(tree)
}

/// The files of an installation medium: the store as it will be seen below `/nix/store`, and the database's text.
///
/// # Errors
/// When something cannot be read.
pub fn medium(closure: Closure<'_>, registration: &[u8], time: u64) -> Result<FileTree, TreeError> {
    let mut tree = FileTree::new(Attributes::root(0o755, time));
    tree.add_directory("nix/store", store_directory(STORE_TIME))?;
    closure.add_to(&mut tree, "nix/store")?;
    let registration = Kind::File(Contents::Bytes(registration.to_vec()));
    tree.add(MEDIUM_REGISTRATION, registration, Attributes::root(0o444, time))?;
    Ok(tree)
}

/// The disk on which a virtual machine keeps what it writes; its store is an overlay of [`store_image`] and this one's `.rw-store`.
///
/// # Errors
/// When a file of the database cannot be read.
pub fn machine_disk(database: &[(String, PathBuf)], time: u64) -> Result<FileTree, TreeError> {
    let mut tree = FileTree::new(Attributes::root(0o755, time));
    skeleton(&mut tree, time)?;
    tree.add_directory("nix/.ro-store", Attributes::root(0o755, time))?;
    tree.add_directory("nix/.rw-store/upper", store_directory(time))?;
    tree.add_directory("nix/.rw-store/work", Attributes::root(0o755, time))?;
    add_database(&mut tree, database, time)?;
    Ok(tree)
}

/// The store directory: the build users' group may add to it.
fn store_directory(mtime: u64) -> Attributes {
    Attributes { mode: 0o1775, uid: 0, gid: NIXBLD, mtime }
}

/// Directories that exist before the first activation.
fn skeleton(tree: &mut FileTree, time: u64) -> Result<(), TreeError> {
    for (path, mode) in [
        ("boot", 0o755),
        ("dev", 0o755),
        ("etc", 0o755),
        ("home", 0o755),
        ("mnt", 0o755),
        ("proc", 0o555),
        ("root", 0o700),
        ("run", 0o755),
        ("sys", 0o555),
        ("tmp", 0o1777),
        ("var", 0o755),
        ("nix/var/nix/db", 0o755),
        ("nix/var/nix/gcroots", 0o755),
        ("nix/var/nix/profiles/per-user", 0o755),
        ("nix/var/nix/temproots", 0o755),
        ("nix/var/log/nix/drvs", 0o755),
    ] {
        tree.add_directory(path, Attributes::root(mode, time))?;
    }
    tree.add_directory("nix/store", store_directory(time))?;
    for (name, target) in [
        ("booted-system", "/run/booted-system"),
        ("current-system", "/run/current-system"),
        ("profiles", "/nix/var/nix/profiles"),
    ] {
        link(tree, &Path::new("nix/var/nix/gcroots").join(name), target, time)?;
    }
    Ok(())
}

fn link(tree: &mut FileTree, path: &Path, target: &str, time: u64) -> Result<(), TreeError> {
    tree.add(path, Kind::Symlink(target.as_bytes().to_vec()), Attributes::root(0o777, time)).map(drop)
}

fn add_database(tree: &mut FileTree, files: &[(String, PathBuf)], time: u64) -> Result<(), TreeError> {
    for (name, host) in files {
        let failed = |source| TreeError::Read { path: host.clone(), source };
        let size = host.metadata().map_err(failed)?.len();
        let contents = Contents::Host { path: host.clone(), size, data: None };
        tree.add(
            Path::new("nix/var/nix/db").join(name),
            Kind::File(contents),
            Attributes::root(0o644, time),
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file_tree::NodeId;

    fn find(tree: &FileTree, path: &str) -> Option<NodeId> {
        path.split('/').try_fold(NodeId::ROOT, |directory, name| tree.child(directory, name.as_bytes()))
    }

    #[test]
    fn root_of_an_installed_machine() {
        let directory = tempfile::tempdir().unwrap();
        let store = directory.path().join("nix/store");
        std::fs::create_dir_all(store.join("aaa-system/bin")).unwrap();
        std::fs::write(store.join("bbb-file"), "text").unwrap();
        std::fs::write(directory.path().join("db.sqlite"), "database").unwrap();
        let paths = ["/nix/store/aaa-system".to_owned(), "/nix/store/bbb-file".to_owned()];
        let closure = Closure { store_root: directory.path(), paths: &paths };
        let database = [("db.sqlite".to_owned(), directory.path().join("db.sqlite"))];
        let generations = [
            Generation { number: 2, toplevel: "/nix/store/aaa-system" },
            Generation { number: 10, toplevel: "/nix/store/aaa-system" },
        ];
        let tree = root(closure, &generations, &database, 7).unwrap();
        for path in
            ["nix/store/aaa-system/bin", "nix/store/bbb-file", "nix/var/nix/db/db.sqlite", "tmp", "etc"]
        {
            assert!(find(&tree, path).is_some(), "{path}");
        }
        let system = find(&tree, "nix/var/nix/profiles/system").unwrap();
        assert_eq!(tree.node(system).kind, Kind::Symlink(b"system-10-link".to_vec()));
        let file = find(&tree, "nix/store/bbb-file").unwrap();
        assert_eq!(tree.node(file).attributes.mtime, 1);
        let image = store_image(closure, b"registration").unwrap();
        assert!(find(&image, "store/bbb-file").is_some());
    }

    #[test]
    fn a_path_that_is_not_there_is_named() {
        let paths = ["/nix/store/ccc-missing".to_owned()];
        let closure = Closure { store_root: Path::new("/does/not/exist"), paths: &paths };
        let error = store_image(closure, b"").unwrap_err();
        assert!(error.to_string().starts_with("/does/not/exist/nix/store/ccc-missing: "), "{error}");
    }
}
