//! Nix's own language tests, as data: the sources of Nix 2.26.3 are fetched by apt (`ci/get-nix-source`) and every
//! `parse-okay`, `parse-fail`, `eval-okay` and `eval-fail` case runs through the library. What is not right must be in the
//! list of exceptions, with its reason in `docs/differences.md`; an exception that is right by now fails the run.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::format_push_string,
    reason = "a test may panic: that is how it fails"
)]

mod world;

use evaluator::{Arena, EvalError, Evaluator, Options, Style};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use world::World;

/// Cases that go another way here.
const EXCEPTIONS: &[&str] = &[];

/// The directory that the tests are run from.
fn functional_tests() -> PathBuf {
    static FETCHED: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    FETCHED.get_or_init(fetch).clone()
}

fn fetch() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let source = root.join("target/nix-source");
    let status = std::process::Command::new(root.join("ci/get-nix-source"))
        .args(["trixie".as_ref(), source.as_os_str()])
        .status()
        .expect("ci/get-nix-source can be run");
    assert!(status.success(), "ci/get-nix-source: the sources of nix could not be fetched by apt");
    source.join("tests/functional")
}

/// The cases whose names begin so, without `.nix`.
fn cases(tests: &Path, kind: &str) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(tests.join("lang"))
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter_map(|name| name.strip_suffix(".nix").map(str::to_owned))
        .filter(|name| name.starts_with(kind))
        .collect();
    names.sort();
    assert!(names.len() > 10, "no {kind} cases found");
    names
}

/// What the command line of a case asks for.
#[derive(Default)]
struct Flags {
    options: Options,
    arguments: Vec<(String, String, bool)>,
    attribute: String,
}

fn flags(tests: &Path, name: &str) -> Flags {
    let text = std::fs::read_to_string(tests.join(format!("lang/{name}.flags"))).unwrap_or_default();
    let mut flags = Flags::default();
    let mut words = text.split_whitespace().map(str::to_owned);
    let mut search_path = Vec::new();
    while let Some(word) = words.next() {
        let mut next = || words.next().unwrap();
        match word.as_str() {
            "--arg" => flags.arguments.push((next(), next(), false)),
            "--argstr" => flags.arguments.push((next(), next(), true)),
            "-A" => flags.attribute = next(),
            "-I" => search_path.push(next()),
            "--max-call-depth" => flags.options.max_call_depth = next().parse().unwrap(),
            "--extra-experimental-features" => {
                flags.options.parse_toml_timestamps = next() == "parse-toml-timestamps";
            }
            "--eval" | "--strict" | "--no-show-trace" => {}
            other => panic!("{name}.flags has the unknown flag {other}"),
        }
    }
    search_path.extend(["lang/dir3".to_owned(), "lang/dir4".to_owned()]);
    for entry in search_path {
        let (prefix, path) = entry.split_once('=').map_or(("", entry.as_str()), |(a, b)| (a, b));
        let path = tests.join(path).to_str().unwrap().to_owned();
        flags.options.search_path.push((prefix.into(), path.into()));
    }
    flags
}

/// Standard output and standard error of a case, or its error.
fn evaluate(tests: &Path, name: &str, xml: bool) -> Result<(String, String), EvalError> {
    let flags = flags(tests, name);
    let world = Rc::new(World::new());
    let arena = Arena::new();
    let mut evaluator = Evaluator::new(&arena, Rc::clone(&world) as _, flags.options);
    let directory = tests.to_str().unwrap();
    let mut arguments = Vec::new();
    for (argument, text, is_string) in flags.arguments {
        let value = if is_string {
            evaluator.make_string(text.as_bytes())
        } else {
            evaluator.make_lazy_text(&text, directory.as_bytes())?
        };
        arguments.push((argument, value));
    }
    let arguments = evaluator.make_attrs(&arguments);
    let value = evaluator.eval_file(format!("{directory}/lang/{name}.nix").as_bytes())?;
    let value = evaluator.select(value, &flags.attribute, arguments)?;
    let value = evaluator.auto_call(value, arguments)?;
    evaluator.force_deep_value(value)?;
    let output = if xml {
        evaluator.to_xml(value, true, false)?
    } else {
        [evaluator.print(value, Style::Plain), b"\n".to_vec()].concat()
    };
    let stderr: String = world.messages().into_iter().map(|line| line + "\n").collect();
    let pwd = |text: String| text.replace(directory, "/pwd");
    Ok((pwd(String::from_utf8_lossy(&output).into_owned()), pwd(stderr)))
}

