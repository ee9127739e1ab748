//! `toplevel`: the system's directory, laid out as NixOS's (ARCHITECTURE.md, "The toplevel"): links to everything that a
//! generation is made of, and the documents that `activate`, `bootgen` and `init` read.
//!
//! This is the last moment at which a mistake is cheap: every link has to lead somewhere, and every document has to be
//! one that its reader understands.

use crate::derivation::Derivation;
use anyhow::{Context as _, Result, ensure};
use formats::activation::Activation;
use formats::bootloader::Bootloader;
use formats::bootspec::Bootspec;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// What stands in documents for the toplevel's own path.
const OWN_PATH: &str = "@out@";

/// The attributes of the derivation.
#[derive(serde::Deserialize, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Attributes {
    /// Name → what it is a link to; `null` leaves it out.
    links: BTreeMap<String, Option<PathBuf>>,
    /// Name → a text, or a document.
    files: BTreeMap<String, Value>,
    /// Name → another toplevel.
    #[serde(default)]
    specialisation: BTreeMap<String, PathBuf>,
    /// The compiled service graph.
    #[serde(default)]
    service_graph: Option<PathBuf>,
}

/// Writes the directory.
pub fn run(derivation: &Derivation) -> Result<()> {
    let attributes: Attributes = derivation.attributes()?;
    let out = derivation.out()?;
    make_directory(out)?;
    for (name, target) in &attributes.links {
        if let Some(target) = target {
            link(&out.join(name), target, name)?;
        }
    }
    if let Some(graph) = &attributes.service_graph {
        link(&out.join("services.graph"), graph, "services.graph")?;
    }
    make_directory(&out.join("specialisation"))?;
    for (name, target) in &attributes.specialisation {
        link(&out.join("specialisation").join(name), target, name)?;
    }
    for (name, value) in attributes.files {
        let path = out.join(&name);
        let text = text_of(value, &out.display().to_string());
        check(&name, text.as_bytes())?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// A link to something that is there.
fn link(path: &Path, target: &Path, name: &str) -> Result<()> {
    ensure!(
        target.exists(),
        "the system's `{name}` would be {}, which does not exist; check the option that sets it",
        target.display()
    );
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    }
    symlink(target, path).with_context(|| format!("cannot make the link {}", path.display()))
}

/// A file's contents, with the toplevel's own path filled in.
fn text_of(value: Value, own_path: &str) -> String {
    match filled(value, own_path) {
        Value::String(text) => text,
        document => format!("{document:#}\n"),
    }
}

/// A value with [`OWN_PATH`] replaced in all its strings.
fn filled(value: Value, own_path: &str) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace(OWN_PATH, own_path)),
        Value::Array(items) => Value::Array(items.into_iter().map(|item| filled(item, own_path)).collect()),
        Value::Object(fields) => {
            Value::Object(fields.into_iter().map(|(key, field)| (key, filled(field, own_path))).collect())
        }
        other => other,
    }
}

/// Reads a document as its reader will.
fn check(name: &str, text: &[u8]) -> Result<()> {
    match name {
        "activation.json" => Activation::parse(text).map(drop)?,
        "bootloader.json" => Bootloader::parse(text).map(drop)?,
        "boot.json" => Bootspec::parse(text).map(drop)?,
        _ => {}
    }
    Ok(())
}

/// Makes a directory.
fn make_directory(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(attributes: &str) -> (tempfile::TempDir, Result<()>) {
        let directory = tempfile::tempdir().expect("a directory");
        let out = directory.path().join("out");
        let json = format!(r#"{{"name":"firn-system","outputs":{{"out":{out:?}}},{attributes}}}"#);
        let result = run(&Derivation::from_json(&json).expect("valid"));
        (directory, result)
    }

    #[test]
    fn links_files_and_its_own_path() {
        let (directory, result) = built(
            r#""links":{"kernel":"/dev/null","firmware":null},"specialisation":{"a":"/dev/null"},"serviceGraph":"/dev/null",
               "files":{"kernel-params":"init=@out@/init","extra.json":{"x":["@out@"]}}"#,
        );
        result.expect("built");
        let out = directory.path().join("out");
        let own = out.display().to_string();
        assert_eq!(
            fs::read_to_string(out.join("kernel-params")).expect("a file"),
            format!("init={own}/init")
        );
        let document: Value =
            serde_json::from_slice(&fs::read(out.join("extra.json")).expect("a file")).expect("JSON");
        assert_eq!(document["x"][0], own);
        for name in ["kernel", "services.graph", "specialisation/a"] {
            assert!(out.join(name).is_symlink(), "{name}");
        }
        assert!(!out.join("firmware").is_symlink());
    }

    #[test]
    fn what_is_missing_or_misshapen_is_named() {
        let (_directory, result) = built(r#""links":{"kernel":"/nowhere/vmlinuz"},"files":{}"#);
        let error = format!("{:#}", result.expect_err("no kernel"));
        assert!(error.contains("`kernel`") && error.contains("/nowhere/vmlinuz"), "{error}");
        for name in ["activation.json", "bootloader.json", "boot.json"] {
            let (_directory, result) =
                built(&format!(r#""links":{{}},"files":{{"{name}":{{"version":1,"odd":1}}}}"#));
            let error = format!("{:#}", result.expect_err(name));
            assert!(error.contains(name), "{error}");
        }
    }
}
