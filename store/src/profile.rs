//! Profiles: numbered generations (`NAME-N-link`) and a link to the current one, all symbolic links, changed atomically.
//! Nix manual, "Profiles".

use crate::error::{Error, Result};
use crate::lock::{FileLock, Mode};
use crate::open::Store;
use crate::root::replace_link;
use formats::store_path::StorePath;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A profile, by the path of its current link.
#[derive(Debug, Clone)]
pub struct Profile {
    link: PathBuf,
}

/// One generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// Its number, from 1.
    pub number: u64,
    /// Its link, `NAME-N-link`.
    pub link: PathBuf,
    /// Where the link points: a store path as the store names it.
    pub target: PathBuf,
    /// When the link was made.
    pub created: SystemTime,
}

impl Profile {
    /// The profile whose current link is at this path.
    #[must_use]
    pub fn at(link: &Path) -> Self {
        Self { link: link.to_owned() }
    }

    /// The profile of this name among the store's own: `system`, `default`.
    #[must_use]
    pub fn named(store: &Store, name: &str) -> Self {
        Self { link: store.layout().profiles().join(name) }
    }

    /// The current link.
    #[must_use]
    pub fn link(&self) -> &Path {
        &self.link
    }

    fn directory(&self) -> &Path {
        self.link.parent().unwrap_or(Path::new("."))
    }

    fn name(&self) -> String {
        self.link.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn generation_link(&self, number: u64) -> PathBuf {
        self.directory().join(format!("{}-{number}-link", self.name()))
    }

    fn lock(&self) -> Result<FileLock> {
        fs::create_dir_all(self.directory()).map_err(Error::file("creating", self.directory()))?;
        let mut name = self.link.as_os_str().to_owned();
        name.push(".lock");
        let lock = FileLock::open(Path::new(&name))?;
        lock.acquire(Mode::Exclusive)?;
        Ok(lock)
    }

    /// All generations, ascending.
    pub fn generations(&self) -> Result<Vec<Generation>> {
        let prefix = format!("{}-", self.name());
        let entries = match fs::read_dir(self.directory()) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::file("reading directory", self.directory())(error)),
        };
        let mut generations = Vec::new();
        for entry in entries {
            let entry = entry.map_err(Error::file("reading directory", self.directory()))?;
            let name = entry.file_name();
            let number = name
                .to_str()
                .and_then(|name| name.strip_prefix(&prefix))
                .and_then(|rest| rest.strip_suffix("-link"))
                .and_then(|number| number.parse().ok());
            let Some(number) = number else { continue };
            let link = entry.path();
            let target = fs::read_link(&link).map_err(Error::file("reading link", &link))?;
            let created = fs::symlink_metadata(&link)
                .and_then(|found| found.modified())
                .map_err(Error::file("examining", &link))?;
            generations.push(Generation { number, link, target, created });
        }
        generations.sort_by_key(|generation| generation.number);
        Ok(generations)
    }

    /// The number of the current generation, if there is one.
    pub fn current(&self) -> Result<Option<u64>> {
        let target = match fs::read_link(&self.link) {
            Ok(target) => target,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::file("reading link", &self.link)(error)),
        };
        let name = target.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(name
            .strip_prefix(&format!("{}-", self.name()))
            .and_then(|rest| rest.strip_suffix("-link"))
            .and_then(|number| number.parse().ok()))
    }

    /// Makes a valid path the current generation, a new one unless the last is the same. Returns its number.
    pub fn set(&self, store: &Store, path: &StorePath) -> Result<u64> {
        store.add_temp_root(path)?;
        store.path_info(path)?;
        let _lock = self.lock()?;
        let generations = self.generations()?;
        let target = PathBuf::from(store.dir().print(path));
        let number = match generations.last() {
            Some(last) if last.target == target => last.number,
            last => {
                let number = last.map_or(1, |last| last.number + 1);
                let link = self.generation_link(number);
                replace_link(&target, &link)?;
                store.add_indirect_root(&link)?;
                number
            }
        };
        self.point_to(number)?;
        Ok(number)
    }

    fn point_to(&self, number: u64) -> Result<()> {
        let link = self.generation_link(number);
        replace_link(Path::new(link.file_name().unwrap_or_default()), &self.link)
    }

    /// Makes an existing generation the current one.
    pub fn switch(&self, number: u64) -> Result<()> {
        let _lock = self.lock()?;
        let generations = self.generations()?;
        if !generations.iter().any(|generation| generation.number == number) {
            let known: Vec<String> =
                generations.iter().map(|generation| generation.number.to_string()).collect();
            return Err(Error::Invalid(format!(
                "profile `{}` has no generation {number}; it has {}",
                self.link.display(),
                if known.is_empty() { "none".to_owned() } else { known.join(", ") }
            )));
        }
        self.point_to(number)
    }

    /// Makes the generation before the current one current. Returns its number.
    pub fn rollback(&self) -> Result<u64> {
        let current = self.current()?.unwrap_or(u64::MAX);
        let before = self.generations()?.into_iter().rfind(|generation| generation.number < current);
        let Some(before) = before else {
            return Err(Error::Invalid(format!(
                "profile `{}` has no generation before the current one",
                self.link.display()
            )));
        };
        self.switch(before.number)?;
        Ok(before.number)
    }

    /// Deletes generations; the current one never. What they kept is garbage then.
    pub fn delete(&self, numbers: &[u64]) -> Result<()> {
        let _lock = self.lock()?;
        let current = self.current()?;
        for number in numbers {
            if Some(*number) == current {
                return Err(Error::Invalid(format!(
                    "cannot delete generation {number} of `{}`: it is the current one",
                    self.link.display()
                )));
            }
            let link = self.generation_link(*number);
            fs::remove_file(&link).map_err(Error::file("deleting generation", &link))?;
        }
        crate::tree::sync_directory(self.directory())
    }
}
