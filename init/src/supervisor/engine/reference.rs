//! A second, naive account of systemd's job rules (systemd.unit(5), systemctl(1)), against which the engine is checked: every
//! question is answered by looking at all units, nothing is remembered that could be asked again. It knows targets and
//! services with one process; it is not the engine's code in other words: no queue, no plan with places, no inverses.

mod transaction;

use super::relations::{PULL_BURST, PULL_INTERVAL};
use super::unit_state::{JobKind, JobResult, Outcome};
use formats::service_graph::key::{restart, service_type};
use std::collections::{BTreeMap, BTreeSet};

/// Dependencies as units say them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Dependency {
    After,
    Requires,
    Requisite,
    Wants,
    BindsTo,
    PartOf,
    Upholds,
    Conflicts,
    OnFailure,
    OnSuccess,
    PropagatesStopTo,
    PropagatesReloadTo,
}

use Dependency::{After, BindsTo, Conflicts, OnFailure, OnSuccess, Requires, Requisite, Upholds, Wants};

/// What a unit is.
#[derive(Debug, Clone, Default)]
pub(super) struct Definition {
    pub(super) name: String,
    /// None for a target.
    pub(super) service: Option<u64>,
    pub(super) remains: bool,
    pub(super) restart: u64,
    pub(super) delay: u64,
    pub(super) burst: usize,
    pub(super) only_if_needed: bool,
    pub(super) dependencies: BTreeMap<Dependency, Vec<usize>>,
}

/// Where a unit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    Dead,
    Failed,
    /// Its conditions are looked at; the rest of the world still sees what it was.
    Checking(bool),
    Starting,
    Up,
    /// Up without a process.
    Exited,
    Reloading,
    Stopping,
    Killed,
    Pausing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Active {
    Inactive,
    Failed,
    Activating,
    Up,
    Reloading,
    Deactivating,
}

impl Life {
    fn active(self) -> Active {
        match self {
            Self::Dead => Active::Inactive,
            Self::Failed => Active::Failed,
            Self::Checking(_) | Self::Starting | Self::Pausing => Active::Activating,
            Self::Up | Self::Exited => Active::Up,
            Self::Reloading => Active::Reloading,
            Self::Stopping | Self::Killed => Active::Deactivating,
        }
    }

    pub(super) fn is_up(self) -> bool {
        matches!(self.active(), Active::Up | Active::Reloading)
    }

    pub(super) fn is_down(self) -> bool {
        matches!(self, Self::Dead | Self::Failed)
    }

    fn is_down_or_going(self) -> bool {
        self.is_down() || self.active() == Active::Deactivating
    }

    pub(super) fn has_process(self) -> bool {
        matches!(self, Self::Starting | Self::Up | Self::Reloading | Self::Stopping | Self::Killed)
    }
}

/// A unit now.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
pub(super) struct Unit {
    pub(super) life: Life,
    /// What it does and whether it has begun.
    pub(super) job: Option<(JobKind, bool)>,
    pub(super) outcome: Outcome,
    pub(super) restarts: u32,
    /// Its process has ended, but its cgroup is not known to be empty yet.
    lingers: bool,
    deadline: Option<u64>,
    starts: Vec<u64>,
    stays_down: bool,
    limit_hit: bool,
    pulled: (u64, u32),
    /// Of Type=idle, could begin, and waits for all others.
    is_patient: bool,
}

/// The machine.
#[derive(Debug, Clone)]
pub(super) struct Reference {
    pub(super) definitions: Vec<Definition>,
    pub(super) units: Vec<Unit>,
    pub(super) now: u64,
    /// Jobs that ended since somebody looked.
    pub(super) done: Vec<(usize, JobKind, JobResult)>,
    /// Units whose active state or job changed since their neighbours were looked after.
    changed: BTreeSet<usize>,
    lost: BTreeSet<usize>,
}

const LIMIT: u64 = 90_000_000;

