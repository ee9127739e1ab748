//! The channel's index, as `os/packages` reads it: many small JSON files, so that evaluating a system reads only those
//! that hold its packages.
//!
//! - `meta.json`: the sources and when they were made, the architecture, the cycles (`groups`: shortest name → all names).
//! - `names.json`: every name, virtual ones too, so that a package set can have them all as attributes.
//! - `shards/XXX.json`, XXX being the first three hexadecimal digits of the SHA-256 of a package's name: name →
//!   `{ version, filename, sha256, size, depends, group?, source? }`, or `{ provider }` for a virtual package.
//!
//! Beside it, and not part of what evaluation sees: `summaries.tsv` with name, version, summary for `firn search`.
//!
//! The same lists give the same bytes.

use super::apt_sources::Source;
use super::release::hexadecimal;
use super::resolve::{self, Package, Packages, Resolved};
use super::{control, cycles};
use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

/// A source with what was fetched of it.
#[derive(Debug)]
pub(crate) struct Fetched {
    /// The source.
    pub(crate) source: Source,
    /// Its `Date`.
    pub(crate) date: String,
    /// Whether its signature was checked.
    pub(crate) verified: bool,
    /// The texts of its package lists.
    pub(crate) lists: Vec<String>,
}

/// What was written.
#[derive(Debug)]
pub(crate) struct Summary {
    /// Name, version and summary of every package, a line each.
    pub(crate) summaries: String,
    /// How many packages the index has.
    pub(crate) packages: usize,
    /// How many of them cannot be built, something they need being in none of the sources.
    pub(crate) incomplete: usize,
    /// How many store paths hold several packages.
    pub(crate) groups: usize,
}

/// Digits of a shard's name.
const SHARD_DIGITS: usize = 3;

/// Writes the index into an empty directory.
pub(crate) fn write(directory: &Path, architecture: &str, fetched: &[Fetched]) -> Result<Summary> {
    let packages = read_lists(fetched);
    let provided = resolve::virtual_packages(&packages);
    let resolved: BTreeMap<&str, Resolved> = packages
        .iter()
        .map(|(name, package)| (*name, resolve::resolve(name, package, &packages, &provided)))
        .collect();
    let groups = groups(&packages, &resolved);
    let group_of: BTreeMap<&str, &str> =
        groups.iter().flat_map(|(group, members)| members.iter().map(|member| (*member, *group))).collect();

    let mut shards: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    let mut summaries = String::new();
    let empty = Resolved::default();
    for (name, package) in &packages {
        let resolved = resolved.get(name).unwrap_or(&empty);
        let entry = entry(package, resolved, group_of.get(name).copied());
        shards.entry(shard(name)).or_default().insert((*name).to_owned(), entry);
        writeln!(summaries, "{name}\t{}\t{}", package.version, package.summary)
            .context("cannot write the summaries")?;
    }
    // Every combination of a Rust crate's features is a virtual package: tens of thousands that nobody asks for by name.
    for (name, providers) in provided.iter().filter(|(name, _)| !name.starts_with("librust-")) {
        if let (false, Some((provider, _))) = (packages.contains_key(name), providers.first()) {
            shards
                .entry(shard(name))
                .or_default()
                .insert((*name).to_owned(), json!({ "provider": provider }));
        }
    }

    let shard_directory = directory.join("shards");
    std::fs::create_dir(&shard_directory)
        .with_context(|| format!("cannot make {}", shard_directory.display()))?;
    for (shard, entries) in &shards {
        write_file(
            &shard_directory.join(format!("{shard}.json")),
            &Value::Object(entries.clone()).to_string(),
        )?;
    }
    let sources: Vec<Value> = fetched
        .iter()
        .map(|fetched| {
            json!({ "base": fetched.source.base, "suite": fetched.source.suite, "components": fetched.source.components,
                    "date": fetched.date, "verified": fetched.verified })
        })
        .collect();
    let meta = json!({
        "version": 1,
        "distribution": "debian",
        "architecture": architecture,
        "shardDigits": SHARD_DIGITS,
        "sources": sources,
        "groups": groups,
    });
    write_file(&directory.join("meta.json"), &format!("{meta:#}\n"))?;
    let names: Map<String, Value> =
        shards.values().flat_map(Map::keys).map(|name| (name.clone(), json!(0))).collect();
    write_file(&directory.join("names.json"), &Value::Object(names).to_string())?;
    Ok(Summary {
        summaries,
        packages: packages.len(),
        incomplete: resolved.values().filter(|resolved| !resolved.unmet.is_empty()).count(),
        groups: groups.len(),
    })
}

