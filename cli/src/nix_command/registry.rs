//! `nix registry`: the user's short names for flakes, in the file that Nix reads (`nix/registry.json` of the user's
//! configuration, version 2). Firn keeps the list for Nix; it has no flakes of its own. nix3-registry(1).

use crate::nix_front::{Arguments, Front};
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The words that are no flags, and the file that is meant.
fn read(front: &mut Front, arguments: &mut Arguments) -> Result<(Vec<String>, PathBuf)> {
    let (mut words, mut file) = (Vec::new(), None);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--registry" => file = Some(PathBuf::from(arguments.value(&argument)?)),
            _ if front.take(&argument, arguments)? => {}
            flag if flag.starts_with('-') => bail!("unrecognised flag '{flag}'"),
            _ => words.push(argument),
        }
    }
    let own = || {
        let variable =
            |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        variable("XDG_CONFIG_HOME")
            .or_else(|| variable("HOME").map(|home| home.join(".config")))
            .map(|directory| directory.join("nix/registry.json"))
            .context("neither XDG_CONFIG_HOME nor HOME is set: say which file with --registry")
    };
    let file = file.map_or_else(own, Ok)?;
    Ok((words, file))
}

/// The entries of a file; none if it is not there.
fn entries(file: &Path) -> Result<Vec<Value>> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("reading {}", file.display())),
    };
    let value: Value =
        serde_json::from_str(&text).with_context(|| format!("{} is no JSON", file.display()))?;
    if value.get("version") != Some(&json!(2)) {
        bail!("{} is a registry of another version than 2", file.display());
    }
    Ok(value.get("flakes").and_then(Value::as_array).cloned().unwrap_or_default())
}

fn write(file: &Path, entries: &[Value]) -> Result<()> {
    let context = || format!("writing {}", file.display());
    if let Some(parent) = file.parent() {
        std::fs::create_dir_all(parent).with_context(context)?;
    }
    let text = json!({"version": 2, "flakes": entries}).to_string();
    let new = file.with_extension("new");
    std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, file)).with_context(context)
}

fn indirect(name: &str) -> Value {
    json!({"type": "indirect", "id": name.strip_prefix("flake:").unwrap_or(name)})
}

/// `nix registry add NAME URL`.
pub(super) fn add(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let (words, file) = read(front, arguments)?;
    let [name, url] = words.as_slice() else { bail!("'nix registry add' needs a name and where it leads") };
    let mut entries = entries(&file)?;
    let from = indirect(name);
    entries.retain(|entry| entry.get("from") != Some(&from));
    entries.push(json!({"from": from, "to": target(url)?}));
    write(&file, &entries)?;
    Ok(ExitCode::SUCCESS)
}

/// Where an entry leads, as attributes. Only what needs no more to be known than its address.
fn target(url: &str) -> Result<Value> {
    if let Some(path) = url.strip_prefix("path:").or_else(|| url.starts_with('/').then_some(url)) {
        return Ok(json!({"type": "path", "path": path}));
    }
    if let Some(rest) = url.strip_prefix("git+") {
        return Ok(json!({"type": "git", "url": rest}));
    }
    if let Some((kind, rest)) = url.split_once(':').filter(|(kind, _)| matches!(*kind, "github" | "gitlab")) {
        let mut parts = rest.splitn(3, '/');
        let (Some(owner), Some(repo)) = (parts.next(), parts.next()) else {
            bail!("'{url}' names no repository");
        };
        let mut value = json!({"type": kind, "owner": owner, "repo": repo});
        if let (Some(reference), Some(fields)) = (parts.next(), value.as_object_mut()) {
            fields.insert("ref".to_owned(), json!(reference));
        }
        return Ok(value);
    }
    if url.starts_with("https://") || url.starts_with("http://") || url.starts_with("file://") {
        return Ok(json!({"type": "tarball", "url": url}));
    }
    if url.contains([':', '/']) {
        bail!(
            "'{url}' is no address that a registry can hold: give path:, git+, github:, gitlab: or https://"
        );
    }
    Ok(indirect(url))
}

/// `nix registry remove NAME`: what is not there need not go.
pub(super) fn remove(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let (words, file) = read(front, arguments)?;
    let [name] = words.as_slice() else { bail!("'nix registry remove' needs a name") };
    let mut entries = entries(&file)?;
    let from = indirect(name);
    entries.retain(|entry| entry.get("from") != Some(&from));
    write(&file, &entries)?;
    Ok(ExitCode::SUCCESS)
}

/// `nix registry list`.
pub(super) fn list(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let (_, file) = read(front, arguments)?;
    let mut out = std::io::stdout().lock();
    for entry in entries(&file)? {
        let text = |side: &str, field: &str| -> String {
            let value = entry.get(side).and_then(|side| side.get(field)).and_then(Value::as_str);
            value.unwrap_or_default().to_owned()
        };
        let to = match text("to", "type").as_str() {
            "path" => format!("path:{}", text("to", "path")),
            "git" => format!("git+{}", text("to", "url")),
            "tarball" => text("to", "url"),
            "indirect" => format!("flake:{}", text("to", "id")),
            kind => {
                let reference = text("to", "ref");
                let slash = if reference.is_empty() { "" } else { "/" };
                format!("{kind}:{}/{}{slash}{reference}", text("to", "owner"), text("to", "repo"))
            }
        };
        writeln!(out, "user   flake:{} {to}", text("from", "id"))?;
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_go_round() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("nix/registry.json");
        assert!(entries(&file).unwrap().is_empty());
        let to = target("github:owner/repo/branch").unwrap();
        write(&file, &[json!({"from": indirect("flake:x"), "to": to})]).unwrap();
        assert_eq!(entries(&file).unwrap()[0]["from"]["id"], "x");
        assert_eq!(entries(&file).unwrap()[0]["to"]["ref"], "branch");
        for (url, kind) in
            [("/a", "path"), ("git+file:///a", "git"), ("https://h/x.tar", "tarball"), ("y", "indirect")]
        {
            assert_eq!(target(url).unwrap()["type"], kind, "{url}");
        }
        assert!(target("s3://x").is_err() && target("github:x").is_err());
        std::fs::write(&file, "{\"version\":3}").unwrap();
        assert!(entries(&file).is_err());
    }
}
