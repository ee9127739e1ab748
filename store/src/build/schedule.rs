//! The steps of a plan and the threads that carry them out. Downloads have threads of their own:
//! they wait for the network and not for a core.

use super::attributes::Attributes;
use super::elsewhere::There;
use super::one::{self, Done};
use super::resolve::{self, Inputs};
use super::site::{Site, Sites};
use super::{BuildOptions, Event, Failure, FailureKind, Missing, free_space, substitute};
use crate::cache::Offer;
use crate::error::Result;
use crate::open::Store;
use crate::realisation::Realisation;
use formats::derivation::{Derivation, Output};
use formats::store_path::StorePath;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread::Scope;
use std::time::Instant;

/// How many builds are on their way at a time where machines build for us; each waits in a thread of its own.
const AWAY: usize = 64;

/// The stack of a thread that builds, in bytes; what is not used costs nothing.
const STACK: usize = 16 << 20;

/// One derivation to build.
#[derive(Debug)]
pub(super) struct Goal {
    pub(super) path: StorePath,
    pub(super) derivation: Derivation,
    /// Whether it is valid already and only compared.
    pub(super) check: bool,
    /// Its outputs, as caches have them without all that they need: when that was built, they still save this build.
    pub(super) offers: Vec<Offer>,
}

/// What one step does.
#[derive(Debug)]
pub(super) enum Work {
    /// Builds a derivation.
    Build(Box<Goal>),
    /// Takes a path from a cache.
    Fetch(Box<Offer>),
}

/// One step and its place among the others.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) work: Work,
    /// Whether it waits for a network and not for a core.
    pub(super) download: bool,
    /// Steps that must be done before.
    pub(super) needs: BTreeSet<usize>,
    /// Steps that wait for this.
    pub(super) needed_by: Vec<usize>,
}

impl Step {
    /// What it is shown as: the derivation built or the path fetched.
    fn path(&self) -> &StorePath {
        match &self.work {
            Work::Build(goal) => &goal.path,
            Work::Fetch(offer) => &offer.narinfo.info.path,
        }
    }
}

/// All steps; what is needed comes before what needs it.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    pub(super) steps: Vec<Step>,
    /// Which paths outputs got, as caches say: noted when the paths are here.
    pub(super) realisations: Vec<Realisation>,
    /// Paths that caches refer to and do not have.
    pub(super) unknown: BTreeSet<StorePath>,
}

/// What a run of all steps gave.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Derivations built, in the order of their ends.
    pub(super) built: Vec<StorePath>,
    /// The outputs of what was built.
    pub(super) outputs: Inputs,
    /// What failed.
    pub(super) failures: Vec<Failure>,
    /// What could not be done because something failed.
    pub(super) dependents: Vec<StorePath>,
}

impl Schedule {
    /// Adds a step, all of whose needs are there.
    pub(super) fn push(&mut self, step: Step) {
        let index = self.steps.len();
        for need in &step.needs {
            if let Some(needed) = self.steps.get_mut(*need) {
                needed.needed_by.push(index);
            }
        }
        self.steps.push(step);
    }

    pub(super) fn missing(&self) -> Missing {
        let mut missing = Missing { unknown: self.unknown.clone(), ..Missing::default() };
        for step in &self.steps {
            match &step.work {
                Work::Build(goal) => {
                    missing.build.push(goal.path.clone());
                    if step.download {
                        missing.fetch.push(goal.path.clone());
                    }
                }
                Work::Fetch(offer) => {
                    missing.substitute.push(offer.narinfo.info.path.clone());
                    missing.download_size += offer.narinfo.file_size.unwrap_or(0);
                    missing.nar_size += offer.narinfo.info.nar_size;
                }
            }
        }
        missing
    }

