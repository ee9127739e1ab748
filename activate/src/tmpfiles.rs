//! tmpfiles.d(5) on a root directory: makes, sets right, removes and ages files and directories. Lines that make things go
//! first, parents before children, then lines with patterns, as systemd-tmpfiles(8) orders them. No step follows a link
//! that an ordinary user could have put there (CVE-2017-18078 and its kin): see `safe_place`.

mod access_list;
mod age;
mod attributes;
mod pattern;
pub mod rule;
pub mod specifier;

use crate::accounts::Names;
use crate::durable;
use crate::error::{Error, Result};
use crate::root::Root;
use rule::{Kind, Rule};
use specifier::Specifiers;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// What is done with the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// At boot: lines with `!` count, and what is to be removed is.
    Boot,
    /// On a running system: only make and set right.
    Switch,
    /// From a timer: only remove what is too old.
    Clean,
    /// `systemd-tmpfiles --create`: only make and set right; lines with `!` count with `boot`.
    Create {
        /// `--boot`
        boot: bool,
    },
    /// `systemd-tmpfiles --remove`: only remove what is to be removed.
    Remove {
        /// `--boot`
        boot: bool,
    },
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What was changed, one line each.
    pub changed: Vec<String>,
    /// What failed; the other lines were carried out.
    pub problems: Vec<Error>,
}

/// Carries the rules out.
pub fn apply(root: &Root, lines: &[String], names: &Names, host_name: &str, occasion: Occasion) -> Outcome {
    let specifiers = Specifiers::read(root, host_name);
    let is_boot = matches!(
        occasion,
        Occasion::Boot | Occasion::Create { boot: true } | Occasion::Remove { boot: true }
    );
    let mut outcome = Outcome::default();
    let mut rules = Vec::new();
    for line in lines {
        match Rule::parse(line, &specifiers) {
            Ok(Some(rule)) if !rule.boot_only || is_boot => rules.push(rule),
            Ok(_) => {}
            Err(error) => outcome.problems.push(error),
        }
    }
    // Parents first; a stable sort keeps the order of lines for one path.
    rules.sort_by(|one, other| {
        one.kind
            .is_glob()
            .cmp(&other.kind.is_glob())
            .then_with(|| one.path.split('/').cmp(other.path.split('/')))
    });
    let mut run = Run { root, names, changed: Vec::new() };
    match occasion {
        Occasion::Clean => {
            let exclusions: Vec<&Rule> =
                rules.iter().filter(|rule| matches!(rule.kind, Kind::Exclude | Kind::ExcludeSelf)).collect();
            for rule in rules.iter().filter(|rule| rule.age.is_some()) {
                let result = age::clean(root, rule, &rules, &exclusions, &mut run.changed);
                collect(rule, result, &mut outcome.problems);
            }
        }
        Occasion::Boot | Occasion::Switch | Occasion::Create { .. } | Occasion::Remove { .. } => {
            if matches!(occasion, Occasion::Boot | Occasion::Remove { .. }) {
                for rule in rules.iter().rev() {
                    let result = run.remove(rule);
                    collect(rule, result, &mut outcome.problems);
                }
            }
            let mut made: Vec<&str> = Vec::new();
            let makes = !matches!(occasion, Occasion::Remove { .. });
            for rule in rules.iter().filter(|_| makes) {
                // The first line that makes a path wins, as with systemd.
                if !rule.kind.is_glob() && made.last() == Some(&rule.path.as_str()) {
                    continue;
                }
                if !rule.kind.is_glob() {
                    made.push(&rule.path);
                }
                let result = run.create(rule);
                collect(rule, result, &mut outcome.problems);
            }
        }
    }
    outcome.changed = run.changed;
    outcome
}

fn collect(rule: &Rule, result: Result<()>, problems: &mut Vec<Error>) {
    match result {
        Ok(()) => {}
        Err(error) if rule.may_fail => log::debug!("{}: {error}", rule.line),
        Err(Error::Rule { line, problem }) => problems.push(Error::Rule { line, problem }),
        Err(error) => problems.push(Error::Rule { line: rule.line.clone(), problem: error.to_string() }),
    }
}

struct Run<'a> {
    root: &'a Root,
    names: &'a Names,
    changed: Vec<String>,
}