/// The table of systemd's job types, as far as there are such jobs here.
fn merge(one: JobKind, other: JobKind, is_inactive: bool) -> Option<JobKind> {
    use JobKind::{Reload, Restart, Start, Stop};
    const TABLE: [(JobKind, JobKind, Option<JobKind>); 6] = [
        (Start, Stop, None),
        (Start, Restart, Some(Restart)),
        (Start, Reload, Some(Reload)),
        (Stop, Restart, None),
        (Stop, Reload, None),
        (Restart, Reload, Some(Restart)),
    ];
    if one == other {
        return Some(one);
    }
    let (.., both) = TABLE.iter().find(|(a, b, _)| (*a, *b) == (one, other) || (*b, *a) == (one, other))?;
    both.map(|both| if both == Reload && is_inactive { Start } else { both })
}

impl Reference {
    pub(super) fn new(definitions: Vec<Definition>, now: u64) -> Self {
        let down = Unit {
            life: Life::Dead,
            job: None,
            outcome: Outcome::Success,
            restarts: 0,
            lingers: false,
            deadline: None,
            starts: Vec::new(),
            stays_down: false,
            limit_hit: false,
            pulled: (0, 0),
            is_patient: false,
        };
        let units = vec![down; definitions.len()];
        Self { definitions, units, now, done: Vec::new(), changed: BTreeSet::new(), lost: BTreeSet::new() }
    }

    /// Whom a unit names.
    fn named(&self, unit: usize, dependency: Dependency) -> Vec<usize> {
        self.definitions[unit].dependencies.get(&dependency).cloned().unwrap_or_default()
    }

    /// Who names it.
    fn naming(&self, unit: usize, dependency: Dependency) -> Vec<usize> {
        let names = |other: &usize| {
            self.definitions[*other].dependencies.get(&dependency).is_some_and(|list| list.contains(&unit))
        };
        (0..self.units.len()).filter(names).collect()
    }

    fn life(&self, unit: usize) -> Life {
        self.units[unit].life
    }

    // What happens.

    pub(super) fn request(&mut self, unit: usize, kind: JobKind) {
        self.transaction(unit, kind);
        self.follow();
    }

    pub(super) fn verdict(&mut self, unit: usize, verdict: Option<bool>) {
        let Life::Checking(had_failed) = self.life(unit) else { return };
        let was = if had_failed { Life::Failed } else { Life::Dead };
        let after = self.named(unit, After);
        let is_bound_to_nothing =
            self.named(unit, BindsTo).iter().any(|other| after.contains(other) && !self.life(*other).is_up());
        let result = match verdict {
            Some(true) if is_bound_to_nothing => Some(JobResult::Dependency),
            Some(true) => None,
            Some(false) => Some(JobResult::Skipped),
            None => Some(JobResult::Failed),
        };
        if let Some(result) = result {
            self.become_(unit, was);
            self.end_job(unit, result);
        } else if self.definitions[unit].service.is_some() && self.hits_start_limit(unit) {
            self.note(unit, Outcome::StartLimit);
            self.units[unit].limit_hit = true;
            self.fall(unit, Life::Failed);
        } else {
            self.units[unit].outcome = Outcome::Success;
            self.units[unit].limit_hit = false;
            match self.definitions[unit].service {
                None | Some(service_type::SIMPLE | service_type::IDLE) => self.rise(unit, Life::Up),
                Some(kind) => {
                    self.become_(unit, Life::Starting);
                    self.units[unit].deadline = (kind == service_type::NOTIFY).then_some(self.now + LIMIT);
                }
            }
        }
        self.follow();
    }

    pub(super) fn ready(&mut self, unit: usize) {
        let notifies = self.definitions[unit].service == Some(service_type::NOTIFY);
        if self.life(unit) == Life::Starting && notifies {
            self.rise(unit, Life::Up);
        } else if self.life(unit) == Life::Reloading {
            self.become_(unit, Life::Up);
            if matches!(self.units[unit].job, Some((JobKind::Reload, true))) {
                self.end_job(unit, JobResult::Done);
            }
        }
        self.follow();
    }

