//! The account files that a generation wants, computed from those that are there. Pure; follows what NixOS's
//! `update-users-groups` does with `users.mutableUsers`, read in its option documentation:
//!
//! - declared accounts are made and kept up to date, but an id never changes once it is given;
//! - accounts that are not declared stay when users are mutable, unless the last generation declared them;
//! - passwords are set when the account is made, and at each activation when users are immutable.

use super::crypt;
use super::database::{GroupLine, Passwd, Shadow, Subordinate, Table};
use super::ids::{Ids, Range, SUBORDINATE_COUNT, choose, choose_subordinate};
use crate::error::{Error, Result};
use formats::activation::{Activation, Group, User};
use std::collections::{BTreeMap, BTreeSet};

/// The group of users whose group does not exist.
const NOGROUP: u32 = 65_534;
/// A password that nobody has.
const LOCKED: &str = "!";

/// The files and the state beside them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accounts {
    /// /etc/passwd
    pub passwd: Table<Passwd>,
    /// /etc/group
    pub group: Table<GroupLine>,
    /// /etc/shadow
    pub shadow: Table<Shadow>,
    /// /etc/subuid
    pub subuid: Table<Subordinate>,
    /// /etc/subgid
    pub subgid: Table<Subordinate>,
    /// /var/lib/firn/ids.json
    pub ids: Ids,
}

/// What the plan needs from outside: read before, so that planning touches nothing.
pub struct Inputs<'a> {
    /// Contents of the `hashedPasswordFile`s that exist, by user.
    pub password_files: &'a BTreeMap<String, String>,
    /// Fresh random bytes for a salt.
    pub random: &'a dyn Fn() -> [u8; 12],
}

impl std::fmt::Debug for Inputs<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Inputs").finish_non_exhaustive()
    }
}

/// The plan: the wanted files, and what the user should hear.
#[derive(Debug, Clone)]
pub struct AccountPlan {
    /// The wanted files.
    pub wanted: Accounts,
    /// Remarks, one sentence each.
    pub notices: Vec<String>,
}

/// Computes the wanted files.
///
/// # Errors
/// When a name or a field cannot stand in these files, or a range of ids is exhausted.
pub fn plan(current: &Accounts, activation: &Activation, inputs: &Inputs<'_>) -> Result<AccountPlan> {
    check_fields(activation)?;
    let mut planner = Planner { current, activation, inputs, ids: current.ids.clone(), notices: Vec::new() };
    planner.note_damage();
    let group = planner.groups()?;
    let passwd = planner.users(&group)?;
    let shadow = planner.shadow(&passwd);
    let (subuid, subgid) = planner.subordinates()?;
    planner.ids.declared_users = activation.users.iter().map(|user| user.name.clone()).collect();
    planner.ids.declared_groups = activation.groups.iter().map(|group| group.name.clone()).collect();
    let wanted = Accounts { passwd, group, shadow, subuid, subgid, ids: planner.ids };
    Ok(AccountPlan { wanted, notices: planner.notices })
}

struct Planner<'a> {
    current: &'a Accounts,
    activation: &'a Activation,
    inputs: &'a Inputs<'a>,
    ids: Ids,
    notices: Vec<String>,
}

