//! `firn instantiate` and the name `nix-instantiate`: from expressions to store derivations. nix-instantiate(1).

use crate::eval::{Output, Request, print_values, read_only_io};
use crate::eval_cache::{derivations_from_bytes, derivations_to_bytes, has_derivations};
use crate::eval_io::StoreIo;
use crate::nix_conf::NixConf;
use crate::nix_front::{Arguments, Front};
use anyhow::{Result, bail};
use clap::{Arg, ArgAction, ArgMatches, Command};
use evaluator::{Arena, DerivationInfo, EvalIo, Evaluator, Handle, Options};
use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;
use std::rc::Rc;
use store::Store;
use store::build::BuildOptions;

/// The arguments.
pub(crate) fn command() -> Command {
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
    };
    Command::new("instantiate")
        .about("Write store derivations from Nix expressions to the store and print their paths")
        .args(crate::eval::shared_arguments())
        .arg(
            Arg::new("add-root").long("add-root").value_name("LINK").help(
                "Make a link to the derivation that keeps it from the garbage collector, and print that",
            ),
        )
        .arg(flag("indirect", "Accepted: roots lie where the user wants them anyway"))
        .arg(flag("dry-run", "Write nothing, only say which derivations there would be"))
}

/// Instantiates and prints.
pub(crate) fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let request = Request::from_matches(matches);
    if matches.get_flag("dry-run") {
        return instantiate(&request, read_only_io());
    }
    let store = Rc::new(crate::store::open()?);
    let build = NixConf::load().build_options();
    let root = matches.get_one::<String>("add-root").map(String::as_str);
    instantiate_in_store(&request, &store, build, root)
}

fn instantiate(request: &Request, io: Rc<dyn EvalIo>) -> Result<ExitCode> {
    let options = request.evaluator_options()?;
    let question = request.question("instantiate", &options, &*io);
    let answer = question.answer(
        io,
        |_| true,
        |io| derivations_to_bytes(&found_derivations(request, io, options)?),
    )?;
    print_derivations(&derivations_from_bytes(&answer.bytes)?)
}

/// Evaluates; the derivations in the values.
fn found_derivations(request: &Request, io: Rc<dyn EvalIo>, options: Options) -> Result<Vec<DerivationInfo>> {
    let arena = Arena::new();
    let mut evaluator = Evaluator::new(&arena, io, options);
    let mut found = Vec::new();
    for value in request.evaluate(&mut evaluator)? {
        derivations(&mut evaluator, value, true, &mut found).map_err(|error| request.explain(&error))?;
    }
    Ok(found)
}

/// The derivations that a request's values are, written to the store.
pub(crate) fn derivations_in_store(
    request: &Request,
    store: &Rc<Store>,
    build: BuildOptions,
) -> Result<Vec<DerivationInfo>> {
    let io = Rc::new(StoreIo::new(Rc::clone(store), build));
    let options = request.evaluator_options()?;
    let question = request.question("derivations", &options, &*io);
    let answer = question.answer(
        Rc::clone(&io) as Rc<dyn EvalIo>,
        |bytes| has_derivations(store.evaluation_store(), bytes),
        |recorder| {
            let found = found_derivations(request, recorder, options)?;
            io.flush()?;
            derivations_to_bytes(&found)
        },
    )?;
    derivations_from_bytes(&answer.bytes)
}

