//! Repair: a valid path whose content is damaged or gone gets it back, from a cache or by building it again. The new tree is
//! complete and on disk before it changes places with the damaged one, in one step: the path is there at every moment.

use crate::build::{BuildOptions, Wanted};
use crate::error::{Error, Result};
use crate::open::Store;
use crate::tree;
use formats::store_path::StorePath;
use std::collections::BTreeSet;
use std::path::Path;

impl Store {
    /// Mends a valid path: the caches are asked first, then its derivation is built again. An error when neither has
    /// what it takes; then nothing is changed.
    pub fn repair_path(&self, path: &StorePath, options: &BuildOptions) -> Result<()> {
        self.add_temp_root(path)?;
        let info = self.path_info(path)?;
        if options.substitute && self.options.substituters.fetch_again(self, path)? {
            return Ok(());
        }
        let print = |path: &StorePath| self.dir().print(path);
        let Some(deriver) = info.deriver else {
            return Err(Error::Invalid(format!(
                "`{}` cannot be repaired: no cache has it and nothing is known that would build it",
                print(path)
            )));
        };
        if !self.is_valid(&deriver)? {
            return Err(Error::Invalid(format!(
                "`{}` cannot be repaired: no cache has it and its derivation `{}` is not in the store; \
                 instantiate it again, or name a cache with --substituters",
                print(path),
                print(&deriver)
            )));
        }
        let options = BuildOptions { check: true, repair: true, ..options.clone() };
        self.build(&[(deriver, Wanted::All)], &options)?;
        match self.verify_path(path)? {
            None => Ok(()),
            Some(problem) => {
                Err(Error::Invalid(format!("built again, it is still not what was registered: {problem}")))
            }
        }
    }

    /// Mends whatever is damaged among these paths and all that they need. Returns what was.
    pub fn repair_closure(
        &self,
        paths: impl IntoIterator<Item = StorePath>,
        options: &BuildOptions,
    ) -> Result<Vec<StorePath>> {
        let closure: BTreeSet<StorePath> = self.closure(paths)?;
        let mut repaired = Vec::new();
        // What is needed for building comes before what is built from it.
        for path in self.sort_by_references(&closure)? {
            if self.verify_path(&path)?.is_some() {
                self.repair_path(&path, options)?;
                repaired.push(path);
            }
        }
        Ok(repaired)
    }

    /// Puts a canonical tree, which lies in the store's file system, in the place of a valid path. What was there lies
    /// at `new` afterwards.
    pub(crate) fn replace_tree(&self, path: &StorePath, new: &Path) -> Result<()> {
        if self.options.durable {
            tree::sync_file_system(&self.layout.real_store)?;
        }
        tree::exchange(new, &self.real_path(path))?;
        if self.options.durable {
            tree::sync_directory(&self.layout.real_store)?;
        }
        Ok(())
    }
}
