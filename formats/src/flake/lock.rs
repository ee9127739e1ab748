//! Lock files, version 7 (5 and 6 are read): a graph of nodes, each an input that is locked, with the names of its own
//! inputs. What is written is what Nix writes, byte for byte: keys sorted, two spaces, a newline at the end. Nix manual,
//! `nix flake`, "Lock files".

mod diff;
mod json;

pub use diff::diff;

use super::{FlakeError, FlakeRef, is_id};
use std::collections::{BTreeMap, BTreeSet};

/// The way to an input from the root: `a/b` is the input `b` of the input `a`.
pub type InputPath = Vec<String>;

/// Reads `a/b`.
pub fn parse_input_path(text: &str) -> Result<InputPath, FlakeError> {
    let mut path = InputPath::new();
    for part in text.split('/').filter(|part| !part.is_empty()) {
        if !is_id(part) {
            return FlakeError::other(format!("invalid flake input path element '{part}'"));
        }
        path.push(part.to_owned());
    }
    Ok(path)
}

/// Writes `a/b`.
pub fn print_input_path(path: &[String]) -> String {
    path.join("/")
}

/// What an input of a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edge {
    /// A node of its own, by its index.
    Node(usize),
    /// The same as another input, by its path from the root.
    Follows(InputPath),
}

/// What is known of an input that is locked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locked {
    /// Exactly which tree.
    pub locked: FlakeRef,
    /// What the flake asked for.
    pub original: FlakeRef,
    /// Whether it is a flake, or just a tree.
    pub is_flake: bool,
    /// Where a relative path starts: at this input.
    pub parent: Option<InputPath>,
}

/// A node of the graph.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Node {
    /// Its inputs by name.
    pub inputs: BTreeMap<String, Edge>,
    /// Which tree it is; the root is the flake itself.
    pub locked: Option<Locked>,
}

/// A lock file. The first node is the root; the order of the others means nothing.
#[derive(Debug, Clone)]
pub struct LockFile {
    /// The nodes.
    pub nodes: Vec<Node>,
}

impl Default for LockFile {
    fn default() -> Self {
        Self { nodes: vec![Node::default()] }
    }
}

impl PartialEq for LockFile {
    fn eq(&self, other: &Self) -> bool {
        self.to_json().0 == other.to_json().0
    }
}

impl LockFile {
    /// Reads a lock file. `path` is its name for messages; with `allow_dirty` inputs may be of trees that were not committed.
    pub fn parse(text: &str, path: &str, allow_dirty: bool) -> Result<Self, FlakeError> {
        json::parse(text, path, allow_dirty)
    }

    /// The node that a path leads to, links followed.
    pub fn find(&self, path: &[String]) -> Result<Option<usize>, FlakeError> {
        self.find_from(path, &mut Vec::new())
    }

    fn find_from(&self, path: &[String], visited: &mut Vec<InputPath>) -> Result<Option<usize>, FlakeError> {
        if let Some(start) = visited.iter().position(|known| known == path) {
            let mut cycle: Vec<String> =
                visited.iter().skip(start).map(|path| print_input_path(path)).collect();
            cycle.push(print_input_path(path));
            return FlakeError::other(format!("follow cycle detected: [{}]", cycle.join(" -> ")));
        }
        visited.push(path.to_vec());
        let mut at = 0;
        for name in path {
            at = match self.nodes.get(at).and_then(|node| node.inputs.get(name)) {
                None => return Ok(None),
                Some(Edge::Node(index)) => *index,
                Some(Edge::Follows(other)) => match self.find_from(other, visited)? {
                    None => return Ok(None),
                    Some(index) => index,
                },
            };
        }
        Ok(Some(at))
    }

    /// All inputs by their paths; of a node that several lead to, what is below it only once.
    pub fn all_inputs(&self) -> BTreeMap<InputPath, Edge> {
        let mut found = BTreeMap::new();
        self.collect(0, &mut InputPath::new(), &mut BTreeSet::new(), &mut found);
        found
    }

    fn collect(
        &self,
        at: usize,
        path: &mut InputPath,
        done: &mut BTreeSet<usize>,
        found: &mut BTreeMap<InputPath, Edge>,
    ) {
        if !done.insert(at) {
            return;
        }
        for (name, edge) in self.nodes.get(at).into_iter().flat_map(|node| &node.inputs) {
            path.push(name.clone());
            found.insert(path.clone(), edge.clone());
            if let Edge::Node(child) = edge {
                self.collect(*child, path, done, found);
            }
            path.pop();
        }
    }

    /// Checks that inputs follow what is there.
    pub fn check(&self) -> Result<(), FlakeError> {
        for (path, edge) in self.all_inputs() {
            if let Edge::Follows(target) = edge
                && !target.is_empty()
                && self.find(&target)?.is_none()
            {
                return FlakeError::other(format!(
                    "input '{}' follows a non-existent input '{}'",
                    print_input_path(&path),
                    print_input_path(&target)
                ));
            }
        }
        Ok(())
    }

    /// An input that could be another tree next time, if there is one.
    pub fn unlocked_input(&self) -> Option<&FlakeRef> {
        let reached = self.all_inputs();
        let mut indexes: BTreeSet<usize> = BTreeSet::new();
        for edge in reached.values() {
            if let Edge::Node(index) = edge {
                indexes.insert(*index);
            }
        }
        indexes
            .into_iter()
            .filter_map(|index| Some(&self.nodes.get(index)?.locked.as_ref()?.locked))
            .find(|locked| !locked.input.is_locked() && locked.input.relative_path().is_none())
    }
}

#[cfg(test)]
mod tests;
