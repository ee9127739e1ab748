//! `firn build`, and what every command that needs a system calls: evaluate a configuration on `<firn/os>`, build what
//! came of it. Also builds the derivations of any Nix file (`--file`, `--expr`).

use crate::eval_cache::{Question, derivations_from_bytes, derivations_to_bytes, has_derivations};
use crate::eval_io::StoreIo;
use crate::family::{Failure, Family};
use crate::flakes::words::Word;
use crate::json;
use crate::nix_conf::NixConf;
use crate::progress::LogFormat;
use crate::settings::Settings;
use anyhow::{Context as _, Result, anyhow, bail};
use clap::{Arg, ArgAction, ArgMatches, Command};
use evaluator::{Arena, Dependency, DerivationInfo, EvalIo, Evaluator, Handle, Options};
use formats::store_path::StorePath;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use store::Store;
use store::build::{BuildOptions, Wanted};

/// Where NixOS users keep their configuration.
const DEFAULT_CONFIGURATION: &str = "/etc/nixos/configuration.nix";
/// Before that, if it is there.
const USUAL_FLAKE: &str = "/etc/nixos/flake.nix";

/// The family's row.
pub(crate) const FAMILY: Family = Family { command, run };

fn command() -> Command {
    Command::new("build")
        .about("Build a system from its configuration, or any derivation")
        .arg(
            Arg::new("configuration")
                .value_name("CONFIGURATION")
                .help("The system's configuration [default: $NIXOS_CONFIG, /etc/nixos/flake.nix, /etc/nixos/configuration.nix]"),
        )
        .arg(Arg::new("attr").short('A').long("attr").value_name("PATH").action(ArgAction::Append).help(
            "What to build: an attribute path [default: config.system.build.toplevel, of a file all of it]",
        ))
        .arg(
            Arg::new("file")
                .short('f')
                .long("file")
                .value_name("FILE")
                .conflicts_with("configuration")
                .help("Build what a Nix file evaluates to"),
        )
        .arg(
            Arg::new("expr")
                .short('E')
                .long("expr")
                .value_name("TEXT")
                .conflicts_with_all(["configuration", "file"])
                .help("Build what a Nix expression evaluates to"),
        )
        .arg(
            Arg::new("out-link")
                .short('o')
                .long("out-link")
                .value_name("LINK")
                .default_value("result")
                .help("Where to put the link to the result, which keeps it from the garbage collector"),
        )
        .arg(Arg::new("no-link").long("no-link").action(ArgAction::SetTrue).help("Make no link"))
        .arg(
            Arg::new("dry-run")
                .long("dry-run")
                .action(ArgAction::SetTrue)
                .help("Say what would be built, build nothing"),
        )
        .arg(json::argument())
        .args(build_arguments())
}

/// The flags that every command that builds shares.
pub(crate) fn build_arguments() -> [Arg; 11] {
    [
        Arg::new("flake")
            .long("flake")
            .value_name("FLAKE[#NAME]")
            .help("Take the system from a flake's nixosConfigurations.NAME [default: this host's name], on Firn in place of its nixpkgs"),
        Arg::new("no-flake")
            .long("no-flake")
            .action(ArgAction::SetTrue)
            .conflicts_with("flake")
            .help("Take no flake where none was named, not that of /etc/nixos/flake.nix either"),
        Arg::new("max-jobs")
            .short('j')
            .long("max-jobs")
            .value_name("N")
            .value_parser(clap::value_parser!(usize))
            .help("How many builds run at a time on this machine; 0 leaves all to others"),
        Arg::new("builders")
            .long("builders")
            .value_name("MACHINES")
            .help("Machines that build as well, as in /etc/nix/machines, separated by semicolons"),
        Arg::new("cores")
            .long("cores")
            .value_name("N")
            .value_parser(clap::value_parser!(usize))
            .help("What each build is told about cores"),
        Arg::new("keep-going")
            .short('k')
            .long("keep-going")
            .action(ArgAction::SetTrue)
            .help("After a failure, still build what does not need the failed"),
        Arg::new("keep-failed")
            .short('K')
            .long("keep-failed")
            .action(ArgAction::SetTrue)
            .help("Leave the directory of a failed build"),
        Arg::new("allow-unsupported")
            .long("allow-unsupported")
            .action(ArgAction::SetTrue)
            .help("Report options that Firn does not have instead of failing"),
        Arg::new("no-eval-cache")
            .long("no-eval-cache")
            .action(ArgAction::SetTrue)
            .help("Evaluate even what was evaluated before and has not changed"),
        Arg::new("print-build-logs")
            .short('L')
            .long("print-build-logs")
            .action(ArgAction::SetTrue)
            .help("Show what builders say"),
        Arg::new("log-format")
            .long("log-format")
            .value_name("FORMAT")
            .help("How builds are shown: bar (a tree), raw (lines), either -with-logs, or internal-json, which is Nix's"),
    ]
}

