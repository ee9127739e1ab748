//! A build on another machine: its inputs are copied there, it is built there, its outputs are copied back. Nix manual,
//! "Distributed Builds". The machine's word for the outputs counts as our own builder's would: who may set `builders` is trusted.

use super::log_file::BuildLog;
use super::machines::Machine;
use super::schedule::Goal;
use super::{BuildOptions, Event, Failure, FailureKind, Progress, Wanted};
use crate::cache::Place;
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::open::{Options, Store};
use crate::trust::Trust;
use formats::derivation::{Derivation, Output};
use formats::store_path::StorePath;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, PipeReader, PipeWriter, Read as _, Write as _};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

/// An open store on a machine, for one build.
#[derive(Debug)]
pub(super) struct There<'a> {
    machine: &'a Machine,
    store: Store,
    /// What the builder says.
    said: PipeReader,
    /// Where it is said when it comes within the conversation.
    voice: Option<PipeWriter>,
}

impl<'a> There<'a> {
    /// Connects.
    pub(super) fn open(machine: &'a Machine, here: &Store) -> Result<Self> {
        let trust = Trust { require_signatures: false, ..here.options.trust.clone() };
        let options = Options { durable: here.options.durable, trust, ..Options::default() };
        let layout = here.layout.clone();
        let (said, writer) = io::pipe().map_err(Error::file("connecting to", &machine.name))?;
        let (store, voice) = match &machine.address.place {
            // Builders speak on the program's standard error.
            Place::Ssh(_) => {
                let speaks = Some(Stdio::from(writer));
                (Store::over_ssh_saying(&machine.address, layout, options, Vec::new(), speaks)?, None)
            }
            Place::SshDaemon(_) => {
                (Store::over_ssh(&machine.address, layout, options, Vec::new())?, Some(writer))
            }
            Place::Root(root) => {
                let layout = Layout { store_dir: here.dir().clone(), ..Layout::below(root) };
                (Store::open_with(layout, options)?, Some(writer))
            }
            Place::Directory(_) | Place::Server(_) => {
                return Err(Error::Invalid(format!("`{}` is a cache: it builds nothing", machine.name)));
            }
        };
        Ok(Self { machine, store, said, voice })
    }

    /// Builds a goal with its inputs (everything that the builder may see) there; its outputs are valid here afterwards.
    /// `locked` are paths that the caller has locked.
    pub(super) fn build(
        self,
        here: &Store,
        goal: &Goal,
        options: &BuildOptions,
        inputs: &BTreeSet<StorePath>,
        locked: &BTreeSet<StorePath>,
        failure: &mut Failure,
    ) -> Result<BTreeMap<String, StorePath>, FailureKind> {
        let Self { machine, store, mut said, voice } = self;
        log::info!("building {} on {}", goal.path, machine.name);
        options.progress.event(&Event::Started { derivation: &goal.path, fetch: false });
        let mut log = BuildLog::create(&here.layout, &goal.path, options.log_lines, &*options.progress)?;
        failure.log = Some(log.path.clone());
        let progress: Arc<dyn Progress> = match voice {
            Some(voice) => Arc::new(Voice(Mutex::new(voice))),
            None => Arc::new(super::Silent),
        };
        let mut features = options.features.clone();
        features.extend(machine.features().iter().cloned());
        // Nobody builds for a machine that builds for us.
        let max_jobs = options.max_jobs.max(1);
        let theirs = BuildOptions { features, progress, machines: Vec::new(), max_jobs, ..options.clone() };
        let work = Work { here, machine, store, goal, options: theirs };
        let built = std::thread::scope(|scope| {
            let speaking = scope.spawn(|| copy_log(&mut said, &mut log));
            let built = work.bring(inputs).and_then(|()| work.build(inputs));
            options.progress.event(&Event::Registering { derivation: &goal.path });
            let built = built.and_then(|built| work.fetch(built, locked));
            // Hanging up ends what is said.
            drop(work);
            if let Ok(Err(error)) = speaking.join() {
                log::warn!("{}: {error}", goal.path);
            }
            built
        });
        failure.tail = log.finish()?;
        built.map_err(|error| explain(machine, error))
    }
}

/// What is done with a machine.
struct Work<'a> {
    here: &'a Store,
    machine: &'a Machine,
    store: Store,
    goal: &'a Goal,
    /// How the machine builds.
    options: BuildOptions,
}

