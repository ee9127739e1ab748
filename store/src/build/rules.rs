//! The rules that a derivation makes for its outputs: which references and closures are allowed, and sizes. Nix manual,
//! "Advanced attributes", `allowedReferences` and what follows, `outputChecks`.

use super::FailureKind;
use super::attributes::OutputRules;
use super::one::Job;
use super::outputs::Built;
use crate::error::Result;
use formats::path_info::PathInfo;
use formats::store_path::StorePath;
use std::collections::BTreeSet;

/// Refuses an output that breaks a rule; `all` are the outputs of the same build.
pub(super) fn check(job: &Job<'_>, built: &Built, all: &[Built]) -> Result<(), FailureKind> {
    let rules: OutputRules = job.attributes.output_rules(&built.output);
    let info_of = |path: &StorePath| -> Result<PathInfo> {
        match all.iter().find(|built| built.info.path == *path) {
            Some(built) => Ok(built.info.clone()),
            None => job.store.path_info(path),
        }
    };
    let closure = || -> Result<(BTreeSet<StorePath>, u64)> {
        let (mut found, mut size) = (BTreeSet::new(), 0);
        let mut queue = vec![built.info.path.clone()];
        while let Some(path) = queue.pop() {
            if found.insert(path.clone()) {
                let info = info_of(&path)?;
                size += info.nar_size;
                queue.extend(info.references);
            }
        }
        Ok((found, size))
    };
    let named = |words: &[String]| -> Result<BTreeSet<StorePath>, FailureKind> {
        words.iter().map(|word| named_path(job, all, word)).collect()
    };
    let own = |path: &StorePath| rules.ignore_self && *path == built.info.path;
    let name = &built.output;
    if let Some(limit) = rules.max_size.filter(|limit| built.info.nar_size > *limit) {
        return Err(FailureKind::Output(format!(
            "output `{name}` has {} bytes; its maxSize is {limit}",
            built.info.nar_size
        )));
    }
    let needs_closure = rules.max_closure_size.is_some()
        || rules.allowed_requisites.is_some()
        || !rules.disallowed_requisites.is_empty();
    let (closure, closure_size) = if needs_closure { closure()? } else { Default::default() };
    if let Some(limit) = rules.max_closure_size.filter(|limit| closure_size > *limit) {
        return Err(FailureKind::Output(format!(
            "output `{name}` has a closure of {closure_size} bytes; its maxClosureSize is {limit}"
        )));
    }
    let refuse = |bad: Vec<&StorePath>, what: &str| match bad.as_slice() {
        [] => Ok(()),
        bad => Err(FailureKind::Output(format!(
            "output `{name}` is not allowed to {what}:{}",
            bad.iter().flat_map(|path| ["\n  ".to_owned(), job.store.dir().print(path)]).collect::<String>()
        ))),
    };
    let references = &built.info.references;
    if let Some(allowed) = &rules.allowed_references {
        let allowed = named(allowed)?;
        let bad = references.iter().filter(|path| !allowed.contains(path)).collect();
        refuse(bad, "refer to the following paths")?;
    }
    if let Some(allowed) = &rules.allowed_requisites {
        let allowed = named(allowed)?;
        let bad = closure
            .iter()
            .filter(|path| **path != built.info.path && !allowed.contains(path) && !own(path))
            .collect();
        refuse(bad, "have the following paths in its closure")?;
    }
    let forbidden = named(&rules.disallowed_references)?;
    refuse(
        references.iter().filter(|path| forbidden.contains(path)).collect(),
        "refer to the following paths",
    )?;
    let forbidden = named(&rules.disallowed_requisites)?;
    refuse(
        closure.iter().filter(|path| forbidden.contains(path)).collect(),
        "have the following paths in its closure",
    )
}

/// A path in a rule: a store path or the name of an output.
fn named_path(job: &Job<'_>, all: &[Built], word: &str) -> Result<StorePath, FailureKind> {
    if let Some(built) = all.iter().find(|built| built.output == word) {
        return Ok(built.info.path.clone());
    }
    job.store.dir().parse_below(word).map(|(path, _)| path).map_err(|_| {
        FailureKind::Unsupported(format!(
            "its output checks name `{word}`, which is neither a store path nor an output"
        ))
    })
}
