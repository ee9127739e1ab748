//! `firn eval`: evaluates an expression and prints the value. Also what the other evaluating commands share: how the
//! command line becomes an evaluator, its arguments and the expression to evaluate.

use crate::eval_cache::Question;
use crate::nix_front::{Arguments, Front};
use anyhow::{Context as _, Result};
use clap::{Arg, ArgAction, ArgMatches, Command};
use evaluator::io::{EvalIo, LocalIo};
use evaluator::{Arena, ErrorKind, EvalError, Evaluator, Handle, Options, Statistics, Style};
use std::ffi::{OsStr, OsString};
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

/// What the command line says about an evaluation.
#[derive(Debug, Clone, Default)]
pub(crate) struct Request {
    /// Files or, with `expressions`, texts.
    pub(crate) sources: Vec<OsString>,
    /// Whether the sources are texts.
    pub(crate) expressions: bool,
    /// Attribute paths to select; none means the value itself.
    pub(crate) attributes: Vec<String>,
    /// `--arg` and `--argstr`: name, text, whether the text is a string.
    pub(crate) arguments: Vec<(String, String, bool)>,
    /// `-I`, in order.
    pub(crate) search_path: Vec<String>,
    /// `--option`, in order.
    pub(crate) options: Vec<(String, String)>,
    /// Whether errors are shown with their whole trace.
    pub(crate) show_trace: bool,
    /// Whether nothing is looked up.
    pub(crate) no_cache: bool,
}

/// Settings that an evaluation takes from `nix.conf` and its like.
const FROM_FILES: [&str; 7] = [
    "allow-import-from-derivation",
    "experimental-features",
    "max-call-depth",
    "pure-eval",
    "restrict-eval",
    "system",
    "trace-verbose",
];

/// How a value is printed.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct Output {
    /// Evaluates everything in it first.
    pub(crate) strict: bool,
    /// On one line, evaluated as it is printed, derivations by their paths; JSON has paths as they are.
    pub(crate) in_line: bool,
    /// As JSON.
    pub(crate) json: bool,
    /// As XML; with positions unless `no_location`.
    pub(crate) xml: bool,
    /// Without positions in XML.
    pub(crate) no_location: bool,
    /// A string without quotes and newline.
    pub(crate) raw: bool,
}

/// An evaluation's error, to be printed as it renders itself.
#[derive(Debug)]
pub(crate) struct Explained(String);

impl std::fmt::Display for Explained {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Explained {}

/// The arguments that all evaluating commands have.
pub(crate) fn shared_arguments() -> Vec<Arg> {
    vec![
        Arg::new("source")
            .value_name("FILE")
            .num_args(0..)
            .value_parser(clap::value_parser!(OsString))
            .help("Files to evaluate, `-` for standard input [default: ./default.nix]; with -E, expressions"),
        Arg::new("expr")
            .short('E')
            .long("expr")
            .action(ArgAction::SetTrue)
            .help("Take the arguments as expressions"),
        Arg::new("attr")
            .short('A')
            .long("attr")
            .value_name("PATH")
            .action(ArgAction::Append)
            .help("Select an attribute, such as `services.nginx.enable`"),
        Arg::new("arg")
            .long("arg")
            .value_names(["NAME", "EXPR"])
            .num_args(2)
            .action(ArgAction::Append)
            .help("Give a function's argument as an expression"),
        Arg::new("argstr")
            .long("argstr")
            .value_names(["NAME", "STRING"])
            .num_args(2)
            .action(ArgAction::Append)
            .help("Give a function's argument as a string"),
        Arg::new("include")
            .short('I')
            .long("include")
            .value_name("[NAME=]PATH")
            .action(ArgAction::Append)
            .help("Add to the search path of <NAME>"),
        Arg::new("option")
            .long("option")
            .value_names(["NAME", "VALUE"])
            .num_args(2)
            .action(ArgAction::Append)
            .help("Set a setting of Nix's, such as max-call-depth"),
        Arg::new("no-eval-cache")
            .long("no-eval-cache")
            .action(ArgAction::SetTrue)
            .help("Evaluate even what was evaluated before and has not changed"),
        Arg::new("show-trace")
            .long("show-trace")
            .action(ArgAction::SetTrue)
            .help("Show every step that led to an error"),
    ]
}

impl Request {
    /// Reads the shared arguments.
    pub(crate) fn from_matches(matches: &ArgMatches) -> Self {
        let pairs = |name: &str| -> Vec<(String, String)> {
            matches
                .get_occurrences::<String>(name)
                .into_iter()
                .flatten()
                .filter_map(|mut pair| Some((pair.next()?.clone(), pair.next()?.clone())))
                .collect()
        };
        let many = |name: &str| matches.get_many::<String>(name).into_iter().flatten().cloned().collect();
        let mut arguments: Vec<_> =
            pairs("arg").into_iter().map(|(name, text)| (name, text, false)).collect();
        arguments.extend(pairs("argstr").into_iter().map(|(name, text)| (name, text, true)));
        Self {
            sources: matches.get_many::<OsString>("source").into_iter().flatten().cloned().collect(),
            expressions: matches.get_flag("expr"),
            attributes: many("attr"),
            arguments,
            search_path: many("include"),
            options: pairs("option"),
            show_trace: matches.get_flag("show-trace"),
            no_cache: matches.get_flag("no-eval-cache"),
        }
    }