    /// RELOADING=1.
    pub(super) fn reloading(&mut self, unit: usize) {
        if self.life(unit) == Life::Up && self.definitions[unit].service.is_some() {
            self.become_(unit, Life::Reloading);
        }
        self.follow();
    }

    /// The process is gone; `exit` says how that counts.
    pub(super) fn exited(&mut self, unit: usize, exit: Outcome) {
        let is_oneshot = self.definitions[unit].service == Some(service_type::ONESHOT);
        self.units[unit].lingers = true;
        match self.life(unit) {
            Life::Starting => {
                let outcome = if exit == Outcome::Success && !is_oneshot { Outcome::Protocol } else { exit };
                self.note(unit, outcome);
                if outcome == Outcome::Success && self.definitions[unit].remains {
                    self.rise(unit, Life::Exited);
                } else {
                    self.go_down(unit);
                }
            }
            Life::Up | Life::Reloading => {
                self.note(unit, exit);
                if matches!(self.units[unit].job, Some((JobKind::Reload, true))) {
                    self.end_job(unit, JobResult::Failed);
                }
                if exit == Outcome::Success && self.definitions[unit].remains {
                    self.become_(unit, Life::Exited);
                } else {
                    self.go_down(unit);
                }
            }
            _ => self.note(unit, exit),
        }
        self.follow();
        self.units[unit].lingers = false;
        if matches!(self.life(unit), Life::Stopping | Life::Killed) {
            self.gone(unit);
            self.follow();
        }
    }

    pub(super) fn wait_until(&mut self, now: u64) {
        self.now = now;
        self.follow();
    }

    /// Whose time has come, and everything that follows.
    fn follow(&mut self) {
        let now = self.now;
        loop {
            let due = (0..self.units.len())
                .filter_map(|unit| Some((self.units[unit].deadline.filter(|at| *at <= now)?, unit)))
                .min();
            let Some((_, unit)) = due else { break };
            self.units[unit].deadline = None;
            match self.life(unit) {
                Life::Starting => {
                    self.note(unit, Outcome::Timeout);
                    self.go_down(unit);
                }
                Life::Stopping => {
                    self.note(unit, Outcome::Timeout);
                    self.become_(unit, Life::Killed);
                    self.units[unit].deadline = Some(now + LIMIT);
                }
                Life::Dead | Life::Failed => {
                    self.begin_idle(unit);
                }
                Life::Pausing if !matches!(self.units[unit].job, Some((JobKind::Stop, _))) => {
                    self.units[unit].restarts += 1;
                    self.transaction(unit, JobKind::Restart);
                    if !matches!(self.units[unit].job, Some((JobKind::Restart, _))) {
                        self.note(unit, Outcome::Resources);
                        self.fall(unit, Life::Failed);
                    }
                }
                _ => {}
            }
        }
        self.settle();
    }

    // How a unit lives.

    fn note(&mut self, unit: usize, outcome: Outcome) {
        if self.units[unit].outcome == Outcome::Success {
            self.units[unit].outcome = outcome;
        }
    }

    fn become_(&mut self, unit: usize, life: Life) {
        let before = self.life(unit);
        self.units[unit].life = life;
        self.units[unit].deadline = None;
        let (old, new) = (before.active(), life.active());
        if old == new {
            return;
        }
        self.changed.insert(unit);
        let was_there = matches!(old, Active::Up | Active::Activating | Active::Reloading)
            && !matches!(before, Life::Checking(_));
        let is_going = matches!(new, Active::Deactivating | Active::Inactive | Active::Failed);
        if was_there && is_going && matches!(self.units[unit].job, None | Some((JobKind::Start, true))) {
            self.lost.insert(unit);
        }
    }

