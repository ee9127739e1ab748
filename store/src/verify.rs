//! Verification: is everything that the database calls valid there, and with the content that was registered?

use crate::build::BuildOptions;
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

/// What a verification that repairs did.
#[derive(Debug, Default)]
pub struct Mended {
    /// What could not be mended, and why.
    pub left: Vec<(Problem, Error)>,
    /// What was damaged or gone and is right again.
    pub repaired: Vec<StorePath>,
}

/// What is on disk.
struct Present {
    there: Vec<StorePath>,
    /// The rows of what is not, with what is to be said.
    missing: Vec<(i64, Problem)>,
}

impl Problem {
    /// The path that it is about.
    #[must_use]
    pub const fn path(&self) -> &StorePath {
        match self {
            Self::Missing(path)
            | Self::MissingButReferred(path)
            | Self::Modified { path, .. }
            | Self::Unreadable(path, _) => path,
        }
    }
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
    /// As [`Store::verify`], and mends what it finds from caches or by building. Returns what could not be mended, with the
    /// reason, and what was.
    pub fn verify_and_repair(
        &self,
        contents: bool,
        options: &BuildOptions,
        progress: &(dyn Fn(&StorePath) + Sync),
    ) -> Result<Mended> {
        if let Some(remote) = &self.remote {
            return remote.verify(contents, true).map(|()| Mended::default());
        }
        let Present { there, missing } = self.present_and_missing()?;
        let mut problems: Vec<Problem> = missing.into_iter().map(|(_, problem)| problem).collect();
        if contents {
            problems.extend(self.verify_contents(&there, progress)?);
        }
        let mut mended = Mended::default();
        for problem in problems {
            let path = problem.path().clone();
            match self.repair_path(&path, options) {
                Ok(()) => mended.repaired.push(path),
                Err(error) => mended.left.push((problem, error)),
            }
        }
        Ok(mended)
    }

    /// Checks that every valid path is there; with `contents`, that it has the hash registered. Missing paths that
    /// nothing refers to are made invalid. `progress` hears of each path before it is read.
    pub fn verify(&self, contents: bool, progress: &(dyn Fn(&StorePath) + Sync)) -> Result<Vec<Problem>> {
        if let Some(remote) = &self.remote {
            return remote.verify(contents, false).map(|()| Vec::new());
        }
        let Present { there, missing } = self.present_and_missing()?;
        let invalid: Vec<i64> = missing
            .iter()
            .filter(|(_, problem)| matches!(problem, Problem::Missing(_)))
            .map(|(id, _)| *id)
            .collect();
        self.database().invalidate(&invalid)?;
        let mut problems: Vec<Problem> = missing.into_iter().map(|(_, problem)| problem).collect();
        if contents {
            problems.extend(self.verify_contents(&there, progress)?);
        }
        Ok(problems)
    }

    /// The valid paths that are on disk, and the rows of those that are not with what is to be said.
    fn present_and_missing(&self) -> Result<Present> {
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
            let (Some(path), Some(id)) = (graph.paths.get(*index), graph.ids.get(*index)) else { continue };
            let referrers = graph.referrers.get(*index).map(Vec::as_slice).unwrap_or_default();
            problems.push(if referrers.iter().all(|referrer| gone.contains(referrer)) {
                (*id, Problem::Missing(path.clone()))
            } else {
                (*id, Problem::MissingButReferred(path.clone()))
            });
        }
        Ok(Present { there, missing: problems })
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
