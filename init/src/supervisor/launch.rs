//! Starting one process of a unit (systemd.exec(5)). Everything that can be prepared is prepared before the clone; the child
//! then runs straight through: session, streams, limits, place, identity, exec. What goes wrong there is told by systemd's
//! exit codes ("Process Exit Codes") and a line in the unit's log.

mod child;
mod credentials;
mod devices;
mod dynamic_user;
mod environment;
mod environment_file;
mod network;
mod private_tmp;
mod sandbox;

pub use environment::Extra;

use super::accounts::{self, Account};
use super::cgroup;
use crate::hand_over::HandOver;
use crate::sorted_map::sort_few;
use formats::service_graph::key::{Key, command, flag, sandbox as sandbox_bit, standard_io};
use formats::service_graph::view::{Command, Unit};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};
use sys::sibling::{Birth, Execution, spawn, spawn_in_place};

/// Who a process runs as.
#[derive(Debug, Clone, Default)]
pub struct Identity {
    /// The user, when it is not root.
    pub account: Option<Account>,
    /// The group, when it is not root's.
    pub gid: Option<u32>,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// The files in which a dynamic user stands.
    dynamic: Option<(PathBuf, PathBuf)>,
}

/// Everything that the child needs, ready.
#[derive(Debug)]
pub struct Prepared<'a> {
    unit: Unit<'a>,
    execution: Execution,
    identity: Identity,
    /// Without User= and sandbox.
    privileged: bool,
    /// The write end of the unit's log.
    log: Option<BorrowedFd<'a>>,
    /// Sockets to pass from number 3 on.
    sockets: &'a [std::os::fd::OwnedFd],
    view: sandbox::View,
    /// Told when something fails before the program is executed.
    executed: Option<BorrowedFd<'a>>,
}

/// What a process gets besides its command.
#[derive(Debug, Clone, Copy)]
pub struct Passed<'a> {
    /// The write end of the unit's log.
    pub log: Option<BorrowedFd<'a>>,
    /// Sockets to pass from number 3 on.
    pub sockets: &'a [std::os::fd::OwnedFd],
    /// Closed without a word when the program is executed.
    pub executed: Option<BorrowedFd<'a>>,
    /// Whether it is a command of ExecStart=.
    pub is_start: bool,
    /// The name under which units share /tmp, and a process whose namespaces are joined (JoinsNamespaceOf=).
    pub shared: (&'a str, Option<u32>),
}

/// A start that failed before there was a process: what its exit code would have been (systemd.exec(5), table 8), none when what
/// failed is not the process's, and why.
#[derive(Debug)]
pub struct NotStarted(pub Option<u8>, pub io::Error);

fn not_started(code: u8) -> impl Fn(io::Error) -> NotStarted {
    move |error| NotStarted(Some(code), error)
}

/// systemd's codes for that.
mod exit {
    pub(super) const GROUP: u8 = 216;
    pub(super) const USER: u8 = 217;
    pub(super) const CGROUP: u8 = 219;
    pub(super) const CREDENTIALS: u8 = 243;
    pub(super) const NAMESPACE: u8 = 226;
}

