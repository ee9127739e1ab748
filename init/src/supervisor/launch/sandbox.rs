//! The file system and the namespaces that a service sees (systemd.exec(5), "Sandboxing"). What the directives ask for becomes a list of
//! paths with what is to happen there; the list is worked through from the root downwards in a mount namespace of the service's own,
//! then every mount gets the attributes that the nearest path above it says.

mod private_devices;

use super::DIRECTORIES;
use crate::mounting;
use crate::sorted_map::sort_few;
use formats::service_graph::key::{Key, flag, sandbox};
use formats::service_graph::view::Unit;
use nix::fcntl::{OFlag, open};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::Mode;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

/// What the supervisor prepared for a service's view, as only it knows.
#[derive(Debug, Default)]
pub(super) struct View {
    /// What lies behind /tmp and /var/tmp.
    pub private_tmp: Option<(PathBuf, PathBuf)>,
    /// Files to show as /etc/passwd and /etc/group: they know the dynamic user.
    pub accounts: Option<(PathBuf, PathBuf)>,
    /// A process whose network and IPC namespaces are joined (JoinsNamespaceOf=).
    pub joined: Option<u32>,
    /// The user and group that a private user namespace keeps besides root.
    pub ids: (u32, u32),
}

/// What happens at a path.
#[derive(Debug)]
enum Action {
    /// Nobody can enter or read it.
    Hide,
    /// An empty file system with these mount options.
    Empty(String),
    /// Something else is seen there; with all that is mounted below it when true.
    Bind(PathBuf, bool),
    /// A /proc of its own with these mount options.
    Proc(String),
    /// A /dev with nothing but the pseudo-devices.
    Devices,
    /// Not written from here downwards.
    ReadOnly,
    /// Written from here downwards.
    Writable,
    /// Not executed from here downwards.
    NotExecutable,
    /// Executed from here downwards.
    Executable,
}

impl Action {
    /// Whether it mounts something, in contrast to changing what is mounted.
    fn mounts(&self) -> bool {
        matches!(self, Self::Hide | Self::Empty(_) | Self::Bind(..) | Self::Proc(_) | Self::Devices)
    }
}

/// The list.
#[derive(Debug, Default)]
struct Plan {
    entries: Vec<(PathBuf, Action)>,
}

impl Plan {
    fn add(&mut self, path: impl Into<PathBuf>, action: Action) {
        self.entries.push((path.into(), action));
    }

    /// Adds a path that a directive names; a missing one is an error unless it says otherwise.
    fn add_named(&mut self, is_optional: u32, path: &str, action: Action) -> io::Result<()> {
        match std::fs::canonicalize(path) {
            Ok(path) => self.add(path, action),
            Err(_) if is_optional != 0 => {}
            Err(error) => return Err(io::Error::new(error.kind(), format!("{path}: {error}"))),
        }
        Ok(())
    }

    /// Adds paths that need not be there.
    fn add_all(&mut self, paths: &[&str], action: fn() -> Action) {
        for path in paths {
            if let Ok(path) = std::fs::canonicalize(path) {
                self.add(path, action());
            }
        }
    }
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
        return Ok(());
    }
    let plan = plan(unit, bits, view)?;
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SLAVE, None::<&str>)?;
    carry_out(plan)
}

