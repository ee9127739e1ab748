//! Room for builds that several schedules share: what one user of the daemon may have built at a time, over all
//! connections. A schedule's own `max-jobs` comes on top of it.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// So many builds at a time.
#[derive(Debug)]
pub struct Room {
    limit: usize,
    taken: Mutex<usize>,
    left: Condvar,
}

/// A place in a room, until it is dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<Room>);

impl Room {
    /// Room for so many builds.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, taken: Mutex::new(0), left: Condvar::new() }
    }

    /// A place, if one is free.
    pub(super) fn enter(self: &Arc<Self>) -> Option<Place> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if *taken >= self.limit {
            return None;
        }
        *taken += 1;
        Some(Place(Arc::clone(self)))
    }

    /// Waits until somebody leaves, or so long.
    pub(super) fn wait(&self, patience: Duration) {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |taken: &mut usize| *taken >= self.limit;
        drop(self.left.wait_timeout_while(taken, patience, full));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        *taken = taken.saturating_sub(1);
        drop(taken);
        self.0.left.notify_one();
    }
}
