//! What must change in /etc, computed from what is there and what is wanted. Pure: it sees names, links and hashes.

use super::STATIC;
use crate::accounts::Names;
use crate::error::{Error, Result};
use formats::activation::{Activation, EtcEntry};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Component, Path, PathBuf};

/// One thing below /etc.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A symbolic link.
    Link(PathBuf),
    /// A regular file.
    File {
        /// Permission bits.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// A directory.
    Directory,
    /// A socket, a device, a pipe.
    Other,
}

/// /etc as it is.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// Everything below /etc by its path there.
    pub nodes: BTreeMap<String, Node>,
    /// SHA-256 of the files that are or should be copies.
    pub hashes: BTreeMap<String, String>,
    /// What Firn wrote before.
    pub ledger: Ledger,
}

/// What Firn wrote other than links through /etc/static.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Copies and the hash of what was written.
    pub copies: BTreeMap<String, String>,
    /// Links straight into the store.
    pub links: BTreeSet<String>,
}

impl Ledger {
    /// Reads the ledger; lines that are damaged are left out, their files stay.
    pub fn parse(bytes: &[u8]) -> Self {
        let mut ledger = Self::default();
        for line in String::from_utf8_lossy(bytes).lines() {
            match line.split_once(' ') {
                Some(("link", target)) if valid(target) => {
                    ledger.links.insert(target.to_owned());
                }
                Some(("copy", rest)) => {
                    if let Some((hash, target)) = rest.split_once(' ').filter(|(_, target)| valid(target)) {
                        ledger.copies.insert(target.to_owned(), hash.to_owned());
                    }
                }
                _ => {}
            }
        }
        ledger
    }

    /// The ledger's text.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for (target, hash) in &self.copies {
            if writeln!(text, "copy {hash} {target}").is_err() {
                return text;
            }
        }
        for target in &self.links {
            if writeln!(text, "link {target}").is_err() {
                return text;
            }
        }
        text
    }
}

/// What is wanted.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// The generation's document.
    pub activation: &'a Activation,
    /// What /etc/static shall point to; nothing: entries link straight to their sources.
    pub static_directory: Option<PathBuf>,
    /// Hashes of the copies' sources.
    pub contents: BTreeMap<String, String>,
    /// Owners' ids.
    pub names: &'a Names,
    /// Whether owners are set at all.
    pub owners: bool,
}

/// One step. They are carried out in the plan's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Move /etc/static.
    Static {
        /// The new generation's tree.
        to: PathBuf,
    },
    /// Turn our link to a directory into a directory.
    Open {
        /// Path below /etc.
        target: String,
        /// Those of its files that the new generation has too: they are there at every moment.
        keep: Vec<String>,
    },
    /// Set a file aside that Firn did not make, as `NAME.before-firn`.
    Keep {
        /// Path below /etc.
        target: String,
    },
    /// Make or replace a link.
    Link {
        /// Path below /etc.
        target: String,
        /// What it points to.
        to: PathBuf,
    },
    /// Make or replace a copy.
    Copy {
        /// Path below /etc.
        target: String,
        /// Copied from here.
        source: String,
        /// Permission bits.
        mode: u32,
        /// Owner and group.
        owner: (u32, u32),
    },
    /// Remove what was ours and is not wanted any more.
    Remove {
        /// Path below /etc.
        target: String,
    },
}

impl std::fmt::Display for Change {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Static { to } => write!(formatter, "/etc/static → {}", to.display()),
            Self::Open { target, .. } => write!(formatter, "make /etc/{target} a directory"),
            Self::Keep { target } => write!(formatter, "keep /etc/{target} as /etc/{target}.before-firn"),
            Self::Link { target, to } => write!(formatter, "link /etc/{target} → {}", to.display()),
            Self::Copy { target, mode, .. } => write!(formatter, "copy /etc/{target} ({mode:04o})"),
            Self::Remove { target } => write!(formatter, "remove /etc/{target}"),
        }
    }
}

/// The steps and the ledger after them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EtcPlan {
    /// The steps in order.
    pub changes: Vec<Change>,
    /// The ledger while they are carried out: old and new entries.
    pub ledger_meanwhile: Ledger,
    /// The ledger afterwards.
    pub ledger: Ledger,
    /// Remarks.
    pub notices: Vec<String>,
    ledger_before: Ledger,
}

impl EtcPlan {
    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.ledger == self.ledger_before
    }
}

/// Whether an entry's mode is octal, which makes it a copy.
pub fn is_copy(mode: &str) -> bool {
    !matches!(mode, "symlink" | "direct-symlink")
}

/// The name under which a file that is not ours is kept.
pub(crate) fn kept_name(place: &Path) -> PathBuf {
    let mut name = place.file_name().unwrap_or_default().to_os_string();
    name.push(".before-firn");
    place.with_file_name(name)
}