/// What the unit asks for, as a list.
fn plan(unit: &Unit<'_>, bits: u64, view: &View) -> io::Result<Plan> {
    let mut plan = Plan::default();
    let has = |bit: u64| bits & bit != 0;
    let system = unit.number(Key::ProtectSystem).unwrap_or(0);
    match system {
        0 => {}
        1 => plan.add_all(&["/usr", "/boot", "/efi", "/nix"], || Action::ReadOnly),
        2 => plan.add_all(&["/usr", "/boot", "/efi", "/nix", "/etc"], || Action::ReadOnly),
        _ => {
            plan.add("/", Action::ReadOnly);
            // The kernel's own file systems and homes have directives of their own.
            plan.add_all(&["/dev", "/proc", "/sys", "/home", "/root", "/run/user"], || Action::Writable);
        }
    }
    let homes = ["/home", "/root", "/run/user"];
    match unit.number(Key::ProtectHome).unwrap_or(0) {
        1 => plan.add_all(&homes, || Action::Hide),
        2 => plan.add_all(&homes, || Action::ReadOnly),
        3 => {
            plan.add_all(&homes, || Action::Empty("mode=0755,nosuid,nodev".into()));
            plan.add_all(&homes, || Action::ReadOnly);
        }
        _ => {}
    }
    kernel(&mut plan, unit, bits);
    if has(sandbox::PRIVATE_DEVICES) {
        plan.add("/dev", Action::Devices);
    }
    if let Some((tmp, var_tmp)) = &view.private_tmp {
        for (path, behind) in [("/tmp", tmp), ("/var/tmp", var_tmp)] {
            if Path::new(path).is_dir() {
                plan.add(path, Action::Bind(behind.clone(), false));
                plan.add(path, Action::Writable);
            }
        }
    } else if has(sandbox::TMP_IS_DISCONNECTED) {
        plan.add_all(&["/tmp", "/var/tmp"], || Action::Empty("mode=1777,nosuid,nodev".into()));
        plan.add_all(&["/tmp", "/var/tmp"], || Action::Writable);
    }
    own_directories(&mut plan, unit, view)?;
    for (key, action) in [
        (Key::ReadOnlyPaths, (|| Action::ReadOnly) as fn() -> Action),
        (Key::InaccessiblePaths, || Action::Hide),
        (Key::ReadWritePaths, || Action::Writable),
        (Key::NoExecPaths, || Action::NotExecutable),
        (Key::ExecPaths, || Action::Executable),
    ] {
        for (is_optional, path) in unit.tagged(key) {
            plan.add_named(is_optional, path, action())?;
        }
    }
    for text in unit.texts(Key::TemporaryFileSystem) {
        let (path, options) = text.split_once(':').unwrap_or((text, ""));
        let is_read_only = options.split(',').any(|option| option == "ro");
        let options: Vec<&str> = options.split(',').filter(|option| !matches!(*option, "ro" | "")).collect();
        let default =
            if options.iter().any(|option| option.starts_with("mode=")) { "" } else { "mode=0755," };
        plan.add(path, Action::Empty(format!("{default}nodev,{}", options.join(","))));
        plan.add(path, if is_read_only { Action::ReadOnly } else { Action::Writable });
    }
    for (key, is_read_only) in [(Key::BindPaths, false), (Key::BindReadOnlyPaths, true)] {
        for text in unit.texts(key) {
            bind_path(&mut plan, text, is_read_only);
        }
    }
    Ok(plan)
}

/// ProtectKernelTunables=, ProtectKernelModules=, ProtectKernelLogs=, ProtectControlGroups=, ProtectProc=, ProcSubset=.
fn kernel(plan: &mut Plan, unit: &Unit<'_>, bits: u64) {
    let has = |bit: u64| bits & bit != 0;
    let processes = unit.number(Key::ProtectProc).unwrap_or(0);
    if processes != 0 || has(sandbox::PROC_SUBSET_PID) {
        let hidden = match processes {
            1 => "hidepid=noaccess",
            2 => "hidepid=invisible",
            3 => "hidepid=ptraceable",
            _ => "hidepid=off",
        };
        let subset = if has(sandbox::PROC_SUBSET_PID) { ",subset=pid" } else { "" };
        plan.add("/proc", Action::Proc(format!("{hidden}{subset}")));
    }
    if has(sandbox::PROTECT_KERNEL_TUNABLES) {
        let paths = [
            "acpi",
            "apm",
            "asound",
            "bus",
            "fs",
            "irq",
            "latency_stats",
            "mtrr",
            "scsi",
            "sys",
            "sysrq-trigger",
            "timer_stats",
        ];
        for name in paths {
            plan.add_all(&[&format!("/proc/{name}")], || Action::ReadOnly);
        }
        plan.add("/sys", Action::ReadOnly);
        plan.add_all(&["/sys/fs/cgroup"], || Action::Writable);
        plan.add_all(&["/proc/kallsyms", "/proc/kcore", "/sys/kernel/debug", "/sys/kernel/tracing"], || {
            Action::Hide
        });
    }
    if has(sandbox::PROTECT_CONTROL_GROUPS) {
        plan.add("/sys/fs/cgroup", Action::ReadOnly);
    }
    if has(sandbox::PROTECT_KERNEL_MODULES) {
        let paths = [
            "/lib/modules",
            "/usr/lib/modules",
            "/run/booted-system/kernel-modules",
            "/run/current-system/kernel-modules",
        ];
        plan.add_all(&paths, || Action::Hide);
    }
    if has(sandbox::PROTECT_KERNEL_LOGS) {
        plan.add_all(&["/proc/kmsg", "/dev/kmsg"], || Action::Hide);
    }
}

/// StateDirectory= and its kin stay writable; those of a dynamic user lie in places that only root enters, and are shown alone.
fn own_directories(plan: &mut Plan, unit: &Unit<'_>, view: &View) -> io::Result<()> {
    let is_dynamic = unit.flag(flag::DYNAMIC_USER) && view.accounts.is_some();
    for (key, _, base, _) in DIRECTORIES {
        if key == Key::ConfigurationDirectory {
            continue;
        }
        let mut names = unit.texts(key).map(|name| name.split(':').next().unwrap_or(name)).peekable();
        let private = Path::new(base).join("private");
        let is_dynamic = is_dynamic && super::is_private(unit, key);
        if is_dynamic && names.peek().is_some() {
            plan.add(&private, Action::Empty("mode=0755,nosuid,nodev".into()));
            plan.add(&private, Action::ReadOnly);
        }
        for name in names {
            let path = if is_dynamic { private.join(name) } else { Path::new(base).join(name) };
            if is_dynamic {
                plan.add(&path, Action::Bind(path.clone(), true));
            }
            plan.add(path, Action::Writable);
        }
    }
    if let Some((users, groups)) = &view.accounts {
        for (path, shown) in [("/etc/passwd", users), ("/etc/group", groups)] {
            plan.add(std::fs::canonicalize(path)?, Action::Bind(shown.clone(), false));
        }
    }
    let credentials = Path::new(super::credentials::DIRECTORY);
    if unit.has(Key::LoadCredential) || unit.has(Key::SetCredential) {
        plan.add(credentials.join(unit.name()), Action::ReadOnly);
    }
    Ok(())
}

