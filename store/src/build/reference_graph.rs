//! `exportReferencesGraph`: tells the builder the closure of paths. As files in registration format for plain
//! attributes, as arrays of descriptions for structured ones.

use super::FailureKind;
use super::one::Job;
use crate::error::Error;
use formats::store_path::StorePath;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// The closure of paths given as text. A derivation brings its outputs.
fn closure(job: &Job<'_>, texts: &[String]) -> Result<BTreeSet<StorePath>, FailureKind> {
    let store = job.store;
    let mut paths = Vec::new();
    for text in texts {
        let (path, _) = store.dir().parse_below(text).map_err(Error::from)?;
        if !job.inputs.contains(&path) {
            return Err(FailureKind::Unsupported(format!(
                "exportReferencesGraph names `{text}`, which is not among its inputs"
            )));
        }
        paths.push(path);
    }
    let mut closure = store.closure(paths)?;
    for derivation in closure.clone().iter().filter(|path| path.is_derivation()) {
        for output in store.derivation_outputs(derivation)?.into_values() {
            if store.is_valid(&output)? {
                closure.extend(store.closure([output])?);
            }
        }
    }
    Ok(closure)
}

/// Replaces each graph asked for by its description.
pub(super) fn into_attributes(job: &Job<'_>, attributes: &mut Map<String, Value>) -> Result<(), FailureKind> {
    let Some(Value::Object(graphs)) = attributes.get("exportReferencesGraph").cloned() else { return Ok(()) };
    for (name, paths) in graphs {
        let texts = flatten(&paths);
        let mut infos = Vec::new();
        for path in closure(job, &texts)? {
            let info = job.store.path_info(&path)?;
            let references: Vec<String> =
                info.references.iter().map(|path| job.store.dir().print(path)).collect();
            let mut closure_size = 0;
            for member in job.store.closure([path.clone()])? {
                closure_size += job.store.path_info(&member)?.nar_size;
            }
            let mut value = json!({
                "path": job.store.dir().print(&path),
                "narHash": info.nar_hash.base32(),
                "narSize": info.nar_size,
                "references": references,
                "closureSize": closure_size,
            });
            if let (Some(address), Some(map)) = (info.content_address, value.as_object_mut()) {
                map.insert("ca".to_owned(), Value::String(address.to_string()));
            }
            infos.push(value);
        }
        attributes.insert(name, Value::Array(infos));
    }
    Ok(())
}

/// All texts in a value of nested lists.
fn flatten(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(flatten).collect(),
        _ => Vec::new(),
    }
}

/// Writes the files that plain attributes ask for: pairs of a file name and a path.
pub(super) fn write_files(job: &Job<'_>) -> Result<(), FailureKind> {
    if job.attributes.structured.is_some() {
        return Ok(());
    }
    let words = job.attributes.words("exportReferencesGraph").unwrap_or_default();
    for pair in words.chunks(2) {
        let [file, path] = pair else {
            return Err(FailureKind::Unsupported("exportReferencesGraph is not a list of pairs".to_owned()));
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if file.starts_with('.') || !file.chars().all(plain) {
            return Err(FailureKind::Unsupported(format!("exportReferencesGraph: bad file name `{file}`")));
        }
        let mut text = String::new();
        for path in closure(job, std::slice::from_ref(path))? {
            text.push_str(&job.store.path_info(&path)?.to_registration(job.store.dir(), false));
        }
        job.scratch.write_build_file(file, text.as_bytes(), &job.identity)?;
    }
    Ok(())
}
