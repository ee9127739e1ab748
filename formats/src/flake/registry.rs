//! Registries, version 2: short names for flakes. Nix manual, `nix registry`, "Registry format".

use super::attributes::{self, Attribute, Attributes};
use super::{FlakeError, FlakeRef, Input};
use serde_json::{Value, json};

/// How many entries may lead to each other.
const LIMIT: usize = 100;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What is looked for.
    pub from: Input,
    /// What it means.
    pub to: Input,
    /// `dir`, if what is meant has one.
    pub more: Attributes,
    /// Whether only exactly `from` is meant, not a branch or revision of it.
    pub exact: bool,
}

impl Entry {
    /// What it means, as a reference.
    pub fn target(&self) -> FlakeRef {
        let subdir = attributes::text(&self.more, "dir").ok().flatten().unwrap_or_default().to_owned();
        FlakeRef { input: self.to.clone(), subdir }
    }
}

/// A registry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Registry {
    /// Its entries; the first that matches wins.
    pub entries: Vec<Entry>,
}

impl Registry {
    /// Reads a registry; `path` is its name for messages.
    pub fn parse(text: &str, path: &str) -> Result<Self, FlakeError> {
        let json: Value = serde_json::from_str(text)
            .map_err(|error| FlakeError::Other(format!("cannot parse flake registry '{path}': {error}")))?;
        let version = json.get("version").and_then(Value::as_u64).unwrap_or(0);
        if version != 2 {
            return FlakeError::other(format!("flake registry '{path}' has unsupported version {version}"));
        }
        let mut entries = Vec::new();
        for item in json.get("flakes").and_then(Value::as_array).into_iter().flatten() {
            let side = |name: &str| match item.get(name) {
                Some(value) => attributes::from_json(value),
                None => FlakeError::other(format!("an entry of flake registry '{path}' lacks '{name}'")),
            };
            let (from, mut to) = (side("from")?, side("to")?);
            let more = to.remove_entry("dir").into_iter().collect();
            let exact = item.get("exact").and_then(Value::as_bool).unwrap_or(false);
            let (from, to) = (Input::from_attributes(from)?, Input::from_attributes(to)?);
            entries.push(Entry { from, to, more, exact });
        }
        Ok(Self { entries })
    }

    /// The text of the file.
    pub fn to_text(&self) -> String {
        let entry = |entry: &Entry| {
            let mut to = entry.to.attributes().clone();
            to.extend(entry.more.clone());
            let mut object = json!({
                "from": attributes::to_json(entry.from.attributes()),
                "to": attributes::to_json(&to),
            });
            if let (true, Some(object)) = (entry.exact, object.as_object_mut()) {
                object.insert("exact".to_owned(), Value::Bool(true));
            }
            object
        };
        let flakes: Vec<Value> = self.entries.iter().map(entry).collect();
        // Nix writes null where there is no entry at all, and reads both.
        let flakes = if flakes.is_empty() { Value::Null } else { Value::Array(flakes) };
        format!("{:#}", json!({"flakes": flakes, "version": 2}))
    }

    /// Adds an entry.
    pub fn add(&mut self, from: Input, to: &FlakeRef) {
        let mut more = Attributes::new();
        if !to.subdir.is_empty() {
            more.insert("dir".to_owned(), Attribute::Text(to.subdir.clone()));
        }
        self.entries.push(Entry { from, to: to.input.clone(), more, exact: false });
    }

    /// Removes the entries for an input.
    pub fn remove(&mut self, from: &Input) {
        self.entries.retain(|entry| entry.from != *from);
    }
}

/// What a reference means by these registries, the most important first. A reference that needs none is handed back.
pub fn look_up(registries: &[&Registry], reference: &FlakeRef) -> Result<FlakeRef, FlakeError> {
    let mut found = reference.clone();
    for _ in 0..LIMIT {
        let matching = registries.iter().flat_map(|registry| &registry.entries).find(|entry| {
            if entry.exact { entry.from == found.input } else { entry.from.contains(&found.input) }
        });
        let Some(entry) = matching else {
            if !found.input.is_direct() {
                return FlakeError::other(format!(
                    "cannot find flake '{}' in the flake registries",
                    found.input
                ));
            }
            return Ok(found);
        };
        let kept = |name: &str| {
            if entry.exact || entry.from.text(name).is_some() { None } else { found.input.text(name) }
        };
        let input = entry.to.with_overrides(kept("ref"), kept("rev"))?;
        let subdir =
            attributes::text(&entry.more, "dir")?.map_or_else(|| reference.subdir.clone(), str::to_owned);
        found = FlakeRef { input, subdir };
    }
    FlakeError::other(format!("cycle detected in flake registry for '{}'", reference.input))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(entries: &[(&str, &str)]) -> Registry {
        let mut registry = Registry::default();
        for (from, to) in entries {
            let reference = |text: &str| FlakeRef::parse(text, true, false).unwrap();
            registry.add(reference(from).input, &reference(to));
        }
        registry
    }

    fn looked_up(registry: &Registry, text: &str) -> Result<String, FlakeError> {
        look_up(&[registry], &FlakeRef::parse(text, true, false).unwrap()).map(|found| found.to_string())
    }

    #[test]
    fn entries_go_round() {
        let registry = registry(&[("a", "github:o/r?dir=x"), ("b/main", "path:/b")]);
        let text = registry.to_text();
        assert_eq!(Registry::parse(&text, "r").unwrap(), registry);
        assert!(text.contains("\"dir\": \"x\""));
        assert!(Registry::parse("{\"version\":3}", "r").unwrap_err().to_string().contains("version 3"));
        let empty = Registry::default();
        assert_eq!(Registry::parse(&empty.to_text(), "r").unwrap(), empty);
    }

    #[test]
    fn branches_and_revisions_go_with_the_name() {
        let registry = registry(&[
            ("a", "github:o/r?dir=x"),
            ("c", "a/b"),
            ("d/main", "path:/d"),
            ("l", "m"),
            ("m", "l"),
        ]);
        for (text, found) in [
            ("a", "github:o/r?dir=x"),
            ("a/b", "github:o/r/b?dir=x"),
            ("c", "github:o/r/b?dir=x"),
            ("c/e", "github:o/r/e?dir=x"),
            ("d/main", "path:/d"),
            ("path:/y", "path:/y"),
        ] {
            assert_eq!(looked_up(&registry, text).unwrap(), found, "{text}");
        }
        for (text, message) in [
            ("d", "cannot find flake 'flake:d' in the flake registries"),
            ("l", "cycle detected in flake registry for 'flake:l'"),
        ] {
            assert_eq!(looked_up(&registry, text).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn an_exact_entry_is_for_no_branch() {
        let mut registry = registry(&[("a", "path:/a")]);
        registry.entries[0].exact = true;
        assert_eq!(looked_up(&registry, "a").unwrap(), "path:/a");
        assert!(looked_up(&registry, "a/b").is_err());
    }
}
