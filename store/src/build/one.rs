//! One build from lock to registration.

use super::attributes::Attributes;
use super::elsewhere::There;
use super::identity::Identity;
use super::log_file::BuildLog;
use super::outputs::{self, Scratch};
use super::resolve::{self, Inputs};
use super::schedule::Goal;
use super::{BuildOptions, Event, Failure, FailureKind, Sandbox, after, builtin, process, recursive};
use crate::daemon::{Restriction, Window};
use crate::error::Result;
use crate::lock::PathLocks;
use crate::open::Store;
use crate::realisation::Realisation;
use crate::tree;
use formats::derivation::{Derivation, Output};
use formats::hash::{Algorithm, Hash};
use formats::store_path::{StorePath, output_name};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What a build works with.
pub(super) struct Job<'a> {
    pub(super) store: &'a Store,
    pub(super) goal: &'a Goal,
    pub(super) options: &'a BuildOptions,
    pub(super) attributes: Attributes<'a>,
    /// The paths that the builder is told, by output.
    pub(super) outputs: BTreeMap<String, StorePath>,
    /// The paths that the outputs will have, as far as they are known.
    pub(super) finals: BTreeMap<String, Option<StorePath>>,
    /// Everything that the builder may see.
    pub(super) inputs: BTreeSet<StorePath>,
    pub(super) scratch: Scratch,
    pub(super) identity: Identity,
    /// What the builder may see when it asks the store itself, if it may ask.
    pub(super) restriction: Option<Arc<Restriction>>,
}

impl Job<'_> {
    /// Where the builder leaves an output: in a store of its own, or without a sandbox in the real one.
    pub(super) fn built_path(&self, output: &StorePath) -> PathBuf {
        if self.options.sandbox == Sandbox::Off && !self.goal.derivation.is_builtin() {
            self.store.real_path(output)
        } else {
            self.scratch.store().join(output.base_name())
        }
    }

    /// Whether the outputs are checked otherwise or never kept, so that the builder may reach the world.
    pub(super) fn may_use_network(&self) -> bool {
        self.goal.derivation.is_fixed_output() || is_impure(&self.goal.derivation)
    }
}

/// Whether nothing that the derivation makes may be used again.
pub(super) fn is_impure(derivation: &Derivation) -> bool {
    derivation.outputs.values().any(|output| matches!(output, Output::Impure { .. }))
}

/// What became of a goal.
#[derive(Debug)]
pub(super) struct Done {
    /// Whether it was really built, and not done by somebody else meanwhile.
    pub(super) built: bool,
    /// The paths of its outputs.
    pub(super) outputs: BTreeMap<String, StorePath>,
}

/// Builds one goal, on another machine if one is given; `inputs` are the outputs of the derivations that it needs.
pub(super) fn build(
    store: &Store,
    goal: &Goal,
    options: &BuildOptions,
    inputs: &Inputs,
    there: Option<There<'_>>,
) -> Result<Done, Failure> {
    let mut failure = Failure {
        derivation: goal.path.clone(),
        kind: FailureKind::Cancelled,
        tail: Vec::new(),
        log: None,
        kept: None,
    };
    match attempt(store, goal, options, inputs, there, &mut failure) {
        Ok(done) => Ok(done),
        Err(kind) => {
            failure.kind = kind;
            Err(failure)
        }
    }
}

/// Builds the goal or, where its inputs' paths were not known when it was made, the one that it resolves to.
fn attempt(
    store: &Store,
    goal: &Goal,
    options: &BuildOptions,
    inputs: &Inputs,
    there: Option<There<'_>>,
    failure: &mut Failure,
) -> Result<Done, FailureKind> {
    let done = if resolve::is_needed(store, &goal.derivation)? {
        let resolved = resolve::resolve(store, &goal.derivation, inputs)?;
        store.bring_sources(&resolved)?;
        let path = store.add_derivation(&resolved)?;
        let resolved = Goal { path, derivation: resolved, check: goal.check, offers: Vec::new() };
        let done = carry_out(store, &resolved, options, &Inputs::new(), there, failure)?;
        note_realisations(store, &resolved.derivation, &done.outputs, options.note_realisations)?;
        done
    } else {
        carry_out(store, goal, options, inputs, there, failure)?
    };
    note_realisations(store, &goal.derivation, &done.outputs, options.note_realisations)?;
    Ok(done)
}

