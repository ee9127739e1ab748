//! Builds: a graph of derivations, carried out in parallel, each in a sandbox; its outputs made canonical, scanned,
//! hashed and registered. Nix manual, "Building".

mod after;
mod attributes;
mod builtin;
mod cgroup;
mod elsewhere;
mod environment;
mod failure;
mod fetch;
mod free_space;
mod identity;
mod log_file;
mod machines;
mod one;
mod outputs;
mod plan;
mod process;
mod progress;
mod recursive;
mod reference_graph;
mod resolve;
mod room;
mod rules;
mod sandbox;
mod schedule;
mod seccomp;
mod site;
mod structured;
mod substitute;
mod unpack_channel;
mod user_environment;

pub use cgroup::Limits;
pub use failure::{BuildError, Failure, FailureKind};
pub(crate) use fetch::agent;
pub use free_space::FreeSpace;
pub(crate) use free_space::LastLook;
pub use machines::Machine;
pub use progress::{Event, Progress, Silent};
pub(crate) use recursive::FEATURE as RECURSIVE_NIX;
pub(crate) use resolve::resolve;
pub use room::Room;
pub use sandbox::{Sandbox, SandboxPath, static_shell};

use crate::error::{Error, Result};
use crate::open::Store;
use formats::derivation::Derivation;
use formats::store_path::StorePath;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// What is wanted of a derivation: some of its outputs, or all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// All outputs.
    All,
    /// These.
    Outputs(BTreeSet<String>),
}

impl Wanted {
    /// Whether the output is wanted.
    #[must_use]
    pub fn contains(&self, output: &str) -> bool {
        match self {
            Self::All => true,
            Self::Outputs(outputs) => outputs.contains(output),
        }
    }
}

/// How builds run.
#[derive(Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line, independent of the others"
)]
pub struct BuildOptions {
    /// How many builders run at a time on this machine; with none, only other machines build, and what is to be built here.
    pub max_jobs: usize,
    /// Machines that build for us.
    pub machines: Vec<Machine>,
    /// Whether they take from their own caches what they can.
    pub machines_substitute: bool,
    /// What builders are told about cores (`NIX_BUILD_CORES`).
    pub cores: usize,
    /// How many downloads run at a time, beside the builders.
    pub max_downloads: usize,
    /// After a failure, still build what does not need the failed.
    pub keep_going: bool,
    /// Leave the build directory of a failed build.
    pub keep_failed: bool,
    /// Build again what is valid, and compare.
    pub check: bool,
    /// With `check`: what is damaged is replaced by what was built, instead of compared.
    pub repair: bool,
    /// Take from the store's caches what they have.
    pub substitute: bool,
    /// Build what caches promised and failed to deliver.
    pub fallback: bool,
    /// The longest that a builder may run.
    pub timeout: Option<Duration>,
    /// The longest that a builder may say nothing.
    pub max_silent: Option<Duration>,
    /// The most that a builder may say, in bytes.
    pub max_log_size: Option<u64>,
    /// The sandbox.
    pub sandbox: Sandbox,
    /// Whether builds get cgroups of their own; where that is possible, if nothing is said.
    pub use_cgroups: Option<bool>,
    /// What each build may use.
    pub limits: Limits,
    /// Systems that this machine builds for.
    pub systems: BTreeSet<String>,
    /// Features that derivations may require.
    pub features: BTreeSet<String>,
    /// A program run after each build, with `DRV_PATH` and `OUT_PATHS` in its environment.
    pub post_build_hook: Option<PathBuf>,
    /// What it finds in `NIX_CONFIG`.
    pub hook_settings: String,
    /// Note the paths of all outputs as realisations, not only of those that are addressed by content.
    pub note_realisations: bool,
    /// What builders find in variables that they take from outside (`impureEnvVars`), before our own environment.
    pub impure_env: BTreeMap<String, String>,
    /// Make room when the disk fills up.
    pub free_space: Option<FreeSpace>,
    /// Link equal files of what was built to each other.
    pub auto_optimise: bool,
    /// Where fixed outputs may be downloaded by hash (`URL/sha256/<base 16>`), before their own addresses.
    pub hashed_mirrors: Vec<String>,
    /// How many last lines of its log a failure carries.
    pub log_lines: usize,
    /// Who hears what happens.
    pub progress: Arc<dyn Progress>,
    /// Where builds on this machine need a place as well, beside `max_jobs`.
    pub room: Option<Arc<Room>>,
    /// Set it to end all builders and give up.
    pub cancel: Arc<AtomicBool>,
}

