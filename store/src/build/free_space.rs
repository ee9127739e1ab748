//! Room while builds run and before additions: when less than `min-free` bytes are left, garbage is collected until `max-free`
//! are. nix.conf(5), "min-free", "max-free", "min-free-check-interval". Builds go on meanwhile, as with any collection.

use super::BuildOptions;
use crate::error::{Error, Result};
use crate::garbage::CollectOptions;
use crate::open::Store;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// When to make room, and how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreeSpace {
    /// Collect when less than this is free, in bytes.
    pub min: u64,
    /// Stop when this is free.
    pub max: u64,
    /// How often to look.
    pub interval: Duration,
    /// What such a collection keeps.
    pub keep_outputs: bool,
    /// What such a collection keeps.
    pub keep_derivations: bool,
}

/// What additions remember of the last time that one of them looked.
#[derive(Debug, Default)]
pub(crate) struct LastLook {
    at: Option<Instant>,
    after_last: Option<u64>,
}

impl Store {
    /// Makes room for what is about to be added, if that is wanted and nobody looked just now. What cannot be freed is no reason
    /// not to try the addition.
    pub(crate) fn make_room(&self) {
        let Some(wanted) = self.options.free_space.as_ref().filter(|_| self.remote.is_none()) else { return };
        // Who adds while another looks does not wait for it.
        let Ok(mut last) = self.last_look.try_lock() else { return };
        if last.at.is_some_and(|at| at.elapsed() < wanted.interval) {
            return;
        }
        last.at = Some(Instant::now());
        if let Err(error) = make_room(self, wanted, &mut last.after_last) {
            log::warn!("making room in the store: {error}");
        }
    }
}

/// Tells the watch that the builds are over.
#[derive(Debug, Default)]
pub(super) struct Ended {
    ended: Mutex<bool>,
    changed: Condvar,
}

impl Ended {
    /// Ends the watch.
    pub(super) fn set(&self) {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Waits so long; whether the builds are over.
    fn wait(&self, time: Duration) -> bool {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let (ended, _) = self
            .changed
            .wait_timeout_while(ended, time, |ended| !*ended)
            .unwrap_or_else(PoisonError::into_inner);
        *ended
    }
}

/// Looks at once and then in every interval, until the builds are over or a collection found nothing to delete.
pub(super) fn watch(store: &Store, options: &BuildOptions, wanted: &FreeSpace, ended: &Ended) {
    let mut after_last = None;
    loop {
        match make_room(store, wanted, &mut after_last) {
            Ok(()) => {}
            Err(error) => {
                log::warn!("making room in the store: {error}");
                return;
            }
        }
        if ended.wait(wanted.interval) || options.cancel.load(std::sync::atomic::Ordering::SeqCst) {
            return;
        }
    }
}

fn make_room(store: &Store, wanted: &FreeSpace, after_last: &mut Option<u64>) -> Result<()> {
    let free = free(store)?;
    // What the last collection could not free is not there: only when much has been used since, one more is worth it.
    if free >= wanted.min || free >= wanted.max || after_last.is_some_and(|last| free > last / 100 * 97) {
        return Ok(());
    }
    log::info!("{free} bytes are free, fewer than {}: collecting garbage", wanted.min);
    let options = CollectOptions {
        max_freed: Some(wanted.max - free),
        keep_outputs: wanted.keep_outputs,
        keep_derivations: wanted.keep_derivations,
        ..CollectOptions::default()
    };
    let collected = store.collect_garbage(&options)?;
    log::info!("{} paths deleted, {} bytes freed", collected.paths.len(), collected.freed);
    *after_last = Some(self::free(store)?);
    Ok(())
}

/// The bytes that are free for us on the store's file system.
fn free(store: &Store) -> Result<u64> {
    let place = &store.layout().real_store;
    // Nix's functional tests say here how much is free.
    if let Some(file) = std::env::var_os("_NIX_TEST_FREE_SPACE_FILE") {
        let text = std::fs::read_to_string(&file).map_err(Error::file("reading", &file))?;
        return text.trim().parse().map_err(|_| Error::Invalid(format!("`{text}` is no number of bytes")));
    }
    let found = rustix::fs::statvfs(place).map_err(Error::call("examining", place))?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}