    /// Takes a flag of Nix's evaluating commands. False when it is not one.
    pub(crate) fn take(&mut self, flag: &str, arguments: &mut Arguments) -> Result<bool> {
        match flag {
            "-E" | "--expr" => self.expressions = true,
            "-A" | "--attr" => self.attributes.push(arguments.value(flag)?),
            "-I" | "--include" => self.search_path.push(arguments.value(flag)?),
            "--arg" => self.arguments.push((arguments.value(flag)?, arguments.value(flag)?, false)),
            "--argstr" => self.arguments.push((arguments.value(flag)?, arguments.value(flag)?, true)),
            _ => match flag.strip_prefix("-I") {
                Some(entry) => self.search_path.push(entry.to_owned()),
                None => return Ok(false),
            },
        }
        Ok(true)
    }

    /// Takes over the settings that a front was given.
    pub(crate) fn take_settings(&mut self, front: &Front) {
        self.show_trace |= front.given.iter().any(|(name, value)| name == "show-trace" && value == "true");
        self.options.extend(front.given.iter().cloned());
    }

    /// The question that this request is, with what its caller makes of the values.
    pub(crate) fn question(&self, kind: &str, options: &Options, io: &dyn EvalIo) -> Question {
        let refused = |(name, value): &(String, String)| name == "eval-cache" && value != "true";
        // Standard input is gone once it is read.
        let piped = self.sources.iter().any(|source| source == "-");
        // An impure derivation is built anew each time.
        let impure = options.features.contains("impure-derivations");
        if self.no_cache || piped || impure || self.options.iter().any(refused) {
            return Question::forgotten();
        }
        let words =
            format!("{:?} {} {:?} {:?}", self.sources, self.expressions, self.attributes, self.arguments);
        Question::new(kind, &[&words], options, io)
    }

    /// The evaluator's options that follow.
    pub(crate) fn evaluator_options(&self) -> Result<Options> {
        let mut options = Options::default();
        for entry in &self.search_path {
            options.add_search_path(entry.as_bytes());
        }
        if let Some(path) = std::env::var_os("NIX_PATH") {
            options.add_nix_path(path.as_bytes());
        }
        if let Ok(settings) = crate::settings::Settings::current() {
            let distribution = settings.distribution.join("os");
            let entry = |name: &str, path: &Path| {
                let mut entry = format!("{name}=").into_bytes();
                entry.extend_from_slice(path.as_os_str().as_bytes());
                entry
            };
            if distribution.is_dir() {
                options.add_search_path(&entry("firn", &settings.distribution));
                let modules = distribution.join("modules");
                options.add_search_path(&entry(crate::build::NIXOS_MODULES, &modules));
            }
            if let Some(channel) = &settings.channel {
                options.add_search_path(&entry("debian", channel));
            }
        }
        let conf = crate::nix_conf::NixConf::load();
        for name in FROM_FILES {
            if let Some(value) = conf.text(name) {
                set_option(&mut options, name, value)?;
            }
        }
        for (name, value) in &self.options {
            set_option(&mut options, name, value)?;
        }
        // A relative entry starts where the program was called.
        let here = current_directory()?;
        for (_, path) in &mut options.search_path {
            let text = String::from_utf8_lossy(path).into_owned();
            if !text.starts_with('/')
                && !text.contains("://")
                && !text.starts_with("channel:")
                && !text.starts_with("flake:")
            {
                *path = here.join(OsStr::from_bytes(path)).into_os_string().into_vec();
            }
        }
        if options.pure || options.restricted {
            options.allowed_paths.extend(options.search_path.clone().into_iter().map(|(_, path)| path));
        }
        Ok(options)
    }