impl std::fmt::Debug for BuildOptions {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("BuildOptions")
            .field("max_jobs", &self.max_jobs)
            .field("sandbox", &self.sandbox)
            .finish_non_exhaustive()
    }
}

impl Default for BuildOptions {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            max_jobs: cores,
            machines: Vec::new(),
            machines_substitute: false,
            cores,
            max_downloads: 16,
            keep_going: false,
            keep_failed: false,
            check: false,
            repair: false,
            substitute: true,
            fallback: false,
            timeout: None,
            max_silent: None,
            max_log_size: None,
            sandbox: Sandbox::default(),
            use_cgroups: None,
            limits: Limits::default(),
            systems: BTreeSet::from([format!("{}-linux", std::env::consts::ARCH)]),
            features: ["nixos-test", "benchmark", "big-parallel", "kvm"].map(str::to_owned).into(),
            post_build_hook: None,
            hook_settings: String::new(),
            impure_env: BTreeMap::new(),
            note_realisations: false,
            free_space: None,
            auto_optimise: false,
            hashed_mirrors: Vec::new(),
            log_lines: 25,
            progress: Arc::new(Silent),
            room: None,
            cancel: Arc::default(),
        }
    }
}

/// What a build gave.
#[derive(Debug, Clone, Default)]
pub struct BuildReport {
    /// The wanted outputs of each derivation that was asked for.
    pub outputs: BTreeMap<StorePath, BTreeMap<String, StorePath>>,
    /// The derivations that were really built, in the order of their ends.
    pub built: Vec<StorePath>,
}

/// What a build would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Missing {
    /// Derivations that would be built, inputs first.
    pub build: Vec<StorePath>,
    /// Those among them that are downloads.
    pub fetch: Vec<StorePath>,
    /// Paths that would come from caches, what they need first.
    pub substitute: Vec<StorePath>,
    /// Paths that caches refer to and do not have.
    pub unknown: BTreeSet<StorePath>,
    /// How many bytes would come in for those, as far as caches say.
    pub download_size: u64,
    /// How many bytes their archives have.
    pub nar_size: u64,
}

impl Store {
    /// Builds the wanted outputs of these derivations and all that they need. When something fails, the error carries
    /// every failure; what was built before stays valid.
    pub fn build(&self, requests: &[(StorePath, Wanted)], options: &BuildOptions) -> Result<BuildReport> {
        if let Some(remote) = &self.remote {
            self.bring(requests.iter().map(|(path, _)| path))?;
            let mut report = remote.build(requests, options)?;
            for (path, wanted) in requests {
                let known = self.known_outputs(&self.read_derivation(path)?)?;
                let known = known.into_iter().filter_map(|(output, path)| Some((output, path?)));
                let outputs = report.outputs.entry(path.clone()).or_default();
                for (output, path) in known.filter(|(output, _)| wanted.contains(output)) {
                    outputs.entry(output).or_insert(path);
                }
                if outputs.is_empty() && !self.has_files() {
                    return Err(Error::NotValid(format!("of an output of {}", self.dir().print(path))));
                }
            }
            return Ok(report);
        }
        let (built, made) = self.carry_out(options, |excluded| {
            plan::Planner::new(self, options.substitute, excluded).derivations(requests, options.check)
        })?;
        let mut report = BuildReport { built, ..BuildReport::default() };
        for (path, wanted) in requests {
            let mut outputs = match made.get(path) {
                Some(outputs) => outputs.clone(),
                None => self
                    .known_outputs(&self.read_derivation(path)?)?
                    .into_iter()
                    .filter_map(|(output, path)| Some((output, path?)))
                    .collect(),
            };
            outputs.retain(|output, _| wanted.contains(output));
            if options.note_realisations {
                one::note_realisations(self, &self.read_derivation(path)?, &outputs, true)?;
            }
            report.outputs.entry(path.clone()).or_default().extend(outputs);
        }
        Ok(report)
    }