/// Starts a command; returns the process's id.
pub fn start(
    unit: Unit<'_>,
    line: &Command<'_>,
    owner: u32,
    memory: &HandOver,
    passed: &Passed<'_>,
    extra: &Extra,
) -> Result<u32, NotStarted> {
    let Passed { log, sockets, executed, is_start, shared } = *passed;
    // PermissionsStartOnly=: the commands beside ExecStart= run as with `+`.
    let privileged = line.flags() & command::FULL_PRIVILEGES != 0
        || (unit.flag(flag::PERMISSIONS_START_ONLY) && !is_start);
    let identity = identity(&unit)?;
    make_directories(&unit, &identity)?;
    credentials::provide(&unit, &identity).map_err(not_started(exit::CREDENTIALS))?;
    let bits = unit.number(Key::Sandbox).unwrap_or(0);
    let is_private =
        bits & (sandbox_bit::PRIVATE_TMP | sandbox_bit::TMP_IS_DISCONNECTED) == sandbox_bit::PRIVATE_TMP;
    let private_tmp = if is_private {
        let provided = private_tmp::provide(shared.0, || sys::random::Identifiers::new().draw());
        Some(provided.map_err(not_started(exit::NAMESPACE))?)
    } else {
        None
    };
    // RootDirectoryStartOnly=: the commands beside ExecStart= see the machine's own root.
    let has_root = is_start || !unit.flag(flag::ROOT_DIRECTORY_START_ONLY);
    let view = sandbox::View {
        root: unit.text(Key::RootDirectory).filter(|root| has_root && *root != "/").map(PathBuf::from),
        private_tmp,
        accounts: identity.dynamic.clone(),
        joined: shared.1,
        ids: (identity.account.as_ref().map_or(0, |account| account.uid), identity.gid.unwrap_or(0)),
    };
    let variables =
        environment::variables(&unit, &identity, extra, sockets.len(), log.filter(|_| is_logged(&unit)))
            .map_err(|error| NotStarted(None, error))?;
    let arguments = environment::arguments(line, &variables);
    let environment = variables
        .into_iter()
        .filter_map(|(name, value)| CString::new(format!("{name}={value}")).ok())
        .collect();
    let owner_of_cgroup =
        identity.account.as_ref().map(|account| (account.uid, identity.gid.unwrap_or(account.gid)));
    let run_as = if privileged || line.flags() & command::NO_SETUID != 0 {
        Identity { groups: identity.groups, ..Identity::default() }
    } else {
        identity
    };
    let mut execution = Execution::new(line.program().to_owned(), arguments, environment);
    execution.reserve_number("SYSTEMD_EXEC_PID");
    if !sockets.is_empty() {
        execution.reserve_number("LISTEN_PID");
    }
    let mut prepared =
        Prepared { unit, execution, identity: run_as, privileged, log, sockets, view, executed };
    let group = cgroup::make(&unit).map_err(not_started(exit::CGROUP))?;
    if unit.flag(flag::DELEGATE) {
        cgroup::delegate(&unit, owner_of_cgroup).map_err(not_started(exit::CGROUP))?;
    }
    devices::restrict(&unit, group.as_fd()).map_err(not_started(exit::CGROUP))?;
    network::restrict(&unit, group.as_fd()).map_err(not_started(exit::CGROUP))?;
    let none = || NotStarted(None, io::Error::other("too many processes"));
    let slot = memory.reserve(owner).ok_or_else(none)?;
    let birth = Birth { cgroup: Some(group.as_fd()), pid_slot: memory.pid_word(slot), as_sibling: true };
    let spawned = if is_plain(&prepared) {
        spawn_in_place(&birth, &mut || child::run(&mut prepared))
    } else {
        spawn(&birth, || child::run(&mut prepared))
    };
    match spawned {
        Ok(pid) => Ok(pid),
        Err(error) => {
            memory.release(slot);
            Err(NotStarted(None, error))
        }
    }
}

/// Whether the way to the program is short: nothing on it waits, or owns memory when the program is executed. Every unit
/// without a terminal, files or sockets to open and without a sandbox; a setting that is not named here makes a unit not plain.
fn is_plain(prepared: &Prepared<'_>) -> bool {
    let is_log = |key| {
        prepared
            .unit
            .tagged(key)
            .all(|(tag, _)| matches!(tag, standard_io::NULL | standard_io::LOG | standard_io::INHERIT))
    };
    let number = |key: Key| key as u16;
    prepared.sockets.is_empty()
        && prepared.identity.account.is_none()
        && prepared.identity.gid.is_none()
        && prepared.identity.groups.is_empty()
        && [Key::StandardInput, Key::StandardOutput, Key::StandardError].into_iter().all(is_log)
        && prepared.unit.keys().map(number).all(|key| {
            // What the unit is, its relations, conditions and life; then what is done before the clone or is one system call.
            key <= number(Key::ReloadSignal)
                || (number(Key::RuntimeDirectory)..=number(Key::RuntimeDirectoryPreserve)).contains(&key)
                || [
                    Key::WorkingDirectory,
                    Key::Environment,
                    Key::EnvironmentFiles,
                    Key::UnsetEnvironment,
                    Key::UMask,
                    Key::Nice,
                    Key::StandardInput,
                    Key::StandardOutput,
                    Key::StandardError,
                    Key::SyslogIdentifier,
                    Key::PassEnvironment,
                    Key::LogLevelMax,
                    Key::Slice,
                    Key::CgroupWrites,
                ]
                .into_iter()
                .any(|plain| number(plain) == key)
        })
}

