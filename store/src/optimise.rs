//! Hard-link optimisation: equal files of the store become one, through `.links/<hash>`. Nix manual, "nix-store --optimise".

use crate::error::{Error, Result};
use crate::open::Store;
use crate::tree;
use formats::hash::Algorithm;
use formats::store_path::StorePath;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

/// What an optimisation did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Optimised {
    /// Files that became links to others.
    pub files: u64,
    /// Bytes saved.
    pub bytes: u64,
}

impl Store {
    /// Links equal files of all valid paths.
    pub fn optimise(&self, progress: &dyn Fn(&StorePath)) -> Result<Optimised> {
        let mut done = Optimised::default();
        if let Some(remote) = &self.remote {
            return remote.optimise().map(|()| done);
        }
        let mut seen = self.known_inodes()?;
        for path in self.all_valid()? {
            self.add_temp_root(&path)?;
            if !self.is_valid(&path)? {
                continue; // collected meanwhile
            }
            progress(&path);
            self.optimise_tree(
                &self.real_path(&path),
                &self.layout.real_store.clone(),
                &mut seen,
                &mut done,
            )?;
        }
        Ok(done)
    }

    /// Links equal files of these valid paths to each other and to those of others.
    pub fn optimise_paths<'a>(&self, paths: impl IntoIterator<Item = &'a StorePath>) -> Result<Optimised> {
        let mut done = Optimised::default();
        let mut seen = self.known_inodes()?;
        for path in paths {
            let parent = self.layout.real_store.clone();
            self.optimise_tree(&self.real_path(path), &parent, &mut seen, &mut done)?;
        }
        Ok(done)
    }

    /// Files that are in `.links` already need not be read.
    fn known_inodes(&self) -> Result<BTreeSet<u64>> {
        let links = self.layout.links();
        fs::create_dir_all(&links).map_err(Error::file("creating", &links))?;
        let mut inodes = BTreeSet::new();
        for entry in fs::read_dir(&links).map_err(Error::file("reading directory", &links))? {
            let entry = entry.map_err(Error::file("reading directory", &links))?;
            inodes.insert(std::os::unix::fs::DirEntryExt::ino(&entry));
        }
        Ok(inodes)
    }

    fn optimise_tree(
        &self,
        place: &Path,
        parent: &Path,
        seen: &mut BTreeSet<u64>,
        done: &mut Optimised,
    ) -> Result<()> {
        let found = fs::symlink_metadata(place).map_err(Error::file("examining", place))?;
        if found.is_dir() {
            for entry in fs::read_dir(place).map_err(Error::file("reading directory", place))? {
                let entry = entry.map_err(Error::file("reading directory", place))?;
                self.optimise_tree(&entry.path(), place, seen, done)?;
            }
            return Ok(());
        }
        // A writable file should not be there; an empty one has nothing to share.
        if !found.is_file() || found.len() == 0 || found.mode() & 0o222 != 0 || seen.contains(&found.ino()) {
            return Ok(());
        }
        self.link_file(place, parent, &found, seen, done)
    }

    fn link_file(
        &self,
        place: &Path,
        parent: &Path,
        found: &fs::Metadata,
        seen: &mut BTreeSet<u64>,
        done: &mut Optimised,
    ) -> Result<()> {
        // The NAR's hash, so that the executable bit counts.
        let (hash, _) = tree::hash_tree(place, Algorithm::Sha256)?;
        let link = self.layout.links().join(hash.digits32());
        match fs::hard_link(place, &link) {
            Ok(()) => {
                seen.insert(found.ino());
                return Ok(());
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            // No more links to one file, or no more names in the directory: it stays as it is.
            Err(error) if matches!(error.raw_os_error(), Some(31 | 28)) => return Ok(()),
            Err(error) => return Err(Error::file("linking", &link)(error)),
        }
        let linked = fs::symlink_metadata(&link).map_err(Error::file("examining", &link))?;
        if linked.ino() == found.ino() {
            return Ok(());
        }
        // A link that was damaged must not spread: its content is compared before it replaces anything.
        if linked.len() != found.len() || tree::hash_tree(&link, Algorithm::Sha256)?.0 != hash {
            log::warn!("removing corrupted link {}", link.display());
            fs::remove_file(&link).map_err(Error::file("removing corrupted link", &link))?;
            return self.link_file(place, parent, found, seen, done);
        }
        let temporary = self.layout.real_store.join(format!(".tmp-link-{}", std::process::id()));
        if fs::hard_link(&link, &temporary).is_err() {
            return Ok(()); // as many links as the file system allows
        }
        let inside = parent != self.layout.real_store;
        let mode = |mode: u32| {
            if inside {
                fs::set_permissions(parent, fs::Permissions::from_mode(mode))
                    .map_err(Error::file("changing the mode of", parent))
            } else {
                Ok(())
            }
        };
        mode(0o755)?;
        let renamed = fs::rename(&temporary, place).map_err(Error::file("replacing", place));
        mode(0o555)?;
        if inside {
            rustix::fs::utimensat(
                rustix::fs::CWD,
                parent,
                &tree::CANONICAL_TIMES,
                rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
            )
            .map_err(Error::call("setting the times of", parent))?;
        }
        renamed?;
        done.files += 1;
        done.bytes += found.len();
        Ok(())
    }
}
