//! `nix build` and `nix eval`: installables are attributes of a flake, file or expression,
//! store paths and derivations.

use crate::eval::{Output, Request, current_directory, print_values, read_only_io};
use crate::eval_io::StoreIo;
use crate::family::Failure;
use crate::flakes::locking::Locking;
use crate::flakes::outputs::{Called, Found, Purpose};
use crate::flakes::words::Word;
use crate::instantiate::derivations;
use crate::nix_front::{Arguments, Front, print_missing};
use anyhow::{Context as _, Result, bail};
use evaluator::{Arena, Dependency, EvalIo, Evaluator, Handle};
use formats::flake::FlakeRef;
use formats::store_path::StorePath;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use store::Store;
use store::build::Wanted;

/// What to work on, as the command line says it.
#[derive(Debug, Default)]
pub(super) struct Installables {
    request: Request,
    /// Whether `-f` or `--expr` was given: then the words are attributes.
    evaluates: bool,
    /// Whether `--impure` was given.
    impure: bool,
    words: Vec<String>,
    /// What words that name no store path are attributes of.
    purpose: Purpose,
    /// How their flakes are locked.
    pub(super) locking: Locking,
    /// Which outputs of flakes the derivations were, once they were asked for.
    sources: BTreeMap<StorePath, FlakeSource>,
}

/// An output of a flake that something was built from.
#[derive(Debug, Clone)]
pub(super) struct FlakeSource {
    /// The flake as it was named.
    pub(super) original: FlakeRef,
    /// Exactly which one that was.
    pub(super) locked: FlakeRef,
    /// The attribute among its outputs.
    pub(super) attribute: String,
    /// The outputs of the derivation, if some were named.
    pub(super) outputs: Option<String>,
}

/// A program to start, as the store names it, and what it needs.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) file: PathBuf,
    /// The derivation's output that the file is in, if it is known only once that is built.
    pub(super) output: Option<(StorePath, String)>,
    pub(super) requests: Vec<(StorePath, Wanted)>,
}

impl Installables {
    /// Words that name what a command has this use for.
    pub(super) fn of(purpose: Purpose) -> Self {
        Self { purpose, ..Self::default() }
    }

    /// Takes a flag or word. False when it is neither.
    pub(super) fn take(
        &mut self,
        front: &mut Front,
        argument: &str,
        arguments: &mut Arguments,
    ) -> Result<bool> {
        match argument {
            "-f" | "--file" => {
                self.request.sources = vec![arguments.value(argument)?.into()];
                self.evaluates = true;
            }
            "--expr" => {
                self.request.sources = vec![arguments.value(argument)?.into()];
                self.request.expressions = true;
                self.evaluates = true;
            }
            "--derivation" => {}
            "--impure" => self.impure = true,
            _ if self.locking.take(argument, arguments)? => {}
            _ if front.take(argument, arguments)? || self.request.take(argument, arguments)? => {}
            _ if argument.starts_with('-') => return Ok(false),
            _ => self.words.push(argument.to_owned()),
        }
        Ok(true)
    }

    /// Takes over the settings. An expression of the command line is evaluated purely unless somebody says otherwise.
    pub(super) fn settle(&mut self, front: &Front) {
        if self.request.expressions && !self.impure {
            self.request.options.push(("pure-eval".to_owned(), "true".to_owned()));
        }
        self.request.take_settings(front);
    }

    /// The same for attributes of flakes, which are evaluated purely unless somebody says otherwise.
    pub(super) fn settle_flakes(&mut self, front: &Front) {
        if !self.impure {
            self.request.options.push(("pure-eval".to_owned(), "true".to_owned()));
        }
        self.request.options.push(("extra-experimental-features".to_owned(), "flakes".to_owned()));
        self.request.take_settings(front);
    }

    /// Whether the words are attributes of a file or an expression.
    pub(super) fn is_of_file(&self) -> bool {
        self.evaluates
    }

    /// The words; the flake of the current directory if there are none.
    fn flake_words(&self) -> Vec<String> {
        if self.words.is_empty() { vec![".".to_owned()] } else { self.words.clone() }
    }