    /// It is up, as its start job wanted.
    fn rise(&mut self, unit: usize, life: Life) {
        self.become_(unit, life);
        if matches!(self.units[unit].job, Some((JobKind::Start, true))) {
            self.end_job(unit, JobResult::Done);
        }
    }

    /// It is asked to go, or its process went.
    fn go_down(&mut self, unit: usize) {
        self.become_(unit, Life::Stopping);
        self.units[unit].deadline = Some(self.now + LIMIT);
    }

    /// All its processes are gone.
    fn gone(&mut self, unit: usize) {
        let outcome = self.units[unit].outcome;
        let job = self.units[unit].job.map(|(kind, _)| kind);
        let policy = match self.definitions[unit].restart {
            restart::ALWAYS => true,
            restart::ON_SUCCESS => outcome == Outcome::Success,
            restart::ON_FAILURE => outcome != Outcome::Success,
            restart::ON_ABNORMAL => !matches!(outcome, Outcome::Success | Outcome::ExitCode),
            restart::ON_ABORT => matches!(outcome, Outcome::Signal | Outcome::CoreDump),
            _ => false,
        };
        let comes_back = policy && !self.units[unit].stays_down && job != Some(JobKind::Stop);
        if comes_back && job != Some(JobKind::Restart) {
            self.become_(unit, Life::Pausing);
            self.units[unit].deadline = Some(self.now + self.definitions[unit].delay);
            if matches!(self.units[unit].job, Some((JobKind::Start, true))) {
                let is_fine = outcome == Outcome::Success;
                self.end_job(unit, if is_fine { JobResult::Done } else { JobResult::Failed });
            }
        } else if comes_back {
            self.become_(unit, Life::Dead);
            self.job_sees_it_down(unit);
        } else {
            self.fall(unit, if outcome == Outcome::Success { Life::Dead } else { Life::Failed });
        }
    }

    /// It is down for good, or until somebody starts it.
    fn fall(&mut self, unit: usize, life: Life) {
        let was_pausing = self.life(unit) == Life::Pausing;
        self.become_(unit, life);
        self.job_sees_it_down(unit);
        let follows = if life == Life::Failed { OnFailure } else { OnSuccess };
        if follows == OnFailure || !was_pausing {
            for other in self.named(unit, follows) {
                self.pull(other);
            }
        }
    }

    fn job_sees_it_down(&mut self, unit: usize) {
        let failed = self.life(unit) == Life::Failed;
        match self.units[unit].job {
            Some((JobKind::Stop, _)) => self.end_job(unit, JobResult::Done),
            Some((JobKind::Restart, _)) => self.units[unit].job = Some((JobKind::Start, false)),
            Some((JobKind::Start, true)) => {
                self.end_job(unit, if failed { JobResult::Failed } else { JobResult::Done });
            }
            Some((JobKind::Reload, _)) => self.end_job(unit, JobResult::Failed),
            _ => {}
        }
    }

    fn hits_start_limit(&mut self, unit: usize) -> bool {
        let (now, burst) = (self.now, self.definitions[unit].burst);
        let starts = &mut self.units[unit].starts;
        starts.retain(|at| now - at < 10_000_000);
        let hits = starts.len() >= burst;
        if !hits {
            starts.push(now);
        }
        hits
    }

    // Jobs.

    fn end_job(&mut self, unit: usize, result: JobResult) {
        let Some((kind, _)) = self.units[unit].job.take() else { return };
        self.lose_patience(unit);
        self.done.push((unit, kind, result));
        self.changed.insert(unit);
        if !matches!(result, JobResult::Failed | JobResult::Dependency) {
            return;
        }
        let victims = match kind {
            JobKind::Start => {
                let mut all = Vec::new();
                for dependency in [Requires, BindsTo, Requisite] {
                    all.extend(self.naming(unit, dependency));
                }
                all
            }
            JobKind::Stop => {
                self.named(unit, Conflicts).into_iter().chain(self.naming(unit, Conflicts)).collect()
            }
            _ => Vec::new(),
        };
        for victim in victims {
            if matches!(self.units[victim].job, Some((JobKind::Start, _))) {
                self.end_job(victim, JobResult::Dependency);
            }
        }
        if result == JobResult::Dependency {
            for other in self.named(unit, OnFailure) {
                self.pull(other);
            }
        }
    }

