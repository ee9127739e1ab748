//! A package's files, written below a directory in the store's layout ([`crate::layout`]).
//!
//! Nothing that a package says can make this write outside that directory: directories and files are made first, each
//! new and each below directories made here; symbolic and hard links are only noted, and made at the very end by
//! [`Tree::make_links`], when nothing is written through them any more.

use crate::deb::{self, DebError};
use crate::layout;
use crate::selection::Selection;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};
use tar::EntryType;

/// Why a package could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The archive could not be opened.
    #[error(transparent)]
    Open(#[from] DebError),
    /// The tar within is cut short or damaged.
    #[error("{deb} is damaged after {after}: {source}; fetch it again")]
    Damaged {
        /// The package.
        deb: PathBuf,
        /// The last entry that was read.
        after: PathBuf,
        /// What the decompressor or the tar reader said.
        source: io::Error,
    },
    /// An entry's name leads out of the tree.
    #[error("{deb} holds the path `{path}`, which leads out of the package; it is not to be trusted")]
    Escapes {
        /// The package.
        deb: PathBuf,
        /// The entry's name.
        path: PathBuf,
    },
    /// Two files want one place.
    #[error("{first} and {second} would both be {place}; leave one out with `drop`")]
    Collision {
        /// The file that came first.
        first: PathBuf,
        /// The file that came second.
        second: PathBuf,
        /// Where both belong.
        place: PathBuf,
    },
    /// An entry below something that is no directory.
    #[error("{path} lies below {below}, which is no directory")]
    NotBelowADirectory {
        /// The entry.
        path: PathBuf,
        /// The file or link above it.
        below: PathBuf,
    },
    /// The output could not be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// What a file turned out to be, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It begins as an ELF file.
    Elf,
    /// It begins with `#!`.
    Script,
    /// Anything else.
    Other,
}

/// A file that was written.
#[derive(Debug, Clone)]
pub struct UnpackedFile {
    /// Its absolute path in the package.
    pub origin: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// Whether it had the setuid or setgid bit, which a store path cannot have.
    pub privileged: bool,
}

/// A symbolic link that a package has.
#[derive(Debug, Clone)]
pub struct UnpackedLink {
    /// Its absolute path in the package.
    pub origin: PathBuf,
    /// Its text as the package has it; relocation changes [`UnpackedLink::text`].
    pub target: PathBuf,
    /// The text that will be written.
    pub text: PathBuf,
}

/// What was unpacked. All keys are relative to the root.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    /// The directory that became the store path.
    pub root: PathBuf,
    /// The files.
    pub files: BTreeMap<PathBuf, UnpackedFile>,
    /// The symbolic links, not yet made.
    pub links: BTreeMap<PathBuf, UnpackedLink>,
    /// The hard links, not yet made: place → place of the file they are.
    pub hard_links: BTreeMap<PathBuf, PathBuf>,
    /// The directories.
    pub directories: BTreeSet<PathBuf>,
    /// What the builder's log should say.
    pub notes: Vec<String>,
}

impl Tree {
    /// Makes the root directory of a tree.
    pub fn new(root: &Path) -> Result<Self, UnpackError> {
        fs::create_dir_all(root).map_err(|source| UnpackError::Write { path: root.to_path_buf(), source })?;
        Ok(Self { root: root.to_path_buf(), ..Self::default() })
    }

