//! From a request to jobs: what else has to start, stop or restart with a unit (systemd.unit(5), "Mapping of unit properties
//! to their inverses" and the requirement kinds).

use super::Step;
use super::unit_state::{Job, JobKind, JobResult};
use formats::service_graph::key::Key;
use std::collections::BTreeSet;

impl Step<'_, '_> {
    /// Makes the jobs that a request needs.
    pub(crate) fn request(&mut self, unit: u32, kind: JobKind) {
        if self.unit(unit).is_none() || (self.state.shutdown.is_some() && kind != JobKind::Stop) {
            self.emit(super::Effect::JobDone { unit, kind, result: JobResult::Refused });
            return;
        }
        match kind {
            JobKind::Start => self.start_with_needs(unit),
            JobKind::Stop => self.stop_with_dependents(unit, JobKind::Stop),
            JobKind::Restart if self.get(unit).is_down() => self.start_with_needs(unit),
            JobKind::Restart => {
                self.start_needs_of(unit);
                self.stop_with_dependents(unit, JobKind::Restart);
            }
            JobKind::TryRestart if self.get(unit).is_down() => {
                self.emit(super::Effect::JobDone { unit, kind, result: JobResult::Done });
            }
            JobKind::TryRestart => self.stop_with_dependents(unit, JobKind::Restart),
            JobKind::Reload => {
                self.install(unit, JobKind::Reload);
                for other in self.listed(unit, Key::PropagatesReloadTo) {
                    if self.get(other).is_up() {
                        self.install(other, JobKind::Reload);
                    }
                }
            }
        }
    }

    /// A start job for the unit and all that it requires, wants, binds to and upholds; stop jobs for what it conflicts with.
    fn start_with_needs(&mut self, first: u32) {
        let mut seen = BTreeSet::new();
        seen.insert(first);
        let mut pending = vec![first];
        while let Some(unit) = pending.pop() {
            for key in [Key::Conflicts, Key::ConflictedBy] {
                for other in self.listed(unit, key) {
                    if !self.get(other).is_down()
                        || self.get(other).job.is_some_and(|job| job.kind != JobKind::Stop)
                    {
                        self.stop_with_dependents(other, JobKind::Stop);
                    }
                }
            }
            for key in [Key::Requires, Key::BindsTo, Key::Wants, Key::Upholds] {
                for other in self.listed(unit, key) {
                    // What an administrator stopped, a mere wish does not bring back.
                    let is_wish = matches!(key, Key::Wants | Key::Upholds);
                    if !(is_wish && self.get(other).held) && seen.insert(other) {
                        pending.push(other);
                    }
                }
            }
        }
        for unit in seen {
            if unit == first || !self.get(unit).is_up() || self.get(unit).job.is_some() {
                self.install(unit, JobKind::Start);
            }
        }
    }

    /// What a unit needs, when it is to be restarted itself.
    fn start_needs_of(&mut self, unit: u32) {
        for key in [Key::Requires, Key::BindsTo] {
            for other in self.listed(unit, key) {
                if !self.get(other).is_up() {
                    self.start_with_needs(other);
                }
            }
        }
    }

    /// A stop (or restart) job for the unit and all that cannot be without it.
    pub(crate) fn stop_with_dependents(&mut self, first: u32, kind: JobKind) {
        let mut seen = BTreeSet::new();
        seen.insert(first);
        let mut pending = vec![first];
        while let Some(unit) = pending.pop() {
            for key in [Key::RequiredBy, Key::BoundBy, Key::ConsistsOf, Key::PropagatesStopTo] {
                if key == Key::PropagatesStopTo && kind == JobKind::Restart {
                    continue;
                }
                for other in self.listed(unit, key) {
                    let is_concerned = !self.get(other).is_down()
                        || self.get(other).job.is_some_and(|job| job.kind != JobKind::Stop);
                    if is_concerned && seen.insert(other) {
                        pending.push(other);
                    }
                }
            }
        }
        for unit in seen {
            self.install(unit, kind);
        }
    }

    /// Gives a unit a job, in place of the one that it has.
    pub(crate) fn install(&mut self, unit: u32, kind: JobKind) {
        match self.get(unit).job {
            Some(job) if job.kind == kind => return,
            // A restart that is pending brings it up as well; a start that is pending reads its configuration anyway.
            Some(Job { kind: JobKind::Restart, .. }) if kind == JobKind::Start => return,
            Some(Job { kind: JobKind::Start | JobKind::Restart, .. }) if kind == JobKind::Reload => return,
            Some(_) => self.finish_job(unit, JobResult::Canceled),
            None => {}
        }
        self.with(unit, |state| state.job = Some(Job { kind, running: false }));
        self.state.job_count += 1;
        self.state.queue.insert(unit);
    }
}