/// The store of this process and how it builds.
#[derive(Debug, Clone)]
pub(crate) struct Builder {
    /// The store.
    pub(crate) store: Rc<Store>,
    options: BuildOptions,
    allow_unsupported: bool,
    no_cache: bool,
    /// `--flake`: the flake that has the system, in place of a configuration.
    flake: Option<String>,
    no_flake: bool,
}

/// A system's attribute as JSON, the outputs of derivations that it names, and other paths of the store.
type SystemText = (String, Vec<(String, String)>, Vec<String>);

/// What is to be evaluated.
#[derive(Debug, Clone)]
enum Source {
    /// A system's configuration, applied to `<firn/os>`.
    Configuration(PathBuf),
    /// A Nix file.
    File(PathBuf),
    /// A Nix expression.
    Expression(String),
    /// A system of a flake, with the configuration's name: the host's unless one is given.
    Flake(Word, String),
}

impl Builder {
    /// Opens the store; build flags come from the command line when it has them.
    pub(crate) fn new(matches: Option<&ArgMatches>) -> Result<Self> {
        let store = crate::store::open()?;
        let flag = |name: &str| {
            matches.is_some_and(|matches| {
                matches.try_get_one::<bool>(name).ok().flatten().copied().unwrap_or(false)
            })
        };
        let log_format = matches
            .and_then(|matches| matches.try_get_one::<String>("log-format").ok().flatten())
            .map_or(Ok(LogFormat::Bar), |text| text.parse())?
            .with_logs(flag("print-build-logs"));
        if let Some(machines) =
            matches.and_then(|matches| matches.try_get_one::<String>("builders").ok().flatten())
        {
            NixConf::override_with("builders", machines);
        }
        let progress = log_format.progress(store.dir().to_string(), false);
        let mut options = BuildOptions { progress, ..NixConf::load().build_options() };
        let number = |name: &str| {
            matches.and_then(|matches| matches.try_get_one::<usize>(name).ok().flatten().copied())
        };
        if let Some(jobs) = number("max-jobs") {
            options.max_jobs = jobs;
        }
        if let Some(cores) = number("cores") {
            options.cores = cores;
        }
        options.keep_going |= flag("keep-going");
        options.keep_failed |= flag("keep-failed");
        let (allow_unsupported, no_cache) = (flag("allow-unsupported"), flag("no-eval-cache"));
        let flake =
            matches.and_then(|matches| matches.try_get_one::<String>("flake").ok().flatten()).cloned();
        let no_flake = flag("no-flake");
        Ok(Self { store: Rc::new(store), options, allow_unsupported, no_cache, flake, no_flake })
    }

    /// What `use_it` makes of a source's value, from the cache or by evaluation; what the evaluation added is in the store
    /// afterwards. `is_good` says whether the store still has what an answer names.
    fn answer(
        &self,
        source: &Source,
        attribute: &str,
        kind: &str,
        is_good: impl FnOnce(&[u8]) -> bool,
        use_it: impl for<'a> FnOnce(&mut Evaluator<'a>, Handle<'a>) -> Result<Vec<u8>>,
    ) -> Result<Vec<u8>> {
        let io = Rc::new(StoreIo::new(Rc::clone(&self.store), self.options.clone()));
        let mut options = evaluation_options()?;
        if matches!(source, Source::Flake(..)) {
            options.pure = true;
            options.features.insert("flakes".to_owned());
            let known = options.search_path.iter().map(|(_, path)| path.clone());
            options.allowed_paths.extend(known);
            // Either may be a link while Firn itself is worked on.
            let own = ["os", "bin"]
                .map(|name| Settings::current().ok()?.distribution.join(name).canonicalize().ok());
            options
                .allowed_paths
                .extend(own.into_iter().flatten().map(|path| path.into_os_string().into_encoded_bytes()));
        }
        let question = if self.no_cache || matches!(source, Source::Flake(..)) {
            Question::forgotten()
        } else {
            let words = format!("{source:?} {}", self.allow_unsupported);
            Question::new(kind, &[&words, attribute], &options, &*io)
        };
        let answer = question.answer(Rc::clone(&io) as Rc<dyn EvalIo>, is_good, |door| {
            let bytes = self.evaluate(source, door, options, use_it)?;
            io.flush()?;
            Ok(bytes)
        })?;
        if let Some(compared) = answer.compared {
            log::info!("nothing changed among {compared} inputs: not evaluated again");
        }
        Ok(answer.bytes)
    }

