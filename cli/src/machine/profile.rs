//! The system profile, through the store. Opening a store whose mount is read-only gives the thread a mount namespace of
//! its own, which must not be inherited by an activation; so every access has a thread to itself.

use super::Machine;
use anyhow::{Context as _, Result, anyhow};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use store::Store;
use store::profile::{Generation, Profile};

/// The profile's name.
pub(crate) const SYSTEM: &str = "system";

impl Machine {
    fn with_store<T: Send>(&self, work: impl FnOnce(&Store, &Profile) -> Result<T> + Send) -> Result<T> {
        let root = self.root();
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                let store =
                    Store::open(root).with_context(|| format!("the store below {}", root.display()))?;
                let profile = Profile::named(&store, SYSTEM);
                work(&store, &profile)
            });
            thread.join().map_err(|_| anyhow!("the store's thread ended unexpectedly"))?
        })
    }

    /// The system's profile.
    pub(crate) fn profile(&self) -> Profile {
        Profile::at(&self.place("/nix/var/nix/profiles").join(SYSTEM))
    }

    /// All generations, ascending; an empty list when there is no profile yet.
    pub(crate) fn generations(&self) -> Result<Vec<Generation>> {
        Ok(self.profile().generations()?)
    }

    /// The number that the profile names.
    pub(crate) fn current_generation(&self) -> Result<Option<u64>> {
        Ok(self.profile().current()?)
    }

    /// Makes a toplevel the newest generation, unless it is that already.
    pub(crate) fn set_profile(&self, toplevel: &Path) -> Result<u64> {
        self.with_store(|store, profile| {
            let path = store.dir().parse(&toplevel.to_string_lossy())?;
            Ok(profile.set(store, &path)?)
        })
    }

    /// Makes an existing generation the current one.
    pub(crate) fn point_profile(&self, number: u64) -> Result<()> {
        Ok(self.profile().switch(number)?)
    }

    /// Undoes [`Machine::set_profile`]: back to the generation before; the new one goes when it was made for this.
    pub(crate) fn restore_profile(&self, before: Option<u64>, number: u64) -> Result<()> {
        let Some(before) = before.filter(|before| *before != number) else { return Ok(()) };
        let profile = self.profile();
        profile.switch(before)?;
        // Only a generation newer than all others was made by us.
        if profile.generations()?.last().is_some_and(|last| last.number == number && number > before) {
            profile.delete(&[number])?;
        }
        Ok(())
    }

    /// Deletes generations.
    pub(crate) fn delete_generations(&self, numbers: &[u64]) -> Result<()> {
        Ok(self.profile().delete(numbers)?)
    }

    /// Everything that a toplevel needs, by name.
    pub(crate) fn closure(&self, toplevel: &Path) -> Result<BTreeSet<String>> {
        self.with_store(|store, _| {
            let path = store.dir().parse(&toplevel.to_string_lossy())?;
            let closure = store.closure([path])?;
            Ok(closure.iter().map(|path| path.base_name().to_owned()).collect())
        })
    }

    /// The toplevel of a generation.
    pub(crate) fn toplevel_of(&self, number: u64) -> Result<PathBuf> {
        let generations = self.generations()?;
        let found = generations.into_iter().find(|generation| generation.number == number);
        found.map(|generation| generation.target).with_context(|| format!("there is no generation {number}"))
    }
}
