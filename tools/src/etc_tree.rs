//! `etc-tree`: the links that `/etc/static` holds, made at build time from the entries of `activation.json`
//! ([`formats::activation`]). Entries that are copied or linked directly are activation's.

use crate::derivation::Derivation;
use anyhow::{Context as _, Result, bail, ensure};
use formats::activation::EtcEntry;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Component, Path};

/// The attributes of the derivation.
#[derive(serde::Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct Attributes {
    /// The entries, of all modes.
    entries: Vec<EtcEntry>,
}

/// Checks all entries against each other and makes `out/etc`.
pub fn run(derivation: &Derivation) -> Result<()> {
    let attributes: Attributes = derivation.attributes()?;
    let root = derivation.out()?.join("etc");
    fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
    let mut seen: BTreeMap<&Path, &EtcEntry> = BTreeMap::new();
    for entry in &attributes.entries {
        let target = Path::new(&entry.target);
        ensure!(
            !entry.target.is_empty()
                && target.components().all(|component| matches!(component, Component::Normal(_))),
            "environment.etc has the target `{}`; write it relative to /etc and without `..`",
            entry.target
        );
        if let Some(other) = seen.insert(target, entry) {
            bail!(
                "environment.etc has two files for /etc/{}: {} and {}",
                entry.target,
                other.source,
                entry.source
            );
        }
    }
    for (target, entry) in &seen {
        let above = target.ancestors().skip(1).find_map(|above| seen.get(above));
        if let Some(above) = above {
            // A linked directory of the store cannot take another file: `/etc/foo` → store, and `/etc/foo/bar`.
            bail!(
                "environment.etc has /etc/{} and, below it, /etc/{}: one of them has to go",
                above.target,
                entry.target
            );
        }
        if entry.mode != "symlink" {
            continue;
        }
        let path = root.join(target);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        }
        symlink(&entry.source, &path).with_context(|| format!("cannot make the link {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(entries: &[(&str, &str)]) -> (tempfile::TempDir, Result<()>) {
        let directory = tempfile::tempdir().expect("a directory");
        let out = directory.path().join("out");
        let entries: Vec<String> = entries
            .iter()
            .map(|(target, mode)| {
                format!(r#"{{"target":"{target}","source":"/nix/store/x-{mode}","mode":"{mode}","user":"root","group":"root"}}"#)
            })
            .collect();
        let json =
            format!(r#"{{"name":"etc","outputs":{{"out":{out:?}}},"entries":[{}]}}"#, entries.join(","));
        let result = run(&Derivation::from_json(&json).expect("valid"));
        (directory, result)
    }

    #[test]
    fn links_for_the_mode_symlink_only() {
        let (directory, result) =
            built(&[("nginx/nginx.conf", "symlink"), ("shadow", "0400"), ("localtime", "direct-symlink")]);
        result.expect("built");
        let etc = directory.path().join("out/etc");
        assert_eq!(
            fs::read_link(etc.join("nginx/nginx.conf")).expect("a link"),
            Path::new("/nix/store/x-symlink")
        );
        assert!(!etc.join("shadow").exists() && !etc.join("localtime").is_symlink());
    }

    #[test]
    fn what_does_not_go_together() {
        for (entries, words) in [
            (&[("a", "symlink"), ("a", "0400")][..], "two files for /etc/a"),
            (&[("d", "symlink"), ("d/x", "symlink")], "below it, /etc/d/x"),
            (&[("../x", "symlink")], "without `..`"),
            (&[("/x", "symlink")], "relative to /etc"),
        ] {
            let (_directory, result) = built(entries);
            let error = format!("{:#}", result.expect_err(words));
            assert!(error.contains(words), "{error}");
        }
    }
}
