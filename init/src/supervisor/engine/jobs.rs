//! Jobs: which may run now, how they begin, what their end means for others (systemd.unit(5), Before= and After=).

use super::unit_state::{JobKind, JobResult, Outcome, Phase};
use super::{Effect, Exit, Step};
use formats::service_graph::UnitKind;
use formats::service_graph::key::{Key, flag, service_type};

/// systemd's default for how long anything may take, in microseconds.
const DEFAULT_TIMEOUT: u64 = 90_000_000;

/// How long a service of Type=idle waits for all others at most, in microseconds (systemd.service(5)).
const IDLE_PATIENCE: u64 = 5_000_000;

impl Step<'_, '_> {
    /// Runs every job that has become runnable; those of Type=idle when nothing else is under way.
    pub(crate) fn run_queue(&mut self) {
        loop {
            while let Some(unit) = self.state.queue.pop_first() {
                let Some(job) = self.get(unit).job.filter(|job| !job.running) else { continue };
                if self.must_wait(unit, job.kind) {
                    continue;
                }
                let is_new = job.kind == JobKind::Start && self.get(unit).is_down();
                if is_new && self.is_idle_type(unit) {
                    self.state.idle.insert(unit);
                } else {
                    self.run_job(unit, job.kind);
                }
            }
            if self.state.idle.is_empty() {
                return;
            }
            if self.state.running_jobs > 0 {
                self.limit_patience();
                return;
            }
            // Nothing else runs: the idle ones' turn, all at once.
            for unit in std::mem::take(&mut self.state.idle) {
                self.run_idle(unit);
            }
        }
    }

    /// An idle unit waits until nothing else runs, but not for ever: a login prompt is not to hang on the slowest service.
    fn limit_patience(&mut self) {
        let without = |unit: &u32| self.get(*unit).is_down() && self.get(*unit).deadline.is_none();
        let new: Vec<u32> = self.state.idle.iter().copied().filter(without).collect();
        for unit in new {
            self.set_deadline(unit, Some(self.now.saturating_add(IDLE_PATIENCE)));
        }
    }

    /// Begins the start of a unit that was held back, if it is still wanted.
    fn run_idle(&mut self, unit: u32) {
        self.state.idle.remove(&unit);
        if self.get(unit).is_down() {
            self.set_deadline(unit, None);
        }
        let is_start = self.get(unit).job.is_some_and(|job| job.kind == JobKind::Start && !job.running);
        if is_start && !self.must_wait(unit, JobKind::Start) {
            self.run_job(unit, JobKind::Start);
        }
    }

    fn is_idle_type(&self, unit: u32) -> bool {
        self.unit(unit).is_some_and(|unit| unit.number(Key::Type) == Some(service_type::IDLE))
    }

    /// Whether another unit's job comes first.
    fn must_wait(&self, unit: u32, kind: JobKind) -> bool {
        let goes_down = |kind: JobKind| matches!(kind, JobKind::Stop | JobKind::Restart);
        let Some(definition) = self.unit(unit) else { return false };
        let later = definition
            .units(Key::Before)
            .any(|other| self.get(other).job.is_some_and(|job| goes_down(job.kind)));
        let earlier =
            !goes_down(kind) && definition.units(Key::After).any(|other| self.get(other).job.is_some());
        later || earlier
    }

    /// Begins a job.
    fn run_job(&mut self, unit: u32, kind: JobKind) {
        match kind {
            JobKind::Start => self.begin_start(unit),
            JobKind::Stop | JobKind::Restart | JobKind::TryRestart => {
                if self.get(unit).phase == Phase::Checking {
                    self.leave_checking(unit);
                }
                if self.get(unit).is_down() {
                    self.reached_down(unit);
                } else if !self.get(unit).is_stopping() {
                    self.mark_running(unit);
                    self.with(unit, |state| state.forbid_restart = true);
                    self.begin_stop(unit);
                } else {
                    self.mark_running(unit);
                }
            }
            JobKind::Reload => self.begin_reload(unit),
        }
    }