    /// Makes paths valid that caches have, with all that they need.
    pub fn substitute(&self, paths: &BTreeSet<StorePath>, options: &BuildOptions) -> Result<()> {
        if let Some(remote) = &self.remote {
            return remote.ensure(paths, options);
        }
        self.carry_out(options, |excluded| plan::Planner::new(self, true, excluded).paths(paths)).map(drop)
    }

    /// Plans and runs, and plans anew without what caches did not deliver, if that may be built.
    fn carry_out(
        &self,
        options: &BuildOptions,
        plan: impl Fn(&BTreeSet<StorePath>) -> Result<schedule::Schedule>,
    ) -> Result<(Vec<StorePath>, resolve::Inputs)> {
        let mut excluded = BTreeSet::new();
        let (mut built, mut made) = (Vec::new(), resolve::Inputs::new());
        loop {
            let outcome = plan(&excluded)?.run(self, options);
            built.extend(outcome.built);
            made.extend(outcome.outputs);
            let before = excluded.len();
            let mut forgivable = true;
            for failure in &outcome.failures {
                match &failure.kind {
                    FailureKind::Substitution { gone, .. } if *gone || options.fallback => {
                        excluded.insert(failure.derivation.clone());
                    }
                    _ => forgivable = false,
                }
            }
            if outcome.failures.is_empty() {
                return Ok((built, made));
            }
            if !forgivable || excluded.len() == before {
                let error = BuildError { failures: outcome.failures, dependents: outcome.dependents };
                return Err(Error::Build(Box::new(error)));
            }
        }
    }

    /// Builds one derivation; the path of each output.
    pub fn build_derivation(
        &self,
        derivation: &StorePath,
        options: &BuildOptions,
    ) -> Result<BTreeMap<String, StorePath>> {
        let mut report = self.build(&[(derivation.clone(), Wanted::All)], options)?;
        report
            .outputs
            .remove(derivation)
            .ok_or_else(|| Error::Invalid(format!("`{derivation}` has no known outputs")))
    }

    /// Builds a derivation that need not be in the store under its path and names no input derivations. The paths of its
    /// outputs by their ids as realisations.
    pub(crate) fn build_given(
        &self,
        path: &StorePath,
        derivation: Derivation,
        options: &BuildOptions,
    ) -> Result<BTreeMap<String, StorePath>> {
        if let Some(remote) = &self.remote {
            return remote.build_given(path, &derivation, options);
        }
        for source in &derivation.input_srcs {
            self.add_temp_root(source)?;
            self.path_info(source)?;
        }
        let goal =
            schedule::Goal { path: path.clone(), derivation, check: options.check, offers: Vec::new() };
        let (started, derivation) = (Instant::now(), path);
        let result = one::build(self, &goal, options, &resolve::Inputs::new(), None);
        options.progress.event(&match &result {
            Ok(_) => Event::Finished { derivation, duration: started.elapsed() },
            Err(failure) => Event::Failed { derivation, kind: &failure.kind },
        });
        match result {
            Ok(done) => done
                .outputs
                .into_iter()
                .map(|(output, path)| Ok((self.realisation_id(&goal.derivation, &output)?, path)))
                .collect(),
            Err(failure) => {
                Err(Error::Build(Box::new(BuildError { failures: vec![failure], dependents: Vec::new() })))
            }
        }
    }

    /// What caches would give for paths that are not valid; those that they do not have with all that they need.
    pub fn missing_paths(&self, paths: &BTreeSet<StorePath>) -> Result<(Missing, BTreeSet<StorePath>)> {
        let (mut wanted, mut unknown) = (BTreeSet::new(), BTreeSet::new());
        for path in paths {
            let one = BTreeSet::from([path.clone()]);
            match plan::Planner::new(self, true, &BTreeSet::new()).paths(&one) {
                Ok(_) => wanted.insert(path.clone()),
                Err(Error::Invalid(_)) => unknown.insert(path.clone()),
                Err(error) => return Err(error),
            };
        }
        Ok((plan::Planner::new(self, true, &BTreeSet::new()).paths(&wanted)?.missing(), unknown))
    }

    /// What [`Store::build`] would build, without building.
    pub fn missing(&self, requests: &[(StorePath, Wanted)]) -> Result<Missing> {
        if let Some(remote) = &self.remote {
            return remote.missing(requests);
        }
        Ok(plan::Planner::new(self, true, &BTreeSet::new()).derivations(requests, false)?.missing())
    }
}
