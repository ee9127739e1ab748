//! Verification: is everything that the database calls valid there, and with the content that was registered?

use crate::error::{Error, Result};
use crate::open::Store;
use crate::tree;
use formats::hash::{Algorithm, Hash};
use formats::store_path::StorePath;
use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::sync::Mutex;
use std::sync::PoisonError;

/// Something that is not as the database says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// A valid path is not on disk.
    Missing(StorePath),
    /// A valid path is not on disk and other valid paths refer to it.
    MissingButReferred(StorePath),
    /// A path's content has another hash than registered.
    Modified {
        /// The path.
        path: StorePath,
        /// The registered hash.
        expected: Hash,
        /// The hash now.
        got: Hash,
    },
    /// A path could not be read.
    Unreadable(StorePath, String),
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(path) => write!(formatter, "path `{path}` disappeared and is not valid any more"),
            Self::MissingButReferred(path) => {
                write!(formatter, "path `{path}` disappeared, but it still has valid referrers")
            }
            Self::Modified { path, expected, got } => {
                write!(
                    formatter,
                    "path `{path}` was modified: expected {}, got {}",
                    expected.base32(),
                    got.base32()
                )
            }
            Self::Unreadable(path, error) => write!(formatter, "path `{path}` cannot be read: {error}"),
        }
    }
}

impl Store {
    /// Checks that every valid path is there; with `contents`, that it has the hash registered. Missing paths that
    /// nothing refers to are made invalid. `progress` hears of each path before it is read.
    pub fn verify(&self, contents: bool, progress: &(dyn Fn(&StorePath) + Sync)) -> Result<Vec<Problem>> {
        let present: BTreeSet<String> = fs::read_dir(&self.layout.real_store)
            .map_err(Error::file("reading directory", &self.layout.real_store))?
            .filter_map(|entry| entry.ok().map(|entry| entry.file_name().to_string_lossy().into_owned()))
            .collect();
        let graph = self.database().graph()?;
        let mut problems = Vec::new();
        let mut there = Vec::new();
        let mut gone = BTreeSet::new();
        for (index, path) in graph.paths.iter().enumerate() {
            if present.contains(path.base_name()) {
                there.push(path.clone());
            } else {
                gone.insert(index);
            }
        }
        for index in &gone {
            let Some(path) = graph.paths.get(*index) else { continue };
            let referrers = graph.referrers.get(*index).map(Vec::as_slice).unwrap_or_default();
            if referrers.iter().all(|referrer| gone.contains(referrer)) {
                problems.push(Problem::Missing(path.clone()));
            } else {
                problems.push(Problem::MissingButReferred(path.clone()));
            }
        }
        let invalid: Vec<i64> = problems
            .iter()
            .filter_map(|problem| match problem {
                Problem::Missing(path) => graph.index(path).and_then(|index| graph.ids.get(index)).copied(),
                _ => None,
            })
            .collect();
        self.database().invalidate(&invalid)?;
        if contents {
            problems.extend(self.verify_contents(&there, progress)?);
        }
        Ok(problems)
    }

    /// Hashes paths on all cores.
    fn verify_contents(
        &self,
        paths: &[StorePath],
        progress: &(dyn Fn(&StorePath) + Sync),
    ) -> Result<Vec<Problem>> {
        let next = Mutex::new(paths.iter());
        let found: Mutex<Vec<Result<Problem>>> = Mutex::default();
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some(path) = { next.lock().unwrap_or_else(PoisonError::into_inner).next() } {
                        progress(path);
                        let result = self.verify_path(path).transpose();
                        found.lock().unwrap_or_else(PoisonError::into_inner).extend(result);
                    }
                });
            }
        });
        found.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().collect()
    }

    /// Compares one valid path with its registered hash.
    pub fn verify_path(&self, path: &StorePath) -> Result<Option<Problem>> {
        let expected = self.path_info(path)?.nar_hash;
        Ok(match tree::hash_tree(&self.real_path(path), Algorithm::Sha256) {
            Ok((got, _)) if got == expected => None,
            Ok((got, _)) => Some(Problem::Modified { path: path.clone(), expected, got }),
            Err(error) => Some(Problem::Unreadable(path.clone(), error.to_string())),
        })
    }
}