/// Notes which paths outputs got that had none before, or all of them.
pub(super) fn note_realisations(
    store: &Store,
    derivation: &Derivation,
    outputs: &BTreeMap<String, StorePath>,
    all: bool,
) -> Result<()> {
    for (output, kind) in &derivation.outputs {
        let wanted = match kind {
            Output::Floating { .. } | Output::Deferred => true,
            Output::Impure { .. } => false,
            Output::InputAddressed(_) | Output::Fixed(_) => all,
        };
        if let Some(path) = outputs.get(output).filter(|_| wanted) {
            let id = store.realisation_id(derivation, output)?;
            store.register_realisation(&Realisation::new(id, path.clone()))?;
        }
    }
    Ok(())
}

/// One build from lock to registration.
fn carry_out(
    store: &Store,
    goal: &Goal,
    options: &BuildOptions,
    inputs: &Inputs,
    there: Option<There<'_>>,
    failure: &mut Failure,
) -> Result<Done, FailureKind> {
    let finals = goal.derivation.output_paths(store.dir()).map_err(crate::Error::from)?;
    let mut real: Vec<_> = finals.values().flatten().map(|path| store.real_path(path)).collect();
    if real.len() < finals.len() {
        real.push(store.real_path(&goal.path));
    }
    let locks = if let Some(locks) = PathLocks::try_acquire(&real)? {
        locks
    } else {
        options.progress.event(&Event::Waiting { derivation: &goal.path });
        PathLocks::acquire(&real)?
    };
    if options.cancel.load(Ordering::SeqCst) {
        return Err(FailureKind::Cancelled);
    }
    if !goal.check
        && let Some(outputs) = all_valid(store, &goal.derivation)?
    {
        return Ok(Done { built: false, outputs });
    }
    store.bring_sources(&goal.derivation)?;
    if let Some(there) = there {
        let inputs = input_closure(store, goal, inputs)?;
        let locked = finals.into_values().flatten().collect();
        let outputs = there.build(store, goal, options, &inputs, &locked, failure)?;
        drop(locks);
        return finish(store, goal, options, outputs);
    }
    // A store below another root is where its paths say only within a sandbox, whatever is set.
    let diverted = store.layout.real_store != Path::new(store.dir().as_str());
    let sandboxed;
    let options = if diverted && options.sandbox == Sandbox::Off {
        sandboxed = BuildOptions { sandbox: Sandbox::default(), ..options.clone() };
        &sandboxed
    } else {
        options
    };
    let attributes = Attributes::of(&goal.derivation)?;
    check_supported(goal, options, &attributes)?;
    let inputs = input_closure(store, goal, inputs)?;
    let outputs = scratch_paths(store, goal, options, &finals)?;
    let identity = match options.sandbox {
        Sandbox::Required(_) if !goal.derivation.is_builtin() => Identity::take(&store.layout)?,
        _ => Identity::ourselves(),
    };
    let asks = attributes.required_features().contains(recursive::FEATURE);
    let in_sandbox = matches!(options.sandbox, Sandbox::Required(_));
    let scratch = Scratch::create(store, &goal.path, &identity, asks && !in_sandbox)?;
    let window = in_sandbox.then(|| Window { place: scratch.store(), separate: identity.separate });
    let restriction = asks.then(|| Arc::new(Restriction::new(inputs.clone(), window)));
    let job =
        Job { store, goal, options, attributes, outputs, finals, inputs, scratch, identity, restriction };
    options.progress.event(&Event::Started {
        derivation: &goal.path,
        fetch: goal.derivation.builder == b"builtin:fetchurl",
    });
    let result = run(&job, failure);
    match &result {
        // Without a sandbox the builder knows its directory by its real name: there it stays.
        Err(_) if options.keep_failed && options.sandbox == Sandbox::Off => {
            failure.kept = Some(job.scratch.build());
        }
        Err(_) if options.keep_failed => failure.kept = Some(job.scratch.keep()?),
        _ => job.scratch.remove()?,
    }
    if options.sandbox == Sandbox::Off {
        remove_scratch_outputs(&job)?;
    }
    drop(locks);
    finish(store, goal, options, result?)
}

