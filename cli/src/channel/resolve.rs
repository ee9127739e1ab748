//! From Debian's relations to plain names: for each package one real package per clause of `Depends` and `Pre-Depends`.
//!
//! Of the alternatives the first that there is counts; a virtual package is the most important of those that provide it,
//! by Debian's own `Priority`. What only maintainer scripts use is left out, since they never run.

use super::relation::{self, Relation};
use super::version;
use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

/// A package as its suite's list has it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Package<'a> {
    /// Its version.
    pub(crate) version: &'a str,
    /// Its place below the archive's address.
    pub(crate) filename: &'a str,
    /// SHA-256 of the file, in hexadecimal.
    pub(crate) sha256: &'a str,
    /// The file's size in bytes.
    pub(crate) size: u64,
    /// `required`, `important`, `standard`, `optional`, `extra`.
    pub(crate) priority: &'a str,
    /// The first line of its description.
    pub(crate) summary: &'a str,
    /// `Pre-Depends` and `Depends`, as they are.
    pub(crate) relations: [&'a str; 2],
    /// `Provides`, as it is.
    pub(crate) provides: &'a str,
    /// Which of the channel's sources has it.
    pub(crate) source: usize,
}

/// The newest version of every package.
pub(crate) type Packages<'a> = BTreeMap<&'a str, Package<'a>>;

/// Packages that others depend on for their maintainer scripts alone, which never run here.
const FOR_MAINTAINER_SCRIPTS: &[&str] = &[
    "adduser",
    "cdebconf",
    "debconf",
    "debconf-2.0",
    "dpkg",
    "emacsen-common",
    "init-system-helpers",
    "install-info",
    "lsb-base",
    "runit-helper",
    "sgml-base",
    "sysuser-helper",
    "opensysusers",
    "ucf",
    "xml-core",
    "insserv",
    "initscripts",
    "linux-initramfs-tool",
    "initramfs-tools",
    "dracut",
    "libpam-runtime",
    "systemd-sysv",
    "sysvinit-core",
    "update-inetd",
    "xfonts-utils",
    "tex-common",
    "dictionaries-common",
    "linux-base",
    "sysvinit-utils",
];

/// Takes a package if it is the first of its name or newer than the one there is.
pub(crate) fn offer<'a>(packages: &mut Packages<'a>, name: &'a str, package: Package<'a>) {
    match packages.get(name) {
        Some(known) if version::compare(known.version, package.version) != Ordering::Less => {}
        _ => {
            packages.insert(name, package);
        }
    }
}

/// Virtual name → (provider, version provided), the most important provider first.
pub(crate) type Virtual<'a> = BTreeMap<&'a str, Vec<(&'a str, Option<&'a str>)>>;

/// Who provides what.
pub(crate) fn virtual_packages<'a>(packages: &Packages<'a>) -> Virtual<'a> {
    let mut provided: Virtual = BTreeMap::new();
    for (name, package) in packages {
        for field in package.provides.split(',') {
            let field = field.trim();
            let (provides, version) = match field.split_once('(') {
                Some((provides, rest)) => {
                    (provides.trim(), rest.trim_end_matches(')').trim().strip_prefix('=').map(str::trim))
                }
                None => (field, None),
            };
            let provides = provides.split(':').next().unwrap_or_default();
            if !provides.is_empty() && provides != *name {
                provided.entry(provides).or_default().push((name, version));
            }
        }
    }
    let rank = |name: &str| {
        let priority = packages.get(name).map_or("", |package| package.priority);
        ["required", "important", "standard", "optional"]
            .iter()
            .position(|known| *known == priority)
            .unwrap_or(4)
    };
    for providers in provided.values_mut() {
        providers.sort_by_key(|(name, _)| (rank(name), name.len(), *name));
    }
    provided
}

/// What a package's relations came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Resolved<'a> {
    /// Real packages.
    pub(crate) depends: BTreeSet<&'a str>,
    /// Clauses that nothing in the channel fulfils, by their first name.
    pub(crate) unmet: Vec<&'a str>,
}

/// Resolves one package's relations.
pub(crate) fn resolve<'a>(
    name: &str,
    package: &Package<'a>,
    packages: &Packages<'a>,
    provided: &Virtual<'a>,
) -> Resolved<'a> {
    let mut resolved = Resolved::default();
    for clause in package.relations.iter().flat_map(|field| relation::clauses(field)) {
        if clause.iter().any(|one| FOR_MAINTAINER_SCRIPTS.contains(&one.name)) {
            continue;
        }
        match clause.iter().find_map(|one| choose(one, packages, provided)) {
            Some(found) if found == name => {}
            Some(found) => {
                resolved.depends.insert(found);
            }
            None => resolved.unmet.extend(clause.first().map(|one| one.name)),
        }
    }
    resolved
}

