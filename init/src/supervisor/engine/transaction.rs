//! From a request to jobs: what else has to start, stop or restart with a unit (systemd.unit(5), "Mapping of unit properties
//! to their inverses" and the requirement kinds; systemctl(1), `--job-mode=replace`).
//!
//! A request becomes a *plan*: jobs, and who asked for each. What is there already is taken out with all that only it had
//! asked for, contradictions are solved in favour of what the request cannot do without, and what is left is installed.

use super::unit_state::{Job, JobKind, JobResult};
use super::{Effect, Step};
use formats::control::ActiveState;
use formats::service_graph::key::Key;

/// A job of the plan.
#[derive(Debug, Clone, Copy)]
struct Planned {
    unit: u32,
    kind: JobKind,
    /// Taken out again.
    is_dropped: bool,
    /// Whether the request fails without it.
    matters: bool,
    /// How many others ask for it.
    asked: u32,
    /// Where in the plan stands what it asks for itself.
    asks: (usize, usize),
}

/// One job asks for another.
#[derive(Debug, Clone, Copy)]
struct Asks {
    by: usize,
    of: usize,
    /// Whether the one who asks cannot do without.
    matters: bool,
    /// Conflicts=.
    is_conflict: bool,
}

/// All jobs of a request; the first is the request itself.
#[derive(Debug, Default)]
struct Plan {
    jobs: Vec<Planned>,
    asks: Vec<Asks>,
    /// Unit by unit, one more than the places of its start, stop, restart and reload; 0 for none.
    places: Vec<[u32; 4]>,
}

/// What does as much as both kinds do, if there is such a thing. Reload and start make a reload where the unit is up
/// (`is_up`), else a start.
pub(crate) fn merged(one: JobKind, other: JobKind, is_up: bool) -> Option<JobKind> {
    use JobKind::{Reload, Restart, Start, Stop};
    match (one, other) {
        (one, other) if one == other => Some(one),
        (Stop, _) | (_, Stop) => None,
        (Restart, _) | (_, Restart) => Some(Restart),
        (Reload, Start) | (Start, Reload) => Some(if is_up { Reload } else { Start }),
        _ => None,
    }
}

impl Plan {
    /// Adds a job, if it is not there, and who asks for it.
    fn add(&mut self, unit: u32, kind: JobKind, by: usize, matters: bool, is_conflict: bool) {
        let column = match kind {
            JobKind::Start => 0,
            JobKind::Stop => 1,
            JobKind::Restart | JobKind::TryRestart => 2,
            JobKind::Reload => 3,
        };
        let Some(place) = self.places.get_mut(unit as usize).and_then(|row| row.get_mut(column)) else {
            return;
        };
        if *place == 0 {
            self.jobs.push(Planned { unit, kind, is_dropped: false, matters: false, asked: 0, asks: (0, 0) });
            *place = self.jobs.len() as u32;
        }
        let of = *place as usize - 1;
        if let Some(job) = self.jobs.get_mut(of).filter(|_| of != 0) {
            job.asked += 1;
        }
        if by != of {
            self.asks.push(Asks { by, of, matters, is_conflict });
        }
    }

    fn job(&self, place: usize) -> Option<&Planned> {
        self.jobs.get(place).filter(|job| !job.is_dropped)
    }

    /// The places of a unit's jobs.
    fn of_unit(&self, unit: u32) -> impl Iterator<Item = usize> {
        let row = self.places.get(unit as usize).copied().unwrap_or_default();
        let places = row.into_iter().filter(|place| *place != 0).map(|place| place as usize - 1);
        places.filter(|place| self.job(*place).is_some())
    }

