//! A database for a copy of this store: only the closure of some paths, every byte determined by them. For disk images,
//! which are made without running anything inside.

use crate::database::{Database, NewPath};
use crate::error::{Error, Result};
use crate::open::Store;
use formats::store_path::StorePath;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

impl Store {
    /// Writes to `target` (replacing it) a database in which exactly the closure of `paths` is valid, registered at second
    /// 1 after 1970. `db/schema` beside it must say `10`. Returns the closure.
    pub fn export_database(
        &self,
        paths: impl IntoIterator<Item = StorePath>,
        target: &Path,
    ) -> Result<BTreeSet<StorePath>> {
        let closure = self.closure(paths)?;
        match fs::remove_file(target) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::file("replacing", target)(error));
            }
            _ => {}
        }
        let mut infos = Vec::new();
        let mut outputs: BTreeMap<StorePath, BTreeMap<String, StorePath>> = BTreeMap::new();
        for path in &closure {
            let mut info = self.path_info(path)?;
            info.registration_time = 1;
            // What made it is not in the image, and depends on where the image is made.
            info.deriver = info.deriver.filter(|deriver| closure.contains(deriver));
            info.ultimate = true;
            if path.is_derivation() {
                outputs.insert(path.clone(), self.derivation_outputs(path)?);
            }
            infos.push(info);
        }
        let new: Vec<NewPath<'_>> = infos
            .iter()
            .map(|info| NewPath { info, outputs: outputs.get(&info.path).cloned().unwrap_or_default() })
            .collect();
        let mut database = Database::create_single_file(target, self.dir())?;
        database.register(&new)?;
        database.close()?;
        Ok(closure)
    }
}
