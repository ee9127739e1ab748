//! The file system and the namespaces that a service sees (systemd.exec(5), "Sandboxing"). What the directives ask for becomes a list of
//! paths with what is to happen there; the list is worked through from the root downwards in a mount namespace of the service's own,
//! then every mount gets the attributes that the nearest path above it says.

mod other_root;
mod plan;
mod private_devices;

use super::DIRECTORIES;
use crate::mounting;
use crate::sorted_map::sort_few;
use formats::service_graph::key::{Key, sandbox};
use formats::service_graph::view::Unit;
use nix::fcntl::{OFlag, open};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::Mode;
use other_root::{FROM_OUTSIDE, OtherRoot};
use plan::{Action, Plan, bind_of, plan};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

/// What the supervisor prepared for a service's view, as only it knows.
#[derive(Debug, Default)]
pub(super) struct View {
    /// RootDirectory=, where it applies.
    pub root: Option<PathBuf>,
    /// What lies behind /tmp and /var/tmp.
    pub private_tmp: Option<(PathBuf, PathBuf)>,
    /// Files to show as /etc/passwd and /etc/group: they know the dynamic user.
    pub accounts: Option<(PathBuf, PathBuf)>,
    /// A process whose network and IPC namespaces are joined (JoinsNamespaceOf=).
    pub joined: Option<u32>,
    /// The user and group that a private user namespace keeps besides root.
    pub ids: (u32, u32),
}

/// Opens something as a place, before it may be covered.
fn place(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    open(path, flags, Mode::empty()).map_err(|error| {
        io::Error::new(io::Error::from(error).kind(), format!("{}: {error}", path.display()))
    })
}

/// The namespaces that need nothing of the file system. Before it: what is joined.
fn namespaces(bits: u64, view: &View) -> io::Result<()> {
    for (bit, kind, name) in [
        (sandbox::PRIVATE_NETWORK, CloneFlags::CLONE_NEWNET, "net"),
        (sandbox::PRIVATE_IPC, CloneFlags::CLONE_NEWIPC, "ipc"),
    ] {
        if bits & bit == 0 {
            continue;
        }
        if let Some(namespace) = view.joined.and_then(|pid| namespace_of(pid, name)) {
            setns(namespace, kind)?;
            continue;
        }
        unshare(kind)?;
        if bit == sandbox::PRIVATE_NETWORK {
            sys::loopback::set_up()?;
        }
    }
    if bits & sandbox::PROTECT_HOSTNAME != 0 {
        unshare(CloneFlags::CLONE_NEWUTS)?;
    }
    // We are in the unit's own cgroup already, which becomes the root of what is seen.
    if bits & sandbox::PRIVATE_CONTROL_GROUPS != 0 {
        unshare(CloneFlags::CLONE_NEWCGROUP)?;
    }
    Ok(())
}

