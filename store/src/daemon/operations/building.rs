//! Requests to build: paths, derivations that a client describes, what is missing, and what came of it.

use super::super::connection::{Failure, Trust};
use super::super::derived_path::DerivedPath;
use super::super::wire::{Answer, read_bytes, read_number, read_text, read_texts};
use super::{Reply, Session, failed, fatal};
use crate::build::{BuildReport, Failure as Failed, FailureKind, Wanted};
use crate::error::{Error, Result};
use crate::open::Store;
use crate::realisation::Realisation;
use formats::derivation::{Derivation, Output};
use formats::store_path::{StoreDir, StorePath};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

impl Session<'_> {
    pub(super) fn read_derived(
        &self,
        input: &mut dyn Read,
    ) -> std::result::Result<Vec<(String, DerivedPath)>, Failure> {
        let texts = read_texts(input).map_err(fatal)?;
        let mut paths = Vec::new();
        for text in texts {
            let path = DerivedPath::parse(&self.store, &text).map_err(failed)?;
            paths.push((text, path));
        }
        Ok(paths)
    }

    pub(super) fn query_missing(&self, input: &mut dyn Read) -> Reply {
        let paths = self.read_derived(input)?;
        let missing = (|| {
            let (mut build, mut unknown) = (BTreeSet::new(), BTreeSet::new());
            let (mut wanted, mut plain) = (Vec::new(), BTreeSet::new());
            for (_, path) in &paths {
                match path {
                    DerivedPath::Opaque(path) | DerivedPath::Built(path, _) if !self.sees(path) => {
                        unknown.extend([path.clone()]);
                    }
                    DerivedPath::Opaque(path) if self.store.is_valid(path)? => {}
                    DerivedPath::Opaque(path) => plain.extend([path.clone()]),
                    DerivedPath::Built(path, _) if !self.store.is_valid(path)? => {
                        unknown.extend([path.clone()]);
                    }
                    DerivedPath::Built(path, outputs) => wanted.push((path.clone(), outputs.clone())),
                }
            }
            let mut missing = self.store.missing(&wanted)?;
            if !plain.is_empty() {
                let (more, none) = self.store.missing_paths(&plain)?;
                unknown.extend(none);
                missing.substitute.extend(more.substitute);
                missing.download_size += more.download_size;
                missing.nar_size += more.nar_size;
            }
            build.extend(std::mem::take(&mut missing.build));
            Ok((build, unknown, missing))
        })();
        self.answer(missing, |answer, (build, unknown, missing)| {
            self.paths(answer, &build);
            self.paths(answer, &missing.substitute.into_iter().collect());
            self.paths(answer, &unknown);
            answer.number(missing.download_size).number(missing.nar_size);
        })
    }

    pub(super) fn build_paths(&mut self, operation: u64, input: &mut dyn Read) -> Reply {
        let paths = self.read_derived(input);
        let mode = read_number(input).map_err(fatal)?;
        let paths = paths?;
        if mode == 1 && self.trust != Trust::Trusted {
            return Err(failed(Error::Invalid("repairing needs a trusted user".to_owned())));
        }
        let (mut requests, mut plain) = (Vec::new(), BTreeSet::new());
        for (_, path) in &paths {
            match path {
                DerivedPath::Built(path, _) | DerivedPath::Opaque(path) if !self.sees(path) => {
                    return Err(self.unseen(path));
                }
                DerivedPath::Built(path, wanted) => requests.push((path.clone(), wanted.clone())),
                DerivedPath::Opaque(path) => drop(plain.insert(path.clone())),
            }
        }
        self.ensure(&plain).map_err(failed)?;
        let built = self.build(&requests, mode == 2).and_then(|report| {
            if mode == 1 {
                let made = report.outputs.values().flat_map(|outputs| outputs.values().cloned());
                self.store.repair_closure(made, &self.options)?;
            }
            for path in report.outputs.values().flat_map(|outputs| outputs.values()) {
                self.admit(path)?;
            }
            Ok(report)
        });
        if operation == 9 {
            return self.answer(built, |answer, _| {
                answer.number(1);
            });
        }
        let requested: BTreeSet<StorePath> = requests.into_iter().map(|(path, _)| path).collect();
        if let Err(Error::Build(failed)) = &built {
            // What was not asked for itself has no result of its own.
            for failure in failed.failures.iter().filter(|failure| !requested.contains(&failure.derivation)) {
                let text = format!("error: {}", in_nix_words(failure, &self.store));
                self.client.message(&text).map_err(fatal)?;
            }
        }
        let results =
            paths.iter().map(|(text, path)| self.result(text, path, built.as_ref(), &requested)).collect();
        self.answer(results, |answer, results: Vec<Answer>| {
            answer.number(results.len() as u64);
            for result in results {
                answer.0.extend(result.0);
            }
        })
    }

    /// Makes paths valid that are not: from caches, if they have them.
    pub(super) fn ensure(&self, paths: &BTreeSet<StorePath>) -> Result<()> {
        let mut missing = BTreeSet::new();
        for path in paths {
            if !self.store.is_valid(path)? {
                missing.insert(path.clone());
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        if !self.options.substitute || self.settings.restriction.is_some() {
            return missing.iter().try_for_each(|path| self.store.path_info(path).map(drop));
        }
        self.store.substitute(&missing, &self.options)
    }

    pub(super) fn build(&self, requests: &[(StorePath, Wanted)], check: bool) -> Result<BuildReport> {
        self.build_told(check, |options| self.store.build(requests, options))
    }

    /// One path's `BuildResult`, behind the path itself.
    pub(super) fn result(
        &self,
        text: &str,
        path: &DerivedPath,
        built: std::result::Result<&BuildReport, &Error>,
        requested: &BTreeSet<StorePath>,
    ) -> Result<Answer> {
        let (mut status, mut message) = (0, String::new());
        let mut outputs = BTreeMap::new();
        if let DerivedPath::Built(path, wanted) = path {
            let derivation = self.store.read_derivation(path)?;
            let made = built.ok().and_then(|report| report.outputs.get(path));
            for (output, known) in self.store.known_outputs(&derivation)? {
                let Some(path) = made.and_then(|made| made.get(&output)).cloned().or(known) else { continue };
                if wanted.contains(&output) && self.store.is_valid(&path)? {
                    outputs.insert(self.store.realisation_id(&derivation, &output)?, path);
                }
            }
            let complete =
                derivation.outputs.keys().filter(|output| wanted.contains(output)).count() == outputs.len();
            if let Err(error) = built
                && !complete
            {
                let keep_going = self.options.keep_going;
                (status, message) = verdict(error, path, &derivation, requested, keep_going, &self.store);
                outputs.clear();
            }
        }
        let mut answer = Answer::default();
        answer.text(text);
        self.build_result(&mut answer, status, &message, outputs);
        Ok(answer)
    }

    pub(super) fn build_result(
        &self,
        answer: &mut Answer,
        status: u64,
        message: &str,
        outputs: BTreeMap<String, StorePath>,
    ) {
        answer.number(status).text(message);
        if self.version >= 29 {
            answer.number(1).number(0).number(0).number(0);
        }
        if self.version >= 37 {
            answer.number(0).number(0); // no processor times
        }
        if self.version >= 28 {
            answer.number(outputs.len() as u64);
            for (id, path) in outputs {
                let text = Realisation::new(id.clone(), path).to_json().to_string();
                answer.text(&id).text(&text);
            }
        }
    }

    /// Builds a derivation that comes with the request, its inputs being in the store already: how a remote builder is
    /// asked. Only a trusted client may claim paths that are addressed by inputs which nobody can check.
    pub(super) fn build_derivation(&mut self, input: &mut dyn Read) -> Reply {
        let path = read_text(input).map_err(fatal)?;
        let derivation = read_basic_derivation(self.store.dir(), &path, input).map_err(fatal)?;
        let mode = read_number(input).map_err(fatal)?;
        let built = (|| {
            let derivation = derivation?;
            let addressed =
                derivation.outputs.values().all(|output| !matches!(output, Output::InputAddressed(_)));
            if !addressed && self.trust != Trust::Trusted {
                return Err(Error::Invalid(
                    "you are not privileged to build input-addressed derivations".to_owned(),
                ));
            }
            let path = self.parse(&path)?;
            self.build_told(mode == 2, |options| self.store.build_given(&path, derivation, options))
        })();
        let (status, message, outputs) = match built {
            Ok(outputs) => (0, String::new(), outputs),
            Err(error @ Error::Build(_)) => {
                let status = match &error {
                    Error::Build(failed) => {
                        failed.failures.first().map_or(9, |failure| status_of(&failure.kind))
                    }
                    _ => 9,
                };
                (status, error.to_string(), BTreeMap::new())
            }
            Err(error) => return Err(failed(error)),
        };
        self.answer(Ok(()), |answer, ()| self.build_result(answer, status, &message, outputs))
    }
}

/// What a `BuildResult` says of a derivation that was not built: a status and a message.
pub(super) fn verdict(
    error: &Error,
    path: &StorePath,
    derivation: &Derivation,
    requested: &BTreeSet<StorePath>,
    keep_going: bool,
    store: &Store,
) -> (u64, String) {
    const DEPENDENCY_FAILED: u64 = 10;
    let Error::Build(failed) = error else { return (9, error.to_string()) };
    if let Some(failure) = failed.failures.iter().find(|failure| failure.derivation == *path) {
        return (status_of(&failure.kind), in_nix_words(failure, store));
    }
    // When something that was asked for itself fails, the others are given up, and nothing is said of them.
    let given_up =
        !keep_going && failed.failures.iter().any(|failure| requested.contains(&failure.derivation));
    let is_failed = |input: &StorePath| {
        failed.dependents.contains(input)
            || failed.failures.iter().any(|failure| failure.derivation == *input)
    };
    match derivation.input_drvs.keys().filter(|input| is_failed(input)).count() {
        0 => (9, String::new()),
        _ if given_up => (9, String::new()),
        count => {
            let path = store.dir().print(path);
            (DEPENDENCY_FAILED, format!("{count} dependencies of derivation '{path}' failed to build"))
        }
    }
}

/// A failure as clients of Nix look for it in what they are told.
pub(super) fn in_nix_words(failure: &Failed, store: &Store) -> String {
    match &failure.kind {
        FailureKind::HashMismatch { specified, got } => format!(
            "hash mismatch in fixed-output derivation '{}':\n         specified: {}\n            got:    {}",
            store.dir().print(&failure.derivation),
            specified.sri(),
            got.sri()
        ),
        _ => failure.to_string(),
    }
}

/// What a `BuildResult` says of a kind of failure.
pub(crate) const fn status_of(kind: &FailureKind) -> u64 {
    match kind {
        FailureKind::Timeout(_) | FailureKind::Silent(_) => 8,
        FailureKind::LogLimit(_) => 11,
        FailureKind::NotDeterministic(_) => 12,
        FailureKind::Output(_) | FailureKind::HashMismatch { .. } => 5,
        FailureKind::Unsupported(_) => 4,
        FailureKind::Exit(_) | FailureKind::Signal(_) => 3,
        FailureKind::Fetch(_) => 6,
        _ => 9,
    }
}

/// A derivation without its input derivations.
/// An error that the answer can tell is inside of one that breaks off the conversation.
pub(crate) fn read_basic_derivation(
    dir: &StoreDir,
    path: &str,
    input: &mut dyn Read,
) -> Result<Result<Derivation>> {
    let mut fields = Vec::new();
    for _ in 0..read_number(input)? {
        fields.push([read_text(input)?, read_text(input)?, read_text(input)?, read_text(input)?]);
    }
    let sources = read_texts(input)?;
    let (platform, builder) = (read_bytes(input)?, read_bytes(input)?);
    let mut derivation = Derivation { platform, builder, ..Derivation::default() };
    for _ in 0..read_number(input)? {
        derivation.args.push(read_bytes(input)?);
    }
    for _ in 0..read_number(input)? {
        let name = read_bytes(input)?;
        derivation.env.insert(name, read_bytes(input)?);
    }
    Ok((|| {
        let path = dir.parse(path)?;
        path.name().trim_end_matches(".drv").clone_into(&mut derivation.name);
        for [name, path, method, hash] in fields {
            let output = Output::from_fields(dir, &name, &path, &method, &hash)
                .map_err(|source| Error::Derivation { path: derivation.name.clone(), source })?;
            derivation.outputs.insert(name, output);
        }
        for source in &sources {
            derivation.input_srcs.insert(dir.parse(source)?);
        }
        Ok(derivation)
    })())
}
