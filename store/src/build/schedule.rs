//! Which derivations are to be built and in what order; and the threads that do it. Downloads have threads of their own:
//! they wait for the network and not for a core.

use super::one::{self, Done};
use super::resolve::Inputs;
use super::{BuildError, BuildOptions, Event, Failure, FailureKind, Missing, Wanted};
use crate::error::{Error, Result};
use crate::open::Store;
use formats::derivation::Derivation;
use formats::store_path::StorePath;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

/// One derivation to build.
#[derive(Debug)]
pub(super) struct Goal {
    pub(super) path: StorePath,
    pub(super) derivation: Derivation,
    /// Goals that must be done before.
    needs: Vec<usize>,
    /// Goals that wait for this.
    needed_by: Vec<usize>,
    fetch: bool,
    /// Whether it is valid already and only compared.
    pub(super) check: bool,
}

impl Goal {
    /// A goal that needs no other.
    pub(super) fn single(path: StorePath, derivation: Derivation, check: bool) -> Self {
        Self { path, derivation, needs: Vec::new(), needed_by: Vec::new(), fetch: false, check }
    }
}

/// All goals; inputs come before what needs them.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    goals: Vec<Goal>,
}

impl Schedule {
    /// Finds what is missing.
    pub(super) fn new(store: &Store, requests: &[(StorePath, Wanted)], check: bool) -> Result<Self> {
        let mut schedule = Self::default();
        let mut known = Known::default();
        // Which outputs are wanted may differ from place to place; building one builds all.
        for (path, wanted) in requests {
            if !store.is_valid(path)? {
                return Err(Error::NotValid(store.dir().print(path)));
            }
            schedule.visit(store, path, wanted, check, &mut known)?;
        }
        Ok(schedule)
    }

    fn visit(
        &mut self,
        store: &Store,
        start: &StorePath,
        wanted: &Wanted,
        check: bool,
        known: &mut Known,
    ) -> Result<()> {
        enum Work {
            Enter(StorePath, Wanted, bool),
            Leave(StorePath, Box<Derivation>, bool),
        }
        let mut stack = vec![Work::Enter(start.clone(), wanted.clone(), check)];
        while let Some(work) = stack.pop() {
            match work {
                Work::Enter(path, wanted, check) => {
                    if known.goals.contains_key(&path)
                        || known.valid.get(&path).is_some_and(|known| known.contains(&wanted))
                    {
                        continue;
                    }
                    let derivation = store.read_derivation(&path)?;
                    store.add_temp_root(&path)?;
                    let valid = outputs_valid(store, &path, &derivation, &wanted)?;
                    if valid && !check {
                        known.valid.entry(path).or_default().push(wanted);
                        continue;
                    }
                    check_purity(store, &path, &derivation)?;
                    let inputs: Vec<_> = derivation
                        .input_drvs
                        .iter()
                        .map(|(input, outputs)| {
                            Work::Enter(input.clone(), Wanted::Outputs(outputs.clone()), false)
                        })
                        .collect();
                    stack.push(Work::Leave(path, Box::new(derivation), check && valid));
                    stack.extend(inputs);
                }
                Work::Leave(path, derivation, check) => {
                    if known.goals.contains_key(&path) {
                        continue;
                    }
                    let index = self.goals.len();
                    let needs: BTreeSet<usize> = derivation
                        .input_drvs
                        .keys()
                        .filter_map(|input| known.goals.get(input).copied())
                        .collect();
                    for need in &needs {
                        if let Some(goal) = self.goals.get_mut(*need) {
                            goal.needed_by.push(index);
                        }
                    }
                    let fetch = derivation.builder == b"builtin:fetchurl";
                    known.goals.insert(path.clone(), index);
                    self.goals.push(Goal {
                        path,
                        derivation: *derivation,
                        needs: needs.into_iter().collect(),
                        needed_by: Vec::new(),
                        fetch,
                        check,
                    });
                }
            }
        }
        Ok(())
    }

    pub(super) fn missing(&self) -> Missing {
        let mut missing = Missing::default();
        for goal in &self.goals {
            missing.build.push(goal.path.clone());
            if goal.fetch {
                missing.fetch.push(goal.path.clone());
            }
        }
        missing
    }

    /// Builds everything; the derivations built, and the outputs of all goals.
    pub(super) fn run(&self, store: &Store, options: &BuildOptions) -> Result<(Vec<StorePath>, Inputs)> {
        let fetches = self.goals.iter().filter(|goal| goal.fetch).count();
        options.progress.event(&Event::Planned { builds: self.goals.len() - fetches, fetches });
        let state = State {
            waiting_for: self.goals.iter().map(|goal| goal.needs.len()).collect(),
            // A stack: what became ready last is likely to make more ready.
            ready: (0..self.goals.len())
                .rev()
                .filter(|index| self.goals.get(*index).is_some_and(|goal| goal.needs.is_empty()))
                .collect(),
            left: self.goals.len(),
            ..State::default()
        };
        let pool = Pool { schedule: self, store, options, state: Mutex::new(state), changed: Condvar::new() };
        std::thread::scope(|scope| {
            let builders = options.max_jobs.max(1).min(self.goals.len() - fetches);
            let fetchers = options.max_downloads.max(1).min(fetches);
            for worker in 0..builders + fetchers {
                let pool = &pool;
                scope.spawn(move || pool.work(worker >= builders));
            }
        });
        let state = pool.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        if state.failures.is_empty() {
            return Ok((state.built, state.outputs));
        }
        let error = BuildError { failures: state.failures, dependents: state.dependents };
        Err(Error::Build(Box::new(error)))
    }
}