    /// Evaluates a source and hands the value to `use_it`.
    fn evaluate(
        &self,
        source: &Source,
        io: Rc<dyn EvalIo>,
        options: Options,
        use_it: impl for<'a> FnOnce(&mut Evaluator<'a>, Handle<'a>) -> Result<Vec<u8>>,
    ) -> Result<Vec<u8>> {
        let arena = Arena::new();
        let mut evaluator = Evaluator::new(&arena, io, options);
        let directory = std::env::current_dir().context("where am I?")?;
        let directory = directory.as_os_str().as_encoded_bytes();
        let value = match source {
            Source::Configuration(path) => {
                let text = format!(
                    "path: import <firn/os> {{ configuration = /. + path; allowUnsupported = {}; }}",
                    self.allow_unsupported
                );
                let function = evaluator.eval_str(&text, directory)?;
                let path = evaluator.make_string(path.as_os_str().as_encoded_bytes());
                evaluator.call(function, path).map_err(explain_missing_channel)?
            }
            Source::File(path) => evaluator.eval_file(path.as_os_str().as_encoded_bytes())?,
            Source::Expression(text) => evaluator.eval_str(text, directory)?,
            Source::Flake(word, name) => crate::flakes::system::configuration(&mut evaluator, word, name)?,
        };
        use_it(&mut evaluator, value).map_err(explain_missing_channel)
    }

    /// The derivations that a source's attribute is: itself, or those in its set or list.
    fn instantiate(&self, source: &Source, attribute: &str) -> Result<Vec<DerivationInfo>> {
        let is_good = |bytes: &[u8]| has_derivations(&self.store, bytes);
        let bytes = self.answer(source, attribute, "build", is_good, |evaluator, value| {
            let arguments = evaluator.make_empty_attrs();
            let value = evaluator.select(value, attribute, arguments)?;
            let value = evaluator.auto_call(value, arguments)?;
            if let Some(derivation) = evaluator.derivation_info(value)? {
                return derivations_to_bytes(&[derivation]);
            }
            let mut derivations = Vec::new();
            for name in evaluator.attribute_names(value).unwrap_or_default() {
                if let Some(value) = evaluator.attribute(value, &name)? {
                    derivations.extend(evaluator.derivation_info(value)?);
                }
            }
            for value in evaluator.items(value)?.unwrap_or_default() {
                derivations.extend(evaluator.derivation_info(value)?);
            }
            if derivations.is_empty() {
                bail!("`{attribute}` is no derivation and holds none: it is a {}", evaluator.type_of(value));
            }
            derivations_to_bytes(&derivations)
        })?;
        derivations_from_bytes(&bytes)
    }

    /// Builds derivations; their outputs' paths in the order in which they were given.
    fn realise(&self, derivations: &[DerivationInfo]) -> Result<Vec<StorePath>> {
        let mut wanted: BTreeMap<StorePath, BTreeSet<String>> = BTreeMap::new();
        for derivation in derivations {
            wanted.entry(self.parse(&derivation.drv_path)?).or_default().insert(derivation.output.clone());
        }
        self.realise_outputs(wanted)?;
        derivations.iter().map(|derivation| self.parse(&derivation.out_path)).collect()
    }

    fn realise_outputs(&self, wanted: BTreeMap<StorePath, BTreeSet<String>>) -> Result<()> {
        let requests: Vec<_> =
            wanted.into_iter().map(|(derivation, outputs)| (derivation, Wanted::Outputs(outputs))).collect();
        self.store.build(&requests, &self.options).map(drop).map_err(|error| {
            let code = if let store::Error::Build(failures) = &error { failures.exit_code() } else { 1 };
            anyhow!(Failure { code, message: error.to_string() })
        })
    }

    fn parse(&self, path: &str) -> Result<StorePath> {
        self.store.dir().parse(path).with_context(|| format!("`{path}` is no store path"))
    }