impl Work<'_> {
    /// Copies what the machine has not; with `builders-use-substitutes` it takes what it can from its own caches.
    fn bring(&self, inputs: &BTreeSet<StorePath>) -> Result<()> {
        let mut missing = BTreeSet::new();
        for path in inputs {
            if !self.store.is_valid(path)? {
                missing.insert(path.clone());
            }
        }
        if self.options.machines_substitute && !missing.is_empty() {
            let options = BuildOptions { substitute: true, ..self.options.clone() };
            for path in &missing {
                if let Err(error) = self.store.substitute(&BTreeSet::from([path.clone()]), &options) {
                    log::debug!("{}: {path}: {error}", self.machine.name);
                }
            }
        }
        self.here.copy_to(&self.store, &missing, true, &|path| self.tell_copy(path))?;
        Ok(())
    }

    fn tell_copy(&self, path: &StorePath) {
        log::debug!("copying {path} to {}", self.machine.name);
    }

    /// Has it built; the paths of its outputs.
    fn build(&self, inputs: &BTreeSet<StorePath>) -> Result<BTreeMap<String, StorePath>> {
        let Goal { path, derivation, .. } = self.goal;
        let addressed = |output: &Output| matches!(output, Output::InputAddressed(_));
        let outputs = if derivation.outputs.values().any(addressed) && !self.store.trusts_us() {
            // Who does not trust us must see for itself that the outputs' paths follow from the inputs.
            let all = self.here.closure([path.clone()])?;
            self.here.copy_to(&self.store, &all, true, &|path| self.tell_copy(path))?;
            let mut report = self.store.build(&[(path.clone(), Wanted::All)], &self.options)?;
            report.outputs.remove(path).unwrap_or_default()
        } else {
            let (input_drvs, input_srcs) = (BTreeMap::new(), inputs.clone());
            let basic = Derivation { input_drvs, input_srcs, ..derivation.clone() };
            let by_id = self.store.build_given(path, basic, &self.options)?;
            by_id
                .into_iter()
                .filter_map(|(id, path)| Some((id.split_once('!')?.1.to_owned(), path)))
                .collect()
        };
        let known = derivation.output_paths(self.here.dir())?;
        let paths = known.into_iter().map(|(output, path)| {
            let Some(path) = path.or_else(|| outputs.get(&output).cloned()) else {
                return Err(Error::Invalid(format!("it does not say where its output `{output}` is")));
            };
            Ok((output, path))
        });
        paths.collect()
    }

    /// Copies the outputs here.
    fn fetch(
        &self,
        outputs: BTreeMap<String, StorePath>,
        locked: &BTreeSet<StorePath>,
    ) -> Result<BTreeMap<String, StorePath>> {
        let mut wanted = BTreeSet::new();
        for path in outputs.values() {
            if !self.here.is_valid(path)? {
                wanted.insert(path.clone());
            }
        }
        self.store.copy_to_locked(self.here, &wanted, locked)?;
        Ok(outputs)
    }
}

/// Says what went wrong and where.
fn explain(machine: &Machine, error: Error) -> FailureKind {
    let on =
        |message: &dyn std::fmt::Display| -> Box<str> { format!("on `{}`: {message}", machine.name).into() };
    match error {
        Error::Build(error) => match error.failures.into_iter().next().map(|failure| failure.kind) {
            Some(FailureKind::Daemon { status, message }) => {
                FailureKind::Daemon { status, message: on(&message) }
            }
            Some(kind) => kind,
            None => FailureKind::Daemon { status: 9, message: on(&"it failed") },
        },
        // No builder failed: something between here and there did.
        other => Error::Daemon(String::from(on(&other))).into(),
    }
}

/// Takes what builders say into the log until all who could speak are gone.
fn copy_log(said: &mut PipeReader, log: &mut BuildLog<'_>) -> Result<()> {
    let mut buffer = [0; 4096];
    loop {
        match said.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => log.write(buffer.get(..count).unwrap_or_default())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::file("hearing", "a machine")(error)),
        }
    }
}

/// Says what a build within the conversation tells, as its builder said it.
struct Voice(Mutex<PipeWriter>);

impl Progress for Voice {
    fn event(&self, event: &Event<'_>) {
        let text = match event {
            Event::Line { line, .. } => format!("{line}\n"),
            Event::Phase { phase, .. } => {
                let message = serde_json::json!({ "action": "setPhase", "phase": phase });
                format!("@nix {message}\n")
            }
            _ => return,
        };
        let mut pipe = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = pipe.write_all(text.as_bytes()) {
            log::debug!("a line of a log is lost: {error}");
        }
    }
}
