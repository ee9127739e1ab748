//! `run-script`: a script in the channel's shell, as nixpkgs' `runCommand` does it: `$out`, every plain attribute in the
//! environment (Nix manual, "Derivations": how attributes become variables), `$PATH` from the packages given.

use crate::derivation::Derivation;
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

/// The attributes that are this command's own; all others are the script's.
#[derive(serde::Deserialize, Debug)]
struct Attributes {
    /// The shell.
    shell: PathBuf,
    /// What it runs.
    script: String,
    /// Packages whose `bin` is in `$PATH`.
    #[serde(default)]
    path: Vec<PathBuf>,
}

/// Writes the script to the build directory and becomes the shell.
pub fn run(derivation: &Derivation) -> Result<()> {
    let attributes: Attributes = derivation.attributes()?;
    let directory = std::env::current_dir().context("the build has no directory")?;
    let script = directory.join(".script");
    std::fs::write(&script, &attributes.script)
        .with_context(|| format!("cannot write {}", script.display()))?;
    let mut command = Command::new(&attributes.shell);
    command.args(["-e", "-u"]);
    if attributes.shell.file_name().is_some_and(|name| name == "bash") {
        command.args(["-o", "pipefail"]);
    }
    command.arg(&script);
    for (name, value) in variables(derivation) {
        command.env(name, value);
    }
    let directories: Vec<PathBuf> = attributes.path.iter().map(|package| package.join("bin")).collect();
    let path = std::env::join_paths(directories).context("a package in `path` has a colon in its name")?;
    command.env("PATH", path).env("SHELL", &attributes.shell);
    let error = command.exec();
    Err(error).with_context(|| format!("cannot start the shell {}", attributes.shell.display()))
}

/// The variables that the derivation's attributes and outputs give.
fn variables(derivation: &Derivation) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    for (name, value) in derivation.raw_attributes() {
        let own = matches!(name.as_str(), "shell" | "script" | "path");
        if let Some(text) = text(value).filter(|_| !own) {
            variables.push((name.clone(), text));
        }
    }
    variables.push(("name".to_owned(), derivation.name().to_owned()));
    let outputs: Vec<&str> = derivation.outputs().map(|(name, _)| name).collect();
    variables.push(("outputs".to_owned(), outputs.join(" ")));
    variables.extend(derivation.outputs().map(|(name, path)| (name.to_owned(), path.display().to_string())));
    variables
}

/// An attribute as a variable; attribute sets are none.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null | Value::Bool(false) => Some(String::new()),
        Value::Bool(true) => Some("1".to_owned()),
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => Some(items.iter().map(text).collect::<Option<Vec<_>>>()?.join(" ")),
        Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_as_variables() {
        let derivation = Derivation::from_json(
            r#"{"name":"n","outputs":{"out":"/o","doc":"/d"},"shell":"/s","script":"x","a":"text","b":true,"c":false,
                "d":["x",1,"y z"],"e":{"k":1},"f":7,"g":null}"#,
        )
        .expect("valid");
        let variables = variables(&derivation);
        let value = |name: &str| {
            variables.iter().find(|variable| variable.0 == name).map(|variable| variable.1.as_str())
        };
        for (name, expected) in [
            ("a", Some("text")),
            ("b", Some("1")),
            ("c", Some("")),
            ("d", Some("x 1 y z")),
            ("e", None),
            ("f", Some("7")),
            ("g", Some("")),
            ("out", Some("/o")),
            ("outputs", Some("doc out")),
            ("script", None),
        ] {
            assert_eq!(value(name), expected, "{name}");
        }
    }
}
