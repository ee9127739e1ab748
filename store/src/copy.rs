//! Copies paths from one store to another: archive by archive, references first, each checked on arrival.

use crate::error::{Error, Result};
use crate::open::Store;
use formats::store_path::StorePath;
use std::collections::BTreeSet;
use std::io::{self, Write as _};

impl Store {
    /// Copies valid paths, whose references must be among them or valid there, to another store of the same store
    /// directory. The other store's trust decides unless `unsigned` is allowed. Returns those that were not there before.
    pub fn copy_to(
        &self,
        target: &Self,
        paths: &BTreeSet<StorePath>,
        unsigned: bool,
        progress: &dyn Fn(&StorePath),
    ) -> Result<Vec<StorePath>> {
        self.copy(target, paths, unsigned, progress, &BTreeSet::new())
    }

    /// The same, signed or not, where the caller holds the locks of some paths of the target.
    pub(crate) fn copy_to_locked(
        &self,
        target: &Self,
        paths: &BTreeSet<StorePath>,
        locked: &BTreeSet<StorePath>,
    ) -> Result<()> {
        self.copy(target, paths, true, &|_| {}, locked).map(drop)
    }

    fn copy(
        &self,
        target: &Self,
        paths: &BTreeSet<StorePath>,
        unsigned: bool,
        progress: &dyn Fn(&StorePath),
        locked: &BTreeSet<StorePath>,
    ) -> Result<Vec<StorePath>> {
        if self.dir() != target.dir() {
            return Err(Error::Invalid(format!(
                "cannot copy from a store of `{}` to one of `{}`: every path has its store in its hash",
                self.dir(),
                target.dir()
            )));
        }
        let mut copied = Vec::new();
        for path in self.sort_by_references(paths)? {
            target.add_temp_root(&path)?;
            if target.is_valid(&path)? {
                continue;
            }
            progress(&path);
            let mut info = self.path_info(&path)?;
            info.ultimate = false;
            if !unsigned {
                target.check_signatures(&info)?;
            }
            let (mut reader, writer) = io::pipe().map_err(Error::file("copying", path.base_name()))?;
            std::thread::scope(|scope| {
                let dumping = scope.spawn(|| {
                    let mut output = io::BufWriter::with_capacity(64 * 1024, writer);
                    self.archive(&path, &mut output)?;
                    output.flush().map_err(Error::file("copying", path.base_name()))
                });
                let added = if locked.contains(&path) {
                    target.add_nar_locked(&info, &mut reader)
                } else {
                    target.add_nar(&info, &mut reader)
                };
                drop(reader);
                let dumped = dumping
                    .join()
                    .unwrap_or_else(|_| Err(Error::Invalid("the copying thread died".to_owned())));
                // When both failed, a broken pipe is only the echo.
                match (added, dumped) {
                    (Ok(()), dumped) => dumped,
                    (Err(_), Err(error)) if !matches!(error, Error::Nar { .. } | Error::File { .. }) => {
                        Err(error)
                    }
                    (Err(error), _) => Err(error),
                }
            })?;
            copied.push(path);
        }
        Ok(copied)
    }
}
