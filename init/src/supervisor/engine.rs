//! The supervisor's mind: `step(state, event) → effects`, without a system call in it. Time comes in with events, everything
//! that happens to the machine goes out as effects, so that every decision can be tested in a loop of a million.
//!
//! The rules are systemd's (systemd.unit(5), systemd.service(5), systemctl(1)): a request becomes a *transaction* of jobs
//! ([`transaction`]), a job waits for the jobs that its unit is ordered after ([`jobs`]), and a service goes through its
//! phases ([`service`]).

mod event;
pub mod jobs;
pub mod relations;
pub mod service;
mod socket;
pub mod transaction;
pub mod unit_state;

pub use event::{Effect, Event, Exit, Role, Scope};
use formats::control::{ActiveState, Shutdown};
use formats::service_graph::UnitKind;
use formats::service_graph::key::{Key, action, restart};
use formats::service_graph::view::{Graph, Unit};
use std::collections::BTreeSet;
use unit_state::{JobKind, JobResult, Outcome, Phase, UnitState};

/// How long a shutdown may take as a whole, whatever units say. In microseconds.
pub const SHUTDOWN_LIMIT: u64 = 20_000_000;

/// Everything that the supervisor knows of its units.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Unit by unit, in the order of the graph.
    pub units: Vec<UnitState>,
    /// (deadline, unit), earliest first.
    pub deadlines: BTreeSet<(u64, u32)>,
    /// The same of jobs.
    job_deadlines: BTreeSet<(u64, u32)>,
    /// Units whose job may have become runnable.
    queue: BTreeSet<u32>,
    /// Units of Type=idle whose start waits until nothing else runs.
    idle: BTreeSet<u32>,
    /// Units whose state or job changed: what hangs on them is looked at when the queue is empty.
    touched: BTreeSet<u32>,
    /// Units whose job changed since it was noted last.
    pub jobs_changed: BTreeSet<u32>,
    /// Units that went down without a job that asked for it.
    lost: BTreeSet<u32>,
    /// How the machine is being ended and when patience is over.
    pub shutdown: Option<(Shutdown, u64)>,
    /// Jobs that run now.
    running_jobs: u32,
    /// All jobs.
    pub job_count: u32,
}

/// One step's view: the state, the graph, the time, and where effects go.
#[derive(Debug)]
pub struct Step<'s, 'g> {
    pub(crate) state: &'s mut State,
    pub(crate) graph: &'s Graph<'g>,
    pub(crate) now: u64,
    pub(crate) effects: &'s mut Vec<Effect>,
}

/// Takes one event in and lets the consequences run until nothing more can be decided without the world. `now` is
/// CLOCK_BOOTTIME in microseconds.
pub fn step(state: &mut State, graph: &Graph<'_>, now: u64, event: &Event, effects: &mut Vec<Effect>) {
    let mut step = Step { state, graph, now, effects };
    step.handle(event);
    step.pass_deadlines();
    step.run_queue();
    while step.settle() {
        step.run_queue();
    }
    step.finish_shutdown();
}

impl State {
    /// A state in which everything is down.
    pub fn new(graph: &Graph<'_>) -> Self {
        Self { units: vec![UnitState::default(); graph.len() as usize], ..Self::default() }
    }

    /// Counts a job that a predecessor began.
    pub fn adopt_running_job(&mut self) {
        self.running_jobs += 1;
        self.job_count += 1;
    }

    /// Sets a unit's deadline from outside.
    pub fn set_deadline(&mut self, index: u32, at: u64) {
        if let Some(unit) = self.units.get_mut(index as usize) {
            if let Some(old) = unit.deadline.replace(at) {
                self.deadlines.remove(&(old, index));
            }
            self.deadlines.insert((at, index));
        }
    }

    /// When something has to be looked at, if nothing happens before.
    pub fn next_deadline(&self) -> Option<u64> {
        let first = |deadlines: &BTreeSet<(u64, u32)>| deadlines.first().map(|(at, _)| *at);
        first(&self.deadlines).into_iter().chain(first(&self.job_deadlines)).min()
    }

    /// Counts jobs, gathers deadlines and looks at every waiting job again, after units were put in from another graph.
    pub fn recount(&mut self) {
        let jobs =
            |running: bool| move |unit: &&UnitState| unit.job.is_some_and(|job| job.running || !running);
        self.job_count = self.units.iter().filter(jobs(false)).count() as u32;
        self.running_jobs = self.units.iter().filter(jobs(true)).count() as u32;
        let indexed = || self.units.iter().enumerate();
        // Element by element: what `collect` would sort first is as large as the rest of the engine's sets.
        self.deadlines = BTreeSet::new();
        self.deadlines.extend(indexed().filter_map(|(index, unit)| Some((unit.deadline?, index as u32))));
        self.job_deadlines = BTreeSet::new();
        self.job_deadlines
            .extend(indexed().filter_map(|(index, unit)| Some((unit.job_deadline?, index as u32))));
        self.idle = BTreeSet::new();
        self.queue = BTreeSet::new();
        self.queue.extend(indexed().filter(|(_, unit)| unit.job.is_some()).map(|(index, _)| index as u32));
    }