    /// The values that the words name, once settled: attributes of what `-f` or `--expr` says, or of flakes.
    pub(super) fn values<'a>(&mut self, evaluator: &mut Evaluator<'a>) -> Result<Vec<Handle<'a>>> {
        if self.evaluates {
            self.request.attributes = std::mem::take(&mut self.words);
            return self.request.evaluate(evaluator);
        }
        let system = self.request.evaluator_options()?.system;
        let mut called = Called::default();
        let mut values = Vec::new();
        for text in self.flake_words() {
            let word = Word::parse(&text, false)?;
            let found = called.output(evaluator, &mut self.locking, &word, self.purpose, &system)?;
            values.push(found.value);
        }
        Ok(values)
    }

    /// Words without flags.
    pub(super) fn of_words(words: Vec<String>) -> Self {
        Self { words, ..Self::default() }
    }

    /// Which output of a flake a derivation was; nothing if it was named otherwise.
    pub(super) fn source_of(&self, derivation: &StorePath) -> Option<&FlakeSource> {
        self.sources.get(derivation)
    }

    /// The words that are no flags.
    pub(super) fn words(&self) -> &[String] {
        &self.words
    }

    /// The request for one attribute; none is all.
    pub(super) fn request_of(&self, attribute: &str) -> Request {
        let attributes = if attribute.is_empty() { Vec::new() } else { vec![attribute.to_owned()] };
        Request { attributes, ..self.request.clone() }
    }

    /// Derivations with the outputs wanted, and paths that must be there, in the order given.
    pub(super) fn requests(&mut self, front: &Front, store: &Rc<Store>) -> Result<Vec<(StorePath, Wanted)>> {
        if !self.evaluates {
            return self.flake_requests(front, store);
        }
        self.settle(front);
        let mut outputs = Vec::new();
        for word in &self.words {
            let (attribute, wanted) = match word.split_once('^') {
                Some((attribute, "*")) => (attribute, Some(Wanted::All)),
                Some((attribute, names)) => {
                    (attribute, Some(Wanted::Outputs(names.split(',').map(str::to_owned).collect())))
                }
                None => (word.as_str(), None),
            };
            self.request.attributes.push(attribute.to_owned());
            outputs.push(wanted);
        }
        let io = Rc::new(StoreIo::new(Rc::clone(store), front.build_options(store)));
        let arena = Arena::new();
        let door = Rc::clone(&io) as Rc<dyn EvalIo>;
        let mut evaluator = Evaluator::new(&arena, door, self.request.evaluator_options()?);
        let mut requests = Vec::new();
        for (index, value) in self.request.evaluate(&mut evaluator)?.into_iter().enumerate() {
            let chosen = outputs.get(index).cloned().flatten();
            self.outputs_of(&mut evaluator, store, value, chosen.as_ref(), &mut requests)?;
        }
        io.flush()?;
        Ok(merged(requests))
    }

    /// The same for words that name store paths or attributes of flakes.
    fn flake_requests(&mut self, front: &Front, store: &Rc<Store>) -> Result<Vec<(StorePath, Wanted)>> {
        let words = self.flake_words();
        let mut requests = Vec::new();
        if words.iter().all(|word| is_path(store, word)) {
            return words.iter().map(|word| named(store, word)).collect();
        }
        self.settle_flakes(front);
        let io = Rc::new(StoreIo::new(Rc::clone(store), front.build_options(store)));
        let arena = Arena::new();
        let options = self.request.evaluator_options()?;
        let system = options.system.clone();
        let mut evaluator = Evaluator::new(&arena, Rc::clone(&io) as Rc<dyn EvalIo>, options);
        let mut called = Called::default();
        for text in words {
            if is_path(store, &text) {
                requests.push(named(store, &text)?);
                continue;
            }
            let word = Word::parse(&text, false)?;
            let found = called.output(&mut evaluator, &mut self.locking, &word, self.purpose, &system)?;
            let chosen = word.outputs.as_deref().map(|outputs| match outputs {
                "*" => Wanted::All,
                names => Wanted::Outputs(names.split(',').map(str::to_owned).collect()),
            });
            let before = requests.len();
            self.output_requests(&mut evaluator, store, &word, &found, chosen.as_ref(), &mut requests)?;
            let (locked, _) = called.flake(&mut evaluator, &mut self.locking, &word.flake)?;
            for (path, _) in requests.iter().skip(before) {
                let source = FlakeSource {
                    original: word.flake.clone(),
                    locked: locked.flake.locked.clone(),
                    attribute: found.path.clone(),
                    outputs: word.outputs.clone(),
                };
                self.sources.insert(path.clone(), source);
            }
        }
        io.flush()?;
        Ok(merged(requests))
    }

    /// The program that a flake's output is: an app says which, of a package it is its main one. And what must be built
    /// for it. None if the word names a path of the store.
    pub(super) fn program(&mut self, front: &Front, store: &Rc<Store>) -> Result<Option<Program>> {
        let words = self.flake_words();
        let Some(text) = words.first().filter(|text| !self.evaluates && !is_path(store, text)) else {
            return Ok(None);
        };
        self.settle_flakes(front);
        let io = Rc::new(StoreIo::new(Rc::clone(store), front.build_options(store)));
        let arena = Arena::new();
        let options = self.request.evaluator_options()?;
        let system = options.system.clone();
        let mut evaluator = Evaluator::new(&arena, Rc::clone(&io) as Rc<dyn EvalIo>, options);
        let word = Word::parse(text, false)?;
        let mut called = Called::default();
        let found = called.output(&mut evaluator, &mut self.locking, &word, self.purpose, &system)?;
        let program = self.program_of(&mut evaluator, store, &found)?;
        io.flush()?;
        Ok(Some(program))
    }

    fn program_of<'a>(
        &self,
        evaluator: &mut Evaluator<'a>,
        store: &Store,
        found: &Found<'a>,
    ) -> Result<Program> {
        let explain = |error| self.request.explain(&error);
        let path = &found.path;
        let text = |evaluator: &mut Evaluator<'a>, value: Handle<'a>, name: &str| -> Result<Option<String>> {
            let Some(value) = evaluator.attribute(value, name).map_err(explain)? else { return Ok(None) };
            Ok(evaluator.as_string(value).map(|text| String::from_utf8_lossy(text).into_owned()))
        };
        let kind = text(evaluator, found.value, "type")?;
        let is_app = path.starts_with("apps.") || path.starts_with("defaultApp.");
        let expected = if is_app { "app" } else { "derivation" };
        if kind.as_deref() != Some(expected) {
            bail!("attribute '{path}' should have type '{expected}'");
        }
        if is_app {
            let Some(program) = evaluator.attribute(found.value, "program").map_err(explain)? else {
                bail!("app '{path}' lacks attribute 'program'");
            };
            let (program, needs) = evaluator.coerce_to_string(program).map_err(explain)?;
            let file = String::from_utf8_lossy(&program).into_owned();
            if store.dir().parse_below(&file).is_err() {
                bail!("app program '{file}' is not in the Nix store");
            }
            let mut requests = Vec::new();
            for need in needs {
                if let Dependency::Output { derivation, output } = need {
                    requests.push((store.dir().parse(&derivation)?, Wanted::Outputs([output].into())));
                }
            }
            return Ok(Program { file: file.into(), output: None, requests });
        }
        let Some(derivation) = evaluator.derivation_info(found.value).map_err(explain)? else {
            bail!("attribute '{path}' should be a derivation");
        };
        let meta = evaluator.attribute(found.value, "meta").map_err(explain)?;
        let main = match meta {
            Some(meta) => text(evaluator, meta, "mainProgram")?,
            None => None,
        };
        let main = match main {
            Some(main) => main,
            None => text(evaluator, found.value, "pname")?
                .unwrap_or_else(|| crate::nix_env::split_name(&derivation.name).0.as_str().to_owned()),
        };
        let path = store.dir().parse(&derivation.drv_path)?;
        Ok(Program {
            file: Path::new("bin").join(main),
            output: Some((path.clone(), derivation.output.clone())),
            requests: vec![(path, Wanted::Outputs([derivation.output].into()))],
        })
    }

    /// The derivation, or the path in the store, that a flake's output is.
    fn output_requests<'a>(
        &self,
        evaluator: &mut Evaluator<'a>,
        store: &Store,
        word: &Word,
        found: &Found<'a>,
        chosen: Option<&Wanted>,
        requests: &mut Vec<(StorePath, Wanted)>,
    ) -> Result<()> {
        let explain = |error| self.request.explain(&error);
        if evaluator.derivation_info(found.value).map_err(explain)?.is_some() {
            return self.outputs_of(evaluator, store, found.value, chosen, requests);
        }
        let name = format!("{}#{}", word.flake, found.path);
        if !matches!(evaluator.type_of(found.value), "string" | "path") {
            let shown = evaluator.print(found.value, evaluator::Style::Plain);
            bail!(
                "expected flake output attribute '{name}' to be a derivation or path but found {}: {}",
                described(evaluator.type_of(found.value)),
                String::from_utf8_lossy(&shown)
            );
        }
        let (text, needs) = evaluator.coerce_to_string(found.value).map_err(explain)?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let request = match needs.into_iter().collect::<Vec<_>>().as_slice() {
            // Of a derivation's file as such nothing is to be built.
            [Dependency::Path(path)] => {
                let path = store.dir().parse(path)?;
                let nothing = Wanted::Outputs(BTreeSet::new());
                let wanted = if path.is_derivation() { nothing } else { Wanted::All };
                (path, wanted)
            }
            [Dependency::Derivation(_)] => bail!(
                "string '{text}' in flake output attribute '{name}' has a context which refers to a complete source and binary \
                 closure. This is not supported at this time"
            ),
            [Dependency::Output { derivation, output }] => {
                (store.dir().parse(derivation)?, Wanted::Outputs([output.clone()].into()))
            }
            several => bail!(
                "string '{text}' in flake output attribute '{name}' has {} entries in its context. It should only have exactly one entry",
                several.len()
            ),
        };
        requests.push(request);
        Ok(())
    }

    /// The derivations in a value: all outputs of each, but of one that is an output only that.
    fn outputs_of<'a>(
        &self,
        evaluator: &mut Evaluator<'a>,
        store: &Store,
        value: Handle<'a>,
        chosen: Option<&Wanted>,
        requests: &mut Vec<(StorePath, Wanted)>,
    ) -> Result<()> {
        if let Ok(Some(items)) = evaluator.items(value) {
            for item in items {
                self.outputs_of(evaluator, store, item, chosen, requests)?;
            }
            return Ok(());
        }
        let mut found = Vec::new();
        let explain = |error| self.request.explain(&error);
        let specified = match evaluator.attribute_names(value) {
            Some(names) if names.iter().any(|name| name == "outputSpecified") => {
                let specified = evaluator.attribute(value, "outputSpecified").map_err(explain)?;
                specified.is_some_and(|specified| evaluator.is_true(specified))
            }
            _ => false,
        };
        let to_install = outputs_to_install(evaluator, value);
        derivations(evaluator, value, true, &mut found).map_err(explain)?;
        for derivation in found {
            let wanted = match chosen {
                Some(chosen) => chosen.clone(),
                None => Wanted::Outputs(match &to_install {
                    Some(outputs) if !specified => outputs.clone(),
                    _ => [derivation.output].into(),
                }),
            };
            requests.push((store.dir().parse(&derivation.drv_path)?, wanted));
        }
        Ok(())
    }
}