    /// Takes a job out, with all that only it asks for; with `upwards` those too that cannot do without it.
    fn drop_job(&mut self, place: usize, upwards: bool) {
        let mut pending = vec![(place, upwards)];
        while let Some((place, upwards)) = pending.pop() {
            let Some(job) = self.jobs.get_mut(place).filter(|job| !job.is_dropped) else { continue };
            job.is_dropped = true;
            let (from, to) = job.asks;
            for asks in self.asks.get(from..to).unwrap_or_default() {
                if let Some(asked) = self.jobs.get_mut(asks.of).filter(|_| asks.of != 0) {
                    asked.asked -= 1;
                    if asked.asked == 0 {
                        pending.push((asks.of, false));
                    }
                }
            }
            if upwards {
                let losers = self.asks.iter().filter(|asks| asks.of == place && asks.matters);
                pending.extend(losers.map(|asks| (asks.by, true)));
            }
        }
    }

    /// Notes what the request cannot do without.
    fn find_what_matters(&mut self) {
        let mut pending = vec![0];
        while let Some(place) = pending.pop() {
            let Some(job) = self.jobs.get_mut(place).filter(|job| !job.matters) else { continue };
            job.matters = true;
            let asks = self.asks.get(job.asks.0..job.asks.1).unwrap_or_default();
            pending.extend(asks.iter().filter(|asks| asks.matters).map(|asks| asks.of));
        }
    }

    /// Which of two jobs that exclude each other gives way: the one that does not matter; of two such the stop, unless somebody
    /// conflicts with the unit. None when the request contradicts itself.
    fn loser(&self, stop: usize, other: usize) -> Option<usize> {
        match (self.job(stop)?.matters, self.job(other)?.matters) {
            (true, true) => None,
            (true, false) => Some(other),
            (false, true) => Some(stop),
            (false, false) => {
                let is_live = |asks: &&Asks| asks.of == stop && self.job(asks.by).is_some();
                let is_conflict = self.asks.iter().filter(is_live).any(|asks| asks.is_conflict);
                Some(if is_conflict { other } else { stop })
            }
        }
    }

    /// A stop and something else that are both asked of one unit, from that unit on.
    fn contradiction(&self, from: u32) -> Option<(u32, usize, usize)> {
        let is_stop = |place: &usize| self.job(*place).is_some_and(|job| job.kind == JobKind::Stop);
        (from..self.places.len() as u32).find_map(|unit| {
            let stop = self.of_unit(unit).find(is_stop)?;
            Some((unit, stop, self.of_unit(unit).find(|other| *other != stop)?))
        })
    }
}

impl Step<'_, '_> {
    /// Makes the jobs that a request needs.
    pub(crate) fn request(&mut self, unit: u32, kind: JobKind) {
        if self.unit(unit).is_none() || (self.state.shutdown.is_some() && kind != JobKind::Stop) {
            self.emit(Effect::JobDone { unit, kind, result: JobResult::Refused });
            return;
        }
        let kind = match kind {
            JobKind::TryRestart if self.is_down_or_stopping(unit) => {
                self.emit(Effect::JobDone { unit, kind, result: JobResult::Done });
                return;
            }
            JobKind::TryRestart => JobKind::Restart,
            kind => kind,
        };
        let mut plan = self.plan(unit, kind);
        plan.find_what_matters();
        self.drop_done(&mut plan);
        let mut from = 0;
        while let Some((of, stop, other)) = plan.contradiction(from) {
            let Some(loser) = plan.loser(stop, other) else {
                self.emit(Effect::JobDone { unit, kind, result: JobResult::Refused });
                return;
            };
            plan.drop_job(loser, true);
            from = of;
        }
        self.drop_done(&mut plan);
        for unit in 0..plan.places.len() as u32 {
            let is_up = !self.is_down_or_stopping(unit);
            let kinds = plan.of_unit(unit).filter_map(|place| Some(plan.job(place)?.kind));
            if let Some(kind) = kinds.reduce(|one, other| merged(one, other, is_up).unwrap_or(one)) {
                self.install(unit, kind);
            }
        }
    }

    pub(crate) fn is_down_or_stopping(&self, unit: u32) -> bool {
        matches!(
            self.get(unit).phase.active(),
            ActiveState::Inactive | ActiveState::Failed | ActiveState::Deactivating
        )
    }

