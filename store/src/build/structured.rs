//! Structured attributes: the derivation's attributes as `.attrs.json` and, for bash, `.attrs.sh`. Nix manual, "Advanced
//! attributes", `__structuredAttrs`.

use super::FailureKind;
use super::environment::rewrite;
use super::one::Job;
use super::reference_graph;
use crate::error::Error;
use crate::open::Store;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

impl Store {
    /// The contents of `.attrs.json` and `.attrs.sh` for attributes whose placeholders are replaced already, with the paths
    /// of the outputs: what a shell outside of any build reads (`nix-shell`).
    pub fn attribute_files(
        &self,
        attributes: &[u8],
        outputs: &BTreeMap<String, String>,
    ) -> Result<(Vec<u8>, String), Error> {
        let bad = |error: serde_json::Error| {
            Error::Invalid(format!("the derivation's `__json` is no set: {error}"))
        };
        let mut attributes: Map<String, Value> = serde_json::from_slice(attributes).map_err(bad)?;
        let outputs = outputs.iter().map(|(output, path)| (output.clone(), Value::String(path.clone())));
        attributes.insert("outputs".to_owned(), Value::Object(outputs.collect()));
        Ok((serde_json::to_vec(&attributes).map_err(bad)?, shell_text(&attributes)))
    }
}

/// Writes both files and the variables that name them.
pub(super) fn write(
    job: &Job<'_>,
    inside: &Path,
    variables: &mut BTreeMap<Vec<u8>, Vec<u8>>,
) -> Result<(), FailureKind> {
    let mut attributes = job.attributes.structured.clone().unwrap_or_default();
    let outputs: Map<String, Value> = job
        .outputs
        .iter()
        .map(|(output, path)| (output.clone(), Value::String(job.store.dir().print(path))))
        .collect();
    attributes.insert("outputs".to_owned(), Value::Object(outputs));
    reference_graph::into_attributes(job, &mut attributes)?;
    let text = serde_json::to_vec(&attributes)
        .map_err(|error| FailureKind::Unsupported(format!("its attributes cannot be written: {error}")))?;
    let json = rewrite(job, &text);
    let attributes: Map<String, Value> = serde_json::from_slice(&json)
        .map_err(|error| FailureKind::Unsupported(format!("its attributes cannot be rewritten: {error}")))?;
    let shell = shell_text(&attributes);
    for (file, variable, contents) in
        [(".attrs.json", "NIX_ATTRS_JSON_FILE", json), (".attrs.sh", "NIX_ATTRS_SH_FILE", shell.into_bytes())]
    {
        job.scratch.write_build_file(file, &contents, &job.identity)?;
        variables.insert(variable.as_bytes().to_vec(), inside.join(file).as_os_str().as_bytes().to_vec());
    }
    Ok(())
}

/// The attributes that bash can hold, as declarations.
fn shell_text(attributes: &Map<String, Value>) -> String {
    let mut text = String::new();
    for (name, value) in attributes.iter().filter(|(name, _)| is_shell_name(name)) {
        if let Some(simple) = simple(value) {
            text += &["declare ", name, "=", &simple, "\n"].concat();
            continue;
        }
        match value {
            Value::Array(items) => {
                if let Some(items) = items.iter().map(simple).collect::<Option<Vec<_>>>() {
                    let items: String = items.iter().flat_map(|item| [item, " "]).collect();
                    text += &["declare -a ", name, "=(", &items, ")\n"].concat();
                }
            }
            Value::Object(items) => {
                let items: Option<Vec<_>> = items
                    .iter()
                    .map(|(key, item)| Some(format!("[{}]={} ", quote(key), simple(item)?)))
                    .collect();
                if let Some(items) = items {
                    text += &["declare -A ", name, "=(", &items.concat(), ")\n"].concat();
                }
            }
            _ => {}
        }
    }
    text
}

fn is_shell_name(name: &str) -> bool {
    let mut characters = name.chars();
    characters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && characters.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn simple(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(quote(text)),
        Value::Number(number) => number.as_i64().map(|number| number.to_string()),
        Value::Null => Some("''".to_owned()),
        Value::Bool(truth) => Some(if *truth { "1" } else { "" }.to_owned()),
        _ => None,
    }
}

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shell_declarations() {
        let value = serde_json::json!({
            "a": "it's", "b": 1, "c": true, "d": false, "e": null, "f": ["x", 2], "g": {"k": "v"},
            "h": [["nested"]], "i-j": "no name", "k": 1.5
        });
        let Value::Object(map) = value else { panic!("an object") };
        assert_eq!(
            shell_text(&map),
            "declare a='it'\\''s'\ndeclare b=1\ndeclare c=1\ndeclare d=\ndeclare e=''\ndeclare -a f=('x' 2 )\n\
             declare -A g=(['k']='v' )\n"
        );
    }
}
