//! `build-env`: one tree of links over several store paths (`buildEnv`, `environment.systemPackages`; Nix manual,
//! "Profiles").
//!
//! A directory that only one path has is one link; where several have it, it is made and they are merged below it. Two
//! files in one place are an error unless they are the same, or the derivation ignores collisions: then the first counts.

use crate::derivation::Derivation;
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// The attributes of the derivation.
#[derive(serde::Deserialize, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Attributes {
    /// The trees, the first of which counts when collisions are ignored.
    paths: Vec<Source>,
    /// Which parts are taken: `/bin`, `/share/man`; `/` is everything.
    #[serde(default = "everything")]
    paths_to_link: Vec<String>,
    /// Whether two different files in one place are let be.
    #[serde(default)]
    ignore_collisions: bool,
    /// Where in the output the tree begins.
    #[serde(default)]
    extra_prefix: String,
}

/// A tree, as a path or with a priority: the lower wins, equals collide.
#[derive(serde::Deserialize, Debug)]
#[serde(untagged)]
enum Source {
    Path(PathBuf),
    Prioritised { path: PathBuf, priority: i64 },
}

/// nixpkgs' `lib.meta.defaultPriority`.
const DEFAULT_PRIORITY: i64 = 5;

fn everything() -> Vec<String> {
    vec!["/".to_owned()]
}

/// Builds the tree.
pub fn run(derivation: &Derivation) -> Result<()> {
    let attributes: Attributes = derivation.attributes()?;
    let parts: Vec<PathBuf> =
        attributes.paths_to_link.iter().map(|part| PathBuf::from(part.trim_matches('/'))).collect();
    let mut sources: Vec<(i64, PathBuf)> = Vec::new();
    for source in attributes.paths {
        let source = match source {
            Source::Path(path) => (DEFAULT_PRIORITY, path),
            Source::Prioritised { path, priority } => (priority, path),
        };
        if !sources.contains(&source) {
            sources.push(source);
        }
    }
    sources.sort_by_key(|source| source.0);
    let root = derivation.out()?.join(attributes.extra_prefix.trim_start_matches('/'));
    fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
    let environment = Environment { root, parts, ignore_collisions: attributes.ignore_collisions };
    environment.merge(Path::new(""), &sources)
}

/// How much of a place is taken.
#[derive(PartialEq, Eq, Clone, Copy)]
enum Share {
    Whole,
    /// Something below it is.
    Part,
    Nothing,
}

struct Environment {
    root: PathBuf,
    parts: Vec<PathBuf>,
    ignore_collisions: bool,
}

