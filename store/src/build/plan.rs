//! What is to be done for some outputs to be valid: which paths come from caches, which derivations are built, and in what
//! order. The derivation graph is walked level by level, so that caches are asked for a whole level at a time; a path
//! counts as offered only if caches have its whole closure as far as it is not valid here.

use super::attributes::Attributes;
use super::schedule::{Goal, Schedule, Step, Work};
use super::{Wanted, one};
use crate::cache::Offer;
use crate::error::{Error, Result};
use crate::open::Store;
use crate::realisation::Realisation;
use formats::content_address::ContentAddress;
use formats::derivation::{Derivation, Output};
use formats::store_path::StorePath;
use std::collections::{BTreeMap, BTreeSet};

/// What the walk has found so far.
pub(super) struct Planner<'a> {
    store: &'a Store,
    /// Whether caches are asked at all.
    substitute: bool,
    /// Paths that caches promised and did not deliver.
    excluded: &'a BTreeSet<StorePath>,
    /// Derivations to build, in the order in which they were found, and whether only to compare.
    builds: Vec<Goal>,
    build_index: BTreeMap<StorePath, usize>,
    /// Derivations of which these outputs are valid or come from caches.
    settled: BTreeMap<StorePath, Vec<Wanted>>,
    /// What caches answered: a path that is not valid here, and who has it.
    answers: BTreeMap<StorePath, Option<Offer>>,
    /// The contents of missing paths that are known beforehand.
    contents: BTreeMap<StorePath, ContentAddress>,
    /// Whether a path's closure can be had.
    complete: BTreeMap<StorePath, bool>,
    /// The paths to fetch, without those that they need.
    fetch: BTreeSet<StorePath>,
    /// Which paths outputs got, as caches say.
    realisations: Vec<Realisation>,
    /// What caches refer to and do not have.
    unknown: BTreeSet<StorePath>,
    /// Those asked for.
    realisations_asked: BTreeSet<String>,
}

/// A derivation that was looked at.
struct Candidate {
    path: StorePath,
    derivation: Derivation,
    wanted: Wanted,
    /// The wanted outputs that are not valid.
    missing: BTreeSet<StorePath>,
    /// Whether it has wanted outputs whose paths only a build tells.
    unknown: bool,
    check: bool,
}

impl<'a> Planner<'a> {
    pub(super) fn new(store: &'a Store, substitute: bool, excluded: &'a BTreeSet<StorePath>) -> Self {
        Self {
            store,
            substitute: substitute && !store.options.substituters.is_empty(),
            excluded,
            builds: Vec::new(),
            build_index: BTreeMap::new(),
            settled: BTreeMap::new(),
            answers: BTreeMap::new(),
            contents: BTreeMap::new(),
            complete: BTreeMap::new(),
            fetch: BTreeSet::new(),
            realisations: Vec::new(),
            unknown: BTreeSet::new(),
            realisations_asked: BTreeSet::new(),
        }
    }

    /// Plans for outputs of derivations.
    pub(super) fn derivations(mut self, requests: &[(StorePath, Wanted)], check: bool) -> Result<Schedule> {
        let mut level: Vec<(StorePath, Wanted, bool)> = Vec::new();
        for (path, wanted) in requests {
            if !self.store.knows_derivation(path)? {
                return Err(Error::NotValid(self.store.dir().print(path)));
            }
            level.push((path.clone(), wanted.clone(), check));
        }
        // As Nix does, by name: which of several that fail is the first does not hang on their hashes.
        level.sort_by(|(one, ..), (other, ..)| (one.name(), one).cmp(&(other.name(), other)));
        while !level.is_empty() {
            let mut candidates = Vec::new();
            for (path, wanted, check) in std::mem::take(&mut level) {
                candidates.extend(self.examine(path, wanted, check)?);
            }
            let mut asked = BTreeSet::new();
            for candidate in &candidates {
                if allows_substitutes(&candidate.derivation) {
                    asked.extend(candidate.missing.iter().cloned());
                }
            }
            self.ask(asked)?;
            for candidate in candidates {
                self.decide(candidate, &mut level)?;
            }
        }
        self.schedule()
    }