/// The namespace of a process that makes one of its own: waits until it has, for until then it has ours.
fn namespace_of(pid: u32, name: &str) -> Option<std::fs::File> {
    use std::os::unix::fs::MetadataExt as _;
    let number = |path: &str| std::fs::metadata(path).ok().map(|meta| meta.ino());
    let ours = number(&format!("/proc/self/ns/{name}"))?;
    for _ in 0..1000 {
        // None: it has ended.
        let namespace = std::fs::File::open(format!("/proc/{pid}/ns/{name}")).ok()?;
        if namespace.metadata().is_ok_and(|meta| meta.ino() != ours) {
            return Some(namespace);
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    None
}

/// Whether the unit asks for a mount namespace, if only by a path that is not there.
fn wants_mounts(unit: &Unit<'_>, bits: u64, view: &View) -> bool {
    let of_their_own = sandbox::PRIVATE_TMP
        | sandbox::PRIVATE_DEVICES
        | sandbox::PRIVATE_MOUNTS
        | sandbox::PRIVATE_IPC
        | sandbox::PROTECT_KERNEL_TUNABLES
        | sandbox::PROTECT_KERNEL_MODULES
        | sandbox::PROTECT_KERNEL_LOGS
        | sandbox::PROTECT_CONTROL_GROUPS
        | sandbox::PROC_SUBSET_PID;
    bits & of_their_own != 0
        || view.accounts.is_some()
        || (view.root.is_some() && bits & sandbox::MOUNT_API_VFS != 0)
        || [Key::ProtectSystem, Key::ProtectHome, Key::ProtectProc]
            .into_iter()
            .any(|key| unit.number(key).unwrap_or(0) != 0)
        || [
            Key::ReadOnlyPaths,
            Key::ReadWritePaths,
            Key::InaccessiblePaths,
            Key::NoExecPaths,
            Key::ExecPaths,
            Key::TemporaryFileSystem,
            Key::BindPaths,
            Key::BindReadOnlyPaths,
        ]
        .into_iter()
        .any(|key| unit.has(key))
}

/// Enters the sandbox that the unit asks for, if any.
pub(super) fn enter(unit: &Unit<'_>, view: &View) -> io::Result<()> {
    let bits = unit.number(Key::Sandbox).unwrap_or(0);
    namespaces(bits, view)?;
    if !wants_mounts(unit, bits, view) {
        return view.root.as_ref().map_or(Ok(()), |root| Ok(nix::unistd::chroot(root)?));
    }
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SLAVE, None::<&str>)?;
    let sources = sources(unit, view)?;
    // What leads to ourselves is found from here though another /proc, or none, is mounted.
    nix::unistd::chdir("/proc")?;
    let root = view.root.as_deref().map(OtherRoot::enter).transpose()?;
    let plan = plan(unit, bits, view)?;
    carry_out(plan, &sources, root.as_ref())?;
    root.map_or(Ok(()), OtherRoot::stay)
}

/// What is seen elsewhere, opened before anything is covered, and in this namespace: only its own mounts can be bound. What does not
/// exist is missed by who wants to bind it.
fn sources(unit: &Unit<'_>, view: &View) -> io::Result<Vec<(PathBuf, OwnedFd)>> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for pair in [&view.private_tmp, &view.accounts].into_iter().flatten() {
        paths.extend([pair.0.clone(), pair.1.clone()]);
    }
    for key in [Key::BindPaths, Key::BindReadOnlyPaths] {
        paths.extend(unit.texts(key).map(|text| bind_of(text).1.into()));
    }
    for (key, _, base, _) in DIRECTORIES {
        for name in unit.texts(key) {
            let name = name.split(':').next().unwrap_or(name);
            paths.extend([Path::new(base).join(name), Path::new(base).join("private").join(name)]);
        }
    }
    if view.root.is_some() {
        paths.extend(FROM_OUTSIDE.map(PathBuf::from));
        paths.push(super::credentials::directory_of(unit));
        for path in [INACCESSIBLE_FILE, INACCESSIBLE_DEVICE] {
            make_inaccessible(path)?;
            paths.push(path.into());
        }
    }
    Ok(paths.into_iter().filter_map(|path| place(&path).ok().map(|place| (path, place))).collect())
}

