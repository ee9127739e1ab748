//! `nix develop` and `nix print-dev-env`: the variables and functions that a derivation's builder would have once it has
//! read its `setup`. They are found by building a derivation that writes them down. nix3-develop(1).

use super::build::Installables;
use crate::flakes::outputs::Purpose;
use crate::nix_front::{Arguments, Front};
use crate::nix_shell::build_inputs;
use anyhow::{Context as _, Result, bail};
use formats::derivation::{Derivation, Output};
use formats::store_path::StorePath;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::rc::Rc;
use store::Store;
use store::build::Wanted;

/// Writes the environment down, fields ended by NUL: `exported|var NAME VALUE`, `array NAME COUNT VALUE…`,
/// `associative NAME COUNT KEY VALUE…`, `function NAME TEXT`.
const RECORDER: &str = include_str!("record-environment.sh");

/// Variables that are the builder's own.
const LEFT_OUT: [&str; 20] = [
    "BASHOPTS",
    "HOME",
    "NIX_ATTRS_JSON_FILE",
    "NIX_ATTRS_SH_FILE",
    "NIX_BUILD_TOP",
    "NIX_ENFORCE_PURITY",
    "NIX_LOG_FD",
    "NIX_REMOTE",
    "OLDPWD",
    "PPID",
    "PWD",
    "SHELL",
    "SHELLOPTS",
    "SHLVL",
    "TEMP",
    "TEMPDIR",
    "TERM",
    "TMP",
    "TMPDIR",
    "TZ",
];

/// What was written down.
#[derive(Debug, Default, PartialEq, Eq)]
struct Environment {
    variables: BTreeMap<String, Variable>,
    functions: BTreeMap<String, String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Variable {
    Exported(String),
    Plain(String),
    Array(Vec<String>),
    Associative(BTreeMap<String, String>),
}

/// `nix develop`.
pub(super) fn develop(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let mut installables = Installables::of(Purpose::Shells);
    let (mut command, mut ignore, mut keep) = (Vec::new(), false, Vec::new());
    let mut set: Vec<(String, Option<String>)> = Vec::new();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "-c" | "--command" => command = arguments.rest(),
            "-i" | "--ignore-env" | "--ignore-environment" => ignore = true,
            "--keep" | "--keep-env-var" => keep.push(arguments.value(&argument)?),
            "-s" | "--set-env-var" => {
                let name = arguments.value(&argument)?;
                set.push((name, Some(arguments.value(&argument)?)));
            }
            "-u" | "--unset" | "--unset-env-var" => set.push((arguments.value(&argument)?, None)),
            _ if installables.take(front, &argument, arguments)? => {}
            other => bail!("unrecognised flag '{other}'"),
        }
    }
    check_variables(ignore, &keep, &set)?;
    let (environment, shell) = environment(front, &mut installables)?;
    let mut text = String::new();
    if command.is_empty() {
        text.push_str("[ -n \"$PS1\" ] && [ -e ~/.bashrc ] && source ~/.bashrc\n");
    }
    text.push_str(&environment.script());
    if !command.is_empty() {
        let words: Vec<String> = command.iter().map(|word| quoted(word)).collect();
        text.extend(["exec ", &words.join(" "), "\n"]);
    }
    let file = tempfile::Builder::new().prefix("nix-develop.").tempfile()?;
    // The shell removes what it was started with.
    let (mut file, path) = file.keep()?;
    file.write_all(format!("rm -f {}\n{text}", quoted(&path.to_string_lossy())).as_bytes())?;
    let mut started = Command::new(&shell);
    if command.is_empty() {
        started.arg("--rcfile");
    }
    started.arg(&path);
    if ignore {
        started.env_clear();
        started.envs(
            std::env::vars_os().filter(|(name, _)| keep.iter().any(|kept| OsString::from(kept) == *name)),
        );
    }
    for (name, value) in set {
        match value {
            Some(value) => started.env(name, value),
            None => started.env_remove(name),
        };
    }
    let error = started.exec();
    Err(error).with_context(|| format!("starting the shell {shell}"))
}