    pub(crate) fn mark_running(&mut self, unit: u32) {
        let mut counted = false;
        self.with(unit, |state| {
            if let Some(job) = &mut state.job {
                counted = !job.running;
                job.running = true;
            }
        });
        self.state.running_jobs += u32::from(counted);
        if counted {
            self.state.jobs_changed.insert(unit);
            self.limit_job(unit, Key::JobRunningTimeout);
        }
    }

    /// JobTimeoutSec= of a job that was made, JobRunningTimeoutSec= of one that begins: what is over first counts.
    pub(crate) fn limit_job(&mut self, unit: u32, key: Key) {
        let limit = self.unit(unit).and_then(|unit| unit.number(key)).filter(|limit| *limit != u64::MAX);
        let Some(limit) = limit else { return };
        let at = self.now.saturating_add(limit);
        let old = self.get(unit).job_deadline;
        self.set_job_deadline(unit, Some(old.map_or(at, |old| old.min(at))));
    }

    fn set_job_deadline(&mut self, unit: u32, deadline: Option<u64>) {
        if let Some(old) = self.get(unit).job_deadline {
            self.state.job_deadlines.remove(&(old, unit));
        }
        self.with(unit, |state| state.job_deadline = deadline);
        self.state.job_deadlines.extend(deadline.map(|at| (at, unit)));
    }

    fn begin_start(&mut self, unit: u32) {
        let state = self.get(unit);
        if state.is_up() {
            self.finish_job(unit, JobResult::Done);
            return;
        }
        // On its way down, or waiting to be restarted: the job goes on when it is there.
        if state.is_stopping() || state.phase == Phase::AutoRestart {
            return;
        }
        // On its way up: it is this job's already.
        if !state.is_down() {
            self.mark_running(unit);
            return;
        }
        if self.listed(unit, Key::Requisite).iter().any(|other| self.is_down_or_stopping(*other)) {
            self.finish_job(unit, JobResult::Dependency);
            return;
        }
        self.mark_running(unit);
        self.with(unit, |state| {
            state.held = false;
            state.forbid_restart = false;
            state.had_failed = state.phase == Phase::Failed;
        });
        self.enter(unit, Phase::Checking);
        self.emit(Effect::CheckConditions { unit });
    }

    /// A unit that is not started stays as it was.
    fn leave_checking(&mut self, unit: u32) {
        let phase = if self.get(unit).had_failed { Phase::Failed } else { Phase::Dead };
        self.enter(unit, phase);
    }

    /// StartLimitIntervalSec= and StartLimitBurst=; notes this start.
    fn is_started_too_often(&mut self, unit: u32) -> bool {
        let Some(definition) = self.unit(unit).filter(|unit| unit.kind() == UnitKind::Service) else {
            return false;
        };
        let interval = definition.number(Key::StartLimitInterval).unwrap_or(10_000_000);
        let burst = definition.number(Key::StartLimitBurst).unwrap_or(5) as usize;
        let now = self.now;
        let mut is_over = false;
        self.with(unit, |state| {
            state.starts.retain(|at| now.saturating_sub(*at) < interval);
            is_over = interval > 0 && burst > 0 && state.starts.len() >= burst;
            if !is_over && interval > 0 && burst > 0 {
                state.starts.push(now);
            }
        });
        is_over
    }

