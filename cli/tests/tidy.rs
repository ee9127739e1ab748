//! The tidy test: what the architecture promises about the tree and no compiler checks. Edges between the crates, a head
//! on every source file, `unsafe` only where it is allowed, no panicking in what runs as PID 1.

#![expect(clippy::unwrap_used, reason = "a test: what fails here fails the run")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The edges that ARCHITECTURE.md allows, crate by crate.
const ALLOWED: &[(&str, &[&str])] = &[
    ("formats", &[]),
    ("sys", &[]),
    ("evaluator", &["formats"]),
    ("store", &["formats", "sys"]),
    ("bootgen", &["formats", "sys"]),
    ("activate", &["formats", "sys"]),
    ("units", &["formats"]),
    ("init", &["formats", "sys"]),
    ("installer", &["formats", "sys", "bootgen"]),
    ("tools", &["bootgen", "units", "formats"]),
    ("qemu-tests", &["formats"]),
    ("benches", &["formats", "evaluator", "store", "units", "qemu-tests"]),
    (
        "cli",
        &["formats", "sys", "evaluator", "store", "bootgen", "activate", "units", "installer", "qemu-tests"],
    ),
];

/// Crates whose whole tree, PID 1's, stays small.
const INIT_TREE_LIMIT: usize = 10;

/// Where `unsafe` may stand, beside `sys/`: each with its reason in the file's head.
const UNSAFE_ALLOWED: &[&str] = &[
    "sys/",
    "evaluator/src/arena",
    "evaluator/src/value",
    "evaluator/src/attrs/layout.rs",
    "cli/tests/tidy.rs",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn tracked(suffix: &str) -> Vec<(String, String)> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "git ls-files failed");
    String::from_utf8(output.stdout)
        .unwrap()
        .split('\0')
        .filter(|name| name.ends_with(suffix))
        .filter_map(|name| Some((name.to_owned(), std::fs::read_to_string(root().join(name)).ok()?)))
        .collect()
}

fn metadata(arguments: &[&str]) -> serde_json::Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1"])
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn crates_depend_only_on_what_the_architecture_allows() {
    let allowed: BTreeMap<&str, BTreeSet<&str>> =
        ALLOWED.iter().map(|(name, edges)| (*name, edges.iter().copied().collect())).collect();
    let mut wrong = Vec::new();
    for package in metadata(&["--no-deps"])["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let Some(edges) = allowed.get(name) else {
            wrong.push(format!("{name} is not in the table"));
            continue;
        };
        for dependency in package["dependencies"].as_array().unwrap() {
            let target = dependency["name"].as_str().unwrap();
            let is_ours = allowed.contains_key(target) && dependency["path"].is_string();
            if is_ours && !edges.contains(target) && dependency["kind"].is_null() {
                wrong.push(format!("{name} -> {target}"));
            }
        }
    }
    assert!(wrong.is_empty(), "edges that ARCHITECTURE.md does not allow: {wrong:?}");
}

#[test]
fn the_tree_of_pid_1_stays_small() {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "-p",
            "init",
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--no-dedupe",
            "--target",
            "x86_64-unknown-linux-gnu",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let external: BTreeSet<&str> = text
        .lines()
        .filter(|line| !line.is_empty() && !line.contains('/') && !line.contains("(proc-macro)"))
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert!(
        external.len() < INIT_TREE_LIMIT,
        "init's tree has {} external crates: {external:?}",
        external.len()
    );
}

#[test]
fn every_source_file_opens_with_its_head() {
    let mut missing: Vec<String> = Vec::new();
    missing.extend(
        tracked(".rs").into_iter().filter(|(_, text)| !text.starts_with("//!")).map(|(name, _)| name),
    );
    missing.extend(
        tracked(".nix")
            .into_iter()
            .filter(|(name, text)| {
                !text.starts_with('#')
                    && !text.starts_with("/*")
                    && !name.contains("/tests/")
                    && !name.contains("fixtures")
            })
            .map(|(name, _)| name),
    );
    assert!(missing.is_empty(), "files without a head that says what they are: {missing:#?}");
}

#[test]
fn unsafe_stands_only_where_it_is_allowed() {
    let wrong: Vec<String> = tracked(".rs")
        .into_iter()
        .filter(|(name, _)| !UNSAFE_ALLOWED.iter().any(|allowed| name.starts_with(allowed)))
        .filter(|(_, text)| {
            text.lines().any(|line| {
                let code = line.split("//").next().unwrap_or_default();
                ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"]
                    .iter()
                    .any(|word| code.contains(word))
            })
        })
        .map(|(name, _)| name)
        .collect();
    assert!(wrong.is_empty(), "unsafe outside sys/: {wrong:#?}");
}

#[test]
fn nothing_names_a_machine_or_a_registry_host() {
    let mut wrong = Vec::new();
    // Put together here so that this file does not hold what it looks for.
    let words = [
        ["/work", "/main"].concat(),
        ["/work", "/trees"].concat(),
        ["/work", "/shared"].concat(),
        ["deb.debian", ".org"].concat(),
        ["static.crates", ".io"].concat(),
    ];
    for suffix in [".rs", ".nix", ".md", ".sh", "Makefile", ".toml", ".txt", "run", ".conf"] {
        for (name, text) in tracked(suffix) {
            wrong.extend(
                words
                    .iter()
                    .filter(|word| text.contains(word.as_str()))
                    .map(|word| format!("{name}: {word}")),
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
