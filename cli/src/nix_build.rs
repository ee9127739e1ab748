//! `nix-build`: evaluates, builds, links the results. nix-build(1).

use crate::eval::Request;
use crate::eval_io::StoreIo;
use crate::instantiate::derivations;
use crate::nix_front::{Arguments, Front, print_missing, print_version};
use anyhow::{Result, bail};
use evaluator::{Arena, Evaluator};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use store::build::Wanted;

/// What the command line says.
#[derive(Debug)]
struct Wish {
    request: Request,
    link: Option<String>,
    dry_run: bool,
    check: bool,
}

/// `nix-build …`.
pub(crate) fn nix_build(arguments: &[OsString]) -> Result<ExitCode> {
    let mut front = Front::new();
    let mut arguments = Arguments::new(arguments);
    let mut wish =
        Wish { request: Request::default(), link: Some("result".to_owned()), dry_run: false, check: false };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--version" => {
                print_version("nix-build")?;
                return Ok(ExitCode::SUCCESS);
            }
            "-o" | "--out-link" => wish.link = Some(arguments.value(&argument)?),
            "--no-out-link" | "--no-link" => wish.link = None,
            "--dry-run" => wish.dry_run = true,
            "--check" => wish.check = true,
            "--drv-link" => drop(arguments.value(&argument)?),
            "--add-drv-link" | "--indirect" => {}
            "--repair" => {
                bail!("`nix-build --repair` is not there; `firn store verify --repair` mends paths")
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
    let derivations = {
        let io = Rc::new(StoreIo::new(Rc::clone(&store), front.build_options(&store)));
        let arena = Arena::new();
        let options = wish.request.evaluator_options()?;
        let mut evaluator = Evaluator::new(&arena, Rc::clone(&io) as Rc<dyn evaluator::EvalIo>, options);
        let mut found = Vec::new();
        for value in wish.request.evaluate(&mut evaluator)? {
            derivations(&mut evaluator, value, true, &mut found)
                .map_err(|error| wish.request.explain(&error))?;
        }
        io.flush()?;
        found
    };
    let mut requests = Vec::new();
    for derivation in &derivations {
        let outputs = [derivation.output.clone()].into();
        requests.push((store.dir().parse(&derivation.drv_path)?, Wanted::Outputs(outputs)));
    }
    print_missing(&store, &requests)?;
    if wish.dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    let report = front.build(&store, &requests, &options)?;
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut out = std::io::stdout().lock();
    for (derivation, (path, _)) in derivations.iter().zip(&requests) {
        let number = counts.len();
        let number = *counts.entry(&derivation.drv_path).or_insert(number);
        let Some(built) = report.outputs.get(path).and_then(|outputs| outputs.get(&derivation.output)) else {
            bail!("derivation '{}' does not have output '{}'", derivation.drv_path, derivation.output);
        };
        if let Some(link) = &wish.link {
            let mut link = link.clone();
            if number > 0 {
                link = format!("{link}-{}", number + 1);
            }
            if derivation.output != "out" {
                link = format!("{link}-{}", derivation.output);
            }
            store.add_permanent_root(built, &std::path::absolute(PathBuf::from(link))?)?;
        }
        writeln!(out, "{}", store.dir().print(built))?;
    }
    Ok(ExitCode::SUCCESS)
}