/// Refuses flags about variables that contradict each other.
fn check_variables(ignore: bool, keep: &[String], set: &[(String, Option<String>)]) -> Result<()> {
    if !keep.is_empty() && !ignore {
        bail!("--keep-env-var does not make sense without --ignore-env");
    }
    if ignore && set.iter().any(|(_, value)| value.is_none()) {
        bail!("--unset-env-var does not make sense with --ignore-env");
    }
    for (index, (name, value)) in set.iter().enumerate() {
        let before = set.iter().take(index).find(|(known, _)| known == name);
        match (before, value) {
            (Some((_, Some(_))), Some(_)) => bail!(
                "Duplicate definition of environment variable '{name}' with '--set-env-var' is ambiguous"
            ),
            (Some((_, Some(_))), None) => {
                bail!("Cannot unset environment variable '{name}' that is set with '--set-env-var'")
            }
            (Some((_, None)), Some(_)) => {
                bail!("Cannot set environment variable '{name}' that is unset with '--unset-env-var'")
            }
            _ => {}
        }
    }
    Ok(())
}

/// `nix print-dev-env`.
pub(super) fn print(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let mut installables = Installables::of(Purpose::Shells);
    let mut as_json = false;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => as_json = true,
            _ if installables.take(front, &argument, arguments)? => {}
            other => bail!("unrecognised flag '{other}'"),
        }
    }
    let (environment, _) = environment(front, &mut installables)?;
    let mut out = std::io::stdout().lock();
    if as_json {
        writeln!(out, "{:#}", environment.json())?;
    } else {
        out.write_all(environment.script().as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The environment of the one derivation named, and the shell that it builds with.
fn environment(front: &Front, installables: &mut Installables) -> Result<(Environment, String)> {
    let store = Rc::new(front.open()?);
    let requests = installables.requests(front, &store)?;
    let [(path, _)] = requests.as_slice() else { bail!("name one derivation") };
    if !path.is_derivation() {
        bail!("'{}' is not a derivation", store.dir().print(path));
    }
    let derivation = store.read_derivation(path)?;
    let shell = String::from_utf8_lossy(&derivation.builder).into_owned();
    if Path::new(&shell).file_name() != Some("bash".as_ref()) {
        bail!("'nix develop' only works on derivations that use 'bash' as their builder, not '{shell}'");
    }
    build_inputs(front, &store, &derivation, &[])?;
    let recorded = record(front, &store, derivation)?;
    let file = store.real_path(&recorded);
    let bytes = std::fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
    let environment = Environment::parse(&bytes)
        .with_context(|| format!("{} does not hold an environment", file.display()))?;
    Ok((environment, shell))
}

/// Builds the derivation that writes the environment down instead of doing its work.
fn record(front: &Front, store: &Store, mut derivation: Derivation) -> Result<StorePath> {
    let script = store.add_text("record-environment.sh", RECORDER.as_bytes(), &BTreeSet::default())?;
    derivation.args = vec![store.dir().print(&script).into_bytes()];
    derivation.input_srcs.insert(script);
    for name in ["allowedReferences", "allowedRequisites", "disallowedReferences", "disallowedRequisites"] {
        derivation.env.remove(name.as_bytes());
    }
    derivation.name.push_str("-env");
    derivation.env.insert(b"name".to_vec(), derivation.name.clone().into_bytes());
    // Where things come from does not matter here; where they lie follows from what they are made of.
    for output in derivation.outputs.values_mut() {
        *output = Output::Deferred;
    }
    let dir = store.dir().clone();
    derivation.fill_output_paths::<store::Error>(&dir, &mut |input| store.derivation_hash(input))?;
    let path = store.add_derivation(&derivation)?;
    let requests = [(path.clone(), Wanted::All)];
    let mut outputs = Front::build(store, &requests, &front.build_options(store))?.outputs;
    let outputs = outputs.remove(&path).unwrap_or_default();
    let out = outputs
        .values()
        .find(|path| std::fs::metadata(store.real_path(path)).is_ok_and(|found| found.len() > 0));
    out.cloned().context("the environment was not written")
}

/// A word for a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

impl Environment {
    /// Reads what the script wrote; none if it is cut or strange.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut fields = bytes.strip_suffix(b"\0")?.split(|&byte| byte == 0);
        let mut environment = Self::default();
        while let Some(kind) = fields.next() {
            let mut text = || Some(String::from_utf8_lossy(fields.next()?).into_owned());
            let name = text()?;
            let value = match kind {
                b"function" => {
                    environment.functions.insert(name, text()?);
                    continue;
                }
                b"exported" => Variable::Exported(text()?),
                b"var" => Variable::Plain(text()?),
                b"array" => {
                    let count: usize = text()?.parse().ok()?;
                    Variable::Array((0..count).map(|_| text()).collect::<Option<_>>()?)
                }
                b"associative" => {
                    let count: usize = text()?.parse().ok()?;
                    Variable::Associative(
                        (0..count).map(|_| Some((text()?, text()?))).collect::<Option<_>>()?,
                    )
                }
                _ => return None,
            };
            environment.variables.insert(name, value);
        }
        Some(environment)
    }

    /// As commands of bash.
    fn script(&self) -> String {
        let mut text = String::from("unset shellHook\nfirn_saved_PATH=\"$PATH\"\n");
        for (name, variable) in self.variables.iter().filter(|(name, _)| !LEFT_OUT.contains(&name.as_str())) {
            match variable {
                Variable::Exported(value) => {
                    text.extend([name, "=", &quoted(value), "\nexport ", name, "\n"]);
                }
                Variable::Plain(value) => text.extend([name, "=", &quoted(value), "\n"]),
                Variable::Array(items) => {
                    let items: Vec<String> = items.iter().map(|item| quoted(item)).collect();
                    text.extend(["declare -a ", name, "=(", &items.join(" "), ")\n"]);
                }
                Variable::Associative(items) => {
                    let items: Vec<String> = items
                        .iter()
                        .map(|(key, item)| format!("[{}]={}", quoted(key), quoted(item)))
                        .collect();
                    text.extend(["declare -A ", name, "=(", &items.join(" "), ")\n"]);
                }
            }
        }
        for (name, body) in &self.functions {
            text.extend([body, "\n"]);
            log::trace!("function {name}");
        }
        text.push_str(
            "PATH=\"$PATH${firn_saved_PATH:+:$firn_saved_PATH}\"\nunset firn_saved_PATH\nexport PATH\n\
             export NIX_BUILD_TOP=\"$(mktemp -d -t nix-shell.XXXXXX)\"\n\
             export TMP=\"$NIX_BUILD_TOP\" TMPDIR=\"$NIX_BUILD_TOP\" TEMP=\"$NIX_BUILD_TOP\" TEMPDIR=\"$NIX_BUILD_TOP\"\n\
             eval \"${shellHook:-}\"\n",
        );
        text
    }

    fn json(&self) -> Value {
        let mut variables = Map::new();
        for (name, variable) in &self.variables {
            let (kind, value) = match variable {
                Variable::Exported(value) => ("exported", json!(value)),
                Variable::Plain(value) => ("var", json!(value)),
                Variable::Array(items) => ("array", json!(items)),
                Variable::Associative(items) => ("associative", json!(items)),
            };
            variables.insert(name.clone(), json!({"type": kind, "value": value}));
        }
        json!({"bashFunctions": self.functions, "variables": variables})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_down_is_read() {
        let bytes =
            b"exported\0A\0it's\0array\0b\x002\0x\n\0\0associative\0c\x001\0k\0v\0function\0f\0f () { :; }\0";
        let environment = Environment::parse(bytes).unwrap();
        assert_eq!(environment.variables["A"], Variable::Exported("it's".to_owned()));
        assert_eq!(environment.variables["b"], Variable::Array(vec!["x\n".to_owned(), String::new()]));
        assert_eq!(environment.json()["variables"]["c"]["value"]["k"], "v");
        let script = environment.script();
        assert!(script.contains("A='it'\\''s'\nexport A\n") && script.contains("f () { :; }\n"), "{script}");
        for cut in [&bytes[..bytes.len() - 1], &bytes[..20], b"strange\0x\0"] {
            assert_eq!(Environment::parse(cut), None);
        }
    }
}
