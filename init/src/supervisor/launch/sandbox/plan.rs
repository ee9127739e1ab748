//! What a unit's directives ask for, as a list of paths with what is to happen there.

use super::super::{DIRECTORIES, credentials, is_private};
use super::{NOTIFY, View};
use formats::service_graph::key::{Key, flag, sandbox};
use formats::service_graph::view::Unit;
use std::io;
use std::path::{Path, PathBuf};

/// What happens at a path.
#[derive(Debug)]
pub(super) enum Action {
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
    /// The cgroups as the cgroup namespace shows them.
    ControlGroups,
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
    pub(super) fn mounts(&self) -> bool {
        matches!(
            self,
            Self::Hide
                | Self::Empty(_)
                | Self::Bind(..)
                | Self::Proc(_)
                | Self::Devices
                | Self::ControlGroups
        )
    }
}

/// What MountAPIVFS= mounts in another root.
const KERNELS: [&str; 4] = ["/proc", "/sys", "/dev", "/run"];

/// The list.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) entries: Vec<(PathBuf, Action)>,
    /// The kernel's file systems will be there and are not yet.
    has_kernels: bool,
    /// Sources of binds that need not be there.
    pub(super) optional: Vec<PathBuf>,
}

impl Plan {
    fn add(&mut self, path: impl Into<PathBuf>, action: Action) {
        self.entries.push((path.into(), action));
    }

    /// Adds a path that a directive names; a missing one is an error unless it says otherwise. With another root, a path that is not
    /// marked with `+` is one of the machine's, and nothing when it lies outside that root.
    fn add_named(&mut self, tag: u32, path: &str, root: Option<&Path>, action: Action) -> io::Result<()> {
        let path = match root {
            Some(root) if tag & 2 == 0 => match Path::new(path).strip_prefix(root) {
                Ok(below) => Path::new("/").join(below),
                Err(_) => return Ok(()),
            },
            _ => PathBuf::from(path),
        };
        match std::fs::canonicalize(&path) {
            Ok(path) => self.add(path, action),
            Err(_) if tag & 1 != 0 => {}
            Err(error) => return Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
        }
        Ok(())
    }

    /// Adds paths that need not be there.
    fn add_all(&mut self, paths: &[&str], action: fn() -> Action) {
        for path in paths {
            let is_kernels = KERNELS.iter().any(|place| Path::new(path).starts_with(place));
            if self.has_kernels && is_kernels {
                self.add(path, action());
            } else if let Ok(path) = std::fs::canonicalize(path) {
                self.add(path, action());
            }
        }
    }
}

/// What the unit asks for, as a list.
pub(super) fn plan(unit: &Unit<'_>, bits: u64, view: &View) -> io::Result<Plan> {
    let mut plan = Plan::default();
    let has = |bit: u64| bits & bit != 0;
    if view.root.is_some() && has(sandbox::MOUNT_API_VFS) {
        plan.has_kernels = true;
        plan.add("/proc", Action::Proc(String::new()));
        plan.add("/sys", Action::Bind("/sys".into(), true));
        plan.add("/dev", Action::Bind("/dev".into(), true));
        plan.add("/run", Action::Empty("mode=1777,nosuid,nodev".into()));
        for path in KERNELS {
            plan.add(path, Action::Writable);
        }
    }
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
            if view.root.is_some() || Path::new(path).is_dir() {
                plan.add(path, Action::Bind(behind.clone(), false));
                plan.add(path, Action::Writable);
            }
        }
    } else if has(sandbox::TMP_IS_DISCONNECTED) {
        plan.add_all(&["/tmp", "/var/tmp"], || Action::Empty("mode=1777,nosuid,nodev".into()));
        plan.add_all(&["/tmp", "/var/tmp"], || Action::Writable);
    }
    own_directories(&mut plan, unit, bits, view)?;
    for (key, action) in [
        (Key::ReadOnlyPaths, (|| Action::ReadOnly) as fn() -> Action),
        (Key::InaccessiblePaths, || Action::Hide),
        (Key::ReadWritePaths, || Action::Writable),
        (Key::NoExecPaths, || Action::NotExecutable),
        (Key::ExecPaths, || Action::Executable),
    ] {
        for (is_optional, path) in unit.tagged(key) {
            plan.add_named(is_optional, path, view.root.as_deref(), action())?;
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
    if has(sandbox::PRIVATE_CONTROL_GROUPS) {
        plan.add("/sys/fs/cgroup", Action::ControlGroups);
    }
    if has(sandbox::CONTROL_GROUPS_ARE_WRITABLE) {
        plan.add("/sys/fs/cgroup", Action::Writable);
    } else if has(sandbox::PROTECT_CONTROL_GROUPS) {
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
fn own_directories(plan: &mut Plan, unit: &Unit<'_>, bits: u64, view: &View) -> io::Result<()> {
    let is_dynamic = unit.flag(flag::DYNAMIC_USER) && view.accounts.is_some();
    for (key, _, base, _) in DIRECTORIES {
        if key == Key::ConfigurationDirectory {
            continue;
        }
        let mut names = unit.texts(key).map(|name| name.split(':').next().unwrap_or(name)).peekable();
        let private = Path::new(base).join("private");
        let is_dynamic = is_dynamic && is_private(unit, key);
        if is_dynamic && names.peek().is_some() {
            plan.add(&private, Action::Empty("mode=0755,nosuid,nodev".into()));
            plan.add(&private, Action::ReadOnly);
        }
        for name in names {
            let path = if is_dynamic { private.join(name) } else { Path::new(base).join(name) };
            if is_dynamic || view.root.is_some() {
                plan.add(&path, Action::Bind(path.clone(), true));
            }
            plan.add(path, Action::Writable);
        }
    }
    if let Some((users, groups)) = &view.accounts {
        for (path, shown) in [("/etc/passwd", users), ("/etc/group", groups)] {
            match std::fs::canonicalize(path) {
                Ok(path) => plan.add(path, Action::Bind(shown.clone(), false)),
                Err(_) if view.root.is_some() => {}
                Err(error) => return Err(error),
            }
        }
    }
    if credentials::has_any(unit) {
        let credentials = credentials::directory_of(unit);
        if view.root.is_some() {
            plan.add(&credentials, Action::Bind(credentials.clone(), false));
        }
        plan.add(credentials, Action::ReadOnly);
    }
    if view.root.is_some() && bits & sandbox::MOUNT_API_VFS != 0 {
        plan.add(NOTIFY, Action::Bind(NOTIFY.into(), false));
    }
    Ok(())
}

/// `[-]SOURCE[:DESTINATION[:rbind|norbind]]`.
pub(super) fn bind_of(text: &str) -> (bool, &str, &str, bool) {
    let (is_optional, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let mut parts = text.split(':');
    let source = parts.next().unwrap_or_default();
    let destination = parts.next().filter(|path| !path.is_empty()).unwrap_or(source);
    (is_optional, source, destination, parts.next() != Some("norbind"))
}

fn bind_path(plan: &mut Plan, text: &str, is_read_only: bool) {
    let (is_optional, source, destination, recursive) = bind_of(text);
    if is_optional {
        plan.optional.push(source.into());
    }
    plan.add(destination, Action::Bind(source.into(), recursive));
    plan.add(destination, if is_read_only { Action::ReadOnly } else { Action::Writable });
}
