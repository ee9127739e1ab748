//! `builtin:buildenv`: a user environment, the tree of links that `nix-env` makes of installed packages. Nix manual,
//! "Profiles"; the rules for collisions are those of `nix-env`'s priorities: lower wins, equal is an error.

use super::FailureKind;
use super::builtin::{out, required};
use super::one::Job;
use crate::error::Error;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Files that every package has and no environment wants.
const LEFT_OUT: [&str; 5] =
    ["/propagated-build-inputs", "/nix-support", "/perllocal.pod", "/info/dir", "/log"];
/// Packages that others propagate come behind everything that was asked for.
const PROPAGATED: u64 = 1000;

/// One package: its path as the store names it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    priority: u64,
    path: PathBuf,
}

/// Builds the environment.
pub(super) fn build(job: &Job<'_>) -> Result<(), FailureKind> {
    let target = out(job)?;
    let mut environment =
        Environment { job, priorities: BTreeMap::new(), done: BTreeSet::new(), propagated: BTreeSet::new() };
    fs::create_dir_all(&target).map_err(Error::file("creating", &target))?;
    let mut packages = packages(&required(job, "derivations")?)?;
    packages.sort();
    for package in packages {
        environment.add(&package.path, &target, package.priority)?;
    }
    let mut priority = PROPAGATED;
    while !environment.propagated.is_empty() {
        for path in std::mem::take(&mut environment.propagated) {
            environment.add(&path, &target, priority)?;
            priority += 1;
        }
    }
    // `nix profile` keeps another kind of list.
    let list = required(job, "manifest")?;
    let is_json = Path::new(&list).extension().is_some_and(|extension| extension == "json");
    let manifest = target.join(if is_json { "manifest.json" } else { "manifest.nix" });
    symlink(list, &manifest).map_err(Error::file("linking", &manifest))?;
    Ok(())
}

/// Reads `active priority number-of-outputs output…`, again and again.
fn packages(text: &str) -> Result<Vec<Package>, FailureKind> {
    let bad = || FailureKind::Unsupported("its attribute `derivations` is no list of packages".to_owned());
    let mut words = text.split_ascii_whitespace();
    let mut packages = Vec::new();
    while let Some(active) = words.next() {
        let priority = words.next().and_then(|word| word.parse::<i64>().ok()).ok_or_else(bad)?;
        let count: usize = words.next().and_then(|word| word.parse().ok()).ok_or_else(bad)?;
        for _ in 0..count {
            let path = PathBuf::from(words.next().ok_or_else(bad)?);
            if active != "false" {
                packages.push(Package { priority: priority.max(0).unsigned_abs(), path });
            }
        }
    }
    Ok(packages)
}

struct Environment<'a> {
    job: &'a Job<'a>,
    /// The priority of the package that a link came from.
    priorities: BTreeMap<PathBuf, u64>,
    done: BTreeSet<PathBuf>,
    propagated: BTreeSet<PathBuf>,
}

