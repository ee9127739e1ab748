//! One build from lock to registration.

use super::attributes::Attributes;
use super::identity::Identity;
use super::log_file::BuildLog;
use super::outputs::{self, Scratch};
use super::schedule::Goal;
use super::{BuildOptions, Event, Failure, FailureKind, Sandbox, builtin, process};
use crate::error::Result;
use crate::lock::PathLocks;
use crate::open::Store;
use crate::tree;
use formats::store_path::StorePath;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

/// What a build works with.
pub(super) struct Job<'a> {
    pub(super) store: &'a Store,
    pub(super) goal: &'a Goal,
    pub(super) options: &'a BuildOptions,
    pub(super) attributes: Attributes<'a>,
    /// The output paths by name.
    pub(super) outputs: BTreeMap<String, StorePath>,
    /// Everything that the builder may see.
    pub(super) inputs: BTreeSet<StorePath>,
    pub(super) scratch: Scratch,
    pub(super) identity: Identity,
}

impl Job<'_> {
    /// Where the builder leaves an output: in a store of its own, or without a sandbox in the real one.
    pub(super) fn built_path(&self, output: &StorePath) -> std::path::PathBuf {
        if self.options.sandbox == Sandbox::Off && !self.goal.derivation.is_builtin() {
            self.store.real_path(output)
        } else {
            self.scratch.store().join(output.base_name())
        }
    }
}

/// Builds one goal. False when somebody else did it meanwhile.
pub(super) fn build(store: &Store, goal: &Goal, options: &BuildOptions) -> Result<bool, Failure> {
    let mut failure = Failure {
        derivation: goal.path.clone(),
        kind: FailureKind::Cancelled,
        tail: Vec::new(),
        log: None,
        kept: None,
    };
    match attempt(store, goal, options, &mut failure) {
        Ok(built) => Ok(built),
        Err(kind) => {
            failure.kind = kind;
            Err(failure)
        }
    }
}

fn attempt(
    store: &Store,
    goal: &Goal,
    options: &BuildOptions,
    failure: &mut Failure,
) -> Result<bool, FailureKind> {
    let outputs = store.output_paths(&goal.derivation)?;
    let real: Vec<_> = outputs.values().map(|path| store.real_path(path)).collect();
    let locks = if let Some(locks) = PathLocks::try_acquire(&real)? {
        locks
    } else {
        options.progress.event(&Event::Waiting { derivation: &goal.path });
        PathLocks::acquire(&real)?
    };
    if options.cancel.load(Ordering::SeqCst) {
        return Err(FailureKind::Cancelled);
    }
    if !goal.check && all_valid(store, &outputs)? {
        return Ok(false);
    }
    let attributes = Attributes::of(&goal.derivation)?;
    check_supported(goal, options, &attributes)?;
    if !goal.check {
        for (path, real) in outputs.values().zip(&real) {
            if !store.is_valid(path)? {
                tree::remove(real)?;
            }
        }
    }
    let inputs = input_closure(store, goal)?;
    let identity = match options.sandbox {
        Sandbox::Required(_) if !goal.derivation.is_builtin() => Identity::take(&store.layout)?,
        _ => Identity::ourselves(),
    };
    let scratch = Scratch::create(store, &goal.path, &identity)?;
    let job = Job { store, goal, options, attributes, outputs, inputs, scratch, identity };
    options.progress.event(&Event::Started {
        derivation: &goal.path,
        fetch: goal.derivation.builder == b"builtin:fetchurl",
    });
    let result = run(&job, failure);
    match &result {
        Err(_) if options.keep_failed => failure.kept = Some(job.scratch.keep()?),
        _ => job.scratch.remove()?,
    }
    drop(locks);
    result.map(|()| true)
}

fn run(job: &Job<'_>, failure: &mut Failure) -> Result<(), FailureKind> {
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

fn all_valid(store: &Store, outputs: &BTreeMap<String, StorePath>) -> Result<bool> {
    for path in outputs.values() {
        if !store.is_valid(path)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn check_supported(
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
fn input_closure(store: &Store, goal: &Goal) -> Result<BTreeSet<StorePath>> {
    let mut direct: Vec<StorePath> = goal.derivation.input_srcs.iter().cloned().collect();
    for (input, wanted) in &goal.derivation.input_drvs {
        let derivation = store.read_derivation(input)?;
        let outputs = store.output_paths(&derivation)?;
        direct
            .extend(outputs.into_iter().filter(|(output, _)| wanted.contains(output)).map(|(_, path)| path));
    }
    store.closure(direct)
}