    /// Who must be done before a unit's job may begin.
    pub(super) fn waits_for(&self, unit: usize) -> Vec<usize> {
        let goes_down =
            |unit: usize| matches!(self.units[unit].job, Some((JobKind::Stop | JobKind::Restart, _)));
        let earlier = self.named(unit, After);
        let later = self.naming(unit, After);
        let down = goes_down(unit);
        let earlier = earlier.into_iter().filter(|other| !down && self.units[*other].job.is_some());
        let later = later.into_iter().filter(|other| goes_down(*other));
        earlier.chain(later).collect()
    }

    fn is_idle(&self, unit: usize) -> bool {
        self.definitions[unit].service == Some(service_type::IDLE)
            && matches!(self.units[unit].job, Some((JobKind::Start, false)))
            && self.life(unit).is_down()
    }

    /// Whether it waits for the others' jobs only because of its type.
    pub(super) fn lets_others_go_first(&self, unit: usize) -> bool {
        let this = &self.units[unit];
        let others = self.units.iter().any(|other| matches!(other.job, Some((_, true))));
        this.is_patient && this.deadline.is_some() && others
    }

    fn lose_patience(&mut self, unit: usize) {
        if std::mem::take(&mut self.units[unit].is_patient) && self.life(unit).is_down() {
            self.units[unit].deadline = None;
        }
    }

    fn begin_idle(&mut self, unit: usize) -> bool {
        self.lose_patience(unit);
        self.is_idle(unit) && self.begin(unit)
    }

    /// All jobs that can begin; those of Type=idle when nothing else is under way.
    fn begin_all(&mut self) {
        loop {
            while (0..self.units.len()).any(|unit| !self.is_idle(unit) && self.begin(unit)) {}
            for unit in 0..self.units.len() {
                if self.is_idle(unit) && self.waits_for(unit).is_empty() {
                    self.units[unit].is_patient = true;
                }
            }
            let patient: Vec<usize> =
                (0..self.units.len()).filter(|unit| self.units[*unit].is_patient).collect();
            if patient.is_empty() {
                return;
            }
            let is_busy = self.units.iter().any(|unit| matches!(unit.job, Some((_, true))));
            let mut has_begun = false;
            for unit in patient {
                if is_busy {
                    self.units[unit].deadline.get_or_insert(self.now + 5_000_000);
                } else if !is_busy {
                    has_begun |= self.begin_idle(unit);
                }
            }
            if !has_begun {
                return;
            }
        }
    }

    /// Begins a job that waits; says whether anything came of it.
    fn begin(&mut self, unit: usize) -> bool {
        let Some((kind, false)) = self.units[unit].job else { return false };
        if !self.waits_for(unit).is_empty() {
            return false;
        }
        let life = self.life(unit);
        match kind {
            JobKind::Start if life.is_up() => self.end_job(unit, JobResult::Done),
            JobKind::Start if life == Life::Pausing || life.active() == Active::Deactivating => return false,
            JobKind::Start if !life.is_down() => self.units[unit].job = Some((kind, true)),
            JobKind::Start => {
                if self.named(unit, Requisite).into_iter().any(|other| self.life(other).is_down_or_going()) {
                    self.end_job(unit, JobResult::Dependency);
                } else {
                    self.units[unit].job = Some((kind, true));
                    self.units[unit].stays_down = false;
                    self.become_(unit, Life::Checking(life == Life::Failed));
                }
            }
            JobKind::Reload => {
                if life.is_up() && life != Life::Exited {
                    // None of these units knows a way to reload.
                    self.end_job(unit, JobResult::Refused);
                } else {
                    self.end_job(unit, if life.is_up() { JobResult::Done } else { JobResult::Refused });
                }
            }
            JobKind::Stop | JobKind::Restart | JobKind::TryRestart => {
                if let Life::Checking(had_failed) = life {
                    self.become_(unit, if had_failed { Life::Failed } else { Life::Dead });
                    self.job_sees_it_down(unit);
                } else if life.is_down() {
                    self.job_sees_it_down(unit);
                } else {
                    self.units[unit].job = Some((kind, true));
                    let is_there = life.has_process() || self.units[unit].lingers;
                    if is_there && self.definitions[unit].service.is_some() {
                        if !life.is_down_or_going() {
                            self.units[unit].stays_down = true;
                            self.go_down(unit);
                        }
                    } else {
                        self.units[unit].stays_down = true;
                        self.fall(unit, Life::Dead);
                    }
                }
            }
        }
        true
    }