/// Compares what went wrong with the exceptions.
fn judge(failures: &BTreeMap<String, String>, kind: &str) {
    let mut report = String::new();
    for (name, what) in failures {
        if !EXCEPTIONS.contains(&name.as_str()) {
            report.push_str(&format!("{name}: {what}\n"));
        }
    }
    for name in EXCEPTIONS.iter().filter(|name| name.starts_with(kind)) {
        if !failures.contains_key(*name) {
            report.push_str(&format!("{name} is right now: take it off the list of exceptions\n"));
        }
    }
    assert!(report.is_empty(), "\n{report}");
}

#[test]
fn parse_okay() {
    let tests = functional_tests();
    let mut failures = BTreeMap::new();
    for name in cases(&tests, "parse-okay") {
        let text = std::fs::read(tests.join(format!("lang/{name}.nix"))).unwrap();
        let expected = std::fs::read_to_string(tests.join(format!("lang/{name}.exp"))).unwrap();
        let arena = Arena::new();
        let mut evaluator = Evaluator::new(&arena, Rc::new(World::new()), Options::default());
        match evaluator.parse_to_text(&text, None, tests.to_str().unwrap().as_bytes()) {
            Ok(printed) if String::from_utf8_lossy(&printed).trim_end() == expected.trim_end() => {}
            Ok(printed) => {
                failures.insert(name, format!("printed {}", String::from_utf8_lossy(&printed)));
            }
            Err(error) => {
                failures.insert(name, error.to_string());
            }
        }
    }
    judge(&failures, "parse-okay");
}

#[test]
fn parse_fail() {
    let tests = functional_tests();
    let mut failures = BTreeMap::new();
    for name in cases(&tests, "parse-fail") {
        let text = std::fs::read(tests.join(format!("lang/{name}.nix"))).unwrap();
        let arena = Arena::new();
        let mut evaluator = Evaluator::new(&arena, Rc::new(World::new()), Options::default());
        if evaluator.parse_to_text(&text, None, b"/").is_ok() {
            failures.insert(name, "parses, but must not".to_owned());
        }
    }
    judge(&failures, "parse-fail");
}

#[test]
fn eval_okay() {
    let tests = functional_tests();
    let mut failures = BTreeMap::new();
    for name in cases(&tests, "eval-okay") {
        let file = |suffix: &str| std::fs::read_to_string(tests.join(format!("lang/{name}.{suffix}"))).ok();
        let xml = file("exp.xml");
        let Some(expected) = xml.clone().or_else(|| file("exp")) else {
            assert!(tests.join(format!("lang/{name}.exp-disabled")).exists(), "{name} has no expectation");
            continue;
        };
        match evaluate(&tests, &name, xml.is_some()) {
            Ok((output, _)) if output != expected => {
                failures.insert(name, format!("printed {output}instead of {expected}"));
            }
            Ok((_, messages)) => {
                if file("err.exp").is_some_and(|expected| expected != messages) {
                    failures.insert(name, format!("said {messages}"));
                }
            }
            Err(error) => {
                failures.insert(name, error.to_string());
            }
        }
    }
    judge(&failures, "eval-okay");
}

#[test]
fn eval_fail() {
    let tests = functional_tests();
    let mut failures = BTreeMap::new();
    for name in cases(&tests, "eval-fail") {
        if let Ok((output, _)) = evaluate(&tests, &name, false) {
            failures.insert(name, format!("gives {output}but must fail"));
        }
    }
    judge(&failures, "eval-fail");
}