/// Whether standard output or error of a unit leads to its log.
fn is_logged(unit: &Unit<'_>) -> bool {
    let of = |key| unit.tagged(key).next().map_or(standard_io::INHERIT, |(tag, _)| tag);
    let is_log = |tag| matches!(tag, standard_io::LOG | standard_io::LOG_AND_CONSOLE);
    let input_is_interactive = unit
        .tagged(Key::StandardInput)
        .next()
        .is_some_and(|(tag, _)| matches!(tag, standard_io::TTY | standard_io::SOCKET));
    let (output, error) = (of(Key::StandardOutput), of(Key::StandardError));
    let output_is_logged = is_log(output) || (output == standard_io::INHERIT && !input_is_interactive);
    output_is_logged || is_log(error)
}

/// Starts a piece of our own code as the unit's control process.
pub fn start_own(
    unit: Unit<'_>,
    owner: u32,
    memory: &HandOver,
    code: impl FnOnce() -> i32,
) -> io::Result<u32> {
    let group = cgroup::make(&unit)?;
    let slot = memory.reserve(owner).ok_or_else(|| io::Error::other("too many processes"))?;
    let birth = Birth { cgroup: Some(group.as_fd()), pid_slot: memory.pid_word(slot), as_sibling: true };
    spawn(&birth, code).inspect_err(|_| memory.release(slot))
}

/// User=, Group=, SupplementaryGroups= as ids.
fn identity(unit: &Unit<'_>) -> Result<Identity, NotStarted> {
    let unknown = |what: &str, name: &str| {
        let code = if what == "user" { exit::USER } else { exit::GROUP };
        NotStarted(Some(code), io::Error::other(format!("there is no {what} `{name}`")))
    };
    let mut identity = Identity::default();
    if unit.flag(flag::DYNAMIC_USER)
        && let Some(user) =
            dynamic_user::provide(unit.name(), unit.text(Key::User)).map_err(not_started(exit::USER))?
    {
        identity.gid = Some(user.account.gid);
        identity.account = Some(user.account);
        identity.dynamic = Some(user.files);
    } else if let Some(name) = unit.text(Key::User) {
        let account = accounts::user(name).ok_or_else(|| unknown("user", name))?;
        identity.gid = Some(account.gid);
        identity.account = Some(account);
    }
    if let Some(name) = unit.text(Key::Group)
        && !(identity.dynamic.is_some() && accounts::group(name).is_none())
    {
        identity.gid = Some(accounts::group(name).ok_or_else(|| unknown("group", name))?);
    }
    if let (Some(account), Some(gid)) = (&identity.account, identity.gid) {
        // As initgroups(3): the user's own group is among them.
        identity.groups = vec![gid];
        identity.groups.extend(accounts::groups_of(&account.name));
    }
    for name in unit.texts(Key::SupplementaryGroups) {
        identity.groups.push(accounts::group(name).ok_or_else(|| unknown("group", name))?);
    }
    sort_few(&mut identity.groups, |one, other| one < other);
    identity.groups.dedup();
    Ok(identity)
}

/// The kinds of directories that a unit can own: setting, its mode, base, variable.
pub(super) const DIRECTORIES: [(Key, Key, &str, &str); 5] = [
    (Key::RuntimeDirectory, Key::RuntimeDirectoryMode, "/run", "RUNTIME_DIRECTORY"),
    (Key::StateDirectory, Key::StateDirectoryMode, "/var/lib", "STATE_DIRECTORY"),
    (Key::CacheDirectory, Key::CacheDirectoryMode, "/var/cache", "CACHE_DIRECTORY"),
    (Key::LogsDirectory, Key::LogsDirectoryMode, "/var/log", "LOGS_DIRECTORY"),
    (Key::ConfigurationDirectory, Key::ConfigurationDirectoryMode, "/etc", "CONFIGURATION_DIRECTORY"),
];