    /// Evaluates a configuration's attribute to JSON and builds everything that the text mentions.
    pub(crate) fn system_json(
        &self,
        configuration: Option<&Path>,
        attribute: &str,
    ) -> Result<serde_json::Value> {
        let source = self.system(configuration)?;
        let is_good = |bytes: &[u8]| {
            serde_json::from_slice::<SystemText>(bytes).is_ok_and(|(_, outputs, paths)| {
                outputs.iter().map(|(derivation, _)| derivation).chain(&paths).all(|path| {
                    self.parse(path).is_ok_and(|path| self.store.is_valid(&path).unwrap_or(false))
                })
            })
        };
        let bytes = self.answer(&source, attribute, "json", is_good, |evaluator, value| {
            let arguments = evaluator.make_empty_attrs();
            let value = evaluator.select(value, attribute, arguments)?;
            let (text, dependencies) = evaluator.to_json(value, true)?;
            let (mut outputs, mut paths) = (Vec::new(), Vec::new());
            for dependency in dependencies {
                match dependency {
                    Dependency::Output { derivation, output } => outputs.push((derivation, output)),
                    Dependency::Path(path) | Dependency::Derivation(path) => paths.push(path),
                }
            }
            Ok(serde_json::to_vec::<SystemText>(&(text, outputs, paths))?)
        })?;
        let (text, outputs, _): SystemText = serde_json::from_slice(&bytes)?;
        let mut wanted: BTreeMap<StorePath, BTreeSet<String>> = BTreeMap::new();
        for (derivation, output) in outputs {
            wanted.entry(self.parse(&derivation)?).or_default().insert(output);
        }
        self.realise_outputs(wanted)?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Builds one attribute of what a Nix file evaluates to.
    pub(crate) fn file_attribute(&self, file: &Path, attribute: &str) -> Result<StorePath> {
        let file = std::path::absolute(file).with_context(|| file.display().to_string())?;
        self.one(&Source::File(file), attribute)
    }

    /// Builds one attribute of a configured system.
    pub(crate) fn system_attribute(
        &self,
        configuration: Option<&Path>,
        attribute: &str,
    ) -> Result<StorePath> {
        self.one(&self.system(configuration)?, attribute)
    }

    /// Where the system comes from.
    fn system(&self, configuration: Option<&Path>) -> Result<Source> {
        let usual = || (configuration.is_none() && !self.no_flake).then(usual_flake).flatten();
        let Some(text) = &self.flake.clone().or_else(usual) else {
            return Ok(Source::Configuration(configuration_path(configuration)?));
        };
        if let Some(configuration) = configuration {
            bail!(
                "--flake {text} says where the system is, and so does {}: name one",
                configuration.display()
            );
        }
        let word = Word::parse(text, false)?;
        if word.outputs.is_some() {
            bail!("--flake {text}: a system has no outputs to choose from");
        }
        let name = match word.fragment.as_str() {
            "" => host_name()?,
            fragment => fragment.to_owned(),
        };
        Ok(Source::Flake(word, name))
    }

    fn one(&self, source: &Source, attribute: &str) -> Result<StorePath> {
        let derivations = self.instantiate(source, attribute)?;
        let mut paths = self.realise(&derivations)?;
        match (paths.pop(), paths.is_empty()) {
            (Some(path), true) => Ok(path),
            _ => bail!("`{attribute}` of the configuration is not one derivation"),
        }
    }
}

/// The flake that describes this machine where nothing else was named, as for `nixos-rebuild`: that of /etc/nixos/flake.nix, which
/// may be a link into a repository.
fn usual_flake() -> Option<String> {
    if std::env::var_os("NIXOS_CONFIG").is_some_and(|path| !path.is_empty()) {
        return None;
    }
    let file = Path::new(USUAL_FLAKE).canonicalize().ok()?;
    Some(file.parent()?.to_str()?.to_owned())
}

/// What this machine is called.
fn host_name() -> Result<String> {
    let name =
        std::fs::read_to_string("/proc/sys/kernel/hostname").context("what is this machine called?")?;
    Ok(name.trim().to_owned())
}

/// Says what to do on a machine that has no channel yet, where evaluating a system ends with the search for one.
fn explain_missing_channel(error: impl Into<anyhow::Error>) -> anyhow::Error {
    let error = error.into();
    let none = Settings::current().is_ok_and(|settings| settings.channel.is_none());
    if none && error.to_string().starts_with("file 'debian' was not found") {
        return error.context("there is no package channel yet: `firn channel add debian` makes one");
    }
    error
}

/// Builds the system that a configuration describes.
pub(crate) fn toplevel(matches: &ArgMatches, configuration: Option<&Path>) -> Result<StorePath> {
    Builder::new(Some(matches))?.system_attribute(configuration, "config.system.build.toplevel")
}

/// The configuration to use: the one given (a directory means its `configuration.nix`), or the usual place.
pub(crate) fn configuration_path(given: Option<&Path>) -> Result<PathBuf> {
    let path = match (given, std::env::var_os("NIXOS_CONFIG")) {
        (Some(path), _) => path.to_path_buf(),
        (None, Some(path)) if !path.is_empty() => PathBuf::from(path),
        _ => PathBuf::from(DEFAULT_CONFIGURATION),
    };
    let path = if path.is_dir() { path.join("configuration.nix") } else { path };
    std::path::absolute(&path).ok().filter(|path| path.exists()).ok_or_else(|| {
        anyhow!(
            "there is no configuration at {}; name one, as in `firn build ./configuration.nix`",
            path.display()
        )
    })
}

/// NixOS's modules by the name that configurations import them by.
pub(crate) const NIXOS_MODULES: &str = "nixpkgs/nixos/modules";

/// Search path and system: `<firn>` and `<debian>` are Firn's, NIX_PATH adds to them. `<nixpkgs/nixos/modules/…>`, which configurations
/// import by name, is one of Firn's modules where NIX_PATH knows no nixpkgs.
fn evaluation_options() -> Result<Options> {
    let settings = Settings::current()?;
    let mut options = Options::default();
    let mut add = |name: &str, path: &Path| {
        let path = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        options.search_path.push((name.as_bytes().to_vec(), path.into_os_string().into_encoded_bytes()));
    };
    add("firn", &settings.distribution);
    if let Some(channel) = &settings.channel {
        add("debian", channel);
    }
    if let Some(path) = std::env::var_os("NIX_PATH") {
        options.add_nix_path(path.as_encoded_bytes());
    }
    // As it is spelled in `<firn>`, so that a module that is imported by both names is one.
    let modules = settings.distribution.canonicalize().unwrap_or_else(|_| settings.distribution.clone());
    let modules = modules.join("os/modules");
    options.search_path.push((NIXOS_MODULES.into(), modules.into_os_string().into_encoded_bytes()));
    Ok(options)
}

fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let builder = Builder::new(Some(matches))?;
    let text = |name: &str| matches.get_one::<String>(name);
    let (source, default) = match (text("file"), text("expr")) {
        (Some(file), _) => (Source::File(std::path::absolute(file)?), ""),
        (None, Some(expression)) => (Source::Expression(expression.clone()), ""),
        (None, None) => {
            (builder.system(text("configuration").map(Path::new))?, "config.system.build.toplevel")
        }
    };
    let attributes: Vec<&str> = matches
        .get_many::<String>("attr")
        .map_or_else(|| vec![default], |given| given.map(String::as_str).collect());
    let mut derivations = Vec::new();
    for attribute in attributes {
        derivations.extend(builder.instantiate(&source, attribute)?);
    }
    if matches.get_flag("dry-run") {
        return dry_run(&builder, &derivations, matches.get_flag("json"));
    }
    let paths = builder.realise(&derivations)?;
    for (number, path) in paths.iter().enumerate() {
        if let Some(link) = text("out-link").filter(|_| !matches.get_flag("no-link")) {
            let link = if number == 0 { link.clone() } else { format!("{link}-{}", number + 1) };
            builder.store.add_followable_root(path, &std::path::absolute(link)?)?;
        }
    }
    if matches.get_flag("json") {
        let built: Vec<_> = derivations
            .iter()
            .zip(&paths)
            .map(|(derivation, path)| {
                let output = derivation.output.as_str();
                serde_json::json!({
                    "drvPath": derivation.drv_path,
                    "outputs": { output: builder.store.dir().print(path) },
                })
            })
            .collect();
        json::print(&built)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut output = std::io::stdout().lock();
    for path in &paths {
        writeln!(output, "{}", builder.store.dir().print(path))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn dry_run(builder: &Builder, derivations: &[DerivationInfo], as_json: bool) -> Result<ExitCode> {
    let requests = derivations
        .iter()
        .map(|derivation| Ok((builder.parse(&derivation.drv_path)?, Wanted::All)))
        .collect::<Result<Vec<_>>>()?;
    let missing = builder.store.missing(&requests)?;
    if as_json {
        let paths = |paths| json::paths(&builder.store, paths);
        json::print(&serde_json::json!({
            "build": paths(&missing.build),
            "fetch": paths(&missing.fetch),
            "substitute": paths(&missing.substitute),
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut output = std::io::stderr().lock();
    for (what, paths) in [
        ("derivations will be built", &missing.build),
        ("derivations will be fetched", &missing.fetch),
        ("paths will come from caches", &missing.substitute),
    ] {
        if !paths.is_empty() {
            writeln!(output, "these {} {what}:", paths.len())?;
        }
        for path in paths {
            writeln!(output, "  {}", builder.store.dir().print(path))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