    /// One unit's state; an index that is not in the graph gives that of a unit that is down.
    pub fn unit(&self, index: u32) -> &UnitState {
        const NONE: &UnitState = &UnitState::DOWN;
        self.units.get(index as usize).unwrap_or(NONE)
    }
}

impl<'g> Step<'_, 'g> {
    pub(crate) fn unit(&self, index: u32) -> Option<Unit<'g>> {
        self.graph.unit(index)
    }

    pub(crate) fn get(&self, index: u32) -> &UnitState {
        self.state.unit(index)
    }

    /// Changes a unit's state; nothing happens for an index that is not in the graph.
    pub(crate) fn with(&mut self, index: u32, change: impl FnOnce(&mut UnitState)) {
        if let Some(unit) = self.state.units.get_mut(index as usize) {
            change(unit);
        }
    }

    pub(crate) fn emit(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// The units that a unit names under a key.
    pub(crate) fn listed(&self, index: u32, key: Key) -> Vec<u32> {
        self.unit(index).map(|unit| unit.units(key).collect()).unwrap_or_default()
    }

    /// Sets or clears the time at which the unit's present phase is over.
    pub(crate) fn set_deadline(&mut self, index: u32, deadline: Option<u64>) {
        if let Some(old) = self.get(index).deadline {
            self.state.deadlines.remove(&(old, index));
        }
        let deadline = deadline.filter(|at| *at != u64::MAX);
        self.with(index, |unit| unit.deadline = deadline);
        if let Some(at) = deadline {
            self.state.deadlines.insert((at, index));
        }
    }

    /// Puts a unit into a phase.
    pub(crate) fn enter(&mut self, index: u32, phase: Phase) {
        let now = self.now;
        let old = self.get(index).phase;
        self.with(index, |unit| {
            if phase == Phase::Checking {
                unit.begun = now;
            } else if old.active() == ActiveState::Activating && phase.active() == ActiveState::Active {
                unit.took = now.saturating_sub(unit.begun).max(1);
            }
            unit.phase = phase;
            unit.since = now;
        });
        self.emit(Effect::Changed { unit: index });
        if old.active() == phase.active() {
            return;
        }
        self.state.touched.insert(index);
        let job = self.get(index).job;
        if job.is_some_and(|job| !job.running) {
            self.state.queue.insert(index);
        }
        // A stop or restart under way wants this; a job that has not begun will see.
        let is_expected = job.is_some_and(|job| !(job.running && job.kind == JobKind::Start));
        let is_loss =
            matches!(phase.active(), ActiveState::Deactivating | ActiveState::Inactive | ActiveState::Failed)
                && matches!(
                    old.active(),
                    ActiveState::Active | ActiveState::Activating | ActiveState::Reloading
                )
                && old != Phase::Checking;
        if is_loss && !is_expected {
            self.state.lost.insert(index);
        }
    }

    fn handle(&mut self, event: &Event) {
        match *event {
            Event::Request { unit, kind } => self.request(unit, kind),
            Event::Conditions { unit, verdict } => self.conditions_known(unit, verdict),
            Event::Spawned { unit, role, pid } => self.with(unit, |state| {
                match role {
                    Role::Main => state.main_pid = pid,
                    Role::Control => state.control_pid = pid,
                }
                state.populated = true;
            }),
            Event::SpawnFailed { unit, role } => self.spawn_failed(unit, role),
            Event::Exited { unit, role, exit } => match self.unit(unit).map(|unit| unit.kind()) {
                Some(UnitKind::Service | UnitKind::Socket) => self.service_exited(unit, role, exit),
                Some(UnitKind::Mount | UnitKind::Swap) => self.mount_exited(unit, exit),
                _ => {}
            },
            Event::OutOfMemory { unit } => {
                if !self.get(unit).is_down() {
                    self.note(unit, Outcome::OomKill);
                }
            }
            Event::CgroupEmpty { unit } => self.cgroup_empty(unit),
            Event::MainPid { unit, pid } => self.main_pid_known(unit, pid),
            Event::Ready { unit } => self.service_ready(unit),
            Event::Reloading { unit } => {
                if self.get(unit).phase == Phase::Running {
                    self.enter(unit, Phase::Reload);
                }
            }
            Event::Stopping { unit } => {
                if matches!(self.get(unit).phase, Phase::Running | Phase::Reload) {
                    let timeout = self.stop_timeout(unit);
                    self.enter(unit, Phase::StopSigterm);
                    self.set_deadline(unit, timeout);
                }
            }
            Event::Alive { unit } => self.feed_watchdog(unit),
            Event::Extend { unit, span } => {
                if self.get(unit).deadline.is_some() {
                    self.set_deadline(unit, Some(self.now.saturating_add(span)));
                }
            }
            Event::Armed { unit, worked } => self.armed(unit, worked),
            Event::Fired { unit } => self.fired(unit),
            Event::Executed { unit } => self.service_executed(unit),
            Event::TriggeredTooOften { unit } => {
                if self.get(unit).phase == Phase::Armed {
                    self.emit(Effect::Disarm { unit });
                    self.with(unit, |state| state.outcome = Outcome::TriggerLimit);
                    self.down(unit, Phase::Failed);
                }
            }
            Event::ResetFailed { unit } => self.reset_failed(unit),
            Event::Shutdown { how } => self.begin_shutdown(how),
            Event::Tick => {}
        }
    }

    /// Everything whose time has come.
    fn pass_deadlines(&mut self) {
        let is_over = |deadlines: &BTreeSet<(u64, u32)>, now: u64| {
            deadlines.first().copied().filter(|(at, _)| *at <= now).map(|(_, unit)| unit)
        };
        while let Some(unit) = is_over(&self.state.deadlines, self.now) {
            self.set_deadline(unit, None);
            self.deadline_passed(unit);
        }
        // The unit itself goes on where it is (systemd.unit(5), JobTimeoutSec=).
        while let Some(unit) = is_over(&self.state.job_deadlines, self.now) {
            self.state.job_deadlines.pop_first();
            self.finish_job(unit, JobResult::Timeout);
            self.act(unit, Key::JobTimeoutAction);
        }
    }

    /// FailureAction= and its kin: what a unit's fate means for the machine.
    pub(crate) fn act(&mut self, index: u32, key: Key) {
        let code = self.unit(index).and_then(|unit| unit.number(key)).unwrap_or(0);
        let Some(how) = Shutdown::from_number((code & !action::FORCE) as u32) else { return };
        if self.state.shutdown.is_some() {
            return;
        }
        self.begin_shutdown(how);
        if code & action::FORCE != 0 {
            self.state.shutdown = Some((how, self.now));
        }
    }

    fn reset_failed(&mut self, index: u32) {
        self.with(index, |unit| {
            unit.starts.clear();
            unit.limit_hit = false;
            unit.restarts = 0;
        });
        if self.get(index).phase == Phase::Failed {
            self.with(index, |unit| unit.outcome = Outcome::Success);
            self.enter(index, Phase::Dead);
        }
    }

    /// Stops everything, in the reverse of the order in which it was started.
    fn begin_shutdown(&mut self, how: Shutdown) {
        if self.state.shutdown.is_some() {
            return;
        }
        self.state.shutdown = Some((how, self.now.saturating_add(SHUTDOWN_LIMIT)));
        for index in 0..self.state.units.len() as u32 {
            if self.get(index).job.is_some_and(|job| job.kind != JobKind::Stop) {
                self.finish_job(index, JobResult::Canceled);
            }
            if !self.get(index).is_down() && !self.stays_until_the_end(index) {
                self.install(index, JobKind::Stop);
            }
        }
    }

    /// The file systems that PID 1 unmounts itself when all processes are gone.
    fn stays_until_the_end(&self, index: u32) -> bool {
        self.unit(index).is_some_and(|unit| {
            unit.kind() == UnitKind::Slice
                || matches!(
                    unit.text(Key::MountWhere),
                    Some("/" | "/nix" | "/nix/store" | "/usr" | "/etc" | "/var")
                )
        })
    }

    fn finish_shutdown(&mut self) {
        let Some((how, limit)) = self.state.shutdown else { return };
        if self.state.job_count != 0 && self.now < limit {
            return;
        }
        let culprits: Vec<u32> = (0..self.state.units.len() as u32)
            .filter(|index| self.get(*index).job.is_some_and(|job| job.running))
            .collect();
        // Once is enough: PID 1 takes over from here.
        if limit != u64::MAX {
            self.state.shutdown = Some((how, u64::MAX));
            self.emit(Effect::Final { how, culprits });
        }
    }

    /// Whether a service comes back by itself after such an end.
    pub(crate) fn restarts_after(&self, index: u32, outcome: Outcome) -> bool {
        let Some(unit) = self.unit(index) else { return false };
        let state = self.get(index);
        let status = u64::from(state.exit_status & !formats::control::CORE_DUMPED);
        if self.state.shutdown.is_some()
            || state.job.is_some_and(|job| job.kind == JobKind::Stop)
            || state.forbid_restart
        {
            return false;
        }
        if unit.numbers(Key::RestartPreventExitStatus).any(|prevented| prevented == status) {
            return false;
        }
        if unit.numbers(Key::RestartForceExitStatus).any(|forced| forced == status) {
            return true;
        }
        match unit.number(Key::Restart).unwrap_or(restart::NO) {
            restart::ALWAYS => true,
            restart::ON_SUCCESS => outcome == Outcome::Success,
            restart::ON_FAILURE => outcome != Outcome::Success,
            restart::ON_ABNORMAL => {
                !matches!(outcome, Outcome::Success | Outcome::ExitCode | Outcome::Condition)
            }
            restart::ON_ABORT => matches!(outcome, Outcome::Signal | Outcome::CoreDump),
            restart::ON_WATCHDOG => outcome == Outcome::Watchdog,
            _ => false,
        }
    }
}

#[cfg(test)]
mod boot;
#[cfg(test)]
mod model_check;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
