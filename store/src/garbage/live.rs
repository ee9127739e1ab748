//! Which paths are alive: pure work on the graph in memory.

use super::CollectOptions;
use crate::database::Graph;
use crate::error::{Error, Result};
use crate::root::Root;
use formats::store_path::StorePath;
use std::collections::{BTreeMap, BTreeSet};

/// Marks everything that these roots need.
pub(super) fn mark<'a>(
    graph: &Graph,
    roots: impl Iterator<Item = &'a StorePath>,
    options: &CollectOptions,
    alive: &mut [bool],
) {
    let mut outputs_of: BTreeMap<&StorePath, Vec<usize>> = BTreeMap::new();
    if options.keep_outputs {
        for (index, deriver) in graph.derivers.iter().enumerate() {
            if let Some(deriver) = deriver {
                outputs_of.entry(deriver).or_default().push(index);
            }
        }
    }
    let mut queue: Vec<usize> = roots.filter_map(|root| graph.index(root)).collect();
    while let Some(index) = queue.pop() {
        match alive.get_mut(index) {
            Some(alive) if !*alive => *alive = true,
            _ => continue,
        }
        queue.extend(graph.references.get(index).into_iter().flatten());
        if options.keep_derivations
            && let Some(Some(deriver)) = graph.derivers.get(index)
        {
            queue.extend(graph.index(deriver));
        }
        if let Some(outputs) = graph.paths.get(index).and_then(|path| outputs_of.get(path)) {
            queue.extend(outputs);
        }
    }
}

/// The dead paths, each before everything that it refers to: any prefix can be deleted and the rest is closed.
pub(super) fn dead_referrers_first(graph: &Graph, alive: &[bool]) -> Vec<usize> {
    let is_dead = |index: usize| alive.get(index).is_some_and(|alive| !alive);
    let mut sorted = Vec::new();
    let mut seen = vec![false; graph.paths.len()];
    for start in (0..graph.paths.len()).filter(|index| is_dead(*index)) {
        let mut stack = vec![(start, false)];
        while let Some((index, leaving)) = stack.pop() {
            if leaving {
                sorted.push(index);
                continue;
            }
            match seen.get_mut(index) {
                Some(seen) if !*seen => *seen = true,
                _ => continue,
            }
            stack.push((index, true));
            let referrers = graph.referrers.get(index).into_iter().flatten().copied();
            stack.extend(referrers.filter(|referrer| is_dead(*referrer)).map(|referrer| (referrer, false)));
        }
    }
    sorted
}

/// Refuses to delete a path that is alive or that something not to be deleted refers to, saying what.
pub(super) fn check_deletable(
    graph: &Graph,
    alive: &[bool],
    paths: &BTreeSet<StorePath>,
    roots: &BTreeSet<Root>,
) -> Result<()> {
    for path in paths {
        let Some(index) = graph.index(path) else { continue };
        if alive.get(index) == Some(&true) {
            let reason = match roots.iter().find(|root| root.target == *path) {
                Some(root) => format!("`{}` points to it", root.link.display()),
                None => "it is still alive; `firn store roots` shows what keeps it".to_owned(),
            };
            return Err(Error::Alive { path: path.to_string(), reason });
        }
        for referrer in graph.referrers.get(index).into_iter().flatten() {
            if let Some(referrer) = graph.paths.get(*referrer)
                && !paths.contains(referrer)
            {
                return Err(Error::Alive {
                    path: path.to_string(),
                    reason: format!("`{referrer}` refers to it"),
                });
            }
        }
    }
    Ok(())
}
