//! Which packages a selector such as `firefox`, `foo-1.0`, `py.*` or `*` means, and which of several of one name an
//! installation takes. nix-env(1), "Selectors".

use super::package::{Asking, Package};
use anyhow::{Context as _, Result, bail};
use evaluator::regex::Regex;
use evaluator::versions::{compare_versions, parse_drv_name};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

/// A package's name and version.
pub(crate) fn split(name: &str) -> (String, String) {
    let (name, version) = parse_drv_name(name.as_bytes());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(name), text(version))
}

/// The order of versions.
pub(super) fn order(left: &str, right: &str) -> Ordering {
    compare_versions(left.as_bytes(), right.as_bytes())
}

/// A pattern for names, with or without a version.
pub(super) struct Selector {
    shown: String,
    name: Option<Regex>,
    version: String,
}

impl Selector {
    /// From what a user types.
    pub(super) fn new(text: &str) -> Result<Self> {
        let (name, version) = split(text);
        let pattern = Regex::new(name.as_bytes()).ok();
        if name != "*" && pattern.is_none() {
            bail!("'{text}' is not a pattern for package names");
        }
        Ok(Self { shown: text.to_owned(), name: pattern.filter(|_| name != "*"), version })
    }

    /// Whether a package of that name is meant.
    pub(super) fn matches(&self, package: &str) -> bool {
        let (name, version) = split(package);
        self.name.as_ref().is_none_or(|pattern| pattern.matches(name.as_bytes()))
            && (self.version.is_empty() || self.version == version)
    }
}

/// Selectors from words; all packages if there are none.
pub(super) fn selectors(words: &[String]) -> Result<Vec<Selector>> {
    let all = ["*".to_owned()];
    let words = if words.is_empty() { all.as_slice() } else { words };
    words.iter().map(|word| Selector::new(word)).collect()
}

/// The packages that the words mean, each once, in the order of the words.
pub(super) fn chosen<'a>(
    ask: &mut Asking<'_, 'a>,
    packages: &[Package<'a>],
    words: &[String],
    newest_only: bool,
    system: &str,
) -> Result<Vec<Package<'a>>> {
    let mut taken: BTreeSet<usize> = BTreeSet::new();
    let mut found = Vec::new();
    for selector in selectors(words)? {
        let mut matches: Vec<usize> = (0..packages.len())
            .filter(|&index| packages.get(index).is_some_and(|package| selector.matches(&package.name)))
            .collect();
        if newest_only {
            matches = newest(ask, packages, &matches, system)?;
        }
        if matches.is_empty() && selector.shown != "*" {
            let near = evaluator_suggestions(&selector.shown, packages);
            bail!("selector '{}' matches no derivations{near}", selector.shown);
        }
        for index in matches {
            if taken.insert(index) {
                found.extend(packages.get(index).cloned());
            }
        }
    }
    Ok(found)
}

/// Names that are close to one that there is not.
fn evaluator_suggestions(wanted: &str, packages: &[Package<'_>]) -> String {
    let (wanted, _) = split(wanted);
    let mut near: Vec<String> = packages
        .iter()
        .map(|package| split(&package.name).0)
        .filter(|name| name.starts_with(&wanted) || wanted.starts_with(name.as_str()))
        .collect();
    near.sort();
    near.dedup();
    near.truncate(3);
    if near.is_empty() { String::new() } else { format!("; maybe you meant {}", near.join(", ")) }
}

/// Of packages of one name the best: for this system, of the highest priority, of the newest version.
fn newest<'a>(
    ask: &mut Asking<'_, 'a>,
    packages: &[Package<'a>],
    matches: &[usize],
    system: &str,
) -> Result<Vec<usize>> {
    let mut best: BTreeMap<String, (usize, bool, i64, String)> = BTreeMap::new();
    for &index in matches {
        let package = packages.get(index).context("a match is one of the packages")?;
        let (name, version) = split(&package.name);
        let (fits, priority) = (package.system(ask)? == system, package.priority(ask)?);
        let better = best.get(&name).is_none_or(|(_, known_fits, known_priority, known)| {
            let other = fits.cmp(known_fits).then(known_priority.cmp(&priority)).then(order(&version, known));
            other == Ordering::Greater
        });
        if better {
            best.insert(name, (index, fits, priority, version));
        }
    }
    let mut found: Vec<usize> = best.into_values().map(|(index, ..)| index).collect();
    found.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_mean_names_and_versions() {
        for (selector, package, means) in [
            ("foo", "foo-1.0", true),
            ("foo-1.0", "foo-1.0", true),
            ("foo-1.0", "foo-2.0", false),
            ("fo.*", "foo-2.0", true),
            ("fo", "foo-2.0", false),
            ("*", "anything-1", true),
            ("foo-bar", "foo-bar-1", true),
        ] {
            assert_eq!(Selector::new(selector).unwrap().matches(package), means, "{selector} {package}");
        }
        assert!(Selector::new("foo(").is_err());
    }
}