    /// Does everything.
    pub(super) fn run(&self, store: &Store, options: &BuildOptions) -> Outcome {
        let downloads = self.steps.iter().filter(|step| step.download).count();
        options.progress.event(&Event::Planned { builds: self.steps.len() - downloads, fetches: downloads });
        self.tell(options);
        let state = State {
            waiting_for: self.steps.iter().map(|step| step.needs.len()).collect(),
            // A stack: what became ready last is likely to make more ready.
            ready: (0..self.steps.len())
                .rev()
                .filter(|index| self.steps.get(*index).is_some_and(|step| step.needs.is_empty()))
                .collect(),
            left: self.steps.len(),
            ..State::default()
        };
        let (state, changed, sites) = (Mutex::new(state), Condvar::new(), Sites::default());
        let pool = Pool { schedule: self, store, options, state, changed, sites };
        for realisation in &self.realisations {
            pool.note(realisation);
        }
        let ended = free_space::Ended::default();
        std::thread::scope(|scope| {
            if let Some(wanted) = options.free_space.as_ref().filter(|_| !self.steps.is_empty()) {
                let ended = &ended;
                scope.spawn(move || free_space::watch(store, options, wanted, ended));
            }
            std::thread::scope(|scope| self.start(scope, &pool, downloads));
            ended.set();
        });
        options.progress.event(&Event::Ended);
        pool.state.into_inner().unwrap_or_else(PoisonError::into_inner).outcome
    }

    /// Tells who listens what there is to do, and what waits for what.
    fn tell(&self, options: &BuildOptions) {
        for step in &self.steps {
            let needs: Vec<&StorePath> =
                step.needs.iter().filter_map(|need| Some(self.steps.get(*need)?.path())).collect();
            let size = match &step.work {
                Work::Fetch(offer) => offer.narinfo.file_size,
                Work::Build(_) => None,
            };
            let (path, fetch) = (step.path(), step.download);
            options.progress.event(&Event::Step { path, needs: &needs, fetch, size });
        }
    }

    /// Starts the threads.
    fn start<'scope>(&self, scope: &'scope Scope<'scope, '_>, pool: &'scope Pool<'_>, downloads: usize) {
        let away = if pool.options.machines.is_empty() { 1 } else { AWAY };
        let builders = pool.options.max_jobs.max(away).min(self.steps.len() - downloads);
        let fetchers = pool.options.max_downloads.max(1).min(downloads);
        for worker in 0..builders + fetchers {
            // Trees are walked as deep as builders make them.
            let thread = std::thread::Builder::new().stack_size(STACK);
            let work = move || pool.work(worker >= builders);
            if let Err(error) = thread.spawn_scoped(scope, work) {
                log::warn!("starting a build thread: {error}");
                if worker == 0 || worker == builders {
                    pool.work(worker >= builders); // nobody else would
                }
            }
        }
    }
}

#[derive(Debug, Default)]
struct State {
    waiting_for: Vec<usize>,
    ready: Vec<usize>,
    left: usize,
    outcome: Outcome,
    stop: bool,
}

struct Pool<'a> {
    schedule: &'a Schedule,
    store: &'a Store,
    options: &'a BuildOptions,
    state: Mutex<State>,
    changed: Condvar,
    sites: Sites,
}