/// The package that fulfils one alternative.
fn choose<'a>(relation: &Relation<'a>, packages: &Packages<'a>, provided: &Virtual<'a>) -> Option<&'a str> {
    let admits = |version: &str| relation.bound.is_none_or(|bound| bound.admits(version));
    if let Some((name, package)) = packages.get_key_value(relation.name)
        && admits(package.version)
    {
        return Some(name);
    }
    let providers = provided.get(relation.name)?;
    let fits = |version: Option<&str>| relation.bound.is_none() || version.is_some_and(admits);
    providers.iter().find(|(_, version)| fits(*version)).map(|(name, _)| *name)
}

/// Packages that have to lie in one store path though they do not depend on each other in a cycle, since each finds the
/// other's files by its own place: an interpreter and its standard library. Returns edges to add to the graph.
pub(crate) fn side_by_side<'a>(packages: &Packages<'a>) -> Vec<(&'a str, &'a str)> {
    let mut edges = Vec::new();
    let mut join = |names: Vec<Cow<str>>| {
        let known: Vec<&'a str> = names
            .iter()
            .filter_map(|name| packages.get_key_value(name.as_ref()).map(|found| *found.0))
            .collect();
        for (first, second) in known.iter().zip(known.iter().cycle().skip(1)) {
            if first != second {
                edges.push((*first, *second));
            }
        }
    };
    for (name, package) in packages {
        let version =
            name.strip_prefix("python3.").filter(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()));
        if version.is_some() {
            join(vec![
                Cow::Borrowed(name),
                format!("{name}-minimal").into(),
                format!("lib{name}-minimal").into(),
                format!("lib{name}-stdlib").into(),
            ]);
        }
        if *name == "perl" {
            let upstream = package.version.split(['-', '+']).next().unwrap_or_default();
            let series = upstream.rsplit_once('.').map_or(upstream, |(series, _)| series);
            join(vec![
                Cow::Borrowed("perl"),
                Cow::Borrowed("perl-base"),
                format!("perl-modules-{series}").into(),
                format!("libperl{series}").into(),
            ]);
        }
    }
    edges
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(
        version: &'static str,
        priority: &'static str,
        depends: &'static str,
        provides: &'static str,
    ) -> Package<'static> {
        Package { version, priority, relations: ["", depends], provides, ..Package::default() }
    }

    #[test]
    fn alternatives_virtual_packages_and_bounds() {
        let mut packages = Packages::new();
        for (name, package) in [
            (
                "app",
                package(
                    "1",
                    "optional",
                    "awk, lib (>= 2) | lib-old, mta | mail, debconf (>= 0.5) | debconf-2.0, app, perlapi-5.36",
                    "",
                ),
            ),
            ("gawk", package("5", "optional", "", "awk")),
            ("mawk", package("1", "required", "", "awk")),
            ("lib", package("1.9", "optional", "", "")),
            ("lib-old", package("1", "optional", "", "")),
            ("debconf", package("1", "required", "", "debconf-2.0")),
            ("perl-base", package("5.36.0", "required", "", "perlapi-5.36 (= 1)")),
        ] {
            offer(&mut packages, name, package);
        }
        let provided = virtual_packages(&packages);
        let resolved = resolve("app", &packages["app"], &packages, &provided);
        assert_eq!(resolved.depends.into_iter().collect::<Vec<_>>(), ["lib-old", "mawk", "perl-base"]);
        assert_eq!(resolved.unmet, ["mta"]);
    }

    #[test]
    fn the_newest_version_counts() {
        let mut packages = Packages::new();
        for version in ["1.9", "1.10", "1.10~rc1"] {
            offer(&mut packages, "a", package(version, "optional", "", ""));
        }
        assert_eq!(packages["a"].version, "1.10");
    }

    #[test]
    fn an_interpreter_and_its_library() {
        let mut packages = Packages::new();
        for name in [
            "python3.11",
            "python3.11-minimal",
            "libpython3.11-stdlib",
            "python3.11-doc",
            "perl",
            "perl-modules-5.36",
        ] {
            offer(&mut packages, name, package("5.36.0-7+deb12u3", "optional", "", ""));
        }
        let edges = side_by_side(&packages);
        assert!(
            edges.contains(&("python3.11", "python3.11-minimal"))
                && edges.contains(&("libpython3.11-stdlib", "python3.11"))
        );
        assert!(
            edges.contains(&("perl", "perl-modules-5.36")) && edges.contains(&("perl-modules-5.36", "perl"))
        );
        assert!(!edges.iter().any(|edge| edge.0.ends_with("-doc")));
    }
}