    /// The set of arguments for functions at the top.
    pub(crate) fn auto_arguments<'a>(&self, evaluator: &mut Evaluator<'a>) -> Result<Handle<'a>> {
        let here = current_directory()?;
        let mut attrs = Vec::new();
        for (name, text, is_string) in &self.arguments {
            let value = if *is_string {
                evaluator.make_string(text.as_bytes())
            } else {
                evaluator
                    .make_lazy_text(text, here.as_os_str().as_bytes())
                    .map_err(|error| self.explain(&error))?
            };
            attrs.push((name.clone(), value));
        }
        Ok(evaluator.make_attrs(&attrs))
    }

    /// Evaluates every source and selects every attribute; calls functions whose arguments are known.
    pub(crate) fn evaluate<'a>(&self, evaluator: &mut Evaluator<'a>) -> Result<Vec<Handle<'a>>> {
        let arguments = self.auto_arguments(evaluator)?;
        let default = [OsString::from("./default.nix")];
        let sources = if self.sources.is_empty() { default.as_slice() } else { &self.sources };
        let mut values = Vec::new();
        for source in sources {
            let value = self.source_value(evaluator, source)?;
            let whole = [String::new()];
            let paths = if self.attributes.is_empty() { whole.as_slice() } else { &self.attributes };
            for path in paths {
                let value = evaluator
                    .select(value, path, arguments)
                    .and_then(|value| evaluator.auto_call(value, arguments))
                    .map_err(|error| self.explain(&error))?;
                values.push(value);
            }
        }
        Ok(values)
    }

    /// The value of one source: a file, a text or a URL of an archive.
    pub(crate) fn source_value<'a>(
        &self,
        evaluator: &mut Evaluator<'a>,
        source: &OsStr,
    ) -> Result<Handle<'a>> {
        let here = current_directory()?;
        let here = here.as_os_str().as_bytes();
        let result = if source == "-" {
            evaluator.eval_bytes(&standard_input()?, true, here)
        } else if self.expressions {
            evaluator.eval_bytes(source.as_bytes(), false, here)
        } else {
            let path = self.file_path(evaluator, source)?;
            evaluator.eval_file(&path)
        };
        result.map_err(|error| self.explain(&error))
    }

    /// A file argument as an absolute path; `<name>` is looked up.
    fn file_path(&self, evaluator: &mut Evaluator<'_>, source: &OsStr) -> Result<Vec<u8>> {
        let text = source.to_string_lossy();
        if let Some(name) = text.strip_prefix('<').and_then(|text| text.strip_suffix('>')) {
            return evaluator.find_in_search_path(name).map_err(|error| self.explain(&error));
        }
        if let Some(flake) = text.strip_prefix("flake:") {
            return evaluator.flake_tree(flake).map_err(|message| anyhow::anyhow!(message));
        }
        if text.contains("://") || text.starts_with("channel:") {
            let fetch = format!("fetchTarball {}", Self::quoted(&text));
            let path = evaluator.eval_str(&fetch, b"/").and_then(|value| evaluator.coerce_to_string(value));
            return Ok(path.map_err(|error| self.explain(&error))?.0);
        }
        Ok(current_directory()?.join(source).into_os_string().into_vec())
    }

    /// A text as the language writes it.
    pub(crate) fn quoted(text: &str) -> String {
        let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace("${", "\\${");
        format!("\"{}\"", text.replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t"))
    }

    /// An evaluation's error as this command shows it.
    pub(crate) fn explain(&self, error: &EvalError) -> anyhow::Error {
        explained_with(error, self.show_trace)
    }
}

/// An evaluation's error where no flag says how much of its trace is shown.
pub(crate) fn explained(error: &EvalError) -> anyhow::Error {
    explained_with(error, crate::nix_conf::NixConf::load().flag("show-trace", false))
}

