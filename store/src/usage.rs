//! What uses the disk: for each root, how much it keeps, and how much would go if it alone went. Sizes are those of the NARs,
//! as the database has them.

use crate::error::Result;
use crate::open::Store;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What one root keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootUsage {
    /// The link, or what a process has it by.
    pub link: PathBuf,
    /// Bytes of all that it keeps.
    pub closure: u64,
    /// Bytes of what nothing else keeps.
    pub own: u64,
}

/// What a store's bytes are there for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// The roots, those with most of their own first.
    pub roots: Vec<RootUsage>,
    /// Bytes of all valid paths.
    pub all: u64,
    /// Bytes of what nothing keeps: what a collection would free.
    pub dead: u64,
}

/// Whose a path is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keeper {
    Nobody,
    One(usize),
    Several,
}

impl Store {
    /// Finds what uses the disk.
    pub fn usage(&self) -> Result<Usage> {
        let graph = self.database().graph()?;
        let mut targets: BTreeMap<PathBuf, Vec<usize>> = BTreeMap::new();
        for root in self.find_roots()? {
            if let Some(index) = graph.index(&root.target) {
                targets.entry(root.link).or_default().push(index);
            }
        }
        let size = |index: usize| graph.sizes.get(index).copied().unwrap_or(0);
        let mut keepers = vec![Keeper::Nobody; graph.paths.len()];
        let mut roots = Vec::new();
        for (number, (link, targets)) in targets.into_iter().enumerate() {
            let mut seen = vec![false; graph.paths.len()];
            let mut waiting = targets;
            let mut closure = 0;
            while let Some(index) = waiting.pop() {
                let Some(seen) = seen.get_mut(index).filter(|seen| !**seen) else { continue };
                *seen = true;
                closure += size(index);
                if let Some(keeper) = keepers.get_mut(index) {
                    *keeper = if *keeper == Keeper::Nobody { Keeper::One(number) } else { Keeper::Several };
                }
                waiting.extend(graph.references.get(index).into_iter().flatten());
            }
            roots.push(RootUsage { link, closure, own: 0 });
        }
        let mut usage = Usage { roots, all: 0, dead: 0 };
        for (index, keeper) in keepers.into_iter().enumerate() {
            usage.all += size(index);
            match keeper {
                Keeper::Nobody => usage.dead += size(index),
                Keeper::One(root) => {
                    if let Some(root) = usage.roots.get_mut(root) {
                        root.own += size(index);
                    }
                }
                Keeper::Several => {}
            }
        }
        usage.roots.sort_by(|left, right| {
            (right.own, right.closure, &left.link).cmp(&(left.own, left.closure, &right.link))
        });
        Ok(usage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn shared_paths_are_nobodys_own() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let shared = store.add_text("shared", &[1; 1000], &BTreeSet::new()).unwrap();
        let add = |name: &str, size: usize| {
            store.add_text(name, &vec![2; size], &BTreeSet::from([shared.clone()])).unwrap()
        };
        let (large, small) = (add("large", 5000), add("small", 10));
        store.add_text("dead", &[3; 100], &BTreeSet::new()).unwrap();
        for (name, path) in [("large-root", &large), ("small-root", &small), ("again", &small)] {
            store.add_permanent_root(path, &directory.path().join(name)).unwrap();
        }
        drop(store);
        // Temporary roots go with the store that has them.
        let store = Store::open(directory.path()).unwrap();
        let size = |path| store.path_info(path).unwrap().nar_size;
        let usage = store.usage().unwrap();
        let found: Vec<(&str, u64, u64)> = usage
            .roots
            .iter()
            .map(|root| (root.link.file_name().unwrap().to_str().unwrap(), root.closure, root.own))
            .collect();
        let (shared, large, small) = (size(&shared), size(&large), size(&small));
        let expected = [
            ("large-root", shared + large, large),
            ("again", shared + small, 0),
            ("small-root", shared + small, 0),
        ];
        assert_eq!(found, expected);
        assert_eq!(usage.all, shared + large + small + usage.dead);
        assert!(usage.dead > 100);
    }
}