    /// The world has looked at the conditions.
    pub(crate) fn conditions_known(&mut self, unit: u32, verdict: Option<bool>) {
        if self.get(unit).phase != Phase::Checking {
            return;
        }
        let Some(definition) = self.unit(unit) else { return };
        let is_without = verdict == Some(true)
            && self.listed(unit, Key::BindsTo).iter().any(|other| {
                !self.get(*other).is_up() && definition.units(Key::After).any(|after| after == *other)
            });
        if verdict != Some(true) || is_without {
            self.leave_checking(unit);
            self.finish_job(
                unit,
                match verdict {
                    None => JobResult::Failed,
                    Some(false) => JobResult::Skipped,
                    Some(true) => JobResult::Dependency,
                },
            );
            return;
        }
        if self.is_started_too_often(unit) {
            // What it failed by before says more.
            self.note(unit, Outcome::StartLimit);
            self.with(unit, |state| state.limit_hit = true);
            self.down(unit, Phase::Failed);
            self.act(unit, Key::StartLimitAction);
            return;
        }
        self.with(unit, |state| {
            state.outcome = Outcome::Success;
            state.limit_hit = false;
            state.exit_status = formats::control::NO_EXIT;
        });
        match definition.kind() {
            // A slice's limits are written before anything runs in it.
            UnitKind::Slice if definition.has(Key::CgroupWrites) => self.arm(unit),
            UnitKind::Target | UnitKind::Slice => {
                self.enter(unit, Phase::Active);
                self.finish_start(unit);
            }
            UnitKind::Mount | UnitKind::Swap => {
                self.enter(unit, Phase::Mounting);
                let limit = definition.number(Key::TimeoutStart).unwrap_or(DEFAULT_TIMEOUT);
                self.set_deadline(unit, Some(self.now.saturating_add(limit)));
                self.emit(Effect::Mount { unit });
            }
            UnitKind::Socket => self.run_commands(unit, Phase::StartPre, 0),
            UnitKind::Timer | UnitKind::Path => self.arm(unit),
            UnitKind::Service => self.run_commands(unit, Phase::Condition, 0),
        }
    }

    fn begin_stop(&mut self, unit: u32) {
        match self.unit(unit).map(|unit| unit.kind()) {
            Some(UnitKind::Service) => self.service_begin_stop(unit),
            Some(UnitKind::Mount | UnitKind::Swap) if self.get(unit).phase == Phase::Mounted => {
                self.enter(unit, Phase::Unmounting);
                self.set_deadline(unit, Some(self.now.saturating_add(DEFAULT_TIMEOUT)));
                self.emit(Effect::Unmount { unit });
            }
            Some(UnitKind::Mount | UnitKind::Swap) => {
                self.emit(Effect::Signal { unit, signal: 15, scope: super::Scope::All });
                self.enter(unit, Phase::Unmounting);
            }
            Some(UnitKind::Socket) => self.socket_begin_stop(unit),
            Some(UnitKind::Timer | UnitKind::Path) => {
                self.emit(Effect::Disarm { unit });
                self.down(unit, Phase::Dead);
            }
            _ => self.down(unit, Phase::Dead),
        }
    }

    fn begin_reload(&mut self, unit: u32) {
        let Some(definition) = self.unit(unit) else { return };
        if !self.get(unit).is_up() || self.get(unit).phase == Phase::Exited {
            let result = if self.get(unit).is_up() { JobResult::Done } else { JobResult::Refused };
            self.finish_job(unit, result);
            return;
        }
        self.mark_running(unit);
        match definition.kind() {
            UnitKind::Service if definition.number(Key::Type) == Some(service_type::NOTIFY_RELOAD) => {
                let signal = definition.number(Key::ReloadSignal).unwrap_or(1) as u8;
                self.enter(unit, Phase::Reload);
                self.set_deadline(unit, self.start_timeout(unit));
                self.emit(Effect::Signal { unit, signal, scope: super::Scope::Main });
            }
            UnitKind::Service if definition.has(Key::ExecReload) => {
                self.set_deadline(unit, self.start_timeout(unit));
                self.run_commands(unit, Phase::Reload, 0);
            }
            _ => self.finish_job(unit, JobResult::Refused),
        }
    }

