//! What depmod(8) writes beside a tree of modules so that modprobe and udev find them: modules.dep, .alias, .softdep,
//! .symbols, .devname, each as text, and the binary indexes that libkmod prefers (see `index`). Formats: modules.dep(5) and
//! kmod's own output, with which the test compares.

use super::index::Index;
use super::{Modinfo, ModuleError, ModuleTree, module_name, normalise};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why the indexes could not be written.
#[derive(Debug, Error)]
pub enum DepmodError {
    /// The modules themselves.
    #[error(transparent)]
    Module(#[from] ModuleError),
    /// A file that could not be written.
    #[error("{}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Modules that need each other.
    #[error("modules depend on each other in a circle: {}", .0.join(" → "))]
    Circle(Vec<String>),
}

/// Facts on one module, its code left behind.
struct Known {
    path: String,
    info: Modinfo,
}

/// Writes all indexes of `tree` into `out` (its `lib/modules/VERSION` or a copy of it).
///
/// # Errors
/// When a module cannot be read, a dependency does not exist, modules depend on each other in a circle, or a file
/// cannot be written.
pub fn write_indexes(tree: &ModuleTree, out: &Path) -> Result<(), DepmodError> {
    let mut known = BTreeMap::new();
    for (name, path) in tree.files() {
        let module = tree.module(name)?;
        known.insert(name.to_owned(), Known { path: path.to_owned(), info: module.info });
    }
    let order = load_order(tree, &known);
    let files = [
        Texts::dependencies(tree, &known, &order)?,
        Texts::aliases(&known, &order),
        Texts::symbols(&known, &order),
    ];
    for Texts { stem, text, index } in files {
        write(out, stem, text.as_bytes())?;
        write(out, &format!("{stem}.bin"), &index.to_bytes())?;
    }
    write(out, "modules.softdep", soft_dependencies(&known, &order).as_bytes())?;
    write(out, "modules.devname", device_names(&known, &order).as_bytes())?;
    write(out, "modules.builtin.bin", &builtin_names(tree).to_bytes())?;
    write(out, "modules.builtin.alias.bin", &builtin_aliases(tree)?.to_bytes())
}

fn write(directory: &Path, name: &str, bytes: &[u8]) -> Result<(), DepmodError> {
    let path = directory.join(name);
    std::fs::write(&path, bytes).map_err(|source| DepmodError::Write { path, source })
}

/// Module names in the order of `modules.order` (the kernel build's), then those not in it by path.
fn load_order(tree: &ModuleTree, known: &BTreeMap<String, Known>) -> Vec<String> {
    let listed = std::fs::read_to_string(tree.directory().join("modules.order")).unwrap_or_default();
    let mut order: Vec<String> = Vec::with_capacity(known.len());
    let mut seen = BTreeSet::new();
    let rest = {
        let mut rest: Vec<&String> = known.keys().collect();
        rest.sort_by_key(|name| known.get(*name).map(|module| module.path.clone()));
        rest
    };
    for name in listed.lines().filter_map(module_name).chain(rest.into_iter().cloned()) {
        if known.contains_key(&name) && seen.insert(name.clone()) {
            order.push(name);
        }
    }
    order
}

/// One text file and its binary sister.
struct Texts {
    stem: &'static str,
    text: String,
    index: Index,
}

impl Texts {
    /// modules.dep: each module with everything that it needs, last needed first.
    fn dependencies(
        tree: &ModuleTree,
        known: &BTreeMap<String, Known>,
        order: &[String],
    ) -> Result<Self, DepmodError> {
        let (mut text, mut index) = (String::new(), Index::default());
        for (priority, name) in order.iter().enumerate() {
            let mut needed = Vec::new();
            collect_needed(tree, known, name, &mut Vec::new(), &mut needed)?;
            // The module itself came last.
            needed.pop();
            let Some(module) = known.get(name) else { continue };
            let mut line = format!("{}:", module.path);
            for path in needed.iter().rev().filter_map(|name| known.get(name)).map(|module| &module.path) {
                line.push(' ');
                line.push_str(path);
            }
            text.push_str(&line);
            text.push('\n');
            index.insert(name, &line, u32::try_from(priority).unwrap_or(u32::MAX));
        }
        Ok(Self { stem: "modules.dep", text, index })
    }

    /// modules.alias: pattern and module.
    fn aliases(known: &BTreeMap<String, Known>, order: &[String]) -> Self {
        let (mut text, mut index) =
            ("# Aliases extracted from modules themselves.\n".to_owned(), Index::default());
        for (priority, name) in order.iter().enumerate() {
            for alias in known.get(name).iter().flat_map(|module| &module.info.aliases) {
                // The text has it as the module has it, the index as libkmod looks it up.
                add_line(&mut text, format_args!("alias {alias} {name}"));
                index.insert(&normalise_alias(alias), name, u32::try_from(priority).unwrap_or(u32::MAX));
            }
        }
        Self { stem: "modules.alias", text, index }
    }