/// Mounts, then sets attributes.
fn carry_out(mut plan: Plan, sources: &[(PathBuf, OwnedFd)], root: Option<&OtherRoot<'_>>) -> io::Result<()> {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |error: io::Error| io::Error::new(error.kind(), format!("{path}: {error}"))
    };
    let find = |path: &Path| sources.iter().find(|(known, _)| known == path).map(|(_, place)| place);
    let optional = plan.optional;
    plan.entries.retain(|(_, action)| match action {
        Action::Bind(source, _) => find(source).is_some() || !optional.contains(source),
        _ => true,
    });
    let (mut mounts, mut attributes): (Vec<_>, Vec<_>) =
        plan.entries.into_iter().partition(|(_, action)| action.mounts());
    // From the root downwards; what was said last about a path is mounted last, on top.
    sort_few(&mut mounts, |(one, _), (other, _)| one < other);
    let hidden: Vec<PathBuf> = mounts
        .iter()
        .filter(|(_, action)| matches!(action, Action::Hide))
        .map(|(path, _)| path.clone())
        .collect();
    let is_below_hidden = |path: &Path| hidden.iter().any(|above| path != above && path.starts_with(above));
    for (path, action) in mounts.iter().filter(|(path, _)| !is_below_hidden(path)) {
        // What a /dev or /proc of its own does not have need not be hidden.
        if matches!(action, Action::Hide) && !path.exists() {
            continue;
        }
        mount_one(path, action, &find).map_err(failed(path))?;
        // What lies on the root now is entered, as every path begins there.
        if let Some(root) = root.filter(|_| path == Path::new("/")) {
            root.enter_again()?;
        }
    }
    attributes.retain(|(path, _)| path.exists() && !is_below_hidden(path));
    sort_few(&mut attributes, |(one, _), (other, _)| one < other);
    for (path, _) in &attributes {
        // Attributes belong to mounts: each path becomes one.
        if !mounting::mounted_as("self/mountinfo").iter().any(|(place, _)| Path::new(place) == path) {
            let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
            mount(Some(path), path, None::<&str>, flags, None::<&str>)
                .map_err(io::Error::from)
                .map_err(failed(path))?;
        }
    }
    for (place, fs_type) in mounting::mounted_as("self/mountinfo") {
        let place = Path::new(&place);
        let nearest = |one: fn(&Action) -> bool, other: fn(&Action) -> bool| {
            let found = attributes
                .iter()
                .filter(|(path, action)| place.starts_with(path) && (one(action) || other(action)));
            // Of equals the last one counts: what a directive says about a path overrides what another implies.
            found.max_by_key(|(path, _)| path.components().count()).is_some_and(|(_, action)| one(action))
        };
        let read_only =
            nearest(|action| matches!(action, Action::ReadOnly), |action| matches!(action, Action::Writable));
        let not_executable = nearest(
            |action| matches!(action, Action::NotExecutable),
            |action| matches!(action, Action::Executable),
        );
        if read_only || not_executable {
            remount(place, read_only, not_executable).map_err(|error| {
                io::Error::new(error.kind(), format!("{} ({fs_type}): {error}", place.display()))
            })?;
        }
    }
    Ok(())
}

fn mount_one<'a>(
    path: &Path,
    action: &Action,
    find: &impl Fn(&Path) -> Option<&'a OwnedFd>,
) -> io::Result<()> {
    match action {
        Action::Hide if path.is_dir() => {
            let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
            mount(Some("tmpfs"), path, Some("tmpfs"), flags, Some("mode=000,size=4k"))?;
        }
        Action::Hide => {
            let hidden = inaccessible(path)?;
            let opened = find(Path::new(hidden)).map(|source| format!("self/fd/{}", source.as_raw_fd()));
            let hidden = opened.as_deref().unwrap_or(hidden);
            mount(Some(hidden), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
            remount(path, true, true)?;
        }
        Action::Empty(options) => {
            make_directory(path)?;
            mounting::mount_at("tmpfs", path, "tmpfs", options)?;
        }
        Action::ControlGroups => {
            let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
            mount(Some("cgroup2"), path, Some("cgroup2"), flags, None::<&str>)?;
        }
        Action::Bind(source, recursive) => {
            let missing = || {
                let text = format!("{} does not exist", source.display());
                io::Error::new(io::ErrorKind::NotFound, text)
            };
            // From the machine's /proc, where we are.
            let source = format!("self/fd/{}", find(source).ok_or_else(missing)?.as_raw_fd());
            if Path::new(&source).is_dir() {
                make_directory(path)?;
            } else if !path.exists() {
                path.parent().map_or(Ok(()), make_directory)?;
                drop(std::fs::File::create(path)?);
            }
            let mut flags = MsFlags::MS_BIND;
            flags.set(MsFlags::MS_REC, *recursive);
            mount(Some(source.as_str()), path, None::<&str>, flags, None::<&str>)?;
        }
        Action::Proc(options) => {
            make_directory(path)?;
            let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
            mount(Some("proc"), path, Some("proc"), flags, Some(options.as_str()))?;
        }
        Action::Devices => private_devices::mount_at(path)?,
        _ => {}
    }
    Ok(())
}

/// What stands for a file that is hidden: an empty one, or a device that does not exist, without permissions.
const INACCESSIBLE_FILE: &str = "/run/firn/inaccessible-file";
const INACCESSIBLE_DEVICE: &str = "/run/firn/inaccessible-device";

/// Where a service says that it is ready.
const NOTIFY: &str = "/run/firn/notify";

/// Which of them stands for that file; made, where it is not there and can be.
fn inaccessible(path: &Path) -> io::Result<&'static str> {
    use std::os::unix::fs::FileTypeExt as _;
    let kind = path.metadata()?.file_type();
    let is_device = kind.is_char_device() || kind.is_block_device();
    let place = if is_device { INACCESSIBLE_DEVICE } else { INACCESSIBLE_FILE };
    if !Path::new(place).exists() {
        drop(make_inaccessible(place));
    }
    Ok(place)
}

