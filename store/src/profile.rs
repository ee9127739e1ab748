//! Profiles: numbered generations (`NAME-N-link`) and a link to the current one, all symbolic links, changed atomically.
//! Nix manual, "Profiles". Beside a generation's link there may be two files of ours, which Nix passes over: `NAME-N-pin` keeps it from
//! being deleted as old, `NAME-N-label` is what its owner calls it.

use crate::error::{Error, Result};
use crate::lock::{FileLock, Mode};
use crate::open::Store;
use crate::root::replace_link;
use formats::store_path::StorePath;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The notes' kinds.
const PIN: &str = "pin";
const LABEL: &str = "label";

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
    /// Whether its owner wants it kept.
    pub pinned: bool,
    /// What its owner calls it.
    pub label: Option<String>,
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

    /// A file beside a generation's link.
    fn note(&self, number: u64, kind: &str) -> PathBuf {
        self.directory().join(format!("{}-{number}-{kind}", self.name()))
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
            let pinned = self.note(number, PIN).exists();
            let label = fs::read_to_string(self.note(number, LABEL)).ok();
            generations.push(Generation { number, link, target, created, pinned, label });
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

    /// The generation of that number, or an error that says which there are.
    fn generation(&self, number: u64) -> Result<Generation> {
        let generations = self.generations()?;
        let known: Vec<String> = generations.iter().map(|generation| generation.number.to_string()).collect();
        generations.into_iter().find(|generation| generation.number == number).ok_or_else(|| {
            Error::Invalid(format!(
                "profile `{}` has no generation {number}; it has {}",
                self.link.display(),
                if known.is_empty() { "none".to_owned() } else { known.join(", ") }
            ))
        })
    }

    /// Makes an existing generation the current one.
    pub fn switch(&self, number: u64) -> Result<()> {
        let _lock = self.lock()?;
        self.generation(number)?;
        self.point_to(number)
    }

    /// Keeps a generation from being deleted, or no longer.
    pub fn pin(&self, number: u64, pinned: bool) -> Result<()> {
        self.write_note(number, PIN, pinned.then_some(""))
    }

    /// Gives a generation a name, or takes it away.
    pub fn set_label(&self, number: u64, label: Option<&str>) -> Result<()> {
        if label.is_some_and(|label| label.chars().any(char::is_control)) {
            return Err(Error::Invalid("a generation's label is one line of text".to_owned()));
        }
        self.write_note(number, LABEL, label)
    }

    fn write_note(&self, number: u64, kind: &str, text: Option<&str>) -> Result<()> {
        let _lock = self.lock()?;
        self.generation(number)?;
        let note = self.note(number, kind);
        match text {
            Some(text) => {
                let draft = self.note(number, &format!("{kind}.tmp"));
                fs::write(&draft, text).map_err(Error::file("writing", &draft))?;
                fs::rename(&draft, &note).map_err(Error::file("writing", &note))?;
            }
            None => remove_if_there(&note)?,
        }
        crate::tree::sync_directory(self.directory())
    }

    /// Generations that nothing wants: neither current nor pinned and, if an age is given, not current within it.
    pub fn old_generations(&self, age: Option<Duration>) -> Result<Vec<u64>> {
        let limit = match age {
            Some(age) => Some(SystemTime::now().checked_sub(age).ok_or_else(|| {
                Error::Invalid(format!("an age of {} seconds is before all time", age.as_secs()))
            })?),
            None => None,
        };
        let current = self.current()?;
        let generations = self.generations()?;
        let mut old = Vec::new();
        for (index, generation) in generations.iter().enumerate() {
            // It was current until the next one was made.
            let ended = generations.get(index + 1).map_or(generation.created, |next| next.created);
            let is_old = limit.is_none_or(|limit| ended < limit);
            if is_old && !generation.pinned && Some(generation.number) != current {
                old.push(generation.number);
            }
        }
        Ok(old)
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
            if self.note(*number, PIN).exists() {
                return Err(Error::Invalid(format!(
                    "cannot delete generation {number} of `{}`: it is pinned; `firn profile unpin {number}` allows it",
                    self.link.display()
                )));
            }
        }
        for number in numbers {
            let link = self.generation_link(*number);
            fs::remove_file(&link).map_err(Error::file("deleting generation", &link))?;
            remove_if_there(&self.note(*number, LABEL))?;
        }
        crate::tree::sync_directory(self.directory())
    }
}

fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::file("deleting", path)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// A store, a profile of three generations, and their paths.
    fn three() -> (tempfile::TempDir, Store, Profile, Vec<StorePath>) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let profile = Profile::named(&store, "tools");
        let paths: Vec<StorePath> = ["one", "two", "three"]
            .map(|name| store.add_text(name, name.as_bytes(), &BTreeSet::new()).unwrap())
            .into();
        for (path, number) in paths.iter().zip(1..) {
            assert_eq!(profile.set(&store, path).unwrap(), number);
        }
        (directory, store, profile, paths)
    }

    fn numbers(profile: &Profile) -> Vec<u64> {
        profile.generations().unwrap().into_iter().map(|generation| generation.number).collect()
    }

    #[test]
    fn generations_are_set_switched_and_rolled_back() {
        let (_directory, store, profile, paths) = three();
        assert_eq!(profile.set(&store, &paths[2]).unwrap(), 3, "the same again is no new generation");
        assert_eq!((numbers(&profile), profile.current().unwrap()), (vec![1, 2, 3], Some(3)));
        assert_eq!(profile.rollback().unwrap(), 2);
        profile.switch(1).unwrap();
        let error = profile.rollback().unwrap_err().to_string();
        assert!(error.contains("no generation before"), "{error}");
        let error = profile.switch(9).unwrap_err().to_string();
        assert!(error.contains("no generation 9; it has 1, 2, 3"), "{error}");
        assert_eq!(profile.set(&store, &paths[0]).unwrap(), 4, "a new generation comes after the newest");
        let missing = store.dir().make_text_path("none", b"", &BTreeSet::new()).unwrap();
        assert!(profile.set(&store, &missing).is_err(), "what is not valid becomes no generation");
        assert_eq!(profile.current().unwrap(), Some(4));
    }

    #[test]
    fn what_is_deleted_is_garbage_then_and_the_current_one_stays() {
        let (directory, store, profile, paths) = three();
        drop(store);
        let store = Store::open(directory.path()).unwrap();
        let error = profile.delete(&[1, 3]).unwrap_err().to_string();
        assert!(error.contains("the current one"), "{error}");
        assert_eq!(numbers(&profile), [1, 2, 3], "nothing goes when one must stay");
        profile.delete(&[1]).unwrap();
        store.collect_garbage(&crate::CollectOptions::default()).unwrap();
        let valid: Vec<bool> = paths.iter().map(|path| store.is_valid(path).unwrap()).collect();
        assert_eq!(valid, [false, true, true]);
    }

    #[test]
    fn pinned_generations_are_kept_and_labels_are_remembered() {
        let (_directory, _store, profile, _) = three();
        profile.pin(1, true).unwrap();
        profile.set_label(2, Some("before the move")).unwrap();
        assert!(profile.set_label(2, Some("two\nlines")).is_err());
        assert!(profile.pin(7, true).is_err(), "only what there is can be pinned");
        let found = profile.generations().unwrap();
        let notes: Vec<_> = found.iter().map(|found| (found.pinned, found.label.as_deref())).collect();
        assert_eq!(notes, [(true, None), (false, Some("before the move")), (false, None)]);
        assert_eq!(profile.old_generations(None).unwrap(), [2]);
        assert_eq!(profile.old_generations(Some(Duration::from_secs(3600))).unwrap(), [0; 0]);
        let error = profile.delete(&[1]).unwrap_err().to_string();
        assert!(error.contains("firn profile unpin 1"), "{error}");
        profile.pin(1, false).unwrap();
        profile.delete(&[1, 2]).unwrap();
        assert_eq!(numbers(&profile), [3]);
        let mut left: Vec<_> = fs::read_dir(profile.directory())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with("tools"))
            .collect();
        left.sort();
        assert_eq!(left, ["tools", "tools-3-link", "tools.lock"]);
    }
}