/// Several outputs of one derivation as one request.
fn merged(requests: Vec<(StorePath, Wanted)>) -> Vec<(StorePath, Wanted)> {
    let mut merged: Vec<(StorePath, Wanted)> = Vec::new();
    for (path, wanted) in requests {
        match (merged.iter_mut().find(|(known, _)| *known == path), wanted) {
            (None, wanted) => merged.push((path, wanted)),
            (Some((_, Wanted::Outputs(known))), Wanted::Outputs(outputs)) => known.extend(outputs),
            (Some((_, known)), _) => *known = Wanted::All,
        }
    }
    merged
}

/// `meta.outputsToInstall` of a package that has it.
fn outputs_to_install<'a>(evaluator: &mut Evaluator<'a>, value: Handle<'a>) -> Option<BTreeSet<String>> {
    let has = |evaluator: &mut Evaluator<'a>, value: Handle<'a>, name: &str| -> Option<Handle<'a>> {
        evaluator.attribute_names(value)?.iter().any(|known| known == name).then_some(())?;
        evaluator.attribute(value, name).ok().flatten()
    };
    let meta = has(evaluator, value, "meta")?;
    let outputs = has(evaluator, meta, "outputsToInstall")?;
    let mut names = BTreeSet::new();
    for item in evaluator.items(outputs).ok()?? {
        let (text, _) = evaluator.coerce_to_string(item).ok()?;
        names.insert(String::from_utf8(text).ok()?);
    }
    Some(names)
}