/// The code of a start that fails at a kind of directory.
fn exit_of(key: Key) -> u8 {
    match key {
        Key::RuntimeDirectory => 233,
        Key::StateDirectory => 238,
        Key::CacheDirectory => 239,
        Key::LogsDirectory => 240,
        _ => 241,
    }
}

/// Whether a dynamic user's directories of that kind lie where only root enters: those that outlive the service.
fn is_private(unit: &Unit<'_>, key: Key) -> bool {
    match key {
        Key::ConfigurationDirectory => false,
        Key::RuntimeDirectory => unit.number(Key::RuntimeDirectoryPreserve).unwrap_or(0) != 0,
        _ => true,
    }
}

/// Makes RuntimeDirectory= and its kin, owned by the unit's user.
fn make_directories(unit: &Unit<'_>, identity: &Identity) -> Result<(), NotStarted> {
    for (key, mode_key, base, _) in DIRECTORIES {
        let mode = unit.number(mode_key).unwrap_or(0o755) as u32;
        for name in unit.texts(key) {
            make_directory(unit, identity, (key, base, mode), name).map_err(not_started(exit_of(key)))?;
        }
    }
    Ok(())
}

fn make_directory(
    unit: &Unit<'_>,
    identity: &Identity,
    (key, base, mode): (Key, &str, u32),
    name: &str,
) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let name = name.split(':').next().unwrap_or(name);
    let path = if identity.dynamic.is_some() && is_private(unit, key) {
        private_directory(base, name)?
    } else {
        no_longer_private(base, name)?;
        Path::new(base).join(name)
    };
    let failed =
        |error: io::Error| io::Error::new(error.kind(), format!("cannot make {}: {error}", path.display()));
    std::fs::create_dir_all(&path).map_err(failed)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).map_err(failed)?;
    let uid = identity.account.as_ref().map_or(0, |account| account.uid);
    let gid = identity.gid.unwrap_or(0);
    let owner = path.metadata().map(|meta| (meta.uid(), meta.gid())).map_err(failed)?;
    // What lies in it changes its owner only together with it: a service that got another user.
    if owner != (uid, gid) {
        chown_tree(&path, uid, gid).map_err(failed)?;
    }
    Ok(())
}

/// A dynamic user's directory: below `private`, which only root enters, with a link to it where everybody looks.
fn private_directory(base: &str, name: &str) -> io::Result<PathBuf> {
    use std::os::unix::fs::{DirBuilderExt as _, symlink};
    let private = Path::new(base).join("private");
    if !private.is_dir() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&private)?;
    }
    let (path, public) = (private.join(name), Path::new(base).join(name));
    let below = Path::new("private").join(name);
    // As deep as the name: from each directory on the way one up.
    let target = name.matches('/').fold(below, |target, _| Path::new("..").join(target));
    match public.symlink_metadata() {
        Ok(meta) if meta.is_symlink() => {}
        // It was a plain user's until now.
        Ok(meta) if meta.is_dir() && !path.exists() => {
            path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            std::fs::rename(&public, &path)?;
            symlink(target, &public)?;
        }
        Ok(_) => {}
        Err(_) => {
            public.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            symlink(target, &public)?;
        }
    }
    Ok(path)
}

/// The directory of a service that had a dynamic user and has one no more comes back to its place.
fn no_longer_private(base: &str, name: &str) -> io::Result<()> {
    let (path, public) = (Path::new(base).join("private").join(name), Path::new(base).join(name));
    if public.is_symlink() && path.is_dir() && std::fs::canonicalize(&public).is_ok_and(|found| found == path)
    {
        std::fs::remove_file(&public)?;
        std::fs::rename(path, public)?;
    }
    Ok(())
}

/// Gives a directory with all in it to somebody, without following links.
fn chown_tree(path: &Path, uid: u32, gid: u32) -> io::Result<()> {
    std::os::unix::fs::lchown(path, Some(uid), Some(gid))?;
    if path.symlink_metadata()?.is_dir() {
        for entry in std::fs::read_dir(path)? {
            chown_tree(&entry?.path(), uid, gid)?;
        }
    }
    Ok(())
}