/// `[-]SOURCE[:DESTINATION[:rbind|norbind]]`.
fn bind_path(plan: &mut Plan, text: &str, is_read_only: bool) {
    let (is_optional, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let mut parts = text.split(':');
    let source = parts.next().unwrap_or_default();
    let destination = parts.next().filter(|path| !path.is_empty()).unwrap_or(source);
    let recursive = parts.next() != Some("norbind");
    if is_optional && !Path::new(source).exists() {
        return;
    }
    plan.add(destination, Action::Bind(source.into(), recursive));
    plan.add(destination, if is_read_only { Action::ReadOnly } else { Action::Writable });
}

/// Mounts, then sets attributes.
fn carry_out(plan: Plan) -> io::Result<()> {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |error: io::Error| io::Error::new(error.kind(), format!("{path}: {error}"))
    };
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
    // Before anything is covered, and in this namespace: only its own mounts can be bound.
    let sources = mounts.iter().map(|(_, action)| match action {
        Action::Bind(source, _) => place(source).map(Some),
        _ => Ok(None),
    });
    let sources = sources.collect::<io::Result<Vec<_>>>()?;
    for ((path, action), source) in
        mounts.iter().zip(&sources).filter(|((path, _), _)| !is_below_hidden(path))
    {
        // What a /dev or /proc of its own does not have need not be hidden.
        if matches!(action, Action::Hide) && !path.exists() {
            continue;
        }
        mount_one(path, action, source.as_ref()).map_err(failed(path))?;
    }
    attributes.retain(|(path, _)| path.exists() && !is_below_hidden(path));
    sort_few(&mut attributes, |(one, _), (other, _)| one < other);
    for (path, _) in &attributes {
        // Attributes belong to mounts: each path becomes one.
        if !mounting::mounted().iter().any(|(place, _)| Path::new(place) == path) {
            let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
            mount(Some(path), path, None::<&str>, flags, None::<&str>)
                .map_err(io::Error::from)
                .map_err(failed(path))?;
        }
    }
    for (place, fs_type) in mounting::mounted() {
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

fn mount_one(path: &Path, action: &Action, source: Option<&OwnedFd>) -> io::Result<()> {
    match action {
        Action::Hide if path.is_dir() => {
            let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
            mount(Some("tmpfs"), path, Some("tmpfs"), flags, Some("mode=000,size=4k"))?;
        }
        Action::Hide => {
            mount(Some(inaccessible(path)?), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
            remount(path, true, true)?;
        }
        Action::Empty(options) => {
            make_directory(path)?;
            mounting::mount_at("tmpfs", path, "tmpfs", options)?;
        }
        Action::Bind(_, recursive) => {
            let Some(source) = source else { return Ok(()) };
            let source = format!("/proc/self/fd/{}", source.as_raw_fd());
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
            let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
            mount(Some("proc"), path, Some("proc"), flags, Some(options.as_str()))?;
        }
        Action::Devices => private_devices::mount_at(path)?,
        _ => {}
    }
    Ok(())
}

/// What stands for a file that is hidden: an empty one, or a device that does not exist, without permissions.
fn inaccessible(path: &Path) -> io::Result<&'static str> {
    use nix::sys::stat::{SFlag, mknod};
    use std::os::unix::fs::FileTypeExt as _;
    let kind = path.metadata()?.file_type();
    let is_device = kind.is_char_device() || kind.is_block_device();
    let (place, kind) = if is_device {
        ("/run/firn/inaccessible-device", SFlag::S_IFCHR)
    } else {
        ("/run/firn/inaccessible-file", SFlag::S_IFREG)
    };
    match mknod(place, kind, Mode::empty(), 0) {
        Ok(()) | Err(nix::Error::EEXIST) => Ok(place),
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

/// PrivateUsers=: a user namespace in which only root and the service's own user and group exist. A helper outside writes the maps,
/// as only who is privileged there may write more than one line.
pub(super) fn private_users(view: &View) -> io::Result<()> {
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
                let map = if id == 0 { "0 0 1\n".to_owned() } else { format!("0 0 1\n{id} {id} 1\n") };
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