impl Planner<'_> {
    fn note_damage(&mut self) {
        for (file, damaged) in [
            ("passwd", self.current.passwd.damaged),
            ("group", self.current.group.damaged),
            ("shadow", self.current.shadow.damaged),
        ] {
            if damaged > 0 {
                self.notices.push(format!("/etc/{file} had {damaged} damaged lines; they are dropped"));
            }
        }
    }

    fn groups(&mut self) -> Result<Table<GroupLine>> {
        let mut in_use: BTreeSet<u32> = self.current.group.entries.iter().map(|group| group.gid).collect();
        in_use.extend(self.activation.groups.iter().filter_map(|group| group.gid));
        let mut entries: Vec<GroupLine> = Vec::new();
        for group in &self.activation.groups {
            let gid = self.gid_of(group, &mut in_use)?;
            entries.push(GroupLine {
                name: group.name.clone(),
                password: "x".to_owned(),
                gid,
                members: self.members_of(group),
            });
        }
        for kept in self.kept(&self.current.group, &self.ids.declared_groups, |name| {
            self.activation.groups.iter().any(|group| group.name == name)
        }) {
            entries.push(kept);
        }
        entries.sort_by(|one, other| (one.gid, &one.name).cmp(&(other.gid, &other.name)));
        Ok(Table { entries, foreign: self.kept_foreign(&self.current.group.foreign), damaged: 0 })
    }

    fn gid_of(&mut self, group: &Group, in_use: &mut BTreeSet<u32>) -> Result<u32> {
        let existing = self.current.group.get(&group.name).map(|line| line.gid);
        let gid = match (existing, group.gid) {
            (Some(existing), Some(wanted)) if existing != wanted => {
                self.notices.push(format!(
                    "group `{}` keeps its id {existing}: an id is never changed, files belong to it (wanted {wanted})",
                    group.name
                ));
                existing
            }
            (Some(existing), _) => existing,
            (None, Some(wanted)) => wanted,
            (None, None) => {
                let former = self.ids.gids.get(&group.name).copied();
                choose(Range::System, former, in_use, &self.ids.gids).ok_or_else(|| Error::Configuration {
                    option: format!("users.groups.{}", group.name),
                    problem: "no id is left between 400 and 999; set `gid`".to_owned(),
                })?
            }
        };
        in_use.insert(gid);
        self.ids.gids.insert(group.name.clone(), gid);
        Ok(gid)
    }

    /// Declared members, those who name the group themselves, and when users are mutable those added by hand.
    fn members_of(&self, group: &Group) -> Vec<String> {
        let mut members: BTreeSet<String> = group.members.iter().cloned().collect();
        members.extend(
            self.activation
                .users
                .iter()
                .filter(|user| user.extra_groups.contains(&group.name))
                .map(|user| user.name.clone()),
        );
        if self.activation.mutable_users
            && let Some(line) = self.current.group.get(&group.name)
        {
            let by_hand = line.members.iter().filter(|member| !self.ids.declared_users.contains(*member));
            members.extend(by_hand.cloned());
        }
        members.into_iter().collect()
    }

    fn users(&mut self, groups: &Table<GroupLine>) -> Result<Table<Passwd>> {
        let mut in_use: BTreeSet<u32> = self.current.passwd.entries.iter().map(|user| user.uid).collect();
        in_use.extend(self.activation.users.iter().filter_map(|user| user.uid));
        let mut entries: Vec<Passwd> = Vec::new();
        for user in &self.activation.users {
            let uid = self.uid_of(user, &mut in_use)?;
            let existing = self.current.passwd.get(&user.name);
            let shell = match (user.shell.is_empty(), existing) {
                (false, _) => user.shell.clone(),
                (true, Some(existing)) => existing.shell.clone(),
                (true, None) => "/bin/sh".to_owned(),
            };
            entries.push(Passwd {
                name: user.name.clone(),
                password: "x".to_owned(),
                uid,
                gid: self.primary_group(user, groups),
                gecos: user.description.clone(),
                home: user.home.clone(),
                shell,
            });
        }
        for kept in self.kept(&self.current.passwd, &self.ids.declared_users, |name| {
            self.activation.users.iter().any(|user| user.name == name)
        }) {
            entries.push(kept);
        }
        if !entries.iter().any(|entry| entry.name == "root") {
            let root = self.current.passwd.get("root").cloned();
            entries.push(root.unwrap_or_else(|| Passwd {
                name: "root".to_owned(),
                password: "x".to_owned(),
                uid: 0,
                gid: 0,
                gecos: "System administrator".to_owned(),
                home: "/root".to_owned(),
                shell: "/bin/sh".to_owned(),
            }));
        }
        entries.sort_by(|one, other| (one.uid, &one.name).cmp(&(other.uid, &other.name)));
        Ok(Table { entries, foreign: self.kept_foreign(&self.current.passwd.foreign), damaged: 0 })
    }

    fn uid_of(&mut self, user: &User, in_use: &mut BTreeSet<u32>) -> Result<u32> {
        let existing = self.current.passwd.get(&user.name).map(|line| line.uid);
        let uid = match (existing, user.uid) {
            (Some(existing), Some(wanted)) if existing != wanted => {
                self.notices.push(format!(
                    "user `{}` keeps its id {existing}: an id is never changed, files belong to it (wanted {wanted})",
                    user.name
                ));
                existing
            }
            (Some(existing), _) => existing,
            (None, Some(wanted)) => wanted,
            (None, None) => {
                let range = if user.is_normal_user { Range::People } else { Range::System };
                let former = self.ids.uids.get(&user.name).copied();
                choose(range, former, in_use, &self.ids.uids).ok_or_else(|| Error::Configuration {
                    option: format!("users.users.{}", user.name),
                    problem: "no id is left in its range; set `uid`".to_owned(),
                })?
            }
        };
        in_use.insert(uid);
        self.ids.uids.insert(user.name.clone(), uid);
        Ok(uid)
    }

    fn primary_group(&mut self, user: &User, groups: &Table<GroupLine>) -> u32 {
        if let Some(group) = groups.get(&user.group) {
            return group.gid;
        }
        if let Ok(gid) = user.group.parse() {
            return gid;
        }
        self.notices.push(format!(
            "users.users.{}.group: there is no group `{}`; the user gets nogroup ({NOGROUP})",
            user.name, user.group
        ));
        NOGROUP
    }

    /// Entries that stay although nobody declares them.
    fn kept<E: super::database::Entry + Clone>(
        &self,
        table: &Table<E>,
        formerly_declared: &BTreeSet<String>,
        declared: impl Fn(&str) -> bool,
    ) -> Vec<E> {
        if !self.activation.mutable_users {
            return Vec::new();
        }
        let stays = |entry: &&E| !declared(entry.name()) && !formerly_declared.contains(entry.name());
        table.entries.iter().filter(stays).cloned().collect()
    }

    fn kept_foreign(&self, lines: &[String]) -> Vec<String> {
        if self.activation.mutable_users { lines.to_vec() } else { Vec::new() }
    }

    fn shadow(&mut self, passwd: &Table<Passwd>) -> Table<Shadow> {
        let mut entries = Vec::new();
        for line in &passwd.entries {
            let existing = self.current.shadow.get(&line.name);
            let declared = self.activation.users.iter().find(|user| user.name == line.name);
            let hash = match (declared, existing) {
                (Some(_), Some(existing)) if self.activation.mutable_users => existing.hash.clone(),
                (Some(user), existing) => self.password_of(user, existing),
                (None, Some(existing)) => existing.hash.clone(),
                (None, None) => LOCKED.to_owned(),
            };
            let rest = existing.map_or_else(|| "1::::::".to_owned(), |existing| existing.rest.clone());
            entries.push(Shadow { name: line.name.clone(), hash, rest });
        }
        Table { entries, foreign: self.kept_foreign(&self.current.shadow.foreign), damaged: 0 }
    }

    /// The declared password's hash. Several may be declared: the later of NixOS's list wins
    /// (initialHashedPassword, initialPassword, hashedPassword, password, hashedPasswordFile).
    fn password_of(&mut self, user: &User, existing: Option<&Shadow>) -> String {
        if let Some(file) = &user.hashed_password_file {
            match self.inputs.password_files.get(&user.name) {
                Some(hash) => return hash.clone(),
                None => self.notices.push(format!(
                    "users.users.{}.hashedPasswordFile: {file} cannot be read; the password is taken from elsewhere or locked",
                    user.name
                )),
            }
        }
        let clear = |password: &String| match existing {
            Some(existing) if crypt::verify(password, &existing.hash) => existing.hash.clone(),
            _ => crypt::hash(password, (self.inputs.random)()),
        };
        if let Some(password) = &user.password {
            return clear(password);
        }
        if let Some(hash) = &user.hashed_password {
            return hash.clone();
        }
        if let Some(password) = &user.initial_password {
            return clear(password);
        }
        user.initial_hashed_password.clone().unwrap_or_else(|| LOCKED.to_owned())
    }

    fn subordinates(&mut self) -> Result<(Table<Subordinate>, Table<Subordinate>)> {
        let declared: BTreeSet<&str> = self.activation.users.iter().map(|user| user.name.as_str()).collect();
        let kept = |table: &Table<Subordinate>| -> Vec<Subordinate> {
            let stays = |entry: &&Subordinate| {
                self.activation.mutable_users
                    && !declared.contains(entry.name.as_str())
                    && !self.ids.declared_users.contains(&entry.name)
            };
            table.entries.iter().filter(stays).cloned().collect()
        };
        let (mut uids, mut gids) = (kept(&self.current.subuid), kept(&self.current.subgid));
        for user in &self.activation.users {
            let entry = |range: &formats::activation::SubordinateRange| Subordinate {
                name: user.name.clone(),
                start: range.start,
                count: range.count,
            };
            uids.extend(user.sub_uid_ranges.iter().map(entry));
            gids.extend(user.sub_gid_ranges.iter().map(entry));
        }
        for user in self.activation.users.iter().filter(|user| user.auto_sub_uid_gid_range) {
            let mut taken: Vec<(u32, u32)> =
                uids.iter().chain(&gids).map(|entry| (entry.start, entry.count)).collect();
            let others = self.ids.subordinate.iter().filter(|(name, _)| **name != user.name);
            taken.extend(others.map(|(_, start)| (*start, SUBORDINATE_COUNT)));
            let former = self.ids.subordinate.get(&user.name).copied();
            let start = choose_subordinate(former, &taken).ok_or_else(|| Error::Configuration {
                option: format!("users.users.{}.autoSubUidGidRange", user.name),
                problem: "no range of subordinate ids is left".to_owned(),
            })?;
            self.ids.subordinate.insert(user.name.clone(), start);
            let entry = Subordinate { name: user.name.clone(), start, count: SUBORDINATE_COUNT };
            uids.push(entry.clone());
            gids.push(entry);
        }
        let table = |entries| Table { entries, foreign: Vec::new(), damaged: 0 };
        Ok((table(uids), table(gids)))
    }
}