impl Pool<'_> {
    fn step(&self, index: usize) -> Option<&Step> {
        self.schedule.steps.get(index)
    }

    /// One thread: takes ready steps of its kind until nothing is left.
    fn work(&self, download: bool) {
        loop {
            let index = {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                loop {
                    if state.left == 0 || state.stop {
                        return;
                    }
                    let found = state
                        .ready
                        .iter()
                        .rposition(|index| self.step(*index).is_some_and(|step| step.download == download));
                    if let Some(position) = found {
                        break state.ready.remove(position);
                    }
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            };
            let Some(step) = self.step(index) else { return };
            let started = Instant::now();
            let result = match &step.work {
                Work::Build(goal) => self.build(goal),
                Work::Fetch(offer) => substitute::fetch(self.store, offer, self.options)
                    .map(|built| Done { built, outputs: BTreeMap::new() }),
            };
            let derivation = step.path();
            if let (Work::Fetch(_), Ok(_)) = (&step.work, &result) {
                let here = self.schedule.realisations.iter().filter(|known| known.path == *derivation);
                here.for_each(|realisation| self.note(realisation));
            }
            if let Ok(Done { built: true, .. }) = &result {
                self.options.progress.event(&Event::Finished { derivation, duration: started.elapsed() });
            }
            if let Err(failure) = &result {
                self.options.progress.event(&Event::Failed { derivation, kind: &failure.kind });
            }
            self.finish(index, step, result);
        }
    }

    /// Notes a realisation if its path is here.
    fn note(&self, realisation: &Realisation) {
        let noted = match self.store.is_valid(&realisation.path) {
            Ok(true) => self.store.register_realisation(realisation),
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = noted {
            log::warn!("noting which path {} got: {error}", realisation.id);
        }
    }

    /// Takes the outputs from caches, if all that they refer to is valid by now. None when they must be built.
    fn fetch_instead(&self, goal: &Goal) -> Result<Option<Done>> {
        if goal.offers.is_empty() {
            return Ok(None);
        }
        for offer in &goal.offers {
            let info = &offer.narinfo.info;
            for reference in info.references.iter().filter(|reference| **reference != info.path) {
                if !self.store.is_valid(reference)? {
                    return Ok(None);
                }
            }
            if let Err(failure) = substitute::fetch(self.store, offer, self.options) {
                log::warn!("{}: {}", failure.derivation, failure.kind);
                return Ok(None);
            }
        }
        let outputs = self.store.known_outputs(&goal.derivation)?;
        let outputs = outputs.into_iter().filter_map(|(output, path)| Some((output, path?))).collect();
        Ok(Some(Done { built: false, outputs }))
    }

    fn build(&self, goal: &Goal) -> std::result::Result<Done, Failure> {
        match self.fetch_instead(goal) {
            Ok(None) => {}
            Ok(Some(done)) => return Ok(done),
            Err(error) => log::warn!("{}: {error}", goal.path),
        }
        let failed = |kind: FailureKind| Failure {
            derivation: goal.path.clone(),
            kind,
            tail: Vec::new(),
            log: None,
            kept: None,
        };
        let inputs = self.inputs_of(goal).map_err(|error| failed(error.into()))?;
        match self.settle_resolved(goal, &inputs) {
            Ok(None) => {}
            Ok(Some(done)) => return Ok(done),
            Err(error) => log::warn!("{}: {error}", goal.path),
        }
        loop {
            let slot = match self.sites.find(self.store, goal, self.options).map_err(failed)? {
                Site::Here(_seat) => return one::build(self.store, goal, self.options, &inputs, None),
                Site::There(slot) => slot,
            };
            let built = match There::open(slot.machine, self.store) {
                Ok(there) => Some(one::build(self.store, goal, self.options, &inputs, Some(there))),
                Err(error) => {
                    log::warn!("cannot build on `{}`: {error}", slot.machine.name);
                    self.sites.leave_out(&slot.machine.name);
                    None
                }
            };
            drop(slot);
            self.sites.freed();
            if let Some(result) = built {
                return result;
            }
        }
    }

    /// What a derivation resolves to is known when its inputs are there. It may have been built already, for another derivation
    /// that resolves to the same, or a cache may know it where it does not know the derivation itself. None when it must be built.
    fn settle_resolved(&self, goal: &Goal, inputs: &Inputs) -> Result<Option<Done>> {
        let (store, options) = (self.store, self.options);
        let substituters = &store.options.substituters;
        if goal.check || !resolve::is_needed(store, &goal.derivation)? {
            return Ok(None);
        }
        let resolved = resolve::resolve(store, &goal.derivation, inputs)?;
        let may_fetch = options.substitute
            && Attributes::of(&goal.derivation).is_ok_and(|attributes| attributes.allows_substitutes());
        let (mut outputs, mut missing) = (BTreeMap::new(), BTreeSet::new());
        for (output, path) in store.known_outputs(&resolved)? {
            let asked = || -> Result<Option<StorePath>> {
                let id = store.realisation_id(&resolved, &output)?;
                Ok(substituters.realisation(store, &id).map(|realisation| realisation.path))
            };
            let is_floating = matches!(resolved.outputs.get(&output), Some(Output::Floating { .. }));
            let path = match path {
                None if may_fetch && is_floating => asked()?,
                known => known,
            };
            let Some(path) = path else { return Ok(None) };
            store.add_temp_root(&path)?;
            if !store.is_valid(&path)? {
                missing.insert(path.clone());
            }
            outputs.insert(output, path);
        }
        if !missing.is_empty() {
            if !may_fetch || substituters.query(store, &missing).len() < missing.len() {
                return Ok(None);
            }
            store.substitute(&missing, options)?;
        }
        for derivation in [&resolved, &goal.derivation] {
            one::note_realisations(store, derivation, &outputs, options.note_realisations)?;
        }
        Ok(Some(Done { built: false, outputs }))
    }

    /// The outputs of what a goal needs: built just now, or before.
    fn inputs_of(&self, goal: &Goal) -> Result<Inputs> {
        let mut inputs = Inputs::new();
        for input in goal.derivation.input_drvs.keys() {
            let just_built = {
                let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                state.outcome.outputs.get(input).cloned()
            };
            let outputs = match just_built {
                Some(outputs) => outputs,
                None => self
                    .store
                    .known_outputs(&self.store.read_derivation(input)?)?
                    .into_iter()
                    .filter_map(|(output, path)| Some((output, path?)))
                    .collect(),
            };
            inputs.insert(input.clone(), outputs);
        }
        Ok(inputs)
    }

    fn finish(&self, index: usize, step: &Step, result: std::result::Result<Done, Failure>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.left = state.left.saturating_sub(1);
        match result {
            Ok(done) => {
                if let Work::Build(goal) = &step.work {
                    state.outcome.outputs.insert(goal.path.clone(), done.outputs);
                    if done.built {
                        state.outcome.built.push(goal.path.clone());
                    }
                }
                for next in &step.needed_by {
                    if let Some(count) = state.waiting_for.get_mut(*next) {
                        *count -= 1;
                        if *count == 0 {
                            state.ready.push(*next);
                        }
                    }
                }
            }
            Err(failure) => {
                // Cancelled ones are the echo of another failure.
                // What a cache did not deliver may still be built: the rest goes on.
                let goes_on = self.options.keep_going || failure.kind.is_substitution();
                if !matches!(failure.kind, FailureKind::Cancelled) || state.outcome.failures.is_empty() {
                    state.outcome.failures.push(failure);
                }
                self.give_up_dependents(index, &mut state);
                if !goes_on {
                    state.stop = true;
                    self.options.cancel.store(true, Ordering::SeqCst);
                }
            }
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Everything that needs the failed goal, directly or not, will not be built.
    fn give_up_dependents(&self, failed: usize, state: &mut State) {
        let mut queue = vec![failed];
        let mut seen = BTreeSet::new();
        while let Some(index) = queue.pop() {
            for next in self.step(index).map(|step| step.needed_by.as_slice()).unwrap_or_default() {
                if seen.insert(*next) {
                    // A goal that waits for ever: mark it so that a second failure does not count it again.
                    if let Some(count) = state.waiting_for.get_mut(*next)
                        && *count != usize::MAX
                    {
                        *count = usize::MAX;
                        state.left = state.left.saturating_sub(1);
                        state.outcome.dependents.extend(self.step(*next).map(|step| step.path().clone()));
                    }
                    queue.push(*next);
                }
            }
        }
    }
}
