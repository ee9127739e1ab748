//! `nix-shell`: a shell in which a derivation could be built: its inputs are built, its variables set, its `setup` read.
//! Also the interpreter of scripts that begin `#! nix-shell`. nix-shell(1).

mod arguments;
mod surroundings;

use crate::eval::Request;
use crate::eval_io::StoreIo;
use crate::instantiate::derivations;
use crate::nix_front::{Front, print_missing};
use anyhow::{Context as _, Result, bail};
use arguments::Wish;
use evaluator::{Arena, EvalIo, Evaluator};
use formats::derivation::Derivation;
use formats::store_path::StorePath;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::rc::Rc;
use store::Store;
use store::build::Wanted;

pub(crate) use surroundings::Surroundings;

/// The outputs of built derivations.
pub(crate) type Built = BTreeMap<StorePath, BTreeMap<String, StorePath>>;

/// `nix-shell …`.
pub(crate) fn nix_shell(words: &[OsString]) -> Result<ExitCode> {
    let Some(wish) = arguments::read(words)? else { return Ok(ExitCode::SUCCESS) };
    let store = Rc::new(wish.front.open()?);
    let path = derivation(&wish, &store)?;
    let derivation = store.read_derivation(&path)?;
    let built = build_inputs(&wish.front, &store, &derivation, &wish.exclude)?;
    let shell = shell(&wish, &store);
    run(&wish, &store, &derivation, &built, &shell)
}

/// The derivation that is meant.
fn derivation(wish: &Wish, store: &Rc<Store>) -> Result<StorePath> {
    if let ([source], false) = (wish.request.sources.as_slice(), wish.request.expressions) {
        let text = source.to_string_lossy();
        let text = text.split_once('!').map_or(&*text, |(path, _)| path);
        if text.contains('/')
            && let Ok(path) = crate::store::resolve(store, text)
            && path.is_derivation()
        {
            return Ok(path);
        }
    }
    let mut request = wish.request.clone();
    if request.sources.is_empty() {
        let own = if Path::new("shell.nix").exists() { "shell.nix" } else { "default.nix" };
        request.sources = vec![own.into()];
    }
    if !wish.packages {
        request.arguments.push(("inNixShell".to_owned(), "true".to_owned(), false));
    }
    let found = evaluated(&request, &wish.front, store)?;
    match found.as_slice() {
        [one] => Ok(one.clone()),
        many => bail!("nix-shell requires a single derivation, not {}", many.len()),
    }
}

/// The derivations that a request's values are.
fn evaluated(request: &Request, front: &Front, store: &Rc<Store>) -> Result<Vec<StorePath>> {
    let io = Rc::new(StoreIo::new(Rc::clone(store), front.build_options(store)));
    let arena = Arena::new();
    let mut evaluator =
        Evaluator::new(&arena, Rc::clone(&io) as Rc<dyn EvalIo>, request.evaluator_options()?);
    let mut found = Vec::new();
    for value in request.evaluate(&mut evaluator)? {
        derivations(&mut evaluator, value, true, &mut found).map_err(|error| request.explain(&error))?;
    }
    io.flush()?;
    found.iter().map(|info| Ok(store.dir().parse(&info.drv_path)?)).collect()
}

/// Builds what a derivation needs, but not itself.
pub(crate) fn build_inputs(
    front: &Front,
    store: &Store,
    derivation: &Derivation,
    exclude: &[String],
) -> Result<Built> {
    let excluded = exclude
        .iter()
        .map(|text| {
            evaluator::regex::Regex::new(text.as_bytes())
                .map_err(|error| anyhow::anyhow!("--exclude '{text}': {error}"))
        })
        .collect::<Result<Vec<_>>>()?;
    let mut requests = Vec::new();
    for (input, outputs) in &derivation.input_drvs {
        let printed = store.dir().print(input);
        if !excluded.iter().any(|pattern| pattern.matches(printed.as_bytes())) {
            requests.push((input.clone(), Wanted::Outputs(outputs.clone())));
        }
    }
    print_missing(store, &requests)?;
    let options = front.build_options(store);
    store.substitute(&derivation.input_srcs, &options)?;
    Ok(Front::build(store, &requests, &options)?.outputs)
}

/// The shell to start: `$NIX_BUILD_SHELL`, or the `bashInteractive` of `<nixpkgs>`, or `bash`.
fn shell(wish: &Wish, store: &Rc<Store>) -> PathBuf {
    if let Some(shell) = std::env::var_os("NIX_BUILD_SHELL").filter(|shell| !shell.is_empty()) {
        return shell.into();
    }
    let request = Request {
        sources: vec!["(import <nixpkgs> {}).bashInteractive".into()],
        expressions: true,
        attributes: Vec::new(),
        arguments: Vec::new(),
        ..wish.request.clone()
    };
    let built = evaluated(&request, &wish.front, store).and_then(|found| {
        let path = found.first().context("it is no derivation")?;
        let requests = [(path.clone(), Wanted::Outputs(["out".to_owned()].into()))];
        let outputs = Front::build(store, &requests, &wish.front.build_options(store))?.outputs;
        let out = outputs.get(path).and_then(|outputs| outputs.get("out")).context("it has no output")?;
        Ok(store.real_path(out).join("bin/bash"))
    });
    match built {
        Ok(shell) => shell,
        Err(error) => {
            log::warn!(
                "bashInteractive of <nixpkgs> cannot be had, the shell is the `bash` of PATH: {error:#}"
            );
            PathBuf::from("bash")
        }
    }
}

/// Becomes the shell.
fn run(wish: &Wish, store: &Store, derivation: &Derivation, built: &Built, shell: &Path) -> Result<ExitCode> {
    let directory = tempfile::Builder::new().prefix("nix-shell.").tempdir()?.keep();
    let mut surroundings = Surroundings::of(store, derivation, built, &directory, &wish.front)?;
    surroundings.set("IN_NIX_SHELL", if wish.pure { "pure" } else { "impure" });
    if wish.pure {
        surroundings.set("__ETC_PROFILE_SOURCED", "1");
    }
    let start = directory.join("rc");
    std::fs::write(&start, wish.start_file(&directory, shell, surroundings.attributes.as_deref()))
        .with_context(|| format!("writing {}", start.display()))?;
    let mut command = Command::new(shell);
    if wish.is_interactive() {
        command.arg("--rcfile");
    }
    command.arg(&start);
    if wish.pure {
        command.env_clear();
        command.envs(std::env::vars_os().filter(|(name, _)| wish.keeps(&name.to_string_lossy())));
    }
    command.envs(surroundings.variables);
    let error = command.exec();
    Err(error).with_context(|| format!("starting the shell {}", shell.display()))
}
