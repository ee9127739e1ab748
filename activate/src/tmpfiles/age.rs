//! Ageing: removes what is older than a line allows, tmpfiles.d(5) "Age". A file's age is that of the youngest of its
//! times; a directory goes when it is empty and old itself.

use super::pattern;
use super::rule::{Kind, Rule};
use crate::error::{Error, Result};
use crate::root::Root;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Cleans below every directory that the line matches.
pub(super) fn clean(
    root: &Root,
    rule: &Rule,
    all: &[Rule],
    exclusions: &[&Rule],
    changed: &mut Vec<String>,
) -> Result<()> {
    let Some(age) = rule.age.filter(|_| {
        matches!(
            rule.kind,
            Kind::Directory | Kind::EmptiedDirectory | Kind::ExistingDirectory | Kind::Copy | Kind::Exclude
        )
    }) else {
        return Ok(());
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let limit = now.saturating_sub(age);
    for path in pattern::expand(root, &rule.path)? {
        let place = root.resolve_parent(&path)?;
        let Ok(found) = place.symlink_metadata() else { continue };
        if found.is_dir() && (rule.kind != Kind::Exclude || age > Duration::ZERO) {
            let cleaning = Cleaning { root, limit, all, exclusions, device: found.dev() };
            cleaning.below(&place, rule.keep_first_level, changed)?;
        }
    }
    Ok(())
}

struct Cleaning<'a> {
    root: &'a Root,
    limit: Duration,
    all: &'a [Rule],
    exclusions: &'a [&'a Rule],
    device: u64,
}

impl Cleaning<'_> {
    fn below(&self, directory: &Path, keep: bool, changed: &mut Vec<String>) -> Result<()> {
        for entry in std::fs::read_dir(directory).map_err(Error::file("list", directory))? {
            let place = entry.map_err(Error::file("list", directory))?.path();
            let path = self.root.inside(&place);
            let Ok(found) = place.symlink_metadata() else { continue };
            // Other file systems, sticky files and what another line speaks of are not ours to age.
            if found.dev() != self.device || self.excluded(&path, Kind::Exclude) || self.named(&path) {
                continue;
            }
            if found.is_dir() {
                self.below(&place, false, changed)?;
            }
            if keep || self.excluded(&path, Kind::ExcludeSelf) || found.mode() & 0o1000 != 0 {
                continue;
            }
            let time = |seconds: i64| Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
            let mut youngest = time(found.mtime()).max(time(found.ctime()));
            if !found.is_dir() {
                youngest = youngest.max(time(found.atime()));
            }
            if youngest >= self.limit {
                continue;
            }
            let removed =
                if found.is_dir() { std::fs::remove_dir(&place) } else { std::fs::remove_file(&place) };
            match removed {
                Ok(()) => changed.push(format!("remove {}", path.display())),
                Err(error) => log::debug!("{}: {error}", path.display()),
            }
        }
        Ok(())
    }

    fn excluded(&self, path: &Path, kind: Kind) -> bool {
        self.exclusions.iter().any(|rule| rule.kind == kind && pattern::matches_path(&rule.path, path))
    }

    fn named(&self, path: &Path) -> bool {
        self.all.iter().any(|rule| !rule.kind.is_glob() && Path::new(&rule.path) == path)
    }
}