    /// Plans for paths that can only come from caches.
    pub(super) fn paths(mut self, paths: &BTreeSet<StorePath>) -> Result<Schedule> {
        let mut missing = BTreeSet::new();
        for path in paths {
            self.store.add_temp_root(path)?;
            if !self.store.is_valid(path)? {
                missing.insert(path.clone());
            }
        }
        self.ask(missing.clone())?;
        for path in missing {
            if !self.is_complete(&path)? {
                let path = self.store.dir().print(&path);
                return Err(Error::Invalid(format!(
                    "path `{path}` is not valid here, and no cache has it with all that it needs"
                )));
            }
            self.fetch.insert(path);
        }
        self.schedule()
    }

    /// Looks at a derivation; nothing if there is nothing to do for it.
    fn examine(&mut self, path: StorePath, wanted: Wanted, check: bool) -> Result<Option<Candidate>> {
        let known = self.settled.get(&path).is_some_and(|settled| settled.contains(&wanted));
        if known || self.build_index.contains_key(&path) {
            return Ok(None);
        }
        let store = self.store;
        let derivation = store.read_derivation(&path)?;
        store.add_temp_root(&path)?;
        if let Wanted::Outputs(outputs) = &wanted
            && let Some(unknown) = outputs.iter().find(|output| !derivation.outputs.contains_key(*output))
        {
            return Err(Error::Invalid(format!("derivation `{path}` has no output `{unknown}`")));
        }
        // What is impure is built each time; a path that is not known is one that only a build tells.
        let mut missing = BTreeSet::new();
        let mut unknown = one::is_impure(&derivation);
        if !unknown {
            for (output, found) in store.known_outputs(&derivation)? {
                if !wanted.contains(&output) {
                    continue;
                }
                let found = match found {
                    Some(found) => Some(found),
                    None => self.promised(&derivation, &output)?,
                };
                let Some(found) = found else {
                    unknown = true;
                    continue;
                };
                store.add_temp_root(&found)?;
                if !store.is_valid(&found)? {
                    if let Some(Output::Fixed(content)) = derivation.outputs.get(&output) {
                        self.contents.insert(found.clone(), *content);
                    }
                    missing.insert(found);
                }
            }
        }
        let check = check && missing.is_empty() && !unknown;
        if missing.is_empty() && !unknown && !check {
            self.settled.entry(path).or_default().push(wanted);
            return Ok(None);
        }
        Ok(Some(Candidate { path, derivation, wanted, missing, unknown, check }))
    }

    /// The path that an output got elsewhere, if a cache says so and has not failed to deliver it.
    fn promised(&mut self, derivation: &Derivation, output: &str) -> Result<Option<StorePath>> {
        if !self.substitute || !allows_substitutes(derivation) {
            return Ok(None);
        }
        let id = self.store.realisation_id(derivation, output)?;
        let (mut found, mut news) = (None, Vec::new());
        let mut queue = vec![id.clone()];
        while let Some(next) = queue.pop() {
            if let Some(known) = self.realisations.iter().find(|known| known.id == next) {
                found = found.or_else(|| (next == id).then(|| known.path.clone()));
                continue;
            }
            if !self.realisations_asked.insert(next.clone()) {
                continue;
            }
            let substituters = &self.store.options.substituters;
            let Some(realisation) = substituters.realisation(self.store, &next) else { continue };
            if self.excluded.contains(&realisation.path) {
                continue;
            }
            if next == id {
                found = Some(realisation.path.clone());
            }
            // What was made with another input than the one here would bring two of it together.
            for (dependency, path) in &realisation.dependencies {
                if self.store.realisation(dependency)?.is_some_and(|known| known.path != *path) {
                    return Ok(None);
                }
            }
            queue.extend(realisation.dependencies.keys().cloned());
            news.push(realisation);
        }
        self.realisations.extend(news);
        Ok(found)
    }