/// Takes away what a unit that is down leaves: credentials, its /tmp unless others share it, its user.
pub fn release(unit: &Unit<'_>, shared: Option<&str>) {
    remove_runtime_directories(unit);
    credentials::remove(unit);
    if let Some(name) = shared {
        private_tmp::remove(name);
    }
    if unit.number(Key::Sandbox).unwrap_or(0) & sandbox_bit::REMOVE_IPC != 0
        && let Ok(Identity { account: Some(account), .. }) = identity(unit)
        && account.uid >= 1
    {
        remove_ipc(account.uid);
    }
    if unit.flag(flag::DYNAMIC_USER) {
        dynamic_user::release(unit.name(), unit.text(Key::User));
    }
}

/// RemoveIPC=: POSIX shared memory and message queues of a user, and System V's by ipcrm's way.
fn remove_ipc(uid: u32) {
    use std::os::unix::fs::MetadataExt as _;
    for directory in ["/dev/shm", "/dev/mqueue"] {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.metadata().is_ok_and(|meta| meta.uid() == uid && meta.is_file()) {
                drop(std::fs::remove_file(entry.path()));
            }
        }
    }
    for kind in ["shm", "sem", "msg"] {
        let text = std::fs::read_to_string(format!("/proc/sysvipc/{kind}")).unwrap_or_default();
        let mut lines = text.lines();
        let columns: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
        let at = |name: &str| columns.iter().position(|column| *column == name);
        let (Some(owner), Some(id)) = (at("uid"), columns.iter().position(|column| column.ends_with("id")))
        else {
            continue;
        };
        for line in lines {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if fields.get(owner).and_then(|field| field.parse().ok()) == Some(uid)
                && let Some(id) = fields.get(id).and_then(|field| field.parse().ok())
            {
                crate::best_effort::tolerate(sys::system_v_ipc::remove(kind, id));
            }
        }
    }
}

/// Removes RuntimeDirectory= of a unit that is down.
fn remove_runtime_directories(unit: &Unit<'_>) {
    if unit.number(Key::RuntimeDirectoryPreserve).unwrap_or(0) != 0 {
        return;
    }
    for name in unit.texts(Key::RuntimeDirectory) {
        let name = name.split(':').next().unwrap_or(name);
        let top = Path::new("/run").join(name);
        if top.is_symlink() {
            drop(std::fs::remove_file(&top));
            drop(std::fs::remove_dir_all(Path::new("/run/private").join(name)));
        }
        // Somebody else's files in it, or nothing there: both are fine.
        drop(std::fs::remove_dir_all(top));
    }
}

/// TTYVTDisallocate=: what was shown before must not be read by who comes next. Gives the virtual terminal up, or, when
/// somebody still has it, clears it with its scroll-back.
pub fn disallocate_terminal(unit: &Unit<'_>) {
    let path = unit.text(Key::TtyPath).unwrap_or("/dev/console");
    let open = |path: &str| {
        use std::os::unix::fs::OpenOptionsExt as _;
        let flags = libc::O_NOCTTY | libc::O_NONBLOCK;
        std::fs::File::options().read(true).write(true).custom_flags(flags).open(path)
    };
    let number = path.strip_prefix("/dev/tty").and_then(|number| number.parse().ok());
    if let (Some(number), Ok(console)) = (number, open("/dev/tty0"))
        && sys::terminal::disallocate(console.as_fd(), number).is_ok()
    {
        return;
    }
    if number.is_some()
        && let Ok(mut terminal) = open(path)
    {
        // Whole region, home, clear all with what has scrolled away (console_codes(4)).
        crate::best_effort::tolerate(std::io::Write::write_all(&mut terminal, b"\x1b[r\x1b[H\x1b[3J\x1bc"));
    }
}

/// Whether a unit's flag is set; a short cut for the modules below.
fn has(unit: &Unit<'_>, bit: u64) -> bool {
    unit.flag(bit) && bit != flag::TEMPLATE
}

#[cfg(test)]
mod tests;