/// Prints derivations, with the outputs that were asked for.
fn print_derivations(derivations: &[DerivationInfo]) -> Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    for info in derivations {
        let output = if info.output == "out" { String::new() } else { format!("!{}", info.output) };
        writeln!(out, "{}{output}", info.drv_path)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The same with the derivations written to the store, and roots for them if asked.
fn instantiate_in_store(
    request: &Request,
    store: &Rc<Store>,
    build: BuildOptions,
    root: Option<&str>,
) -> Result<ExitCode> {
    let found = derivations_in_store(request, store, build)?;
    let Some(root) = root else { return print_derivations(&found) };
    for (number, info) in found.iter().enumerate() {
        let link = if number == 0 { root.to_owned() } else { format!("{root}-{}", number + 1) };
        let link = std::path::absolute(link)?;
        store.evaluation_store().add_permanent_root(&store.dir().parse(&info.drv_path)?, &link)?;
        writeln!(std::io::stdout(), "{}", link.display())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The derivations in a value: itself, or those in a list or set (and in sets that ask for it).
pub(crate) fn derivations<'a>(
    evaluator: &mut Evaluator<'a>,
    value: Handle<'a>,
    top: bool,
    found: &mut Vec<DerivationInfo>,
) -> std::result::Result<(), evaluator::EvalError> {
    if let Some(info) = evaluator.derivation_info(value)? {
        found.push(info);
        return Ok(());
    }
    if let Some(items) = evaluator.items(value)? {
        for item in items {
            derivations(evaluator, item, false, found)?;
        }
        return Ok(());
    }
    let Some(names) = evaluator.attribute_names(value) else { return Ok(()) };
    if !top {
        let recurse = evaluator.attribute(value, "recurseForDerivations")?;
        if !recurse.is_some_and(|recurse| evaluator.is_true(recurse)) {
            return Ok(());
        }
    }
    for name in names {
        if let Some(inner) = evaluator.attribute(value, &name)? {
            derivations(evaluator, inner, false, found)?;
        }
    }
    Ok(())
}

/// What `nix-instantiate` is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Instantiate,
    Eval,
    Parse,
    FindFile,
}

/// `nix-instantiate …`.
pub(crate) fn nix_instantiate(arguments: &[OsString]) -> Result<ExitCode> {
    let Some(wish) = read_arguments(arguments)? else { return Ok(ExitCode::SUCCESS) };
    let Wish { request, output, mode, front, root, read_only } = wish;
    // `dummy://` is Nix's name for a store in which nothing can be written.
    let stores = !read_only && front.conf.text("store") != Some("dummy://");
    match mode {
        Mode::Instantiate if stores => {
            let store = Rc::new(front.open()?);
            let build = front.build_options(&store);
            instantiate_in_store(&request, &store, build, root.as_deref())
        }
        Mode::Instantiate => {
            instantiate(&request, Rc::new(evaluator::io::LocalIo::new(front.store_dir()?.as_str())))
        }
        Mode::Parse => crate::parse::parse_all(&request),
        Mode::Eval => {
            let arena = Arena::new();
            let writes = stores && output.writes;
            // Without `--read-write-mode` a store is asked only if there is one.
            let asks = writes || (stores && front.has_store());
            let store = if asks { Some(Rc::new(front.open()?)) } else { None };
            let io = store.map(|store| {
                let options = front.build_options(&store);
                let computing = || StoreIo::computing(Rc::clone(&store), options.clone());
                Rc::new(if writes { StoreIo::new(Rc::clone(&store), options.clone()) } else { computing() })
            });
            let door = match &io {
                Some(io) => Rc::clone(io) as Rc<dyn EvalIo>,
                None => read_only_io(),
            };
            let mut evaluator = Evaluator::new(&arena, door, request.evaluator_options()?);
            let values = request.evaluate(&mut evaluator)?;
            print_values(&request, &mut evaluator, &values, output.output, &mut std::io::stdout())?;
            if let Some(io) = io.filter(|_| writes) {
                io.flush()?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Mode::FindFile => {
            let arena = Arena::new();
            let mut evaluator = Evaluator::new(&arena, read_only_io(), request.evaluator_options()?);
            for source in &request.sources {
                let path = evaluator
                    .find_in_search_path(&source.to_string_lossy())
                    .map_err(|error| request.explain(&error))?;
                writeln!(std::io::stdout(), "{}", String::from_utf8_lossy(&path))?;
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// What the command line of `nix-instantiate` says.
struct Wish {
    request: Request,
    output: Printing,
    mode: Mode,
    front: Front,
    root: Option<String>,
    read_only: bool,
}

/// How values are printed, and whether what their evaluation adds is really added.
#[derive(Default)]
struct Printing {
    output: Output,
    writes: bool,
}

fn read_arguments(arguments: &[OsString]) -> Result<Option<Wish>> {
    let mut arguments = Arguments::new(arguments);
    let mut wish = Wish {
        request: Request::default(),
        output: Printing::default(),
        mode: Mode::Instantiate,
        front: Front::new(),
        root: None,
        read_only: false,
    };
    let output = &mut wish.output.output;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--eval" | "--eval-only" => wish.mode = Mode::Eval,
            "--parse" | "--parse-only" => wish.mode = Mode::Parse,
            "--find-file" => wish.mode = Mode::FindFile,
            "--strict" => output.strict = true,
            "--json" => output.json = true,
            "--xml" => output.xml = true,
            "--raw" => output.raw = true,
            "--no-location" => output.no_location = true,
            "--add-root" => wish.root = Some(arguments.value(&argument)?),
            "--indirect" => {}
            "--dry-run" | "--readonly-mode" => wish.read_only = true,
            "--read-write-mode" => wish.output.writes = true,
            "--version" => {
                crate::nix_front::print_version("nix-instantiate")?;
                return Ok(None);
            }
            _ if wish.front.take(&argument, &mut arguments)? => {}
            _ if wish.request.take(&argument, &mut arguments)? => {}
            flag if flag.starts_with("--no-") => {
                wish.request.options.push((flag.trim_start_matches("--no-").to_owned(), "false".to_owned()));
            }
            flag if flag.starts_with("--") => {
                wish.request.options.push((flag.trim_start_matches('-').to_owned(), "true".to_owned()));
            }
            flag if flag.starts_with('-') && flag != "-" => bail!("unrecognised flag '{flag}'"),
            source => wish.request.sources.push(source.into()),
        }
    }
    wish.request.take_settings(&wish.front);
    Ok(Some(wish))
}