    fn decide(&mut self, candidate: Candidate, next: &mut Vec<(StorePath, Wanted, bool)>) -> Result<()> {
        let Candidate { path, derivation, wanted, missing, unknown, check } = candidate;
        if self.build_index.contains_key(&path) {
            return Ok(());
        }
        let mut offered = !unknown && !missing.is_empty() && allows_substitutes(&derivation);
        for output in &missing {
            offered = offered && self.is_complete(output)?;
        }
        if offered {
            self.fetch.extend(missing);
            self.settled.entry(path).or_default().push(wanted);
            return Ok(());
        }
        check_purity(self.store, &path, &derivation)?;
        for (input, outputs) in &derivation.input_drvs {
            next.push((input.clone(), Wanted::Outputs(outputs.clone()), false));
        }
        self.build_index.insert(path.clone(), self.builds.len());
        let offers = self.offers_without_closure(&missing, unknown || !allows_substitutes(&derivation));
        self.builds.push(Goal { path, derivation, check, offers });
        Ok(())
    }

    /// What caches have of these paths, if they have all of them.
    fn offers_without_closure(&self, missing: &BTreeSet<StorePath>, unwanted: bool) -> Vec<Offer> {
        if unwanted {
            return Vec::new();
        }
        let offer = |path: &StorePath| match self.answers.get(path) {
            Some(Some(offer)) if !self.excluded.contains(path) => Some(offer.clone()),
            _ => None,
        };
        missing.iter().map(offer).collect::<Option<_>>().unwrap_or_default()
    }

    /// Asks caches for paths, then for what those refer to, until nothing new is mentioned.
    fn ask(&mut self, paths: BTreeSet<StorePath>) -> Result<()> {
        if !self.substitute {
            return Ok(());
        }
        let (mut asked, mut referred) = (paths, false);
        loop {
            asked.retain(|path| !self.answers.contains_key(path) && !self.excluded.contains(path));
            if asked.is_empty() {
                return Ok(());
            }
            let mut offers =
                self.store.options.substituters.query_by_content(self.store, &asked, &self.contents);
            let mut next = BTreeSet::new();
            for path in asked {
                let offer = offers.remove(&path);
                let references = offer.iter().flat_map(|offer| &offer.narinfo.info.references);
                next.extend(references.filter(|path| !self.answers.contains_key(*path)).cloned());
                if referred && offer.is_none() {
                    self.unknown.insert(path.clone());
                }
                self.answers.insert(path, offer);
            }
            referred = true;
            asked = BTreeSet::new();
            for path in next {
                self.store.add_temp_root(&path)?;
                if !self.store.is_valid(&path)? {
                    asked.insert(path);
                }
            }
        }
    }

    /// Whether a path that is not valid, and all that it needs, can be had.
    fn is_complete(&mut self, path: &StorePath) -> Result<bool> {
        let mut stack = vec![(path.clone(), false)];
        while let Some((path, leaving)) = stack.pop() {
            if !leaving && self.complete.contains_key(&path) {
                continue;
            }
            let Some(Some(offer)) = self.answers.get(&path) else {
                self.complete.insert(path, false);
                continue;
            };
            let mut needed = Vec::new();
            for reference in offer.narinfo.info.references.iter().filter(|reference| **reference != path) {
                if !self.store.is_valid(reference)? {
                    needed.push(reference.clone());
                }
            }
            if leaving {
                let all = needed.iter().all(|path| self.complete.get(path) == Some(&true));
                self.complete.insert(path, all);
            } else {
                // Until it is known, a circle through it cannot be had.
                self.complete.insert(path.clone(), false);
                stack.push((path, true));
                stack.extend(needed.into_iter().map(|path| (path, false)));
            }
        }
        Ok(self.complete.get(path) == Some(&true))
    }