impl Environment {
    /// Merges directories, each with the priority of its tree, into the directory at a place.
    fn merge(&self, place: &Path, directories: &[(i64, PathBuf)]) -> Result<()> {
        let mut entries: BTreeMap<std::ffi::OsString, Vec<(i64, PathBuf)>> = BTreeMap::new();
        for (priority, directory) in directories {
            let listing = match fs::read_dir(directory) {
                Ok(listing) => listing,
                // `pathsToLink` names parts that not every package has; a package that is a single file has none.
                Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => continue,
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot list {}", directory.display()));
                }
            };
            for entry in listing {
                let entry = entry.with_context(|| format!("cannot list {}", directory.display()))?;
                entries.entry(entry.file_name()).or_default().push((*priority, entry.path()));
            }
        }
        for (name, sources) in entries {
            let place = place.join(&name);
            if place == Path::new("nix-support") {
                continue;
            }
            match self.share(&place) {
                Share::Nothing => {}
                Share::Whole => self.put(&place, &sources)?,
                Share::Part => {
                    let directories: Vec<_> =
                        sources.into_iter().filter(|source| source.1.is_dir()).collect();
                    if !directories.is_empty() {
                        self.make_directory(&place)?;
                        self.merge(&place, &directories)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Puts what several trees have at one place.
    fn put(&self, place: &Path, sources: &[(i64, PathBuf)]) -> Result<()> {
        let Some((first, rest)) = sources.split_first() else { return Ok(()) };
        let path = self.root.join(place);
        let link = |to: &Path| {
            symlink(to, &path).with_context(|| format!("cannot make the link {}", path.display()))
        };
        if rest.is_empty() {
            return link(&first.1);
        }
        let directories: Vec<_> = sources.iter().filter(|source| source.1.is_dir()).cloned().collect();
        if directories.len() == sources.len() {
            self.make_directory(place)?;
            return self.merge(place, &directories);
        }
        for other in rest {
            if other.0 == first.0 && !self.ignore_collisions && !same(&first.1, &other.1)? {
                bail!(
                    "{} and {} are different files for one place, /{}: remove one of the packages, or give one of them \
                     another priority (lib.hiPrio, lib.lowPrio)",
                    first.1.display(),
                    other.1.display(),
                    place.display()
                );
            }
        }
        link(&first.1)
    }

    fn make_directory(&self, place: &Path) -> Result<()> {
        let path = self.root.join(place);
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))
    }

    /// How much of a place `pathsToLink` takes.
    fn share(&self, place: &Path) -> Share {
        if self.parts.iter().any(|part| place.starts_with(part)) {
            Share::Whole
        } else if self.parts.iter().any(|part| part.starts_with(place)) {
            Share::Part
        } else {
            Share::Nothing
        }
    }
}

/// Whether two things in one place are the same file, or files with the same bytes.
fn same(left: &Path, right: &Path) -> Result<bool> {
    let dangling = |path: &Path| !path.exists();
    if dangling(left) || dangling(right) {
        return Ok(fs::read_link(left).ok().is_some_and(|target| Some(target) == fs::read_link(right).ok()));
    }
    let canonical =
        |path: &Path| fs::canonicalize(path).with_context(|| format!("cannot follow {}", path.display()));
    let (left, right) = (canonical(left)?, canonical(right)?);
    if left == right {
        return Ok(true);
    }
    if left.is_dir() || right.is_dir() {
        return Ok(false);
    }
    let read = |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    Ok(read(&left)? == read(&right)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Builds an environment over packages given as (file, contents); returns the directory that holds all.
    fn built(packages: &[&[(&str, &str)]], attributes: &str) -> (tempfile::TempDir, Result<()>) {
        let directory = tempfile::tempdir().expect("a directory");
        let mut paths = Vec::new();
        for (index, files) in packages.iter().enumerate() {
            let package = directory.path().join(index.to_string());
            fs::create_dir(&package).expect("made");
            for (file, text) in *files {
                let file = package.join(file);
                fs::create_dir_all(file.parent().expect("a parent")).expect("made");
                fs::write(file, text).expect("written");
            }
            paths.push(format!("{package:?}"));
        }
        let out = directory.path().join("out");
        let json = format!(
            r#"{{"name":"env","outputs":{{"out":{out:?}}},"paths":[{}]{attributes}}}"#,
            paths.join(",")
        );
        let result = run(&Derivation::from_json(&json).expect("valid"));
        (directory, result)
    }

    #[test]
    fn directories_merge_only_where_they_must() {
        let (directory, result) =
            built(&[&[("bin/a", "a"), ("share/x/f", "")], &[("bin/b", "b"), ("nix-support/y", "")]], "");
        result.expect("built");
        let out = directory.path().join("out");
        assert!(out.join("share").is_symlink());
        assert!(!out.join("bin").is_symlink());
        assert_eq!(fs::read_to_string(out.join("bin/b")).expect("b"), "b");
        assert!(!out.join("nix-support").exists());
    }

    #[test]
    fn only_the_parts_wanted() {
        let (directory, result) = built(
            &[&[("bin/a", ""), ("share/man/m", ""), ("share/doc/d", ""), ("lib/l", "")]],
            r#","pathsToLink":["/bin","/share/man"],"extraPrefix":"/sw""#,
        );
        result.expect("built");
        let out = directory.path().join("out/sw");
        assert!(out.join("share/man").is_symlink());
        for absent in ["lib", "share/doc"] {
            assert!(!out.join(absent).exists(), "{absent}");
        }
    }

    #[test]
    fn collisions() {
        let two: &[&[(&str, &str)]] = &[&[("bin/a", "1")], &[("bin/a", "2")]];
        let (_directory, result) = built(two, "");
        let error = format!("{:#}", result.expect_err("they differ"));
        assert!(error.contains("/0/bin/a and ") && error.contains("/1/bin/a are different files"), "{error}");
        let (directory, result) = built(two, r#","ignoreCollisions":true"#);
        result.expect("ignored");
        assert_eq!(fs::read_to_string(directory.path().join("out/bin/a")).expect("a"), "1");
        let (_directory, result) = built(&[&[("bin/a", "1")], &[("bin/a", "1")]], "");
        result.expect("the same");
        let (_directory, result) = built(&[&[("bin", "1")], &[("bin/a", "1")]], "");
        assert!(result.is_err(), "a file and a directory");
    }

    #[test]
    fn the_lower_priority_wins() {
        let directory = tempfile::tempdir().expect("a directory");
        for name in ["low", "high"] {
            fs::create_dir(directory.path().join(name)).expect("made");
            fs::write(directory.path().join(name).join("f"), name).expect("written");
        }
        let (low, high, out) =
            (directory.path().join("low"), directory.path().join("high"), directory.path().join("out"));
        let json = format!(
            r#"{{"name":"env","outputs":{{"out":{out:?}}},"paths":[{low:?},{{"path":{high:?},"priority":-10}}]}}"#
        );
        run(&Derivation::from_json(&json).expect("valid")).expect("built");
        assert_eq!(fs::read_to_string(out.join("f")).expect("f"), "high");
    }
}
