//! Lock files as JSON.

use super::{Edge, InputPath, LockFile, Locked, Node};
use crate::flake::{FlakeError, FlakeRef, attributes};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The version that is written.
const VERSION: u64 = 7;

pub(super) fn parse(text: &str, path: &str, allow_dirty: bool) -> Result<LockFile, FlakeError> {
    let json: Value = serde_json::from_str(text)
        .map_err(|error| FlakeError::Other(format!("lock file '{path}' is not JSON: {error}")))?;
    let version = json.get("version").and_then(Value::as_u64).unwrap_or(0);
    if !(5..=VERSION).contains(&version) {
        return FlakeError::other(format!("lock file '{path}' has unsupported version {version}"));
    }
    let nodes = json.get("nodes").and_then(Value::as_object);
    let (Some(nodes), Some(root)) = (nodes, json.get("root").and_then(Value::as_str)) else {
        return FlakeError::other(format!("lock file '{path}' lacks 'nodes' or 'root'"));
    };
    let mut reader = Reader { nodes, known: BTreeMap::new(), lock: LockFile::default(), path, allow_dirty };
    reader.known.insert(root, 0);
    let root = reader.node(root)?;
    reader.inputs(0, root)?;
    Ok(reader.lock)
}

struct Reader<'a> {
    nodes: &'a Map<String, Value>,
    known: BTreeMap<&'a str, usize>,
    lock: LockFile,
    path: &'a str,
    allow_dirty: bool,
}

impl<'a> Reader<'a> {
    fn node(&self, key: &str) -> Result<&'a Value, FlakeError> {
        self.nodes
            .get(key)
            .ok_or_else(|| FlakeError::Other(format!("lock file references missing node '{key}'")))
    }

    fn malformed<T>(&self, what: &str) -> Result<T, FlakeError> {
        FlakeError::other(format!("lock file '{}': {what}", self.path))
    }

    fn inputs(&mut self, at: usize, node: &'a Value) -> Result<(), FlakeError> {
        let Some(inputs) = node.get("inputs") else { return Ok(()) };
        let Some(inputs) = inputs.as_object() else { return self.malformed("'inputs' should be an object") };
        for (name, value) in inputs {
            let edge = match value {
                Value::Array(_) => Edge::Follows(self.path_of(value)?),
                Value::String(key) => match self.known.get(key.as_str()) {
                    Some(0) => return FlakeError::other("lock file contains cycle to root node"),
                    Some(index) => Edge::Node(*index),
                    None => {
                        let node = self.node(key)?;
                        let index = self.lock.nodes.len();
                        let locked = Some(self.locked(node)?);
                        self.lock.nodes.push(Node { locked, ..Node::default() });
                        self.known.insert(key, index);
                        self.inputs(index, node)?;
                        Edge::Node(index)
                    }
                },
                other => {
                    return self
                        .malformed(&format!("input '{name}' should be a name or a list, not {other}"));
                }
            };
            if let Some(node) = self.lock.nodes.get_mut(at) {
                node.inputs.insert(name.clone(), edge);
            }
        }
        Ok(())
    }

    fn path_of(&self, value: &Value) -> Result<InputPath, FlakeError> {
        let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
        let names: Option<InputPath> = items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
        match names {
            Some(names) if value.is_array() => Ok(names),
            _ => self.malformed(&format!("a path of inputs should be a list of names, not {value}")),
        }
    }

    fn locked(&self, node: &Value) -> Result<Locked, FlakeError> {
        let locked = reference(node, "locked", Some("info"))?;
        let input = &locked.input;
        let by_hash = self.allow_dirty && input.text("narHash").is_some();
        if !input.is_locked() && !by_hash && input.relative_path().is_none() {
            return FlakeError::other(format!(
                "Lock file contains unlocked input '{}'. Use '--allow-dirty-locks' to accept this lock file.",
                attributes::to_json(input.attributes())
            ));
        }
        let is_flake = match node.get("flake") {
            None => true,
            Some(Value::Bool(truth)) => *truth,
            Some(other) => return self.malformed(&format!("'flake' should be a Boolean, not {other}")),
        };
        let parent = node.get("parent").map(|parent| self.path_of(parent)).transpose()?;
        Ok(Locked { locked, original: reference(node, "original", None)?, is_flake, parent })
    }
}

/// A reference of a node, with what else is said of it.
fn reference(node: &Value, name: &str, more: Option<&str>) -> Result<FlakeRef, FlakeError> {
    let Some(value) = node.get(name) else {
        return FlakeError::other(format!("attribute '{name}' missing in lock file"));
    };
    let mut found = attributes::from_json(value)?;
    // Version 5 kept what was found apart from what was asked for.
    if let Some(more) = more.and_then(|more| node.get(more)) {
        found.extend(attributes::from_json(more)?);
    }
    FlakeRef::from_attributes(found)
}

impl LockFile {
    /// As JSON, and the name that each node has there, by its index.
    pub fn to_json(&self) -> (Value, BTreeMap<usize, String>) {
        let mut writer =
            Writer { lock: self, keys: BTreeMap::new(), taken: BTreeSet::new(), nodes: Map::new() };
        let root = writer.node("root", 0);
        (json!({"nodes": writer.nodes, "root": root, "version": VERSION}), writer.keys)
    }

    /// The text of the file, without the newline at its end.
    pub fn to_text(&self) -> String {
        format!("{:#}", self.to_json().0)
    }
}

struct Writer<'a> {
    lock: &'a LockFile,
    keys: BTreeMap<usize, String>,
    taken: BTreeSet<String>,
    nodes: Map<String, Value>,
}

impl Writer<'_> {
    fn node(&mut self, name: &str, index: usize) -> String {
        if let Some(key) = self.keys.get(&index) {
            return key.clone();
        }
        let mut key = name.to_owned();
        let mut number = 2;
        while !self.taken.insert(key.clone()) {
            key = format!("{name}_{number}");
            number += 1;
        }
        self.keys.insert(index, key.clone());
        let Some(node) = self.lock.nodes.get(index) else { return key };
        let mut object = Map::new();
        if !node.inputs.is_empty() {
            let mut inputs = Map::new();
            for (name, edge) in &node.inputs {
                let value = match edge {
                    Edge::Node(child) => Value::from(self.node(name, *child)),
                    Edge::Follows(path) => Value::from(path.clone()),
                };
                inputs.insert(name.clone(), value);
            }
            object.insert("inputs".to_owned(), Value::Object(inputs));
        }
        if let Some(locked) = &node.locked {
            object.insert("locked".to_owned(), attributes::to_json(&locked.locked.to_attributes()));
            object.insert("original".to_owned(), attributes::to_json(&locked.original.to_attributes()));
            if !locked.is_flake {
                object.insert("flake".to_owned(), Value::Bool(false));
            }
            if let Some(parent) = &locked.parent {
                object.insert("parent".to_owned(), Value::from(parent.clone()));
            }
        }
        self.nodes.insert(key.clone(), Value::Object(object));
        key
    }
}
