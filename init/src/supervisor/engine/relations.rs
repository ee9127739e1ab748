//! What a unit's state means for others without anybody asking: Upholds=, BindsTo=, StopWhenUnneeded= (systemd.unit(5)).

use super::Step;
use super::unit_state::JobKind;
use formats::control::ActiveState;
use formats::service_graph::key::{Key, flag};
use std::collections::BTreeSet;

/// So often within [`PULL_INTERVAL`] a unit is started because another one upholds it, failed or succeeded.
pub const PULL_BURST: u32 = 16;
/// In microseconds.
pub const PULL_INTERVAL: u64 = 10_000_000;

impl Step<'_, '_> {
    /// What hangs on units that changed. Says whether there are jobs to run.
    pub(crate) fn settle(&mut self) -> bool {
        for index in std::mem::take(&mut self.state.lost) {
            for bound in self.listed(index, Key::BoundBy) {
                if !self.is_down_or_stopping(bound) {
                    self.request(bound, JobKind::Stop);
                }
            }
        }
        let touched = std::mem::take(&mut self.state.touched);
        let mut concerned = BTreeSet::new();
        for unit in touched.into_iter().filter_map(|index| self.unit(index)) {
            concerned.insert(unit.index());
            for key in [Key::Wants, Key::Requires, Key::Requisite, Key::BindsTo, Key::Upholds, Key::BoundBy] {
                concerned.extend(unit.units(key));
            }
        }
        for index in concerned {
            self.stop_if_unneeded(index);
            self.stop_if_bound(index);
            self.start_if_upheld(index);
        }
        !self.state.queue.is_empty() || !self.state.touched.is_empty()
    }

    /// Upholds=: what went down comes back as long as one who upholds it is up. A unit that came down by its start limit does
    /// not: it would go on for ever.
    fn start_if_upheld(&mut self, index: u32) {
        let Some(unit) = self.unit(index).filter(|unit| unit.has(Key::UpheldBy)) else { return };
        let state = self.get(index);
        if !state.is_down() || state.job.is_some() || state.limit_hit {
            return;
        }
        let mut upholders = unit.units(Key::UpheldBy).map(|by| self.get(by));
        if upholders.any(|by| by.is_up() && by.job.is_none()) && self.state.shutdown.is_none() {
            self.start_by_itself(index);
        }
    }

    /// Starts a unit because of what another one did. Not without end: units that chase each other would keep the machine busy.
    pub(crate) fn start_by_itself(&mut self, index: u32) {
        let now = self.now;
        let mut is_too_often = false;
        self.with(index, |state| {
            if now.saturating_sub(state.pulled_since) >= PULL_INTERVAL {
                (state.pulled_since, state.pulled) = (now, 0);
            }
            is_too_often = state.pulled >= PULL_BURST;
            state.pulled += 1;
            state.held = false;
        });
        if !is_too_often {
            self.request(index, JobKind::Start);
        }
    }

    /// BindsTo=: nothing stays up without what it is bound to.
    fn stop_if_bound(&mut self, index: u32) {
        let Some(unit) = self.unit(index).filter(|unit| unit.has(Key::BindsTo)) else { return };
        let state = self.get(index);
        if state.phase.active() == ActiveState::Active && state.job.is_none() {
            let mut bindings = unit.units(Key::BindsTo).map(|to| self.get(to));
            if bindings.any(|to| to.is_down() && to.job.is_none()) {
                self.request(index, JobKind::Stop);
            }
        }
    }

    /// StopWhenUnneeded=.
    fn stop_if_unneeded(&mut self, index: u32) {
        let Some(unit) = self.unit(index).filter(|unit| unit.flag(flag::STOP_WHEN_UNNEEDED)) else { return };
        let state = self.get(index);
        if state.phase.active() != ActiveState::Active || state.job.is_some() {
            return;
        }
        let is_needed = [Key::WantedBy, Key::RequiredBy, Key::RequisiteOf, Key::BoundBy, Key::UpheldBy]
            .into_iter()
            .flat_map(|key| unit.units(key))
            .any(|by| !self.get(by).is_down() || self.get(by).job.is_some());
        if !is_needed {
            self.request(index, JobKind::Stop);
        }
    }
}