    /// Unpacks one package into it.
    pub fn unpack(&mut self, deb: &Path, selection: &Selection) -> Result<(), UnpackError> {
        let mut archive = tar::Archive::new(deb::open_data(deb)?);
        let mut after = PathBuf::from("its start");
        let damaged = |after: &Path, source| UnpackError::Damaged {
            deb: deb.to_path_buf(),
            after: after.to_path_buf(),
            source,
        };
        for entry in archive.entries().map_err(|source| damaged(&after, source))? {
            let mut entry = entry.map_err(|source| damaged(&after, source))?;
            let name = entry.path().map_err(|source| damaged(&after, source))?.into_owned();
            let origin = absolute(deb, &name)?;
            let Some(place) = layout::place(&origin) else { continue };
            after.clone_from(&name);
            if entry.header().entry_type() == EntryType::Directory {
                // Empty directories of the machine's state say nothing in a store path; those with files are made for them.
                if selection.takes(&origin) && !is_state(&place) {
                    self.make_directory(&place, &origin)?;
                }
                continue;
            }
            if !selection.takes(&origin) {
                continue;
            }
            match entry.header().entry_type() {
                EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                    let mode = entry.header().mode().map_err(|source| damaged(&after, source))?;
                    if self
                        .has_same_file(&place, entry.size(), &mut entry)
                        .map_err(|source| damaged(&after, source))?
                    {
                        continue;
                    }
                    self.free_place(&place, &origin)?;
                    self.write_file(&place, &origin, mode, entry.size(), &mut entry).map_err(|error| {
                        match error {
                            FileError::Write(error) => error,
                            FileError::Read(source) => damaged(&after, source),
                        }
                    })?;
                }
                EntryType::Symlink => {
                    let target = entry
                        .link_name()
                        .map_err(|source| damaged(&after, source))?
                        .unwrap_or_default()
                        .into_owned();
                    self.note_link(place, &origin, target)?;
                }
                EntryType::Link => {
                    let target = entry
                        .link_name()
                        .map_err(|source| damaged(&after, source))?
                        .unwrap_or_default()
                        .into_owned();
                    // `/usr/sbin/x` as a link to `/usr/bin/x` is the one file already.
                    if let Some(target) =
                        layout::place(&absolute(deb, &target)?).filter(|target| *target != place)
                    {
                        self.free_place(&place, &origin)?;
                        self.hard_links.insert(place, target);
                    }
                }
                other => self.notes.push(format!("{}: left out, being of type {other:?}", origin.display())),
            }
        }
        Ok(())
    }

    /// Notes the link `sbin` → `bin` if the package had programs in `/sbin` or `/usr/sbin`: there are those who look there.
    pub fn note_sbin(&mut self) {
        let in_sbin = |path: &Path| path.starts_with("/sbin") || path.starts_with("/usr/sbin");
        let had = self.files.values().any(|file| in_sbin(&file.origin))
            || self.links.values().any(|link| in_sbin(&link.origin));
        let place = PathBuf::from("sbin");
        if had && !self.has(&place) {
            let link =
                UnpackedLink { origin: "/usr/local/sbin".into(), target: "bin".into(), text: "bin".into() };
            self.links.insert(place, link);
        }
    }

    /// Makes the links that were noted, after everything else is written.
    pub fn make_links(&self) -> Result<(), UnpackError> {
        let write = |path: &Path, source| UnpackError::Write { path: path.to_path_buf(), source };
        for (place, target) in &self.hard_links {
            let path = self.root.join(place);
            self.ready_parent(place)?;
            // Only files written here can be linked: `symlink_metadata` sees no link through.
            if self.files.contains_key(target) {
                fs::hard_link(self.root.join(target), &path).map_err(|source| write(&path, source))?;
            } else if let Some(target) =
                self.hard_links.get(target).filter(|further| self.files.contains_key(*further))
            {
                fs::hard_link(self.root.join(target), &path).map_err(|source| write(&path, source))?;
            } else {
                return Err(write(
                    &path,
                    io::Error::other(format!(
                        "it is a hard link to {}, which is not there",
                        target.display()
                    )),
                ));
            }
        }
        for (place, link) in &self.links {
            let path = self.root.join(place);
            self.ready_parent(place)?;
            std::os::unix::fs::symlink(&link.text, &path).map_err(|source| write(&path, source))?;
        }
        Ok(())
    }

    /// Whether there is a file, link or directory at a place.
    pub fn has(&self, place: &Path) -> bool {
        self.files.contains_key(place)
            || self.links.contains_key(place)
            || self.hard_links.contains_key(place)
            || self.directories.contains(place)
    }

    /// Makes the directories above a place. They were checked when the entry was met.
    fn ready_parent(&self, place: &Path) -> Result<(), UnpackError> {
        let parent = self.root.join(place.parent().unwrap_or(Path::new("")));
        fs::create_dir_all(&parent).map_err(|source| UnpackError::Write { path: parent, source })
    }

    /// Makes a directory and those above it, none of which may be a file or link.
    fn make_directory(&mut self, place: &Path, origin: &Path) -> Result<(), UnpackError> {
        let mut path = PathBuf::new();
        for component in place.components() {
            path.push(component);
            if self.directories.contains(&path) {
                continue;
            }
            if self.has(&path) {
                return Err(UnpackError::NotBelowADirectory {
                    path: origin.to_path_buf(),
                    below: self.origin(&path),
                });
            }
            let full = self.root.join(&path);
            match fs::create_dir(&full) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(UnpackError::Write { path: full, source }),
            }
            self.directories.insert(path.clone());
        }
        Ok(())
    }

    /// Makes the directories above a place and checks that nothing is there yet.
    fn free_place(&mut self, place: &Path, origin: &Path) -> Result<(), UnpackError> {
        if let Some(parent) = place.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            self.make_directory(parent, origin)?;
        }
        // A link from the one place to the other of a merged pair (`/lib64/ld.so` → `/lib/…/ld.so`) gives way to the file.
        if let Some(link) = self.links.get(place)
            && layout::place(&link.resolved()).as_deref() == Some(place)
        {
            self.links.remove(place);
        }
        if self.has(place) {
            return Err(UnpackError::Collision {
                first: self.origin(place),
                second: origin.to_path_buf(),
                place: place.to_path_buf(),
            });
        }
        Ok(())
    }

    /// Whether the file at a place has the bytes of this entry, so that the entry need not be written. A file that turns
    /// out different is a collision, which [`Tree::free_place`] reports.
    fn has_same_file(&self, place: &Path, size: u64, from: &mut impl Read) -> io::Result<bool> {
        if !self.files.contains_key(place) || fs::metadata(self.root.join(place))?.len() != size {
            return Ok(false);
        }
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes)?;
        Ok(fs::read(self.root.join(place))? == bytes)
    }

    /// Notes a link, unless it leads from the one place of a merged pair to the other.
    fn note_link(&mut self, place: PathBuf, origin: &Path, target: PathBuf) -> Result<(), UnpackError> {
        let link = UnpackedLink { text: target.clone(), origin: origin.to_path_buf(), target };
        if layout::place(&link.resolved()).as_deref() == Some(place.as_path()) {
            return Ok(());
        }
        if self.links.get(&place).is_some_and(|other| other.resolved() == link.resolved()) {
            return Ok(());
        }
        self.free_place(&place, origin)?;
        self.links.insert(place, link);
        Ok(())
    }

    /// Writes a regular file and notes what it is.
    fn write_file(
        &mut self,
        place: &Path,
        origin: &Path,
        mode: u32,
        size: u64,
        from: &mut impl Read,
    ) -> Result<(), FileError> {
        let path = self.root.join(place);
        let write = |source| FileError::Write(UnpackError::Write { path: path.clone(), source });
        let mode_in_store = if mode & 0o111 == 0 { 0o644 } else { 0o755 };
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(mode_in_store).open(&path).map_err(write)?;
        let mut buffer = vec![0_u8; 1 << 16];
        let mut kind = None;
        let mut written = 0;
        loop {
            let count = from.read(&mut buffer).map_err(FileError::Read)?;
            let Some(chunk) = buffer.get(..count).filter(|chunk| !chunk.is_empty()) else { break };
            kind.get_or_insert_with(|| Kind::of(chunk));
            file.write_all(chunk).map_err(write)?;
            written += chunk.len() as u64;
        }
        if written != size {
            return Err(FileError::Read(io::ErrorKind::UnexpectedEof.into()));
        }
        file.set_permissions(fs::Permissions::from_mode(mode_in_store)).map_err(write)?;
        let file = UnpackedFile {
            origin: origin.to_path_buf(),
            kind: kind.unwrap_or(Kind::Other),
            privileged: mode & 0o6000 != 0,
        };
        self.files.insert(place.to_path_buf(), file);
        Ok(())
    }

    /// The path in the package of what lies at a place.
    fn origin(&self, place: &Path) -> PathBuf {
        let file = self.files.get(place).map(|file| &file.origin);
        file.or_else(|| self.links.get(place).map(|link| &link.origin))
            .map_or_else(|| Path::new("/").join(place), Clone::clone)
    }
}