impl Run<'_> {
    fn remove(&mut self, rule: &Rule) -> Result<()> {
        match rule.kind {
            Kind::Remove | Kind::RemoveTree => {
                for path in pattern::expand(self.root, &rule.path)? {
                    let place = self.safe_place(rule, &path)?;
                    let is_directory = place.symlink_metadata().is_ok_and(|found| found.is_dir());
                    if rule.kind == Kind::Remove && is_directory {
                        std::fs::remove_dir(&place).map_err(Error::file("remove", &place))?;
                    } else {
                        crate::etc::remove_tree_if_there(&place)?;
                    }
                    self.changed.push(format!("remove {}", path.display()));
                }
                Ok(())
            }
            Kind::EmptiedDirectory => {
                let place = self.safe_place(rule, Path::new(&rule.path))?;
                let Ok(entries) = std::fs::read_dir(&place) else { return Ok(()) };
                for entry in entries {
                    let path = entry.map_err(Error::file("list", &place))?.path();
                    crate::etc::remove_tree_if_there(&path)?;
                    self.changed.push(format!("remove {}", self.root.inside(&path).display()));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn create(&mut self, rule: &Rule) -> Result<()> {
        match rule.kind {
            Kind::Directory | Kind::EmptiedDirectory => self.directory(rule),
            Kind::File => self.file(rule),
            Kind::Link => self.link(rule),
            Kind::Pipe | Kind::Character | Kind::Block => self.node(rule),
            Kind::Copy => self.copy(rule),
            Kind::Write => self.each(rule, Self::write),
            Kind::ExistingDirectory => self.each(rule, |run, rule, path| {
                let place = run.safe_place(rule, path)?;
                if place.symlink_metadata().is_ok_and(|found| found.is_dir()) {
                    return run.set(rule, &place, false, 0o755);
                }
                Ok(())
            }),
            Kind::Set => self.each(rule, |run, rule, path| {
                let place = run.safe_place(rule, path)?;
                run.set(rule, &place, false, 0)
            }),
            Kind::SetTree => self.each(rule, |run, rule, path| {
                let place = run.safe_place(rule, path)?;
                run.set_tree(rule, &place)
            }),
            Kind::Attributes => self.each(rule, |run, rule, path| {
                let place = run.safe_place(rule, path)?;
                run.attributes(rule, &place)
            }),
            Kind::AttributesTree => self.each_below(rule, Self::attributes),
            Kind::Acl => self.each(rule, |run, rule, path| {
                let place = run.safe_place(rule, path)?;
                run.access_list(rule, &place)
            }),
            Kind::AclTree => self.each_below(rule, Self::access_list),
            Kind::Xattr => self.each(rule, |run, rule, path| {
                let place = run.safe_place(rule, path)?;
                run.extended_attributes(rule, &place)
            }),
            Kind::XattrTree => self.each_below(rule, Self::extended_attributes),
            Kind::Exclude | Kind::ExcludeSelf | Kind::Remove | Kind::RemoveTree => Ok(()),
        }
    }

    fn each(&mut self, rule: &Rule, act: impl Fn(&mut Self, &Rule, &Path) -> Result<()>) -> Result<()> {
        for path in pattern::expand(self.root, &rule.path)? {
            act(self, rule, &path)?;
        }
        Ok(())
    }

    /// Each place and everything below it, links left out.
    fn each_below(&mut self, rule: &Rule, act: impl Fn(&mut Self, &Rule, &Path) -> Result<()>) -> Result<()> {
        self.each(rule, |run, rule, path| {
            let mut waiting = vec![run.safe_place(rule, path)?];
            while let Some(place) = waiting.pop() {
                let Ok(found) = place.symlink_metadata() else { continue };
                if found.is_symlink() {
                    continue;
                }
                if found.is_dir() {
                    for entry in std::fs::read_dir(&place).map_err(Error::file("list", &place))? {
                        waiting.push(entry.map_err(Error::file("list", &place))?.path());
                    }
                }
                // What has no such attributes, a pipe or a device, is passed over as in chattr -R.
                if found.is_dir() || found.is_file() {
                    act(run, rule, &place)?;
                }
            }
            Ok(())
        })
    }

    fn directory(&mut self, rule: &Rule) -> Result<()> {
        let mut place = self.safe_place(rule, Path::new(&rule.path))?;
        // A link to a directory serves: /var/run and the like.
        if place.symlink_metadata().is_ok_and(|found| found.is_symlink())
            && place_is_directory(self.root, &place)?
        {
            place = self.root.resolve(&rule.path)?;
        }
        let new = !already_there(rule, &place, std::fs::Metadata::is_dir)?;
        if new {
            std::fs::create_dir(&place).map_err(Error::file("make the directory", &place))?;
            self.changed.push(format!("make {}", rule.path));
        }
        self.set(rule, &place, new, 0o755)
    }

    fn file(&mut self, rule: &Rule) -> Result<()> {
        let place = self.safe_place(rule, Path::new(&rule.path))?;
        let there = already_there(rule, &place, std::fs::Metadata::is_file)?;
        let text = rule.argument.as_deref().map(unescape).unwrap_or_default();
        let differs = || std::fs::read(&place).map_or(true, |found| found != text.as_bytes());
        if !there || (rule.plus && differs()) {
            std::fs::write(&place, &text).map_err(Error::file("write", &place))?;
            self.changed.push(format!("write {}", rule.path));
        }
        self.set(rule, &place, !there, 0o644)
    }

    fn write(&mut self, rule: &Rule, path: &Path) -> Result<()> {
        use std::io::Write as _;
        let place = self.safe_place(rule, path)?;
        let text = rule.argument.as_deref().map(unescape).unwrap_or_default();
        if !rule.plus
            && std::fs::read(&place).is_ok_and(|found| found.trim_ascii_end() == text.trim_end().as_bytes())
        {
            return Ok(());
        }
        let mut options = std::fs::OpenOptions::new();
        options.write(true).append(rule.plus);
        let mut file = options.open(&place).map_err(Error::file("open", &place))?;
        file.write_all(text.as_bytes()).map_err(Error::file("write", &place))?;
        self.changed.push(format!("write {}", path.display()));
        Ok(())
    }

    fn link(&mut self, rule: &Rule) -> Result<()> {
        let default = format!("/usr/share/factory{}", rule.path);
        let target = PathBuf::from(rule.argument.as_deref().unwrap_or(&default));
        if rule.if_target && !self.root.resolve(&target)?.exists() {
            return Ok(());
        }
        let place = self.safe_place(rule, Path::new(&rule.path))?;
        if std::fs::read_link(&place).is_ok_and(|found| found == target) {
            return Ok(());
        }
        if let Ok(found) = place.symlink_metadata() {
            if !rule.plus && !rule.replace {
                // An existing thing is left alone, as L without + says.
                return Ok(());
            }
            if found.is_dir() {
                crate::etc::remove_tree_if_there(&place)?;
            }
        } else if let Some(parent) = place.parent() {
            durable::make_directories(parent)?;
        }
        durable::link(&target, &place)?;
        self.changed.push(format!("link {} → {}", rule.path, target.display()));
        Ok(())
    }

    fn node(&mut self, rule: &Rule) -> Result<()> {
        use rustix::fs::{CWD, FileType, makedev, mknodat};
        let place = self.safe_place(rule, Path::new(&rule.path))?;
        let there = already_there(rule, &place, |found| match rule.kind {
            Kind::Pipe => found.file_type().is_fifo(),
            Kind::Character => found.file_type().is_char_device(),
            _ => found.file_type().is_block_device(),
        })?;
        if !there {
            let kind = match rule.kind {
                Kind::Pipe => FileType::Fifo,
                Kind::Character => FileType::CharacterDevice,
                _ => FileType::BlockDevice,
            };
            let numbers = rule.argument.as_deref().and_then(|text| {
                let (major, minor) = text.split_once(':')?;
                Some(makedev(major.parse().ok()?, minor.parse().ok()?))
            });
            let device = match (rule.kind, numbers) {
                (Kind::Pipe, _) => 0,
                (_, Some(device)) => device,
                (_, None) => {
                    let problem = "a device needs MAJOR:MINOR as its argument".to_owned();
                    return Err(Error::Rule { line: rule.line.clone(), problem });
                }
            };
            mknodat(CWD, &place, kind, rustix::fs::Mode::from_raw_mode(0o600), device)
                .map_err(Error::call("make the node", &place))?;
            self.changed.push(format!("make {}", rule.path));
        }
        self.set(rule, &place, !there, 0o644)
    }

    fn copy(&mut self, rule: &Rule) -> Result<()> {
        let default = format!("/usr/share/factory{}", rule.path);
        let source = self.root.resolve(rule.argument.as_deref().unwrap_or(&default))?;
        let place = self.safe_place(rule, Path::new(&rule.path))?;
        if !source.exists() {
            return Err(Error::Rule {
                line: rule.line.clone(),
                problem: format!("{} does not exist", source.display()),
            });
        }
        let empty = std::fs::read_dir(&place).is_ok_and(|mut entries| entries.next().is_none());
        let new = place.symlink_metadata().is_err();
        if new || empty || rule.plus {
            if let Some(parent) = place.parent() {
                durable::make_directories(parent)?;
            }
            if copy_tree(&source, &place)? {
                self.changed.push(format!("copy {}", rule.path));
            }
        }
        if rule.mode.bits.is_some() || rule.user.name.is_some() || rule.group.name.is_some() {
            return self.set(rule, &place, new, 0);
        }
        Ok(())
    }

    /// The place of a path, its parents' links followed; refused where the way leads from a directory of an ordinary user
    /// to something of another's: that user could have put a link there.
    fn safe_place(&self, rule: &Rule, path: &Path) -> Result<PathBuf> {
        let place = self.root.resolve_parent(path)?;
        if !self.root.sets_owners() {
            return Ok(place);
        }
        let mut owner = 0;
        let mut here = PathBuf::from("/");
        for part in path.iter().skip(1) {
            here.push(part);
            let Ok(found) = self.root.resolve_parent(&here)?.symlink_metadata() else { break };
            if owner != 0 && found.uid() != owner {
                return Err(Error::Rule {
                    line: rule.line.clone(),
                    problem: format!(
                        "the way to it passes a directory of user {owner}, who could redirect it"
                    ),
                });
            }
            if found.is_dir() || found.is_symlink() {
                owner = found.uid();
            }
        }
        Ok(place)
    }
}

/// Makes room for a thing of this type. True: one of the right type is there.
fn already_there(rule: &Rule, place: &Path, right: impl Fn(&std::fs::Metadata) -> bool) -> Result<bool> {
    let Ok(found) = place.symlink_metadata() else {
        if let Some(parent) = place.parent() {
            durable::make_directories(parent)?;
        }
        return Ok(false);
    };
    if right(&found) {
        return Ok(true);
    }
    if rule.replace {
        crate::etc::remove_tree_if_there(place)?;
        return Ok(false);
    }
    Err(Error::Rule {
        line: rule.line.clone(),
        problem: format!("{} exists and is of another type", rule.path),
    })
}

fn place_is_directory(root: &Root, place: &Path) -> Result<bool> {
    Ok(root.resolve(root.inside(place))?.is_dir())
}

/// Copies what is missing, keeping modes; store paths lose their read-only bits for the owner. True: something was copied.
fn copy_tree(source: &Path, place: &Path) -> Result<bool> {
    let found = source.symlink_metadata().map_err(Error::file("look at", source))?;
    let exists = place.symlink_metadata().is_ok();
    if found.is_symlink() {
        if exists {
            return Ok(false);
        }
        let target = std::fs::read_link(source).map_err(Error::file("read the link", source))?;
        std::os::unix::fs::symlink(target, place).map_err(Error::file("make the link", place))?;
        return Ok(true);
    }
    let mode = found.mode() & 0o7777 | 0o200;
    if found.is_dir() {
        let mut changed = !exists;
        if !exists {
            std::fs::create_dir(place).map_err(Error::file("make the directory", place))?;
        }
        for entry in std::fs::read_dir(source).map_err(Error::file("list", source))? {
            let entry = entry.map_err(Error::file("list", source))?;
            changed |= copy_tree(&entry.path(), &place.join(entry.file_name()))?;
        }
        if !exists {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(place, permissions).map_err(Error::file("set the mode of", place))?;
        }
        return Ok(changed);
    }
    if exists {
        return Ok(false);
    }
    let contents = std::fs::read(source).map_err(Error::file("read", source))?;
    std::fs::write(place, contents).map_err(Error::file("write", place))?;
    std::fs::set_permissions(place, std::fs::Permissions::from_mode(mode))
        .map_err(Error::file("set the mode of", place))?;
    Ok(true)
}

/// C escapes of an argument, as `f` and `w` take them.
fn unescape(text: &str) -> String {
    let mut result = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            result.push(character);
            continue;
        }
        match characters.next() {
            Some('n') => result.push('\n'),
            Some('t') => result.push('\t'),
            Some('r') => result.push('\r'),
            Some('x') => {
                let hex: String = characters.by_ref().take(2).collect();
                result.push(u8::from_str_radix(&hex, 16).map_or('\u{fffd}', char::from));
            }
            Some(other) => result.push(other),
            None => result.push('\\'),
        }
    }
    result
}

#[cfg(test)]
mod tests;
