//! Users and groups: reads the account files, plans the wanted ones (`plan`), writes what differs. The files are
//! written one after the other, each whole; ids first, so that an interrupted run chooses the same ids again, and shadow
//! before passwd, so that no account is ever without its password.

pub mod crypt;
pub mod database;
pub mod ids;
pub mod plan;

use crate::durable;
use crate::error::{Error, Result};
use crate::root::Root;
use database::{Entry, Table};
use formats::activation::Activation;
use ids::Ids;
use plan::{AccountPlan, Accounts, Inputs};
use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

/// Where the ids are kept.
const IDS: &str = "/var/lib/firn/ids.json";
/// The lock that passwd(1), useradd(8) and their like take (lckpwdf(3)).
const LOCK: &str = "/etc/.pwd.lock";

/// One file that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    /// The absolute path.
    pub path: &'static str,
    /// The text wanted.
    pub text: String,
    /// Its mode.
    pub mode: u32,
    /// The names that come, go or change, for the plan shown to the user.
    pub names: Vec<String>,
}

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Changes {
    /// The files, in the order in which they are written.
    pub files: Vec<FileChange>,
    /// Home directories to make or to set right.
    pub homes: Vec<Home>,
    /// Remarks.
    pub notices: Vec<String>,
    /// Names and ids as they will be.
    pub wanted: Accounts,
}

/// A home directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// The absolute path.
    pub path: String,
    /// Its mode.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// Reads the files as they are.
///
/// # Errors
/// When a file is there and cannot be read.
pub fn observe(root: &Root) -> Result<Accounts> {
    let ids = match durable::read_if_there(&root.resolve(IDS)?)?.as_deref().map(Ids::parse) {
        Some(Some(ids)) => ids,
        // Lost or damaged: names in use are in /etc/passwd, and NixOS may have left its own state.
        Some(None) | None => Ids::from_nixos(|name| {
            let place = root.resolve(Path::new("/var/lib/nixos").join(name)).ok()?;
            durable::read_if_there(&place).ok().flatten()
        }),
    };
    Ok(Accounts {
        passwd: read_table(root, "/etc/passwd")?,
        group: read_table(root, "/etc/group")?,
        shadow: read_table(root, "/etc/shadow")?,
        subuid: read_table(root, "/etc/subuid")?,
        subgid: read_table(root, "/etc/subgid")?,
        ids,
    })
}

fn read_table<E: Entry>(root: &Root, path: &str) -> Result<Table<E>> {
    Ok(Table::parse(&durable::read_if_there(&root.resolve(path)?)?.unwrap_or_default()))
}

/// Compares what is with what is wanted.
///
/// # Errors
/// When the configuration cannot be carried out.
pub fn changes(root: &Root, activation: &Activation) -> Result<Changes> {
    let current = observe(root)?;
    let mut password_files = BTreeMap::new();
    for user in &activation.users {
        if let Some(file) = &user.hashed_password_file
            && let Ok(Some(bytes)) = durable::read_if_there(&root.resolve(file)?)
        {
            let text = String::from_utf8_lossy(&bytes);
            password_files
                .insert(user.name.clone(), text.lines().next().unwrap_or_default().trim().to_owned());
        }
    }
    let inputs = Inputs { password_files: &password_files, random: &random };
    let AccountPlan { wanted, notices } = plan::plan(&current, activation, &inputs)?;
    let mut files = Vec::new();
    let ids = durable::read_if_there(&root.resolve(IDS)?)?;
    if ids.as_deref() != Some(wanted.ids.render().as_bytes()) {
        files.push(FileChange { path: IDS, text: wanted.ids.render(), mode: 0o644, names: Vec::new() });
    }
    compare(root, &mut files, "/etc/group", 0o644, &current.group, &wanted.group)?;
    compare(root, &mut files, "/etc/shadow", 0o640, &current.shadow, &wanted.shadow)?;
    compare(root, &mut files, "/etc/passwd", 0o644, &current.passwd, &wanted.passwd)?;
    compare(root, &mut files, "/etc/subuid", 0o644, &current.subuid, &wanted.subuid)?;
    compare(root, &mut files, "/etc/subgid", 0o644, &current.subgid, &wanted.subgid)?;
    let homes = homes(root, activation, &wanted)?;
    Ok(Changes { files, homes, notices, wanted })
}