/// What comes after a build, wherever it was.
fn finish(
    store: &Store,
    goal: &Goal,
    options: &BuildOptions,
    outputs: BTreeMap<String, StorePath>,
) -> Result<Done, FailureKind> {
    // What the hook calls must find them.
    note_realisations(store, &goal.derivation, &outputs, options.note_realisations)?;
    after::registered(&goal.path, &outputs, store, options)?;
    Ok(Done { built: true, outputs })
}

/// Which paths the builder is told: those that its outputs will have where they are known and free, others elsewhere.
/// What lies there is removed.
fn scratch_paths(
    store: &Store,
    goal: &Goal,
    options: &BuildOptions,
    finals: &BTreeMap<String, Option<StorePath>>,
) -> Result<BTreeMap<String, StorePath>> {
    let elsewhere = |kind: &str, name: &str| {
        let kind = format!("rewrite:{}:{kind}", goal.path.base_name());
        store.dir().make_path(&kind, &Hash::zero(Algorithm::Sha256), name)
    };
    let unsandboxed = options.sandbox == Sandbox::Off && !goal.derivation.is_builtin();
    let mut scratch = BTreeMap::new();
    for (output, path) in finals {
        let chosen = match path {
            Some(path) if unsandboxed && (goal.check || store.is_valid(path)?) => {
                elsewhere(path.base_name(), path.name())?
            }
            Some(path) => path.clone(),
            None => elsewhere(&format!("name:{output}"), &output_name(&goal.derivation.name, output))?,
        };
        if !store.is_valid(&chosen)? {
            store.add_temp_root(&chosen)?;
            tree::remove(&store.real_path(&chosen))?;
        }
        scratch.insert(output.clone(), chosen);
    }
    Ok(scratch)
}

/// Without a sandbox the builder wrote into the store itself: what was not made valid goes.
fn remove_scratch_outputs(job: &Job<'_>) -> Result<()> {
    for path in job.outputs.values() {
        if !job.store.is_valid(path)? {
            tree::remove(&job.store.real_path(path))?;
        }
    }
    Ok(())
}

fn run(job: &Job<'_>, failure: &mut Failure) -> Result<BTreeMap<String, StorePath>, FailureKind> {
    if job.goal.derivation.is_builtin() {
        builtin::run(job)?;
    } else {
        let progress = &*job.options.progress;
        let mut log = BuildLog::create(&job.store.layout, &job.goal.path, job.options.log_lines, progress)?;
        let path = log.path.clone();
        let ended = process::run(job, &mut log);
        failure.tail = log.finish()?;
        failure.log = Some(path);
        ended?;
    }
    job.options.progress.event(&Event::Registering { derivation: &job.goal.path });
    outputs::register(job)
}

/// The outputs, if they are all known and valid.
fn all_valid(store: &Store, derivation: &Derivation) -> Result<Option<BTreeMap<String, StorePath>>> {
    if is_impure(derivation) {
        return Ok(None);
    }
    let mut outputs = BTreeMap::new();
    for (output, path) in store.known_outputs(derivation)? {
        match path {
            Some(path) if store.is_valid(&path)? => outputs.insert(output, path),
            _ => return Ok(None),
        };
    }
    Ok(Some(outputs))
}

pub(super) fn check_supported(
    goal: &Goal,
    options: &BuildOptions,
    attributes: &Attributes<'_>,
) -> Result<(), FailureKind> {
    let platform = String::from_utf8_lossy(&goal.derivation.platform);
    if platform != "builtin" && !options.systems.contains(platform.as_ref()) {
        let ours: Vec<&str> = options.systems.iter().map(String::as_str).collect();
        return Err(FailureKind::Unsupported(format!(
            "it needs a machine of type `{platform}`; this one builds for {}",
            ours.join(", ")
        )));
    }
    if let Some(missing) = attributes.required_features().difference(&options.features).next() {
        return Err(FailureKind::Unsupported(format!(
            "it requires the system feature `{missing}`, which this machine lacks"
        )));
    }
    Ok(())
}

/// The closure of all inputs: what the builder sees.
fn input_closure(store: &Store, goal: &Goal, inputs: &Inputs) -> Result<BTreeSet<StorePath>> {
    let mut direct: Vec<StorePath> = goal.derivation.input_srcs.iter().cloned().collect();
    for (input, wanted) in &goal.derivation.input_drvs {
        let outputs = inputs.get(input).into_iter().flatten();
        direct.extend(outputs.filter(|(output, _)| wanted.contains(*output)).map(|(_, path)| path.clone()));
    }
    store.closure(direct)
}