    /// Everything that follows.
    fn settle(&mut self) {
        loop {
            self.begin_all();
            for unit in std::mem::take(&mut self.lost) {
                for bound in self.naming(unit, BindsTo) {
                    if !self.life(bound).is_down_or_going() {
                        self.transaction(bound, JobKind::Stop);
                    }
                }
            }
            let changed = std::mem::take(&mut self.changed);
            if changed.is_empty() {
                return;
            }
            for unit in 0..self.units.len() {
                let concerns = |dependency| {
                    let near = self.named(unit, dependency).into_iter().chain(self.naming(unit, dependency));
                    changed.contains(&unit) || near.into_iter().any(|other| changed.contains(&other))
                };
                if [Requires, Requisite, Wants, BindsTo, Upholds].into_iter().any(concerns) {
                    self.look_after(unit, &changed);
                }
            }
        }
    }

    fn look_after(&mut self, unit: usize, changed: &BTreeSet<usize>) {
        let is_quiet_and_up = |this: &Self| {
            this.units[unit].job.is_none() && matches!(this.life(unit), Life::Up | Life::Exited)
        };
        let needed_by = [Requires, Requisite, Wants, BindsTo, Upholds]
            .into_iter()
            .flat_map(|dependency| self.naming(unit, dependency))
            .any(|other| !self.life(other).is_down() || self.units[other].job.is_some());
        if self.definitions[unit].only_if_needed && is_quiet_and_up(self) && !needed_by {
            self.transaction(unit, JobKind::Stop);
        }
        let is_without = self
            .named(unit, BindsTo)
            .iter()
            .any(|other| self.life(*other).is_down() && self.units[*other].job.is_none());
        if is_quiet_and_up(self) && is_without {
            self.transaction(unit, JobKind::Stop);
        }
        let upholders = self.naming(unit, Upholds);
        let is_upheld = upholders.iter().any(|by| self.life(*by).is_up() && self.units[*by].job.is_none());
        let is_looked_at = changed.contains(&unit)
            || upholders.iter().any(|by| changed.contains(by))
            || [Requires, Requisite, Wants, BindsTo]
                .into_iter()
                .any(|kind| self.naming(unit, kind).iter().any(|by| changed.contains(by)))
            || self.named(unit, BindsTo).iter().any(|to| changed.contains(to));
        let this = &mut self.units[unit];
        if this.life.is_down() && this.job.is_none() && !this.limit_hit && is_upheld && is_looked_at {
            self.pull(unit);
        }
    }

    /// Starts a unit for another's sake, within limits.
    fn pull(&mut self, unit: usize) {
        let this = &mut self.units[unit];
        if self.now - this.pulled.0 >= PULL_INTERVAL {
            this.pulled = (self.now, 0);
        }
        this.pulled.1 += 1;
        if this.pulled.1 <= PULL_BURST {
            self.transaction(unit, JobKind::Start);
        }
    }
}