/// The same, to be handed to `map_err`.
#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` calls")]
pub(crate) fn explain(error: EvalError) -> anyhow::Error {
    explained(&error)
}

fn explained_with(error: &EvalError, show_trace: bool) -> anyhow::Error {
    let text = error.render(show_trace);
    // Messages of nixpkgs carry colours; a file or pipe gets the text.
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let text = if colours { text } else { without_colours(&text) };
    if error.kind == ErrorKind::Mismatch {
        return crate::family::Failure { code: 102, message: text }.into();
    }
    Explained(text).into()
}

/// A text without the escape sequences of a terminal.
fn without_colours(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        if character == '\u{1b}' {
            rest.by_ref().find(char::is_ascii_alphabetic);
        } else {
            plain.push(character);
        }
    }
    plain
}

/// Where the program was called.
pub(crate) fn current_directory() -> Result<PathBuf> {
    std::env::current_dir().context("cannot tell the current directory")
}

/// All of standard input.
pub(crate) fn standard_input() -> Result<Vec<u8>> {
    let mut text = Vec::new();
    std::io::stdin().read_to_end(&mut text).context("reading standard input")?;
    Ok(text)
}

/// The world for evaluations that write nothing.
pub(crate) fn read_only_io() -> Rc<dyn EvalIo> {
    let store = std::env::var("NIX_STORE_DIR").unwrap_or_else(|_| "/nix/store".to_owned());
    Rc::new(LocalIo::new(&store))
}

/// Sets what a Nix setting means for the evaluator; settings of other parts are accepted and have no effect here.
fn set_option(options: &mut Options, name: &str, value: &str) -> Result<()> {
    let truth = || match value {
        "true" | "yes" | "1" => Ok(true),
        "false" | "no" | "0" => Ok(false),
        _ => anyhow::bail!("setting '{name}' must be true or false, not '{value}'"),
    };
    match name {
        "max-call-depth" => {
            options.max_call_depth =
                value.parse().with_context(|| format!("setting '{name}' must be a number"))?;
        }
        "pure-eval" => options.pure = truth()?,
        "restrict-eval" => options.restricted = truth()?,
        "allow-import-from-derivation" => options.allow_import_from_derivation = truth()?,
        "trace-verbose" => options.trace_verbose = truth()?,
        "abort-on-warn" => options.abort_on_warn = truth()?,
        "system" | "eval-system" if !value.is_empty() => value.clone_into(&mut options.system),
        "nix-path" => {
            options.search_path.clear();
            for entry in value.split_whitespace() {
                options.add_search_path(entry.as_bytes());
            }
        }
        "experimental-features" | "extra-experimental-features" => {
            options.pipe_operators |=
                value.split_whitespace().any(|feature| feature.starts_with("pipe-operator"));
            options.features.extend(value.split_whitespace().map(str::to_owned));
            options.parse_toml_timestamps |=
                value.split_whitespace().any(|feature| feature == "parse-toml-timestamps");
        }
        _ => log::debug!("setting '{name}' has no effect on evaluation"),
    }
    Ok(())
}

/// The arguments.
pub(crate) fn command() -> Command {
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
    };
    Command::new("eval")
        .about("Evaluate a Nix expression and print its value")
        .args(shared_arguments())
        .arg(flag("strict", "Evaluate everything in the value"))
        .arg(flag("json", "Print as JSON"))
        .arg(flag("xml", "Print as XML"))
        .arg(flag("raw", "Print a string as it is"))
        .arg(flag("stats", "Print the evaluation's counters as JSON on standard error"))
        .arg(
            Arg::new("profile")
                .long("profile")
                .value_name("FILE")
                .value_parser(clap::value_parser!(PathBuf))
                .help("Write where the time went: a flame graph if FILE ends in .svg, else one stack a line"),
        )
}

