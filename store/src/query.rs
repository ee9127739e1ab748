//! What a store can be asked.

use crate::error::{Error, Result};
use crate::open::Store;
use formats::path_info::PathInfo;
use formats::store_path::StorePath;
use std::collections::{BTreeMap, BTreeSet};

impl Store {
    /// Whether the path is valid: complete on disk, with all that it refers to.
    pub fn is_valid(&self, path: &StorePath) -> Result<bool> {
        if let Some(remote) = &self.remote {
            return remote.is_valid(path);
        }
        Ok(self.database().id(path)?.is_some())
    }

    /// A valid path's description; `None` when it is not valid.
    pub fn query_path_info(&self, path: &StorePath) -> Result<Option<PathInfo>> {
        if let Some(remote) = &self.remote {
            return remote.info(path);
        }
        self.database().info(path)
    }

    /// A valid path's description, or an error.
    pub fn path_info(&self, path: &StorePath) -> Result<PathInfo> {
        self.query_path_info(path)?.ok_or_else(|| Error::NotValid(self.dir().print(path)))
    }

    /// The paths that mention this one.
    pub fn referrers(&self, path: &StorePath) -> Result<BTreeSet<StorePath>> {
        if let Some(remote) = &self.remote {
            return remote.referrers(path);
        }
        self.database().referrers(path)
    }

    /// The valid derivations that have this path as an output.
    pub fn valid_derivers(&self, path: &StorePath) -> Result<BTreeSet<StorePath>> {
        if let Some(remote) = &self.remote {
            return remote.valid_derivers(path);
        }
        self.database().valid_derivers(path)
    }

    /// The outputs registered for a valid derivation.
    pub fn derivation_outputs(&self, derivation: &StorePath) -> Result<BTreeMap<String, StorePath>> {
        if let Some(remote) = &self.remote {
            return remote.derivation_outputs(derivation);
        }
        self.database().derivation_outputs(derivation)
    }

    /// The valid path with these 32 digits.
    pub fn by_hash_part(&self, hash_part: &str) -> Result<Option<StorePath>> {
        if let Some(remote) = &self.remote {
            return remote.by_hash_part(hash_part);
        }
        self.database().by_hash_part(hash_part)
    }

    /// All valid paths.
    pub fn all_valid(&self) -> Result<BTreeSet<StorePath>> {
        if let Some(remote) = &self.remote {
            return remote.all_valid();
        }
        self.database().all()
    }

    /// The paths and everything that they refer to, directly or not. All must be valid.
    pub fn closure(&self, paths: impl IntoIterator<Item = StorePath>) -> Result<BTreeSet<StorePath>> {
        if let Some(remote) = &self.remote {
            let paths: BTreeSet<StorePath> = paths.into_iter().collect();
            if let Some(closure) = remote.closure(&paths)? {
                return Ok(closure);
            }
            return self.walk(paths, |store, path| Ok(store.path_info(path)?.references));
        }
        let mut found = BTreeSet::new();
        for path in paths {
            if !found.contains(&path) {
                self.database().add_closure(&path, &mut found)?;
            }
        }
        Ok(found)
    }

    /// The paths and everything that refers to them, directly or not.
    pub fn referrers_closure(
        &self,
        paths: impl IntoIterator<Item = StorePath>,
    ) -> Result<BTreeSet<StorePath>> {
        self.walk(paths, |store, path| {
            store.path_info(path)?;
            store.referrers(path)
        })
    }

    fn walk(
        &self,
        paths: impl IntoIterator<Item = StorePath>,
        next: impl Fn(&Self, &StorePath) -> Result<BTreeSet<StorePath>>,
    ) -> Result<BTreeSet<StorePath>> {
        let mut found = BTreeSet::new();
        let mut queue: Vec<StorePath> = paths.into_iter().collect();
        while let Some(path) = queue.pop() {
            if found.contains(&path) {
                continue;
            }
            queue.extend(next(self, &path)?);
            found.insert(path);
        }
        Ok(found)
    }

    /// Sorts valid paths so that each comes after everything that it refers to.
    pub fn sort_by_references(&self, paths: &BTreeSet<StorePath>) -> Result<Vec<StorePath>> {
        let mut sorted = Vec::new();
        let mut done = BTreeSet::new();
        for start in paths {
            let mut stack = vec![(start.clone(), false)];
            while let Some((path, leaving)) = stack.pop() {
                if leaving {
                    sorted.push(path);
                    continue;
                }
                if !done.insert(path.clone()) {
                    continue;
                }
                let references = self.path_info(&path)?.references;
                stack.push((path, true));
                stack.extend(
                    references.into_iter().filter(|path| paths.contains(path)).map(|path| (path, false)),
                );
            }
        }
        Ok(sorted)
    }
}