    /// Ends the unit's job and lets others go on.
    pub(crate) fn finish_job(&mut self, unit: u32, result: JobResult) {
        let Some(job) = self.get(unit).job else { return };
        self.with(unit, |state| state.job = None);
        self.state.jobs_changed.insert(unit);
        self.set_job_deadline(unit, None);
        if self.state.idle.remove(&unit) && self.get(unit).is_down() {
            self.set_deadline(unit, None);
        }
        self.state.job_count = self.state.job_count.saturating_sub(1);
        if job.running {
            self.state.running_jobs = self.state.running_jobs.saturating_sub(1);
        }
        self.emit(Effect::JobDone { unit, kind: job.kind, result });
        self.state.touched.insert(unit);
        if matches!(result, JobResult::Failed | JobResult::Dependency | JobResult::Timeout) {
            let keys: &[Key] = match job.kind {
                JobKind::Start => &[Key::RequiredBy, Key::BoundBy, Key::RequisiteOf],
                JobKind::Stop => &[Key::ConflictedBy],
                _ => &[],
            };
            for other in keys.iter().flat_map(|key| self.listed(unit, *key)).collect::<Vec<_>>() {
                if self.get(other).job.is_some_and(|job| job.kind == JobKind::Start) {
                    self.finish_job(other, JobResult::Dependency);
                }
            }
            if result != JobResult::Failed {
                self.start_after(unit, Key::OnFailure);
            }
        }
        for key in [Key::Before, Key::After] {
            for other in self.listed(unit, key) {
                if self.get(other).job.is_some_and(|job| !job.running) {
                    self.state.queue.insert(other);
                }
            }
        }
    }

    /// The unit is down: its stop job is done, its restart job becomes a start job, a waiting start job may go on.
    pub(crate) fn reached_down(&mut self, unit: u32) {
        match self.get(unit).job {
            Some(job) if matches!(job.kind, JobKind::Stop | JobKind::TryRestart) => {
                self.finish_job(unit, JobResult::Done);
            }
            Some(job) if job.kind == JobKind::Restart => {
                if job.running {
                    self.state.running_jobs = self.state.running_jobs.saturating_sub(1);
                }
                self.with(unit, |state| {
                    if let Some(job) = &mut state.job {
                        *job = super::unit_state::Job { kind: JobKind::Start, running: false };
                    }
                });
                self.state.jobs_changed.insert(unit);
                self.state.queue.insert(unit);
                for key in [Key::Before, Key::After] {
                    let waiting = self.listed(unit, key);
                    self.state.queue.extend(waiting);
                }
            }
            Some(job) if job.kind == JobKind::Start && !job.running => {
                self.state.queue.insert(unit);
            }
            Some(job) if job.kind == JobKind::Start => {
                let failed = self.get(unit).phase == Phase::Failed;
                let skipped = self.get(unit).outcome == Outcome::Condition;
                let result = match (failed, skipped) {
                    (true, _) => JobResult::Failed,
                    (_, true) => JobResult::Skipped,
                    _ => JobResult::Done,
                };
                self.finish_job(unit, result);
            }
            Some(_) => self.finish_job(unit, JobResult::Failed),
            None => {}
        }
    }

    /// Puts a unit down and tells all whom it concerns.
    pub(crate) fn down(&mut self, unit: u32, phase: Phase) {
        self.set_deadline(unit, None);
        self.with(unit, |state| {
            state.main_pid = 0;
            state.control_pid = 0;
        });
        let was_waiting = self.get(unit).phase == Phase::AutoRestart;
        self.enter(unit, phase);
        self.reached_down(unit);
        self.emit(Effect::Release { unit });
        if !was_waiting || phase == Phase::Failed {
            let failed = phase == Phase::Failed;
            self.start_after(unit, if failed { Key::OnFailure } else { Key::OnSuccess });
            self.act(unit, if failed { Key::FailureAction } else { Key::SuccessAction });
        }
    }

    /// OnFailure= and OnSuccess=.
    fn start_after(&mut self, unit: u32, key: Key) {
        if self.state.shutdown.is_none() {
            for next in self.listed(unit, key) {
                self.start_by_itself(next);
            }
        }
    }