/// Evaluates and prints.
pub(crate) fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let request = Request::from_matches(matches);
    let output = Output {
        strict: matches.get_flag("strict"),
        json: matches.get_flag("json"),
        xml: matches.get_flag("xml"),
        no_location: false,
        in_line: false,
        raw: matches.get_flag("raw"),
    };
    let options = request.evaluator_options()?;
    let io = read_only_io();
    let profile = matches.get_one::<PathBuf>("profile");
    let question = if profile.is_some() {
        Question::forgotten()
    } else {
        request.question(&format!("eval {output:?}"), &options, &*io)
    };
    let mut counters = None;
    let answer = question.answer(
        io,
        |_| true,
        |io| {
            let arena = Arena::new();
            let mut evaluator = Evaluator::new(&arena, io, options);
            if profile.is_some() {
                evaluator.start_profile();
            }
            let mut text = Vec::new();
            let values = request.evaluate(&mut evaluator);
            let printed =
                values.and_then(|values| print_values(&request, &mut evaluator, &values, output, &mut text));
            // Of a failed evaluation as well: that may be the one that takes too long.
            if let Some(file) = profile {
                write_profile(file, &evaluator.profile())?;
            }
            counters = Some(evaluator.statistics());
            // What comes before an error is printed all the same.
            if printed.is_err() {
                std::io::stdout().write_all(&text)?;
            }
            printed.map(|()| text)
        },
    )?;
    std::io::stdout().write_all(&answer.bytes)?;
    if matches.get_flag("stats") {
        print_statistics(counters.as_ref(), answer.compared)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn write_profile(file: &Path, stacks: &[(Vec<String>, u64)]) -> Result<()> {
    let picture = file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("svg"));
    let text = if picture { crate::flame_graph::svg(stacks) } else { crate::flame_graph::folded(stacks) };
    std::fs::write(file, text).with_context(|| format!("writing the profile {}", file.display()))
}

/// Prints values, one a line.
pub(crate) fn print_values<'a>(
    request: &Request,
    evaluator: &mut Evaluator<'a>,
    values: &[Handle<'a>],
    output: Output,
    out: &mut impl std::io::Write,
) -> Result<()> {
    for &value in values {
        let text = value_text(evaluator, value, output).map_err(|error| request.explain(&error))?;
        out.write_all(&text)?;
    }
    Ok(())
}

fn value_text<'a>(
    evaluator: &mut Evaluator<'a>,
    value: Handle<'a>,
    output: Output,
) -> std::result::Result<Vec<u8>, EvalError> {
    if output.raw {
        return Ok(evaluator.coerce_to_string(value)?.0);
    }
    if output.strict {
        evaluator.force_deep_value(value)?;
    }
    if output.xml {
        return evaluator.to_xml(value, output.strict, !output.no_location);
    }
    let mut text = if output.json {
        evaluator.to_json(value, !output.in_line)?.0.into_bytes()
    } else if output.in_line {
        evaluator.print_in_line(value)?
    } else {
        evaluator.print(value, Style::Plain)
    };
    text.push(b'\n');
    Ok(text)
}

/// The counters, under the names of Nix's `NIX_SHOW_STATS` where they mean the same.
fn print_statistics(counters: Option<&Statistics>, compared: Option<usize>) -> Result<()> {
    let mut text = serde_json::json!({
        "cpuTime": cpu_seconds(),
        "evalCache": { "lookUps": u8::from(compared.is_some()), "inputsCompared": compared.unwrap_or(0) },
    });
    if let (Some(counters), Some(map)) = (counters, text.as_object_mut()) {
        for (name, value) in [
            ("nrFunctionCalls", counters.calls.into()),
            ("nrPrimOpCalls", counters.builtin_calls.into()),
            ("nrOpUpdates", counters.updates.into()),
            ("nrThunksForced", counters.forced.into()),
            ("symbols", serde_json::json!({ "number": counters.symbols })),
            ("files", serde_json::json!({ "number": counters.files, "bytes": counters.source_bytes })),
            ("arena", serde_json::json!({ "bytes": counters.arena_bytes })),
        ] {
            map.insert(name.to_owned(), value);
        }
    }
    writeln!(std::io::stderr(), "{text:#}")?;
    Ok(())
}

/// User time of this process so far, in seconds.
fn cpu_seconds() -> f64 {
    use nix::sys::resource::{UsageWho, getrusage};
    use nix::sys::time::TimeValLike as _;
    getrusage(UsageWho::RUSAGE_SELF).map_or(0.0, |usage| usage.user_time().num_microseconds() as f64 / 1e6)
}
