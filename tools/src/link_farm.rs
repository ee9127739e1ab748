//! `link-farm`: a directory of named links (`linkFarm` of `os/packages`).

use crate::derivation::Derivation;
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::path::{Component, Path, PathBuf};

/// The attributes of the derivation.
#[derive(serde::Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct Attributes {
    entries: Vec<Entry>,
}

/// A link: where it is below the output, and where it leads.
#[derive(serde::Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: PathBuf,
    path: PathBuf,
}

/// Makes the links. A later entry of the same name replaces an earlier one, as in nixpkgs.
pub fn run(derivation: &Derivation) -> Result<()> {
    let attributes: Attributes = derivation.attributes()?;
    let out = derivation.out()?;
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    for entry in attributes.entries {
        ensure!(
            entry.name.components().all(|component| matches!(component, Component::Normal(_))),
            "the link `{}` leaves the output; write it relative and without `..`",
            entry.name.display()
        );
        let link = out.join(&entry.name);
        fs::create_dir_all(link.parent().unwrap_or(Path::new("/")))
            .with_context(|| format!("cannot make the directory of {}", link.display()))?;
        if link.is_symlink() {
            fs::remove_file(&link).with_context(|| format!("cannot replace {}", link.display()))?;
        }
        std::os::unix::fs::symlink(&entry.path, &link)
            .with_context(|| format!("cannot make the link {}", link.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_escapes() {
        let directory = tempfile::tempdir().expect("a directory");
        let out = directory.path().join("out");
        let built = |entries: &str| {
            let json = format!(r#"{{"name":"farm","outputs":{{"out":{out:?}}},"entries":[{entries}]}}"#);
            run(&Derivation::from_json(&json).expect("valid"))
        };
        built(r#"{"name":"a/b","path":"/x"},{"name":"a/b","path":"/y"}"#).expect("built");
        assert_eq!(fs::read_link(out.join("a/b")).expect("a link"), Path::new("/y"));
        assert!(built(r#"{"name":"../b","path":"/x"}"#).is_err());
    }
}