fn make_inaccessible(place: &str) -> io::Result<()> {
    use nix::sys::stat::{SFlag, mknod};
    let kind = if place == INACCESSIBLE_DEVICE { SFlag::S_IFCHR } else { SFlag::S_IFREG };
    match mknod(place, kind, Mode::empty(), 0) {
        Ok(()) | Err(nix::Error::EEXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn make_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() { Ok(()) } else { std::fs::create_dir_all(path) }
}

/// Adds attributes to one mount and keeps those that it has.
fn remount(place: &Path, read_only: bool, not_executable: bool) -> io::Result<()> {
    use nix::sys::statvfs::{FsFlags, statvfs};
    let Ok(now) = statvfs(place) else { return Ok(()) };
    let now = now.flags();
    let mut flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT;
    flags.set(MsFlags::MS_RDONLY, read_only || now.contains(FsFlags::ST_RDONLY));
    flags.set(MsFlags::MS_NOEXEC, not_executable || now.contains(FsFlags::ST_NOEXEC));
    flags.set(MsFlags::MS_NOSUID, now.contains(FsFlags::ST_NOSUID));
    flags.set(MsFlags::MS_NODEV, now.contains(FsFlags::ST_NODEV));
    match mount(None::<&str>, place, None::<&str>, flags, None::<&str>) {
        // Covered by another mount, or gone: out of reach in any case.
        Err(nix::Error::EINVAL | nix::Error::ENOENT | nix::Error::EACCES) => Ok(()),
        result => Ok(result?),
    }
}

/// PrivateUsers=: a user namespace in which only root and the service's own user and group exist, or (`all`) the first 65536. A helper outside writes the maps,
/// as only who is privileged there may write more than one line.
pub(super) fn private_users(view: &View, all: bool) -> io::Result<()> {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;
    let (uid, gid) = view.ids;
    let pid = std::process::id();
    let (mut ours, mut helpers) = UnixStream::pair()?;
    let birth = sys::sibling::Birth::default();
    let helper = sys::sibling::spawn(&birth, || {
        let mut write_maps = || -> io::Result<()> {
            let mut byte = [0];
            helpers.read_exact(&mut byte)?;
            for (name, id) in [("uid_map", uid), ("gid_map", gid)] {
                let map = if all {
                    "0 0 65536\n".to_owned()
                } else if id == 0 {
                    "0 0 1\n".to_owned()
                } else {
                    format!("0 0 1\n{id} {id} 1\n")
                };
                std::fs::write(format!("/proc/{pid}/{name}"), map)?;
            }
            helpers.write_all(b"!")
        };
        i32::from(write_maps().is_err())
    })?;
    drop(helpers);
    unshare(CloneFlags::CLONE_NEWUSER)?;
    ours.write_all(b"!")?;
    let mut byte = [0];
    let told = ours.read_exact(&mut byte);
    crate::best_effort::tolerate(nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(helper as i32), None));
    told.map_err(|_| io::Error::other("the id maps of the user namespace cannot be written"))
}
