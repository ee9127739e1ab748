//! `nix store diff-closures`: which packages in which versions lie between two closures, and what they weigh.
//! nix3-store-diff-closures(1).

use super::info::{outputs, read};
use crate::nix_front::{Arguments, Front};
use anyhow::{Result, bail};
use formats::store_path::StorePath;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::ExitCode;
use store::Store;

/// Less than that many bytes are not worth a word.
const NOTABLE: u64 = 8 * 1024;

/// A closure's versions and bytes by the packages' names.
type Packages = BTreeMap<String, (BTreeSet<String>, u64)>;

/// `nix store diff-closures BEFORE AFTER`.
pub(super) fn diff(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let (store, mut installables, _) = read(front, arguments, &[])?;
    let paths = outputs(front, &store, &mut installables)?;
    let [before, after] = paths.as_slice() else { bail!("'nix store diff-closures' needs two paths") };
    let (before, after) = (packages(&store, before)?, packages(&store, after)?);
    let mut out = std::io::stdout().lock();
    for line in differences(&before, &after) {
        writeln!(out, "{line}")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn packages(store: &Store, root: &StorePath) -> Result<Packages> {
    let mut packages = Packages::new();
    for path in store.closure([root.clone()])? {
        let (name, version) = split(path.name());
        let entry = packages.entry(name).or_default();
        entry.0.insert(version);
        entry.1 += store.path_info(&path)?.nar_size;
    }
    Ok(packages)
}

/// Name and version of an object's name, without the output that stands behind (`-bin`, `-lib32`).
fn split(name: &str) -> (String, String) {
    let is_output = |word: &str| {
        !word.is_empty()
            && (word.bytes().all(|byte| byte.is_ascii_lowercase()) || word == "lib32" || word == "lib64")
    };
    let name = match name.rsplit_once('-') {
        Some((package, output)) if is_output(output) && !package.is_empty() => package,
        _ => name,
    };
    // The version begins behind the first dash that no letter follows.
    for (at, _) in name.match_indices('-') {
        let rest = name.get(at + 1..).unwrap_or_default();
        if rest.bytes().next().is_some_and(|byte| !byte.is_ascii_alphabetic()) {
            return (name.get(..at).unwrap_or_default().to_owned(), rest.to_owned());
        }
    }
    (name.to_owned(), String::new())
}

fn differences(before: &Packages, after: &Packages) -> Vec<String> {
    let none = (BTreeSet::new(), 0);
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let mut lines = Vec::new();
    for name in names {
        let (old, old_size) = before.get(name).unwrap_or(&none);
        let (new, new_size) = after.get(name).unwrap_or(&none);
        let mut items = Vec::new();
        if old != new {
            let (gone, come): (Vec<_>, Vec<_>) =
                (old.difference(new).collect(), new.difference(old).collect());
            items.push(format!("{} → {}", versions(&gone), versions(&come)));
        }
        if old_size.abs_diff(*new_size) >= NOTABLE {
            items.push(format!("{:+.1} KiB", (*new_size as f64 - *old_size as f64) / 1024.0));
        }
        if !items.is_empty() {
            lines.push(format!("{name}: {}", items.join(", ")));
        }
    }
    lines
}

fn versions(versions: &[&String]) -> String {
    if versions.is_empty() {
        return "∅".to_owned();
    }
    let shown: Vec<&str> =
        versions.iter().map(|version| if version.is_empty() { "ε" } else { version.as_str() }).collect();
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_and_versions_are_told_from_names() {
        for (object, name, version) in [
            ("hello-2.12.1", "hello", "2.12.1"),
            ("systemd-251.4-bin", "systemd", "251.4"),
            ("glibc-2.35-lib32", "glibc", "2.35"),
            ("gtk+3-3.24", "gtk+3", "3.24"),
            ("source", "source", ""),
            ("unit-nginx.service", "unit-nginx.service", ""),
        ] {
            assert_eq!(split(object), (name.to_owned(), version.to_owned()));
        }
    }

    #[test]
    fn what_lies_between() {
        let package = |versions: &[&str], size: u64| -> (BTreeSet<String>, u64) {
            (versions.iter().map(|version| (*version).to_owned()).collect(), size)
        };
        let before = Packages::from([
            ("a".to_owned(), package(&["1", "2"], 100)),
            ("b".to_owned(), package(&["1"], 20_480)),
            ("c".to_owned(), package(&[""], 10)),
        ]);
        let after = Packages::from([
            ("a".to_owned(), package(&["2", "3"], 110)),
            ("b".to_owned(), package(&["1"], 10_240)),
            ("d".to_owned(), package(&["4"], 1_048_576)),
        ]);
        let lines = differences(&before, &after);
        assert_eq!(lines, ["a: 1 → 3", "b: -10.0 KiB", "c: ε → ∅", "d: ∅ → 4, +1024.0 KiB"]);
    }
}
