//! `nix-build`: evaluates, builds, links the results. nix-build(1).

use crate::eval::Request;
use crate::instantiate::derivations_in_store;
use crate::nix_front::{Arguments, Front, print_missing, print_version};
use anyhow::{Context as _, Result, bail};
use formats::store_path::StorePath;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use store::Store;
use store::build::{BuildOptions, FailureKind, Wanted};

/// What the command line says.
#[derive(Debug)]
struct Wish {
    request: Request,
    link: Option<String>,
    dry_run: bool,
    check: bool,
    repair: bool,
    repeat: u32,
}

/// `nix-build …`.
pub(crate) fn nix_build(arguments: &[OsString]) -> Result<ExitCode> {
    let mut front = Front::new();
    let mut arguments = Arguments::new(arguments);
    let mut wish = Wish {
        request: Request::default(),
        link: Some("result".to_owned()),
        dry_run: false,
        check: false,
        repair: false,
        repeat: 0,
    };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--version" => {
                print_version("nix-build")?;
                if front.verbosity > 0 {
                    crate::nix_front::print_places()?;
                }
                return Ok(ExitCode::SUCCESS);
            }
            "-o" | "--out-link" => wish.link = Some(arguments.value(&argument)?),
            "--no-out-link" | "--no-link" => wish.link = None,
            "--dry-run" => wish.dry_run = true,
            "--check" => wish.check = true,
            "--drv-link" => drop(arguments.value(&argument)?),
            "--add-drv-link" | "--indirect" => {}
            "--repair" => wish.repair = true,
            "--repeat" => {
                wish.repeat = arguments.value(&argument)?.parse().context("'--repeat' takes a number")?;
            }
            _ if front.take(&argument, &mut arguments)?
                || wish.request.take(&argument, &mut arguments)? => {}
            flag if flag.starts_with('-') && flag != "-" => bail!("unrecognised flag '{flag}'"),
            source => wish.request.sources.push(source.into()),
        }
    }
    wish.request.take_settings(&front);
    build(&front, &wish)
}

fn build(front: &Front, wish: &Wish) -> Result<ExitCode> {
    let store = Rc::new(front.open()?);
    let mut options = front.build_options(&store);
    options.check = wish.check;
    let (mut given, mut sources) = (Vec::new(), Vec::new());
    for source in &wish.request.sources {
        match derivation_of(&store, &source.to_string_lossy(), wish.request.expressions) {
            Some(found) => given.push(found),
            None => sources.push(source.clone()),
        }
    }
    let request = Request { sources, ..wish.request.clone() };
    let derivations = if request.sources.is_empty() && !given.is_empty() {
        Vec::new()
    } else {
        derivations_in_store(&request, &store, front.build_options(&store))?
    };
    let mut requests = Vec::new();
    for derivation in &derivations {
        let outputs = [derivation.output.clone()].into();
        requests.push((store.dir().parse(&derivation.drv_path)?, Wanted::Outputs(outputs)));
    }
    requests.extend(given.iter().cloned());
    print_missing(&store, &requests)?;
    if wish.dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    let report = Front::build(&store, &requests, &options)?;
    for _ in 0..wish.repeat {
        for derivation in &report.built {
            repeat(&store, derivation, &options)?;
        }
    }
    if wish.repair {
        let made = report.outputs.values().flat_map(|outputs| outputs.values().cloned());
        store.repair_closure(made, &options)?;
    }
    let mut wanted: Vec<(&StorePath, String)> = Vec::new();
    for (derivation, (path, _)) in derivations.iter().zip(&requests) {
        wanted.push((path, derivation.output.clone()));
    }
    for (path, outputs) in &given {
        let known = report.outputs.get(path).into_iter().flat_map(|made| made.keys());
        wanted.extend(known.filter(|output| outputs.contains(output)).map(|output| (path, output.clone())));
    }
    let mut counts: BTreeMap<&StorePath, usize> = BTreeMap::new();
    let mut out = std::io::stdout().lock();
    for (path, output) in &wanted {
        let number = counts.len();
        let number = *counts.entry(path).or_insert(number);
        let Some(built) = report.outputs.get(path).and_then(|outputs| outputs.get(output)) else {
            bail!("derivation '{}' does not have output '{output}'", store.dir().print(path));
        };
        if let Some(link) = &wish.link {
            let mut link = link.clone();
            if number > 0 {
                link = format!("{link}-{}", number + 1);
            }
            if output != "out" {
                link = format!("{link}-{output}");
            }
            store.add_permanent_root(built, &std::path::absolute(PathBuf::from(link))?)?;
        }
        writeln!(out, "{}", store.dir().print(built))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds once more what was just built: it must come out the same.
fn repeat(store: &Store, derivation: &StorePath, options: &BuildOptions) -> Result<()> {
    let options = BuildOptions { check: true, ..options.clone() };
    match store.build(&[(derivation.clone(), Wanted::All)], &options) {
        Err(store::Error::Build(failed))
            if failed.failures.iter().any(|one| matches!(one.kind, FailureKind::NotDeterministic(_))) =>
        {
            bail!(
                "derivation '{}' may not be deterministic: it differs from previous round",
                store.dir().print(derivation)
            )
        }
        other => Ok(other.map(drop)?),
    }
}

/// A source that is a derivation of the store, perhaps with outputs: `….drv!out`, or a link to one.
fn derivation_of(store: &Store, source: &str, expressions: bool) -> Option<(StorePath, Wanted)> {
    if expressions {
        return None;
    }
    let (path, wanted) = match source.split_once('!') {
        None => (source, Wanted::Outputs(["out".to_owned()].into())),
        Some((path, "*")) => (path, Wanted::All),
        Some((path, outputs)) => (path, Wanted::Outputs(outputs.split(',').map(str::to_owned).collect())),
    };
    if !path.contains('/') {
        return None;
    }
    let found = crate::store::resolve(store, path).ok().filter(StorePath::is_derivation)?;
    let all = source == path && !store.read_derivation(&found).ok()?.outputs.contains_key("out");
    Some((found, if all { Wanted::All } else { wanted }))
}