fn compare<E: Entry + PartialEq>(
    root: &Root,
    files: &mut Vec<FileChange>,
    path: &'static str,
    mode: u32,
    current: &Table<E>,
    wanted: &Table<E>,
) -> Result<()> {
    let text = wanted.render();
    let there = durable::read_if_there(&root.resolve(path)?)?;
    let place = root.resolve(path)?;
    let mode_right = place.metadata().is_ok_and(|found| found.mode() & 0o7777 == mode);
    if there.as_deref() == Some(text.as_bytes()) && mode_right {
        return Ok(());
    }
    let mut names: Vec<String> = Vec::new();
    for entry in &wanted.entries {
        match current.get(entry.name()) {
            None => names.push(format!("+{}", entry.name())),
            Some(before) if before != entry => names.push(format!("~{}", entry.name())),
            Some(_) => {}
        }
    }
    for entry in current.entries.iter().filter(|entry| wanted.get(entry.name()).is_none()) {
        names.push(format!("-{}", entry.name()));
    }
    files.push(FileChange { path, text, mode, names });
    Ok(())
}

fn homes(root: &Root, activation: &Activation, wanted: &Accounts) -> Result<Vec<Home>> {
    let mut homes = Vec::new();
    for user in activation.users.iter().filter(|user| user.create_home) {
        let Some(line) = wanted.passwd.get(&user.name) else { continue };
        let mode = u32::from_str_radix(&user.home_mode, 8).map_err(|_| Error::Configuration {
            option: format!("users.users.{}.homeMode", user.name),
            problem: format!("`{}` is no octal mode", user.home_mode),
        })?;
        let home = Home { path: user.home.clone(), mode, uid: line.uid, gid: line.gid };
        if !home_is_right(root, &home)? {
            homes.push(home);
        }
    }
    Ok(homes)
}

fn home_is_right(root: &Root, home: &Home) -> Result<bool> {
    let Ok(found) = root.resolve(&home.path)?.metadata() else { return Ok(false) };
    let owner_right = !root.sets_owners() || (found.uid(), found.gid()) == (home.uid, home.gid);
    Ok(found.is_dir() && found.mode() & 0o7777 == home.mode && owner_right)
}

/// Writes the files and makes the homes.
///
/// # Errors
/// With the first file that cannot be written; files written before stay, each whole.
pub fn apply(root: &Root, changes: &Changes) -> Result<()> {
    if !changes.files.is_empty() {
        durable::make_directories(&root.resolve("/etc")?)?;
        durable::make_directories(&root.resolve("/var/lib/firn")?)?;
        let _lock = lock(root)?;
        for change in &changes.files {
            let place = root.resolve(change.path)?;
            let owner = root.sets_owners().then_some((0, 0));
            durable::write(&place, change.text.as_bytes(), change.mode, owner)?;
        }
    }
    for home in &changes.homes {
        make_home(root, home)?;
    }
    Ok(())
}

/// Gives an account a password, in /etc/shadow of the root. The configuration's own word counts at the next activation.
///
/// # Errors
/// When there is no such account, or the file cannot be written.
pub fn set_password(root: &Root, name: &str, password: &str) -> Result<()> {
    let _lock = lock(root)?;
    let mut table: Table<database::Shadow> = read_table(root, "/etc/shadow")?;
    let Some(entry) = table.entries.iter_mut().find(|entry| entry.name == name) else {
        return Err(Error::Configuration {
            option: format!("users.users.{name}"),
            problem: "the system has no such account, so no password can be set".to_owned(),
        });
    };
    entry.hash = crypt::hash(password, random());
    let place = root.resolve("/etc/shadow")?;
    durable::write(&place, table.render().as_bytes(), 0o640, root.sets_owners().then_some((0, 0)))
}

/// Takes the lock of the account files for as long as the handle lives.
fn lock(root: &Root) -> Result<std::fs::File> {
    let place = root.resolve(LOCK)?;
    let file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&place)
        .map_err(Error::file("open", &place))?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))
        .map_err(Error::file("set the mode of", &place))?;
    rustix::fs::fcntl_lock(&file, rustix::fs::FlockOperation::LockExclusive)
        .map_err(Error::call("lock", &place))?;
    Ok(file)
}