    /// The child that mounts or unmounts has ended.
    pub(crate) fn mount_exited(&mut self, unit: u32, exit: Exit) {
        self.with(unit, |state| {
            state.control_pid = 0;
            state.exit_status = exit.status();
        });
        let worked = exit == Exit::Code(0);
        match (self.get(unit).phase, worked) {
            (Phase::Mounting, true) => {
                self.set_deadline(unit, None);
                self.enter(unit, Phase::Mounted);
                self.finish_start(unit);
            }
            (Phase::Unmounting, false) => {
                // Still mounted: it stays so, and the one who asked is told.
                self.set_deadline(unit, None);
                self.enter(unit, Phase::Mounted);
                self.finish_job(unit, JobResult::Failed);
            }
            (Phase::Mounting, false) => {
                self.with(unit, |state| state.outcome = Outcome::ExitCode);
                self.down(unit, Phase::Failed);
            }
            (Phase::Unmounting, true) => self.down(unit, Phase::Dead),
            _ => {}
        }
    }

    /// Has the world set a socket, timer, path or slice up.
    pub(crate) fn arm(&mut self, unit: u32) {
        self.enter(unit, Phase::Arming);
        self.emit(Effect::Arm { unit });
    }

    /// It is set up. One that was armed already is so again under a new supervisor, or could not be.
    pub(crate) fn armed(&mut self, unit: u32, worked: bool) {
        let phase = self.get(unit).phase;
        if !worked && matches!(phase, Phase::Arming | Phase::Armed) {
            self.note(unit, Outcome::Resources);
            self.down(unit, Phase::Failed);
            return;
        }
        if phase != Phase::Arming {
            return;
        }
        match self.unit(unit).map(|unit| unit.kind()) {
            Some(UnitKind::Socket) => self.run_commands(unit, Phase::StartPost, 0),
            Some(UnitKind::Slice) => {
                self.enter(unit, Phase::Active);
                self.finish_start(unit);
            }
            _ => {
                self.enter(unit, Phase::Armed);
                self.finish_start(unit);
            }
        }
    }

    /// It fired.
    pub(crate) fn fired(&mut self, unit: u32) {
        if self.get(unit).phase != Phase::Armed {
            return;
        }
        for target in self.listed(unit, Key::Triggers) {
            if !self.get(target).is_up() {
                self.request(target, JobKind::Start);
            }
        }
    }

    /// A phase took too long, or its pause is over.
    pub(crate) fn deadline_passed(&mut self, unit: u32) {
        match self.get(unit).phase {
            Phase::Mounting | Phase::Unmounting => {
                self.with(unit, |state| state.outcome = Outcome::Timeout);
                self.emit(Effect::Signal { unit, signal: 9, scope: super::Scope::Known });
            }
            Phase::Dead | Phase::Failed => self.run_idle(unit),
            _ => self.service_deadline(unit),
        }
    }

    /// TimeoutStartSec=, from now; oneshot has none by default.
    pub(crate) fn start_timeout(&self, unit: u32) -> Option<u64> {
        let definition = self.unit(unit)?;
        let is_oneshot = definition.number(Key::Type) == Some(service_type::ONESHOT);
        let default = if is_oneshot { u64::MAX } else { DEFAULT_TIMEOUT };
        let limit = definition.number(Key::TimeoutStart).filter(|limit| *limit != 0).unwrap_or(default);
        Some(limit).filter(|limit| *limit != u64::MAX).map(|limit| self.now.saturating_add(limit))
    }

    /// TimeoutStopSec=, from now.
    pub(crate) fn stop_timeout(&self, unit: u32) -> Option<u64> {
        let limit =
            self.unit(unit)?.number(Key::TimeoutStop).filter(|limit| *limit != 0).unwrap_or(DEFAULT_TIMEOUT);
        Some(limit).filter(|limit| *limit != u64::MAX).map(|limit| self.now.saturating_add(limit))
    }

    /// Whether a flag of the unit is set.
    pub(crate) fn flag(&self, unit: u32, bit: u64) -> bool {
        self.unit(unit).is_some_and(|unit| unit.flag(bit))
    }

    /// Whether the unit remains up when its processes end.
    pub(crate) fn remains(&self, unit: u32) -> bool {
        self.flag(unit, flag::REMAIN_AFTER_EXIT)
    }
}