impl Environment<'_> {
    /// Where a path that the language names really lies.
    fn real(&self, path: &Path) -> PathBuf {
        self.job.store.layout().real_of_logical(path)
    }

    fn add(&mut self, package: &Path, target: &Path, priority: u64) -> Result<(), FailureKind> {
        if !self.done.insert(package.to_owned()) {
            return Ok(());
        }
        self.link_tree(package, target, priority)?;
        let list = self.real(package).join("nix-support/propagated-user-env-packages");
        match fs::read_to_string(&list) {
            Ok(text) => {
                let paths = text.split_ascii_whitespace().map(PathBuf::from);
                self.propagated.extend(paths.filter(|path| !self.done.contains(path)));
                Ok(())
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(())
            }
            Err(error) => Err(Error::file("reading", &list)(error).into()),
        }
    }

    /// Links what is in one directory into another.
    fn link_tree(&mut self, source: &Path, target: &Path, priority: u64) -> Result<(), FailureKind> {
        let real = self.real(source);
        let entries = fs::read_dir(&real).map_err(Error::file("reading directory", &real))?;
        let mut names: Vec<_> = entries
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<io::Result<_>>()
            .map_err(Error::file("reading directory", &real))?;
        names.sort();
        for name in names {
            let (source, target) = (source.join(&name), target.join(&name));
            let text = source.to_string_lossy();
            if LEFT_OUT.iter().any(|ending| text.ends_with(ending)) {
                continue;
            }
            match self.kind_of(&source) {
                Some(true) => self.link_directory(&source, &target, priority)?,
                Some(false) => self.link_file(&source, &target, priority)?,
                None => log::warn!(
                    "`{}` is a link to nothing and is left out of the environment",
                    source.display()
                ),
            }
        }
        Ok(())
    }

    /// Whether something is a directory, links followed as the store names them; `None` if there is nothing.
    fn kind_of(&self, path: &Path) -> Option<bool> {
        let mut place = path.to_owned();
        for _ in 0..40 {
            let real = self.real(&place);
            let found = fs::symlink_metadata(&real).ok()?;
            if !found.is_symlink() {
                return Some(found.is_dir());
            }
            let link = fs::read_link(&real).ok()?;
            place = place.parent().unwrap_or(Path::new("/")).join(link);
        }
        None
    }

    fn link_directory(&mut self, source: &Path, target: &Path, priority: u64) -> Result<(), FailureKind> {
        match fs::symlink_metadata(target) {
            Ok(found) if found.is_dir() => self.link_tree(source, target, priority),
            Ok(found) if found.is_symlink() => {
                // Another package's directory: it becomes one of our own with both packages' links.
                let other = fs::read_link(target).map_err(Error::file("reading link", target))?;
                if self.kind_of(&other) != Some(true) {
                    return Err(collision(source, &other));
                }
                let before = self.priorities.get(target).copied().unwrap_or(priority);
                fs::remove_file(target).map_err(Error::file("removing", target))?;
                fs::create_dir(target).map_err(Error::file("creating", target))?;
                self.link_tree(&other, target, before)?;
                self.link_tree(source, target, priority)
            }
            Ok(_) => Err(collision(source, target)),
            Err(_) => self.link(source, target, priority),
        }
    }

    fn link_file(&mut self, source: &Path, target: &Path, priority: u64) -> Result<(), FailureKind> {
        match fs::symlink_metadata(target) {
            Ok(found) if found.is_symlink() => {
                let before = self.priorities.get(target).copied().unwrap_or(priority);
                let other = fs::read_link(target).map_err(Error::file("reading link", target))?;
                if before == priority {
                    return Err(FailureKind::Output(format!(
                        "files `{}` and `{}` conflict: both packages have the same priority {priority}; use `nix-env --set-flag priority NUMBER PACKAGE` to change the priority of one of them",
                        source.display(),
                        other.display()
                    )));
                }
                if before < priority {
                    return Ok(());
                }
                fs::remove_file(target).map_err(Error::file("removing", target))?;
                self.link(source, target, priority)
            }
            Ok(_) => Err(collision(source, target)),
            Err(_) => self.link(source, target, priority),
        }
    }

    fn link(&mut self, source: &Path, target: &Path, priority: u64) -> Result<(), FailureKind> {
        symlink(source, target).map_err(Error::file("linking", target))?;
        self.priorities.insert(target.to_owned(), priority);
        Ok(())
    }
}

fn collision(source: &Path, other: &Path) -> FailureKind {
    FailureKind::Output(format!(
        "`{}` and `{}` conflict: one is a directory and the other is not",
        source.display(),
        other.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_packages() {
        let read = packages("true 5 2 /s/a /s/a-man\nfalse 1 1 /s/b true 3 1 /s/c ").unwrap();
        let read: Vec<_> =
            read.iter().map(|package| (package.priority, package.path.to_str().unwrap())).collect();
        assert_eq!(read, [(5, "/s/a"), (5, "/s/a-man"), (3, "/s/c")]);
        for bad in ["true", "true x 1 /s/a", "true 5 2 /s/a", "true 5"] {
            assert!(packages(bad).is_err(), "{bad}");
        }
    }
}