    /// A request and, from job to job, all that it asks for.
    fn plan(&self, unit: u32, kind: JobKind) -> Plan {
        const PULLS: [(Key, JobKind, bool); 6] = [
            (Key::Requires, JobKind::Start, true),
            (Key::BindsTo, JobKind::Start, true),
            (Key::Wants, JobKind::Start, false),
            (Key::Upholds, JobKind::Start, false),
            (Key::Conflicts, JobKind::Stop, true),
            (Key::ConflictedBy, JobKind::Stop, false),
        ];
        const TAKES_ALONG: [Key; 5] =
            [Key::RequiredBy, Key::RequisiteOf, Key::BoundBy, Key::ConsistsOf, Key::PropagatesStopTo];
        let mut plan = Plan { places: vec![[0; 4]; self.state.units.len()], ..Plan::default() };
        plan.add(unit, kind, 0, false, false);
        let mut by = 0;
        while let Some(Planned { unit, kind, .. }) = plan.jobs.get(by).copied() {
            let begin = plan.asks.len();
            let listed = |key| self.unit(unit).into_iter().flat_map(move |unit| unit.units(key));
            let is_start = matches!(kind, JobKind::Start | JobKind::Restart);
            for (key, pulled, matters) in PULLS.into_iter().filter(|_| is_start) {
                for other in listed(key) {
                    plan.add(other, pulled, by, matters, pulled == JobKind::Stop);
                }
            }
            let (along, taken) = match kind {
                JobKind::Stop => (TAKES_ALONG.as_slice(), JobKind::Stop),
                JobKind::Restart => (TAKES_ALONG.get(..4).unwrap_or_default(), JobKind::Restart),
                JobKind::Reload => ([Key::PropagatesReloadTo].as_slice(), JobKind::Reload),
                _ => ([].as_slice(), kind),
            };
            for other in along.iter().flat_map(|key| listed(*key)) {
                // A restart or reload of what is not up is nothing.
                if taken == JobKind::Stop || !self.is_down_or_stopping(other) {
                    plan.add(other, taken, by, true, false);
                }
            }
            if let Some(job) = plan.jobs.get_mut(by) {
                job.asks = (begin, plan.asks.len());
            }
            by += 1;
        }
        plan
    }

    /// Takes out the jobs of units whose jobs all ask for what is so already.
    fn drop_done(&self, plan: &mut Plan) {
        let is_done = |place: usize| {
            let Some(job) = plan.job(place) else { return false };
            let state = self.get(job.unit);
            let is_so = match job.kind {
                JobKind::Start => state.is_up(),
                JobKind::Stop => state.is_down(),
                _ => false,
            };
            let contradicts = |now: Job| merged(job.kind, now.kind, false).is_none();
            place != 0 && is_so && !state.job.is_some_and(contradicts)
        };
        let is_all_done =
            |place: &usize| plan.job(*place).is_some_and(|job| plan.of_unit(job.unit).all(is_done));
        let done: Vec<usize> = (1..plan.jobs.len()).filter(is_all_done).collect();
        for place in done {
            plan.drop_job(place, false);
        }
    }

    /// Gives a unit a job: in place of one that contradicts it, or together with the one that it has.
    pub(crate) fn install(&mut self, unit: u32, kind: JobKind) {
        let is_up = !self.is_down_or_stopping(unit);
        let merge = self.get(unit).job.map(|job| (job, merged(job.kind, kind, is_up)));
        let kind = match merge {
            None => kind,
            Some((_, None)) => {
                self.finish_job(unit, JobResult::Canceled);
                kind
            }
            // Under way already; only a reload has to be done once more, as it may have read the old configuration.
            Some((job, Some(both))) if job.running && kind != JobKind::Reload && both == job.kind => return,
            Some((job, Some(both))) => {
                self.state.job_count -= 1;
                self.state.running_jobs -= u32::from(job.running);
                both
            }
        };
        self.with(unit, |state| state.job = Some(Job { kind, running: false }));
        self.state.jobs_changed.insert(unit);
        self.state.job_count += 1;
        self.state.queue.insert(unit);
        if self.get(unit).job_deadline.is_none() {
            self.limit_job(unit, Key::JobTimeout);
        }
    }
}
