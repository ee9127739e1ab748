//! Where a derivation is built: here, on a machine that builds for us, or later. Machines come first, as in Nix; what prefers
//! to be built here, what is built again to compare, and what machines have no room for is built here.

use super::attributes::Attributes;
use super::machines::{self, Choice, Slot};
use super::room::{Place, Room};
use super::schedule::Goal;
use super::{BuildOptions, FailureKind, one};
use crate::open::Store;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How often we look whether other programs have left a machine.
const PATIENCE: Duration = Duration::from_secs(1);

/// Who builds where at the moment.
#[derive(Debug, Default)]
pub(super) struct Sites {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// How many builds are here.
    here: usize,
    /// The addresses of machines that did not answer.
    silent: BTreeSet<String>,
}

/// Where a derivation is to be built.
#[derive(Debug)]
pub(super) enum Site<'a> {
    /// Here; the place is taken until it is dropped.
    Here(Seat<'a>),
    /// On a machine.
    There(Slot<'a>),
}

/// A place for a build here.
#[derive(Debug)]
pub(super) struct Seat<'a> {
    sites: &'a Sites,
    _place: Option<Place>,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut state = self.sites.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.here = state.here.saturating_sub(1);
        drop(state);
        self.sites.changed.notify_all();
    }
}

impl Sites {
    /// Leaves a machine out from now on.
    pub(super) fn leave_out(&self, machine: &str) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).silent.insert(machine.to_owned());
    }

    /// A place on a machine is free again.
    pub(super) fn freed(&self) {
        self.changed.notify_all();
    }

    /// Waits until the goal can be built somewhere; an error if it never can.
    pub(super) fn find<'a>(
        &'a self,
        store: &Store,
        goal: &Goal,
        options: &'a BuildOptions,
    ) -> Result<Site<'a>, FailureKind> {
        let attributes = Attributes::of(&goal.derivation)?;
        let supported = one::check_supported(goal, options, &attributes);
        let prefers_here = goal.check
            || goal.derivation.is_builtin()
            || (supported.is_ok() && attributes.flag("preferLocalBuild"));
        let allowed_here = supported.is_ok() && (options.max_jobs > 0 || prefers_here);
        let required = attributes.required_features();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if options.cancel.load(Ordering::SeqCst) {
                return Err(FailureKind::Cancelled);
            }
            let usable = |name: &str| !state.silent.contains(name);
            let choice = if prefers_here || options.machines.is_empty() {
                Choice::Nowhere
            } else {
                let (drv, ours) = (&goal.derivation, &options.systems);
                machines::choose(&options.machines, usable, &store.layout, drv, &required, ours)?
            };
            if let Choice::There(slot) = choice {
                return Ok(Site::There(slot));
            }
            if allowed_here && state.here < options.max_jobs.max(1) {
                let place = options.room.as_ref().map(Room::enter);
                if let Some(None) = place {
                    drop(state);
                    options.room.iter().for_each(|room| room.wait(PATIENCE));
                    state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                    continue;
                }
                state.here += 1;
                return Ok(Site::Here(Seat { sites: self, _place: place.flatten() }));
            }
            if !allowed_here && matches!(choice, Choice::Nowhere) {
                supported?;
                return Err(FailureKind::Unsupported(nobody(goal, options, &required)));
            }
            state = self
                .changed
                .wait_timeout(state, PATIENCE)
                .map_or_else(|error| error.into_inner().0, |(state, _)| state);
        }
    }
}

/// Why nobody builds it.
fn nobody(goal: &Goal, options: &BuildOptions, required: &BTreeSet<String>) -> String {
    let platform = String::from_utf8_lossy(&goal.derivation.platform);
    let features: Vec<&str> = required.iter().map(String::as_str).collect();
    let wish = match features.as_slice() {
        [] => format!("type `{platform}`"),
        features => format!("type `{platform}` with {}", features.join(", ")),
    };
    if options.machines.is_empty() {
        return "unable to start any build: `max-jobs` is 0 and `builders` names no machine".to_owned();
    }
    format!(
        "failed to find a machine for remote build of {wish}: none of `builders` is one that answers, and `max-jobs` is 0"
    )
}