/// All packages of all lists, the newest of each name.
fn read_lists(fetched: &[Fetched]) -> Packages<'_> {
    let mut packages = Packages::new();
    for (source, fetched) in fetched.iter().enumerate() {
        for stanza in fetched.lists.iter().flat_map(|list| control::stanzas(list)) {
            let (Some(name), Some(version), Some(filename), Some(sha256)) =
                (stanza.get("Package"), stanza.get("Version"), stanza.get("Filename"), stanza.get("SHA256"))
            else {
                continue;
            };
            let relations =
                [stanza.get("Pre-Depends").unwrap_or_default(), stanza.get("Depends").unwrap_or_default()];
            let package = Package {
                version,
                filename,
                sha256,
                size: stanza.get("Size").and_then(|size| size.parse().ok()).unwrap_or(0),
                priority: stanza.get("Priority").unwrap_or_default(),
                summary: stanza.get("Description").and_then(|text| text.lines().next()).unwrap_or_default(),
                relations,
                provides: stanza.get("Provides").unwrap_or_default(),
                source,
            };
            resolve::offer(&mut packages, name, package);
        }
    }
    packages
}

/// The packages that share a store path, under the shortest of their names.
fn groups<'a>(
    packages: &Packages<'a>,
    resolved: &BTreeMap<&'a str, Resolved<'a>>,
) -> BTreeMap<&'a str, Vec<&'a str>> {
    let mut graph: BTreeMap<&str, BTreeSet<&str>> =
        resolved.iter().map(|(name, resolved)| (*name, resolved.depends.clone())).collect();
    for (from, to) in resolve::side_by_side(packages) {
        graph.entry(from).or_default().insert(to);
    }
    let named = |members: Vec<&'a str>| {
        members.iter().copied().min_by_key(|name| (name.len(), *name)).map(|name| (name, members))
    };
    cycles::find(&graph).into_iter().filter_map(named).collect()
}

/// A package as the index has it.
fn entry(package: &Package, resolved: &Resolved, group: Option<&str>) -> Value {
    let mut entry = json!({
        "version": package.version,
        "filename": package.filename,
        "sha256": package.sha256,
        "size": package.size,
        "depends": resolved.depends,
    });
    if let Some(fields) = entry.as_object_mut() {
        if let Some(group) = group {
            fields.insert("group".to_owned(), json!(group));
        }
        if package.source != 0 {
            fields.insert("source".to_owned(), json!(package.source));
        }
        if !resolved.unmet.is_empty() {
            fields.insert("unmet".to_owned(), json!(resolved.unmet));
        }
    }
    entry
}

/// The name of the shard that holds a package.
fn shard(name: &str) -> String {
    let mut digits = hexadecimal(&Sha256::digest(name.as_bytes()));
    digits.truncate(SHARD_DIGITS);
    digits
}

fn write_file(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "Package: libc6\nVersion: 2.36\nFilename: pool/libc6.deb\nSHA256: aa\nSize: 3\nDepends: libgcc-s1\nDescription: C library\n long\n\n\
        Package: libgcc-s1\nVersion: 12\nFilename: pool/libgcc.deb\nSHA256: bb\nSize: 4\nDepends: libc6 (>= 2.35)\n\n\
        Package: app\nVersion: 1\nFilename: pool/app.deb\nSHA256: cc\nDepends: libc6, nothing\nProvides: virtual-app\n\n";

    #[test]
    fn an_index_of_three_packages() {
        let directory = tempfile::tempdir().expect("a directory");
        let fetched = |name: &str| Fetched {
            source: Source {
                base: "file:///m".into(),
                suite: name.into(),
                components: vec![],
                signed_by: None,
            },
            date: "d".into(),
            verified: true,
            lists: vec![if name == "new" {
                LIST.replace("Version: 1\n", "Version: 2\n")
            } else {
                LIST.to_owned()
            }],
        };
        let summary = write(directory.path(), "amd64", &[fetched("old"), fetched("new")]).expect("written");
        assert_eq!((summary.packages, summary.incomplete, summary.groups), (3, 1, 1));
        let entry = |name: &str| -> Value {
            let path = directory.path().join("shards").join(format!("{}.json", shard(name)));
            let mut shard: Value =
                serde_json::from_slice(&std::fs::read(path).expect("a shard")).expect("JSON");
            shard[name].take()
        };
        assert_eq!(
            entry("app"),
            json!({"version":"2","filename":"pool/app.deb","sha256":"cc","size":0,"depends":["libc6"],"source":1,"unmet":["nothing"]})
        );
        assert_eq!(entry("libgcc-s1")["group"], "libc6");
        assert_eq!(entry("virtual-app"), json!({"provider":"app"}));
        let meta: Value =
            serde_json::from_slice(&std::fs::read(directory.path().join("meta.json")).expect("meta"))
                .expect("JSON");
        assert_eq!(meta["groups"]["libc6"], json!(["libc6", "libgcc-s1"]));
        assert!(summary.summaries.contains("libc6\t2.36\tC library\n"), "{}", summary.summaries);
        let names = std::fs::read_to_string(directory.path().join("names.json")).expect("names");
        assert_eq!(names, r#"{"app":0,"libc6":0,"libgcc-s1":0,"virtual-app":0}"#);
    }
}