/// Computes the steps.
///
/// # Errors
/// When an entry has an impossible target, mode or owner, or lies below another.
pub fn plan(observed: &Observed, wanted: &Wanted<'_>) -> Result<EtcPlan> {
    check_targets(wanted.activation)?;
    let mut planner = Planner {
        observed,
        wanted,
        opened: BTreeSet::new(),
        early: Vec::new(),
        late: Vec::new(),
        plan: EtcPlan { ledger_before: observed.ledger.clone(), ..EtcPlan::default() },
    };
    for entry in &wanted.activation.etc {
        planner.entry(entry)?;
    }
    planner.stale();
    Ok(planner.finish())
}

struct Planner<'a> {
    observed: &'a Observed,
    wanted: &'a Wanted<'a>,
    opened: BTreeSet<String>,
    early: Vec<Change>,
    late: Vec<Change>,
    plan: EtcPlan,
}

impl Planner<'_> {
    fn entry(&mut self, entry: &EtcEntry) -> Result<()> {
        self.open_ancestors(&entry.target);
        match entry.mode.as_str() {
            "symlink" => {
                let to = if self.wanted.static_directory.is_some() {
                    Path::new(STATIC).join(&entry.target)
                } else {
                    self.plan.ledger.links.insert(entry.target.clone());
                    PathBuf::from(&entry.source)
                };
                self.link(&entry.target, to);
            }
            "direct-symlink" => {
                self.plan.ledger.links.insert(entry.target.clone());
                self.link(&entry.target, PathBuf::from(&entry.source));
            }
            octal => self.copy(entry, octal)?,
        }
        Ok(())
    }

    /// Directories on the way that are links of ours become directories; a file in the way is set aside.
    fn open_ancestors(&mut self, target: &str) {
        for (end, _) in target.match_indices('/') {
            let ancestor = &target[..end];
            match self.observed.nodes.get(ancestor) {
                _ if self.opened.contains(ancestor) => {}
                Some(Node::Link(to)) if self.ours(ancestor, to) => {
                    self.opened.insert(ancestor.to_owned());
                    let keep = self.directly_below(ancestor);
                    self.early.push(Change::Open { target: ancestor.to_owned(), keep });
                }
                Some(Node::File { .. } | Node::Other) => {
                    self.opened.insert(ancestor.to_owned());
                    self.early.push(Change::Keep { target: ancestor.to_owned() });
                    self.plan
                        .notices
                        .push(format!("/etc/{ancestor} must be a directory; the file is kept beside it"));
                }
                _ => {}
            }
        }
    }

    fn link(&mut self, target: &str, to: PathBuf) {
        let opened = self.opened.iter().any(|ancestor| target.starts_with(&format!("{ancestor}/")));
        match self.observed.nodes.get(target) {
            Some(Node::Link(there)) if *there == to => return,
            Some(Node::Directory) => {
                let foreign = self.foreign_below(target);
                if !foreign.is_empty() {
                    self.plan.notices.push(format!(
                        "/etc/{target} stays a directory, since it holds files that Firn did not make ({}); move them away",
                        foreign.join(", ")
                    ));
                    return;
                }
            }
            Some(Node::File { .. } | Node::Other) if !opened => self.set_aside(target),
            _ => {}
        }
        self.early.push(Change::Link { target: target.to_owned(), to });
    }

    fn copy(&mut self, entry: &EtcEntry, octal: &str) -> Result<()> {
        let impossible = |problem: String| Error::Configuration {
            option: format!("environment.etc.{:?}", entry.target),
            problem,
        };
        let mode = u32::from_str_radix(octal, 8).ok().filter(|mode| *mode <= 0o7777).ok_or_else(|| {
            impossible(format!("`{octal}` is neither a mode nor symlink nor direct-symlink"))
        })?;
        let names = self.wanted.names;
        let uid =
            names.uid(&entry.user).ok_or_else(|| impossible(format!("there is no user `{}`", entry.user)))?;
        let gid = names
            .gid(&entry.group)
            .ok_or_else(|| impossible(format!("there is no group `{}`", entry.group)))?;
        let hash = self.wanted.contents.get(&entry.target).cloned().unwrap_or_default();
        self.plan.ledger.copies.insert(entry.target.clone(), hash.clone());
        match self.observed.nodes.get(&entry.target) {
            Some(Node::File { mode: there, uid: owner, gid: group }) => {
                let same = self.observed.hashes.get(&entry.target) == Some(&hash);
                let same_owner = !self.wanted.owners || (*owner, *group) == (uid, gid);
                if same && *there == mode && same_owner {
                    return Ok(());
                }
                if !self.observed.ledger.copies.contains_key(&entry.target) && !same {
                    self.set_aside(&entry.target);
                }
            }
            Some(Node::Directory) => {
                self.plan
                    .notices
                    .push(format!("/etc/{} is a directory; the file is not written", entry.target));
                return Ok(());
            }
            _ => {}
        }
        let target = entry.target.clone();
        self.early.push(Change::Copy { target, source: entry.source.clone(), mode, owner: (uid, gid) });
        Ok(())
    }

    /// Keeps a file that is not ours, once: a second one of the same name was written while ours was wanted.
    fn set_aside(&mut self, target: &str) {
        let kept = format!("{target}.before-firn");
        let ours = self
            .observed
            .ledger
            .copies
            .get(target)
            .is_some_and(|hash| self.observed.hashes.get(target) == Some(hash));
        if !ours && !self.observed.nodes.contains_key(&kept) {
            self.early.push(Change::Keep { target: target.to_owned() });
        }
    }

    fn stale(&mut self) {
        let wanted: BTreeSet<&str> =
            self.wanted.activation.etc.iter().map(|entry| entry.target.as_str()).collect();
        // A directory that becomes one link takes everything of ours below it along.
        let replaced =
            |target: &str| target.match_indices('/').any(|(end, _)| wanted.contains(&target[..end]));
        for (target, node) in &self.observed.nodes {
            if wanted.contains(target.as_str()) || target == "static" || replaced(target) {
                continue;
            }
            match node {
                Node::Link(to) if self.ours(target, to) && !self.opened.contains(target) => {
                    self.late.push(Change::Remove { target: target.clone() });
                }
                Node::File { .. } => match self.observed.ledger.copies.get(target) {
                    Some(hash) if self.observed.hashes.get(target) == Some(hash) => {
                        self.late.push(Change::Remove { target: target.clone() });
                    }
                    Some(_) => self.plan.notices.push(format!(
                        "/etc/{target} is not wanted any more but was changed by hand; it stays"
                    )),
                    None => {}
                },
                _ => {}
            }
        }
    }

    fn finish(mut self) -> EtcPlan {
        let mut changes = Vec::new();
        // Directories are opened while /etc/static still shows the old generation's contents.
        let (open, rest): (Vec<_>, Vec<_>) =
            self.early.into_iter().partition(|change| matches!(change, Change::Open { .. }));
        changes.extend(open);
        if let Some(to) = &self.wanted.static_directory
            && self.observed.nodes.get("static") != Some(&Node::Link(to.clone()))
        {
            changes.push(Change::Static { to: to.clone() });
        }
        changes.extend(rest);
        changes.extend(self.late);
        self.plan.changes = changes;
        self.plan.ledger_meanwhile = self.plan.ledger.clone();
        for (target, hash) in &self.observed.ledger.copies {
            let entry = self.plan.ledger_meanwhile.copies.entry(target.clone());
            entry.or_insert_with(|| hash.clone());
        }
        self.plan.ledger_meanwhile.links.extend(self.observed.ledger.links.iter().cloned());
        self.plan
    }

    /// Links through /etc/static are ours by where they point, direct ones by the ledger.
    fn ours(&self, target: &str, to: &Path) -> bool {
        to.starts_with(STATIC) || self.observed.ledger.links.contains(target)
    }

    /// Names of the wanted entries that lie directly in this directory.
    fn directly_below(&self, directory: &str) -> Vec<String> {
        let below = |entry: &EtcEntry| {
            let name = entry.target.strip_prefix(directory)?.strip_prefix('/')?;
            (!name.contains('/')).then(|| name.to_owned())
        };
        self.wanted.activation.etc.iter().filter_map(below).collect()
    }

    fn foreign_below(&self, target: &str) -> Vec<&str> {
        let prefix = format!("{target}/");
        self.observed
            .nodes
            .range(prefix.clone()..)
            .take_while(|(name, _)| name.starts_with(&prefix))
            .filter(|(name, node)| match node {
                Node::Directory => false,
                Node::Link(to) => !self.ours(name, to),
                Node::File { .. } => {
                    self.observed.ledger.copies.get(*name) != self.observed.hashes.get(*name)
                        || !self.observed.ledger.copies.contains_key(*name)
                }
                Node::Other => true,
            })
            .map(|(name, _)| name.as_str())
            .collect()
    }
}

fn valid(target: &str) -> bool {
    !target.is_empty()
        && !target.contains('\n')
        && Path::new(target).components().all(|component| matches!(component, Component::Normal(_)))
}

fn check_targets(activation: &Activation) -> Result<()> {
    let impossible = |target: &str, problem: String| Error::Configuration {
        option: format!("environment.etc.{target:?}"),
        problem,
    };
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for entry in &activation.etc {
        if !valid(&entry.target) || entry.target == "static" {
            return Err(impossible(
                &entry.target,
                "the target must be a relative path without `..`".to_owned(),
            ));
        }
        if !seen.insert(&entry.target) {
            return Err(impossible(&entry.target, "two entries have this target".to_owned()));
        }
    }
    for entry in &activation.etc {
        for (end, _) in entry.target.match_indices('/') {
            if seen.contains(&entry.target[..end]) {
                return Err(impossible(
                    &entry.target,
                    format!(
                        "it lies below another entry, {:?}, which is a file or link",
                        &entry.target[..end]
                    ),
                ));
            }
        }
    }
    Ok(())
}