/// Refuses a derivation that would be used again though it depends on one that gives something else each time.
fn check_purity(store: &Store, path: &StorePath, derivation: &Derivation) -> Result<()> {
    if one::is_impure(derivation) || derivation.is_fixed_output() {
        return Ok(());
    }
    for input in derivation.input_drvs.keys() {
        if one::is_impure(&store.read_derivation(input)?) {
            return Err(Error::Invalid(format!(
                "pure derivation `{}` depends on impure derivation `{}`",
                store.dir().print(path),
                store.dir().print(input)
            )));
        }
    }
    Ok(())
}

/// What the walk has seen.
#[derive(Debug, Default)]
struct Known {
    /// Derivations to build.
    goals: BTreeMap<StorePath, usize>,
    /// Derivations of which these outputs are valid.
    valid: BTreeMap<StorePath, Vec<Wanted>>,
}

/// Whether all wanted outputs are valid.
fn outputs_valid(store: &Store, path: &StorePath, derivation: &Derivation, wanted: &Wanted) -> Result<bool> {
    if let Wanted::Outputs(outputs) = wanted
        && let Some(unknown) = outputs.iter().find(|output| !derivation.outputs.contains_key(*output))
    {
        return Err(Error::Invalid(format!("derivation `{path}` has no output `{unknown}`")));
    }
    if one::is_impure(derivation) {
        return Ok(false);
    }
    let known = store.known_outputs(derivation)?;
    for found in known.iter().filter(|(output, _)| wanted.contains(output)).map(|(_, path)| path) {
        let Some(found) = found else { return Ok(false) };
        store.add_temp_root(found)?;
        if !store.is_valid(found)? {
            return Ok(false);
        }
    }
    Ok(true)
}

#[derive(Debug, Default)]
struct State {
    waiting_for: Vec<usize>,
    ready: Vec<usize>,
    left: usize,
    failures: Vec<Failure>,
    dependents: Vec<StorePath>,
    built: Vec<StorePath>,
    outputs: Inputs,
    stop: bool,
}

struct Pool<'a> {
    schedule: &'a Schedule,
    store: &'a Store,
    options: &'a BuildOptions,
    state: Mutex<State>,
    changed: Condvar,
}

impl Pool<'_> {
    fn goal(&self, index: usize) -> Option<&Goal> {
        self.schedule.goals.get(index)
    }

    /// One thread: takes ready goals of its kind until nothing is left.
    fn work(&self, fetch: bool) {
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
                        .rposition(|index| self.goal(*index).is_some_and(|goal| goal.fetch == fetch));
                    if let Some(position) = found {
                        break state.ready.remove(position);
                    }
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            };
            let Some(goal) = self.goal(index) else { return };
            let started = Instant::now();
            let result = self.build(goal);
            if let Ok(Done { built: true, .. }) = &result {
                self.options
                    .progress
                    .event(&Event::Finished { derivation: &goal.path, duration: started.elapsed() });
            }
            if let Err(failure) = &result {
                self.options.progress.event(&Event::Failed { derivation: &goal.path, kind: &failure.kind });
            }
            self.finish(index, goal, result);
        }
    }

    fn build(&self, goal: &Goal) -> std::result::Result<Done, Failure> {
        let inputs = self.inputs_of(goal).map_err(|error| Failure {
            derivation: goal.path.clone(),
            kind: error.into(),
            tail: Vec::new(),
            log: None,
            kept: None,
        })?;
        one::build(self.store, goal, self.options, &inputs)
    }

    /// The outputs of what a goal needs: built just now, or before.
    fn inputs_of(&self, goal: &Goal) -> Result<Inputs> {
        let mut inputs = Inputs::new();
        for input in goal.derivation.input_drvs.keys() {
            let just_built = {
                let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                state.outputs.get(input).cloned()
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

    fn finish(&self, index: usize, goal: &Goal, result: std::result::Result<Done, Failure>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.left = state.left.saturating_sub(1);
        match result {
            Ok(done) => {
                state.outputs.insert(goal.path.clone(), done.outputs);
                if done.built {
                    state.built.push(goal.path.clone());
                }
                for next in &goal.needed_by {
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
                if !matches!(failure.kind, FailureKind::Cancelled) || state.failures.is_empty() {
                    state.failures.push(failure);
                }
                self.give_up_dependents(index, &mut state);
                if !self.options.keep_going {
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
            for next in self.goal(index).map(|goal| goal.needed_by.as_slice()).unwrap_or_default() {
                if seen.insert(*next) {
                    // A goal that waits for ever: mark it so that a second failure does not count it again.
                    if let Some(count) = state.waiting_for.get_mut(*next)
                        && *count != usize::MAX
                    {
                        *count = usize::MAX;
                        state.left = state.left.saturating_sub(1);
                        state.dependents.extend(self.goal(*next).map(|goal| goal.path.clone()));
                    }
                    queue.push(*next);
                }
            }
        }
    }
}