impl UnpackedLink {
    /// The absolute path in the package's tree that the link means.
    pub fn resolved(&self) -> PathBuf {
        layout::normal(&self.origin.parent().unwrap_or(Path::new("/")).join(&self.target))
    }
}

impl Kind {
    /// By a file's first bytes (all of which arrive with the first read).
    fn of(start: &[u8]) -> Self {
        match start {
            [0x7f, b'E', b'L', b'F', ..] => Self::Elf,
            [b'#', b'!', ..] => Self::Script,
            _ => Self::Other,
        }
    }
}

/// Which side of a copy failed.
enum FileError {
    Read(io::Error),
    Write(UnpackError),
}

/// A member's name as an absolute path of the package's tree.
fn absolute(deb: &Path, name: &Path) -> Result<PathBuf, UnpackError> {
    let mut path = PathBuf::from("/");
    for component in name.components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(UnpackError::Escapes { deb: deb.to_path_buf(), path: name.to_path_buf() });
            }
        }
    }
    Ok(path)
}

/// Whether a directory is one for a machine's state, which a package only announces.
fn is_state(place: &Path) -> bool {
    ["var", "run", "tmp", "home", "root", "mnt", "media", "proc", "sys", "dev"]
        .iter()
        .any(|state| place.starts_with(state))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::deb::tests::archive;

    /// One entry of a test package.
    pub(crate) enum Entry<'a> {
        File(&'a str, u32, &'a [u8]),
        Symlink(&'a str, &'a str),
        HardLink(&'a str, &'a str),
        Directory(&'a str),
    }

    /// A package with these entries; names are taken as they are, hostile or not.
    pub(crate) fn package(entries: &[Entry]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for entry in entries {
            let mut header = tar::Header::new_gnu();
            let (name, mode, data, kind, target) = match *entry {
                Entry::File(name, mode, data) => (name, mode, data, EntryType::Regular, ""),
                Entry::Symlink(name, target) => (name, 0o777, &b""[..], EntryType::Symlink, target),
                Entry::HardLink(name, target) => (name, 0o644, &b""[..], EntryType::Link, target),
                Entry::Directory(name) => (name, 0o755, &b""[..], EntryType::Directory, ""),
            };
            let fields = header.as_gnu_mut().expect("a gnu header");
            fields.name[..name.len()].copy_from_slice(name.as_bytes());
            fields.linkname[..target.len()].copy_from_slice(target.as_bytes());
            header.set_mode(mode);
            header.set_size(data.len() as u64);
            header.set_entry_type(kind);
            header.set_cksum();
            tar.append(&header, data).expect("appended");
        }
        let data = tar.into_inner().expect("a tar");
        archive(&[("debian-binary", b"2.0\n"), ("control.tar", b""), ("data.tar", &data)])
    }

    /// Unpacks a package into a new directory.
    pub(crate) fn unpacked(entries: &[Entry]) -> (tempfile::TempDir, Result<Tree, UnpackError>) {
        let directory = tempfile::tempdir().expect("a directory");
        let deb = directory.path().join("p.deb");
        fs::write(&deb, package(entries)).expect("written");
        let tree = Tree::new(&directory.path().join("out")).and_then(|mut tree| {
            tree.unpack(&deb, &Selection::new(None, None))?;
            Ok(tree)
        });
        (directory, tree)
    }

    #[test]
    fn a_plain_package() {
        let (directory, tree) = unpacked(&[
            Entry::Directory("./"),
            Entry::Directory("./usr/bin/"),
            Entry::Directory("./var/lib/x/"),
            Entry::File("./usr/bin/a", 0o4755, b"#!/bin/sh\n"),
            Entry::HardLink("./bin/b", "./usr/bin/a"),
            Entry::File("./usr/share/man/a.1", 0o644, b""),
            Entry::File("./lib/x86_64-linux-gnu/libx.so", 0o600, b"\x7fELF"),
            Entry::Symlink("./lib64/libx.so", "/lib/x86_64-linux-gnu/libx.so"),
            Entry::Symlink("./usr/lib/liby.so", "libx.so"),
        ]);
        let tree = tree.expect("unpacked");
        tree.make_links().expect("linked");
        let out = directory.path().join("out");
        let mode = |path: &str| fs::symlink_metadata(out.join(path)).expect(path).permissions().mode();
        assert_eq!(mode("bin/a") & 0o7777, 0o755);
        assert_eq!(mode("lib/libx.so") & 0o7777, 0o644);
        assert_eq!(fs::read(out.join("bin/b")).expect("b"), b"#!/bin/sh\n");
        assert_eq!(tree.files[Path::new("bin/a")].kind, Kind::Script);
        assert!(tree.files[Path::new("bin/a")].privileged);
        assert_eq!(tree.files[Path::new("lib/libx.so")].kind, Kind::Elf);
        assert!(!out.join("share").exists());
        assert!(!out.join("var").exists());
        assert_eq!(fs::read_link(out.join("lib/liby.so")).expect("link"), Path::new("libx.so"));
    }

    #[test]
    fn a_link_gives_way_to_what_it_means() {
        let (_directory, tree) = unpacked(&[
            Entry::Symlink("./lib64/ld.so", "/lib/x86_64-linux-gnu/ld.so"),
            Entry::File("./lib/x86_64-linux-gnu/ld.so", 0o755, b"\x7fELF"),
        ]);
        assert!(tree.expect("no collision").files.contains_key(Path::new("lib/ld.so")));
    }

    #[test]
    fn the_same_file_twice_is_one_file() {
        let (_directory, tree) = unpacked(&[
            Entry::File("./usr/bin/a", 0o755, b"same"),
            Entry::File("./usr/sbin/a", 0o755, b"same"),
            Entry::HardLink("./bin/a", "./usr/bin/a"),
        ]);
        let tree = tree.expect("no collision");
        tree.make_links().expect("nothing to link");
        assert_eq!(fs::read(tree.root.join("bin/a")).expect("one file"), b"same");
    }

    #[test]
    fn hostile_packages_are_refused() {
        let cases: [(&[Entry], &str); 6] = [
            (&[Entry::File("./../../evil", 0o644, b"")], "leads out"),
            (&[Entry::File("usr/../../evil", 0o644, b"")], "leads out"),
            (&[Entry::HardLink("./a", "../../etc/passwd")], "leads out"),
            (
                &[Entry::Symlink("./usr/lib/d", "/etc"), Entry::File("./usr/lib/d/evil", 0o644, b"")],
                "no directory",
            ),
            (
                &[Entry::File("./usr/bin/a", 0o644, b"1"), Entry::File("./bin/a", 0o644, b"2")],
                "would both be",
            ),
            (&[Entry::File("./x", 0o644, b""), Entry::Directory("./x/y")], "no directory"),
        ];
        for (entries, words) in cases {
            let (_directory, tree) = unpacked(entries);
            let error = tree.expect_err(words).to_string();
            assert!(error.contains(words), "{error} should contain {words}");
        }
    }

    #[test]
    fn an_absolute_name_stays_inside() {
        let (directory, tree) = unpacked(&[Entry::File("/etc/shadow", 0o644, b"mine")]);
        tree.expect("unpacked");
        assert_eq!(fs::read(directory.path().join("out/etc/shadow")).expect("inside"), b"mine");
    }

    #[test]
    fn a_hard_link_to_nothing_of_the_package() {
        let (_directory, tree) = unpacked(&[Entry::HardLink("./a", "/etc/passwd")]);
        let error = tree.expect("noted").make_links().expect_err("refused").to_string();
        assert!(error.contains("which is not there"), "{error}");
    }

    #[test]
    fn a_truncated_package_names_where() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut data = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_path("./usr/bin/a").expect("a name");
        header.set_size(5000);
        header.set_mode(0o644);
        header.set_cksum();
        data.append(&header, &[b'x'; 5000][..]).expect("appended");
        let mut data = data.into_inner().expect("a tar");
        data.truncate(2000);
        let deb = directory.path().join("p.deb");
        fs::write(&deb, archive(&[("debian-binary", b"2.0\n"), ("data.tar", &data)])).expect("written");
        let mut tree = Tree::new(&directory.path().join("out")).expect("a tree");
        let error = tree.unpack(&deb, &Selection::new(None, None)).expect_err("damaged").to_string();
        assert!(error.contains("damaged after usr/bin/a"), "{error}");
    }
}
