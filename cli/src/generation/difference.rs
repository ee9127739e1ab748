//! What lies between two generations, in the words of who runs the machine: packages with their versions, services, users,
//! files below /etc, and whether only a reboot brings it all about.

use crate::machine::Machine;
use anyhow::{Context as _, Result};
use formats::activation::Activation;
use formats::service_graph::view::Graph;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The difference.
#[derive(Debug, Default, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Difference {
    /// `name: versions → versions`.
    pub(crate) packages: Vec<String>,
    /// `+unit`, `-unit`, `~unit`.
    pub(crate) units: Vec<String>,
    /// `+user`, `-user`.
    pub(crate) users: Vec<String>,
    /// `+target`, `-target`, `~target`.
    pub(crate) etc: Vec<String>,
    /// What a running machine cannot change: `kernel`, `initrd`, ….
    pub(crate) needs_reboot: Vec<String>,
}

impl Difference {
    /// For people.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (title, entries) in [
            ("packages", &self.packages),
            ("services", &self.units),
            ("users", &self.users),
            ("/etc", &self.etc),
            ("after a reboot", &self.needs_reboot),
        ] {
            if !entries.is_empty() {
                lines.push(format!("{title}:"));
                lines.extend(entries.iter().map(|entry| format!("  {entry}")));
            }
        }
        lines
    }
}

/// Compares two toplevels.
pub(crate) fn between(machine: &Machine, from: &Path, to: &Path) -> Result<Difference> {
    let document = |toplevel: &Path| -> Result<Activation> {
        let place = machine.place(&toplevel.to_string_lossy()).join("activation.json");
        let bytes = std::fs::read(&place).with_context(|| place.display().to_string())?;
        Ok(Activation::parse(&bytes)?)
    };
    let (old, new) = (document(from)?, document(to)?);
    let names = |activation: &Activation| -> BTreeMap<String, String> {
        activation.users.iter().map(|user| (user.name.clone(), String::new())).collect()
    };
    let files = |activation: &Activation| -> BTreeMap<String, String> {
        activation.etc.iter().map(|entry| (entry.target.clone(), entry.source.clone())).collect()
    };
    Ok(Difference {
        packages: packages(&machine.closure(from)?, &machine.closure(to)?),
        units: signed(&units(machine, from)?, &units(machine, to)?),
        users: signed(&names(&old), &names(&new)),
        etc: signed(&files(&old), &files(&new)),
        needs_reboot: needs_reboot(machine, from, to),
    })
}

/// Parts of the booted generation that a switch cannot exchange.
pub(crate) fn needs_reboot(machine: &Machine, from: &Path, to: &Path) -> Vec<String> {
    let part = |toplevel: &Path, name: &str| {
        let place = machine.place(&toplevel.to_string_lossy()).join(name);
        std::fs::read_link(&place)
            .map(|target| target.display().to_string())
            .or_else(|_| std::fs::read_to_string(&place))
            .ok()
    };
    let parts = ["kernel", "initrd", "kernel-modules", "kernel-params"];
    parts.into_iter().filter(|name| part(from, name) != part(to, name)).map(str::to_owned).collect()
}

/// Units with their fingerprints.
fn units(machine: &Machine, toplevel: &Path) -> Result<BTreeMap<String, String>> {
    use formats::service_graph::key::Key;
    let place = machine.place(&toplevel.to_string_lossy()).join("services.graph");
    let bytes = match std::fs::read(&place) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error).with_context(|| place.display().to_string()),
    };
    let graph = Graph::load(&bytes).map_err(|error| anyhow::anyhow!("{}: {error}", place.display()))?;
    let state = |key: Key, unit: &formats::service_graph::view::Unit<'_>| {
        unit.text(key).unwrap_or_default().to_owned()
    };
    Ok(graph
        .units()
        .map(|unit| {
            let fingerprint = unit.number(Key::Fingerprint).unwrap_or(0);
            let triggers = state(Key::RestartTriggers, &unit) + &state(Key::ReloadTriggers, &unit);
            (unit.name().to_owned(), format!("{fingerprint:x} {triggers}"))
        })
        .collect())
}

/// `+` only in the new one, `-` only in the old one, `~` different.
fn signed(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Vec<String> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    names
        .into_iter()
        .filter_map(|name| match (old.get(name), new.get(name)) {
            (Some(before), Some(after)) if before == after => None,
            (Some(_), Some(_)) => Some(format!("~{name}")),
            (Some(_), None) => Some(format!("-{name}")),
            (None, _) => Some(format!("+{name}")),
        })
        .collect()
}

/// Packages whose set of versions differs; store paths without a version only when they come or go.
pub(crate) fn packages(old: &BTreeSet<String>, new: &BTreeSet<String>) -> Vec<String> {
    let grouped = |paths: &BTreeSet<String>| {
        let mut groups: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for path in paths {
            let (name, version) = name_and_version(path);
            groups.entry(name.to_owned()).or_default().insert(version.to_owned());
        }
        groups
    };
    let (old, new) = (grouped(old), grouped(new));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let list = |versions: Option<&BTreeSet<String>>| match versions {
        None => "∅".to_owned(),
        Some(versions) => {
            let shown: Vec<&str> = versions
                .iter()
                .map(|version| if version.is_empty() { "ε" } else { version.as_str() })
                .collect();
            shown.join(", ")
        }
    };
    names
        .into_iter()
        .filter(|name| old.get(*name) != new.get(*name))
        .map(|name| format!("{name}: {} → {}", list(old.get(name)), list(new.get(name))))
        .collect()
}

/// `<hash>-nginx-1.22.1-9` → `nginx`, `1.22.1-9`: the version begins at the first dash before a digit, as Nix parses names.
fn name_and_version(base_name: &str) -> (&str, &str) {
    let name = base_name.split_once('-').map_or(base_name, |(_, name)| name);
    let dash = name
        .match_indices('-')
        .find(|(at, _)| name[at + 1..].starts_with(|character: char| character.is_ascii_digit()));
    match dash {
        Some((at, _)) => (&name[..at], &name[at + 1..]),
        None => (name, ""),
    }
}

/// `2026-11-23 01:02` in UTC of seconds since 1970.
pub(crate) fn date_time(seconds: u64) -> String {
    let minutes = seconds / 60;
    let (mut days, time) = (minutes / 1440, minutes % 1440);
    let mut year = 1970;
    let leap = |year: u64| (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400);
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in lengths {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    format!("{year:04}-{month:02}-{:02} {:02}:{:02}", days + 1, time / 60, time % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_told_by_name_and_version() {
        let set = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
        let old = set(&["a-nginx-1.22.1-9", "b-etc", "c-libssl3-3.0.11", "d-gone-1", "e-system-firn"]);
        let new = set(&["f-nginx-1.24", "g-etc", "c-libssl3-3.0.11", "h-new", "e-system-firn"]);
        assert_eq!(packages(&old, &new), ["gone: 1 → ∅", "new: ∅ → ε", "nginx: 1.22.1-9 → 1.24"]);
    }

    #[test]
    fn dates() {
        assert_eq!(date_time(0), "1970-01-01 00:00");
        assert_eq!(date_time(1_795_395_720), "2026-11-23 01:02");
        assert_eq!(date_time(951_782_400), "2000-02-29 00:00");
    }

    #[test]
    fn signs() {
        let map = |entries: &[(&str, &str)]| {
            entries.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        assert_eq!(
            signed(&map(&[("a", "1"), ("b", "1"), ("c", "1")]), &map(&[("b", "2"), ("c", "1"), ("d", "1")])),
            ["-a", "~b", "+d"]
        );
    }
}