/// A type as a sentence has it.
fn described(kind: &str) -> String {
    let article = if kind == "int" { "an " } else { "a " };
    match kind {
        "int" => format!("{article}integer"),
        "bool" => format!("{article}Boolean"),
        "lambda" => format!("{article}function"),
        "null" => kind.to_owned(),
        other => format!("{article}{other}"),
    }
}

/// Whether a word names a path of the store, or a link to one.
fn is_path(store: &Store, word: &str) -> bool {
    let path = word.rsplit_once(['^', '!']).map_or(word, |(path, _)| path);
    if StorePath::from_base_name(path).is_ok() {
        return true;
    }
    if !path.contains('/') || path.contains(['#', '?']) {
        return false;
    }
    path.starts_with(&format!("{}/", store.dir().as_str())) || crate::store::resolve(store, path).is_ok()
}

/// A store path or derivation by name: `/nix/store/….drv^out,dev`.
fn named(store: &Store, word: &str) -> Result<(StorePath, Wanted)> {
    match word.rsplit_once(['^', '!']) {
        None => Ok((crate::store::resolve(store, word)?, Wanted::All)),
        Some((path, "*")) => Ok((crate::store::resolve(store, path)?, Wanted::All)),
        Some((path, outputs)) => {
            let outputs = outputs.split(',').map(str::to_owned).collect();
            Ok((crate::store::resolve(store, path)?, Wanted::Outputs(outputs)))
        }
    }
}

