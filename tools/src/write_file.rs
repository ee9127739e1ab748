//! `write-file`: a text as a store path, or as a file at a place below it (`writeText`, `writeTextFile`,
//! `writeShellScript` of `os/packages`).

use crate::derivation::Derivation;
use anyhow::{Context as _, Result, ensure};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path};

/// The attributes of the derivation.
#[derive(serde::Deserialize, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Attributes {
    /// The file's contents.
    text: String,
    /// Whether it can be executed.
    #[serde(default)]
    executable: bool,
    /// Where it lies below the output, `/bin/x`; empty: the output is the file.
    #[serde(default)]
    destination: String,
}

/// Writes the file.
pub fn run(derivation: &Derivation) -> Result<()> {
    let attributes: Attributes = derivation.attributes()?;
    let mut path = derivation.out()?.to_path_buf();
    let below = Path::new(attributes.destination.trim_start_matches('/'));
    ensure!(
        below.components().all(|component| matches!(component, Component::Normal(_))),
        "the destination `{}` leaves the output; write it without `..`",
        attributes.destination
    );
    if !below.as_os_str().is_empty() {
        path.push(below);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        }
    }
    std::fs::write(&path, &attributes.text).with_context(|| format!("cannot write {}", path.display()))?;
    let mode = if attributes.executable { 0o755 } else { 0o644 };
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))
        .with_context(|| format!("cannot set the mode of {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(attributes: &str) -> (tempfile::TempDir, Result<()>) {
        let directory = tempfile::tempdir().expect("a directory");
        let out = directory.path().join("out");
        let json = format!(r#"{{"name":"t","outputs":{{"out":{out:?}}},{attributes}}}"#);
        let result = run(&Derivation::from_json(&json).expect("valid"));
        (directory, result)
    }

    #[test]
    fn a_file_or_a_tree() {
        let (directory, result) = built(r#""text":"hello\n""#);
        result.expect("written");
        assert_eq!(std::fs::read_to_string(directory.path().join("out")).expect("read"), "hello\n");
        let (directory, result) = built(r##""text":"#!/x\n","executable":true,"destination":"/bin/x""##);
        result.expect("written");
        let mode = std::fs::metadata(directory.path().join("out/bin/x")).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
    }

    #[test]
    fn nothing_outside_the_output() {
        let (_directory, result) = built(r#""text":"","destination":"/../x""#);
        assert!(format!("{:#}", result.expect_err("refused")).contains("leaves the output"));
    }
}