/// A colon or newline in a field would make another account of it.
fn check_fields(activation: &Activation) -> Result<()> {
    let check = |option: String, value: &str, forbidden: &[char]| {
        if value.contains(forbidden) || value.chars().any(char::is_control) {
            return Err(Error::Configuration {
                option,
                problem: format!("{value:?} must not contain control characters or any of {forbidden:?}"),
            });
        }
        Ok(())
    };
    for user in &activation.users {
        let option = |field: &str| format!("users.users.{}.{field}", user.name);
        check(option("name"), &user.name, &[':', ',', '/', ' '])?;
        check(option("description"), &user.description, &[':'])?;
        check(option("home"), &user.home, &[':'])?;
        check(option("shell"), &user.shell, &[':'])?;
        for hash in [&user.hashed_password, &user.initial_hashed_password].into_iter().flatten() {
            check(option("hashedPassword"), hash, &[':'])?;
        }
        if user.name.is_empty() {
            return Err(Error::Configuration {
                option: "users.users".to_owned(),
                problem: "a user has no name".to_owned(),
            });
        }
    }
    for group in &activation.groups {
        check(format!("users.groups.{}", group.name), &group.name, &[':', ',', '/', ' '])?;
        for member in &group.members {
            check(format!("users.groups.{}.members", group.name), member, &[':', ','])?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