    /// Puts everything in order: what is needed before what needs it.
    fn schedule(mut self) -> Result<Schedule> {
        let realisations = std::mem::take(&mut self.realisations);
        let unknown = std::mem::take(&mut self.unknown);
        let mut schedule = Schedule { realisations, unknown, ..Schedule::default() };
        let mut steps: BTreeMap<StorePath, usize> = BTreeMap::new();
        for path in std::mem::take(&mut self.fetch) {
            self.add_fetches(&path, &mut steps, &mut schedule);
        }
        let mut builds: Vec<Option<Goal>> = self.builds.drain(..).map(Some).collect();
        for start in 0..builds.len() {
            let mut stack = vec![(start, false)];
            while let Some((index, leaving)) = stack.pop() {
                let Some(slot) = builds.get_mut(index) else { continue };
                let Some(Goal { derivation, .. }) = &*slot else { continue };
                if !leaving {
                    let mut inputs: Vec<_> = derivation.input_drvs.keys().collect();
                    inputs.sort_by_key(|input| std::cmp::Reverse((input.name(), *input)));
                    let inputs = inputs.into_iter().filter_map(|input| self.build_index.get(input));
                    let inputs: Vec<_> = inputs.map(|index| (*index, false)).collect();
                    stack.push((index, true));
                    stack.extend(inputs);
                    continue;
                }
                let Some(goal) = slot.take() else { continue };
                let needs = self.needs(&goal.derivation, &steps)?;
                let fetch = goal.derivation.builder == b"builtin:fetchurl";
                steps.insert(goal.path.clone(), schedule.steps.len());
                schedule.push(Step {
                    work: Work::Build(Box::new(goal)),
                    download: fetch,
                    needs,
                    needed_by: Vec::new(),
                });
            }
        }
        Ok(schedule)
    }

    /// The steps that make a derivation's inputs valid.
    fn needs(&self, derivation: &Derivation, steps: &BTreeMap<StorePath, usize>) -> Result<BTreeSet<usize>> {
        let mut needs = BTreeSet::new();
        for (input, outputs) in &derivation.input_drvs {
            if let Some(step) = steps.get(input) {
                needs.insert(*step);
                continue;
            }
            if steps.is_empty() {
                continue;
            }
            let derivation = self.store.read_derivation(input)?;
            for (output, path) in self.store.known_outputs(&derivation)? {
                if let Some(path) = path.filter(|_| outputs.contains(&output)) {
                    needs.extend(steps.get(&path));
                }
            }
        }
        Ok(needs)
    }

    /// Adds the fetching of a path and of all that it needs.
    fn add_fetches(&self, path: &StorePath, steps: &mut BTreeMap<StorePath, usize>, schedule: &mut Schedule) {
        let mut stack = vec![(path.clone(), false)];
        while let Some((path, leaving)) = stack.pop() {
            if steps.contains_key(&path) {
                continue;
            }
            let Some(Some(offer)) = self.answers.get(&path) else { continue };
            let references = offer.narinfo.info.references.iter().filter(|reference| **reference != path);
            if !leaving {
                let references: Vec<_> = references.map(|path| (path.clone(), false)).collect();
                stack.push((path, true));
                stack.extend(references);
                continue;
            }
            let needs = references.filter_map(|path| steps.get(path)).copied().collect();
            steps.insert(path, schedule.steps.len());
            schedule.push(Step {
                work: Work::Fetch(Box::new(offer.clone())),
                download: true,
                needs,
                needed_by: Vec::new(),
            });
        }
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

/// Whether a derivation may come from a cache: its own attribute says.
fn allows_substitutes(derivation: &Derivation) -> bool {
    Attributes::of(derivation).is_ok_and(|attributes| attributes.allows_substitutes())
}