/// Whether something is to be built: not of a path, nor of a derivation of which nothing is wanted.
fn is_build((path, wanted): &(StorePath, Wanted)) -> bool {
    path.is_derivation() && !matches!(wanted, Wanted::Outputs(outputs) if outputs.is_empty())
}

/// `nix build`.
pub(super) fn build(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let mut installables = Installables::default();
    let (mut link, mut dry_run, mut as_json, mut print) = (Some("result".to_owned()), false, false, false);
    let mut check = false;
    front.show_logs = false;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "-o" | "--out-link" => link = Some(arguments.value(&argument)?),
            "--no-link" => link = None,
            "--dry-run" => dry_run = true,
            "--json" => as_json = true,
            "--print-out-paths" => print = true,
            "--rebuild" => check = true,
            _ if installables.take(front, &argument, arguments)? => {}
            other => bail!("unrecognised flag '{other}'"),
        }
    }
    let store = Rc::new(front.open()?);
    let requests = installables.requests(front, &store)?;
    let builds: Vec<_> = requests.iter().filter(|request| is_build(request)).cloned().collect();
    if dry_run {
        print_missing(&store, &builds)?;
    }
    let report = if dry_run {
        None
    } else {
        let mut options = front.build_options(&store);
        options.check = check;
        let built = Front::build(&store, &builds, &options);
        Some(built.map_err(|error| anyhow::Error::new(Failure { code: 1, message: format!("{error:#}") }))?)
    };
    let mut out = std::io::stdout().lock();
    let mut values = Vec::new();
    for (index, (path, wanted)) in requests.iter().enumerate() {
        if !is_build(&requests[index]) {
            store.path_info(path)?;
            let text = store.dir().print(path);
            if let (Some(link), false) = (&link, dry_run) {
                let link = if index > 0 { format!("{link}-{index}") } else { link.clone() };
                store.add_permanent_root(path, &std::path::absolute(link)?)?;
            }
            if print {
                writeln!(out, "{text}")?;
            }
            values.push(json!(text));
            continue;
        }
        let mut outputs = Map::new();
        for (output, known) in store.known_outputs(&store.read_derivation(path)?)? {
            let made = report.as_ref().and_then(|report| report.outputs.get(path)?.get(&output)).cloned();
            let Some(made) = made.or(known).filter(|_| wanted.contains(&output)) else { continue };
            let text = store.dir().print(&made);
            if let (Some(link), false) = (&link, dry_run) {
                let mut link = link.clone();
                if index > 0 {
                    link = format!("{link}-{index}");
                }
                if output != "out" {
                    link = format!("{link}-{output}");
                }
                store.add_permanent_root(&made, &std::path::absolute(link)?)?;
            }
            if print {
                writeln!(out, "{text}")?;
            }
            outputs.insert(output, Value::String(text));
        }
        values.push(json!({"drvPath": store.dir().print(path), "outputs": outputs}));
    }
    if as_json {
        writeln!(out, "{}", Value::Array(values))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `nix eval`.
pub(super) fn eval(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let mut installables = Installables::default();
    let mut output = Output { in_line: true, ..Output::default() };
    let (mut apply, mut write_to) = (None, None);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => output.json = true,
            "--raw" => output.raw = true,
            "--read-only" => {}
            "--apply" => apply = Some(arguments.value(&argument)?),
            "--write-to" => write_to = Some(PathBuf::from(arguments.value(&argument)?)),
            _ if installables.take(front, &argument, arguments)? => {}
            other => bail!("unrecognised flag '{other}'"),
        }
    }
    if installables.evaluates {
        installables.settle(front);
    } else {
        installables.settle_flakes(front);
    }
    let io = if front.store_address() == "dummy://" {
        None
    } else {
        let store = Rc::new(front.open().context("nix eval")?);
        let options = front.build_options(&store);
        Some(Rc::new(StoreIo::new(store, options)))
    };
    let arena = Arena::new();
    let door = match &io {
        Some(io) => Rc::clone(io) as Rc<dyn EvalIo>,
        None => read_only_io(),
    };
    let mut evaluator = Evaluator::new(&arena, door, installables.request.evaluator_options()?);
    let mut values = installables.values(&mut evaluator)?;
    let request = &installables.request;
    if let Some(text) = apply {
        let here = current_directory()?;
        let explain = |error| request.explain(&error);
        let function = evaluator.eval_str(&text, here.as_os_str().as_encoded_bytes()).map_err(explain)?;
        for value in &mut values {
            *value = evaluator.call(function, *value).map_err(explain)?;
        }
    }
    match write_to {
        Some(place) => {
            let [value] = values.as_slice() else { bail!("'--write-to' takes one value") };
            if place.exists() {
                bail!("path '{}' already exists", place.display());
            }
            write_tree(request, &mut evaluator, *value, &place)?;
        }
        None => print_values(request, &mut evaluator, &values, output, &mut std::io::stdout())?,
    }
    if let Some(io) = io {
        io.flush()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes a string as a file, and a set as a directory of what is in it.
fn write_tree<'a>(
    request: &Request,
    evaluator: &mut Evaluator<'a>,
    value: Handle<'a>,
    place: &Path,
) -> Result<()> {
    if let Some(text) = evaluator.as_string(value) {
        return std::fs::write(place, text).with_context(|| format!("writing {}", place.display()));
    }
    let Some(names) = evaluator.attribute_names(value) else {
        bail!("value at '{}' is not a string or an attribute set", place.display());
    };
    std::fs::create_dir(place).with_context(|| format!("creating {}", place.display()))?;
    for name in names {
        if name.is_empty() || name == "." || name == ".." || name.contains('/') {
            bail!("invalid file name '{name}' below '{}'", place.display());
        }
        let inner = evaluator.attribute(value, &name).map_err(|error| request.explain(&error))?;
        if let Some(inner) = inner {
            write_tree(request, evaluator, inner, &place.join(&name))?;
        }
    }
    Ok(())
}