fn make_home(root: &Root, home: &Home) -> Result<()> {
    let place = root.resolve(&home.path)?;
    if let Some(parent) = place.parent() {
        durable::make_directories(parent)?;
    }
    match std::fs::create_dir(&place) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(Error::file("make the home directory", &place)(error)),
    }
    if root.sets_owners() {
        std::os::unix::fs::chown(&place, Some(home.uid), Some(home.gid))
            .map_err(Error::file("set the owner of", &place))?;
    }
    std::fs::set_permissions(&place, std::fs::Permissions::from_mode(home.mode))
        .map_err(Error::file("set the mode of", &place))
}

/// Random bytes for a salt; a salt need not be secret, only different.
fn random() -> [u8; 12] {
    let mut bytes = [0; 12];
    if rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).is_err() {
        log::warn!("getrandom failed; the salt is all zero");
    }
    bytes
}

/// Names to ids, for owners in /etc entries, wrappers and tmpfiles rules.
#[derive(Debug, Clone, Default)]
pub struct Names {
    users: BTreeMap<String, (u32, u32)>,
    groups: BTreeMap<String, u32>,
}

impl Names {
    /// The names in these files.
    pub fn of(accounts: &Accounts) -> Self {
        let users = accounts.passwd.entries.iter().map(|user| (user.name.clone(), (user.uid, user.gid)));
        let groups = accounts.group.entries.iter().map(|group| (group.name.clone(), group.gid));
        let mut names = Self { users: users.collect(), groups: groups.collect() };
        names.users.entry("root".to_owned()).or_insert((0, 0));
        names.groups.entry("root".to_owned()).or_insert(0);
        names
    }

    /// A user's id: by name, as a number, or `+NUMBER`.
    pub fn uid(&self, name: &str) -> Option<u32> {
        self.users.get(name).map(|(uid, _)| *uid).or_else(|| number(name))
    }

    /// A group's id: by name, as a number, or `+NUMBER`.
    pub fn gid(&self, name: &str) -> Option<u32> {
        self.groups.get(name).copied().or_else(|| number(name))
    }
}

fn number(text: &str) -> Option<u32> {
    text.strip_prefix('+').unwrap_or(text).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_changes_nothing_and_modes_are_mended() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        let mut activation = Activation::empty();
        activation.users = serde_json::from_str(
            r#"[{"name":"alice","group":"users","home":"/home/alice","createHome":true,"homeMode":"750","isNormalUser":true,
                 "initialPassword":"x"}]"#,
        )
        .unwrap();
        let first = changes(&root, &activation).unwrap();
        assert_eq!(first.files.len(), 6);
        apply(&root, &first).unwrap();
        let home = root.join("/home/alice");
        assert_eq!(home.metadata().unwrap().mode() & 0o7777, 0o750);
        let second = changes(&root, &activation).unwrap();
        assert_eq!((second.files, second.homes), (vec![], vec![]));
        std::fs::set_permissions(root.join("/etc/shadow"), std::fs::Permissions::from_mode(0o666)).unwrap();
        let third = changes(&root, &activation).unwrap();
        assert_eq!(third.files.iter().map(|change| change.path).collect::<Vec<_>>(), ["/etc/shadow"]);
    }

    #[test]
    fn a_password_is_set_and_outlives_the_next_activation() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        let activation = Activation::empty();
        apply(&root, &changes(&root, &activation).unwrap()).unwrap();
        let shadow = || std::fs::read_to_string(root.join("/etc/shadow")).unwrap();
        let before = shadow();
        set_password(&root, "root", "se:cret").unwrap();
        let line = |text: &str| text.lines().find(|line| line.starts_with("root:")).unwrap().to_owned();
        let hash = line(&shadow()).split(':').nth(1).unwrap().to_owned();
        assert!(crypt::verify("se:cret", &hash), "{hash}");
        assert_eq!(line(&shadow()).replace(&hash, ""), line(&before).replacen('!', "", 1));
        apply(&root, &changes(&root, &activation).unwrap()).unwrap();
        assert!(shadow().contains(&hash));
        let error = set_password(&root, "nobody-of-that-name", "x").unwrap_err().to_string();
        assert!(error.contains("no such account"), "{error}");
    }

    #[test]
    fn names_and_numbers_are_owners() {
        let accounts = Accounts { passwd: Table::parse(b"nginx:x:60:61::/:/\n"), ..Accounts::default() };
        let names = Names::of(&accounts);
        assert_eq!(
            (names.uid("nginx"), names.uid("+7"), names.uid("8"), names.uid("root"), names.uid("nobody")),
            (Some(60), Some(7), Some(8), Some(0), None)
        );
    }
}