    /// modules.symbols: exported symbols, for `symbol_request()`.
    fn symbols(known: &BTreeMap<String, Known>, order: &[String]) -> Self {
        let (mut text, mut index) =
            ("# Aliases for symbols, used by symbol_request().\n".to_owned(), Index::default());
        for (priority, name) in order.iter().enumerate() {
            for symbol in known.get(name).iter().flat_map(|module| &module.info.exports) {
                let key = format!("symbol:{symbol}");
                add_line(&mut text, format_args!("alias {key} {name}"));
                index.insert(&key, name, u32::try_from(priority).unwrap_or(u32::MAX));
            }
        }
        Self { stem: "modules.symbols", text, index }
    }
}

/// Appends a line; writing to a string cannot fail.
fn add_line(text: &mut String, line: std::fmt::Arguments<'_>) {
    if writeln!(text, "{line}").is_err() {
        text.push('\n');
    }
}

/// All that a module needs, dependencies before dependents, itself last.
fn collect_needed(
    tree: &ModuleTree,
    known: &BTreeMap<String, Known>,
    name: &str,
    path: &mut Vec<String>,
    needed: &mut Vec<String>,
) -> Result<(), DepmodError> {
    if needed.iter().any(|done| done == name) {
        return Ok(());
    }
    if path.iter().any(|ancestor| ancestor == name) {
        path.push(name.to_owned());
        return Err(DepmodError::Circle(path.clone()));
    }
    path.push(name.to_owned());
    for dependency in known.get(name).iter().flat_map(|module| &module.info.depends) {
        let dependency = normalise(dependency);
        if known.contains_key(&dependency) {
            collect_needed(tree, known, &dependency, path, needed)?;
        } else if !tree.is_builtin(&dependency) {
            return Err(tree.missing(&dependency, Some(name)).into());
        }
    }
    path.pop();
    needed.push(name.to_owned());
    Ok(())
}

/// depmod writes `-` as `_` in aliases, but not within brackets.
fn normalise_alias(alias: &str) -> String {
    let mut inside = false;
    alias
        .chars()
        .map(|char| {
            match char {
                '[' => inside = true,
                ']' => inside = false,
                _ => {}
            }
            if char == '-' && !inside { '_' } else { char }
        })
        .collect()
}

/// modules.softdep.
fn soft_dependencies(known: &BTreeMap<String, Known>, order: &[String]) -> String {
    let mut text = "# Soft dependencies extracted from modules themselves.\n".to_owned();
    for name in order {
        for line in known.get(name).iter().flat_map(|module| &module.info.softdeps) {
            add_line(&mut text, format_args!("softdep {name} {line}"));
        }
    }
    text
}

/// modules.devname: device nodes whose opening loads a module (`devname:` and `char-major-` aliases of one module).
fn device_names(known: &BTreeMap<String, Known>, order: &[String]) -> String {
    let mut text = "# Device nodes to trigger on-demand module loading.\n".to_owned();
    for name in order {
        let Some(module) = known.get(name) else { continue };
        let (mut node, mut number) = (None, None);
        for alias in &module.info.aliases {
            if let Some(rest) = alias.strip_prefix("devname:") {
                node = Some(rest);
            } else if let Some((kind, (major, minor))) = alias
                .strip_prefix("char-major-")
                .map(|rest| ('c', rest))
                .or_else(|| alias.strip_prefix("block-major-").map(|rest| ('b', rest)))
                .and_then(|(kind, rest)| Some((kind, rest.split_once('-')?)))
                .filter(|(_, (major, minor))| major.parse::<u32>().is_ok() && minor.parse::<u32>().is_ok())
            {
                number = Some(format!("{kind}{major}:{minor}"));
            }
        }
        if let (Some(node), Some(number)) = (node, number) {
            add_line(&mut text, format_args!("{name} {node} {number}"));
        }
    }
    text
}

/// modules.builtin.bin: names only.
fn builtin_names(tree: &ModuleTree) -> Index {
    let mut index = Index::default();
    for name in &tree.builtin {
        index.insert(name, "", 0);
    }
    index
}

/// modules.builtin.alias.bin, from the kernel's `modules.builtin.modinfo` (`module.key=value`, NUL-terminated).
fn builtin_aliases(tree: &ModuleTree) -> Result<Index, DepmodError> {
    let mut index = Index::default();
    let path = tree.directory().join("modules.builtin.modinfo");
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(index),
        Err(source) => return Err(ModuleError::Read { path, source }.into()),
    };
    for entry in bytes.split(|byte| *byte == 0) {
        let entry = String::from_utf8_lossy(entry);
        if let Some((module, alias)) =
            entry.split_once('.').and_then(|(module, rest)| Some((module, rest.strip_prefix("alias=")?)))
        {
            index.insert(&normalise_alias(alias), module, 0);
        }
    }
    Ok(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases() {
        assert_eq!(normalise_alias("fs-x-[a-z]-y"), "fs_x_[a-z]_y");
    }

    fn known(modules: &[(&str, &[&str])]) -> BTreeMap<String, Known> {
        modules
            .iter()
            .map(|(name, depends)| {
                let info = Modinfo {
                    depends: depends.iter().map(|name| (*name).to_owned()).collect(),
                    ..Modinfo::default()
                };
                ((*name).to_owned(), Known { path: format!("kernel/{name}.ko"), info })
            })
            .collect()
    }

    fn empty_tree() -> (tempfile::TempDir, ModuleTree) {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(directory.path().join("lib/modules/1.0/kernel")).unwrap();
        let tree = ModuleTree::open(directory.path()).unwrap();
        (directory, tree)
    }

    #[test]
    fn dependencies_come_last_needed_first() {
        let (_directory, tree) = empty_tree();
        let known =
            known(&[("top", &["left", "right"]), ("left", &["base"]), ("right", &["base"]), ("base", &[])]);
        let order = load_order(&tree, &known);
        let texts = Texts::dependencies(&tree, &known, &order).unwrap();
        assert!(
            texts.text.contains("kernel/top.ko: kernel/right.ko kernel/left.ko kernel/base.ko\n"),
            "{}",
            texts.text
        );
    }

    #[test]
    fn circle() {
        let (_directory, tree) = empty_tree();
        let known = known(&[("a", &["b"]), ("b", &["a"])]);
        let error = Texts::dependencies(&tree, &known, &["a".to_owned()]).err().unwrap();
        assert_eq!(error.to_string(), "modules depend on each other in a circle: a → b → a");
    }
}
