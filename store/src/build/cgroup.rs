//! A cgroup for each build where this process may make one: its limits hold for all that the builder starts, and nothing of
//! it outlives it. Control Group v2 (kernel documentation), systemd's "Control Group APIs and Delegation".

use super::{BuildOptions, FailureKind};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd as _, RawFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Where the unified hierarchy may be mounted.
const HIERARCHIES: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// Numbers of builds.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// What [`find_parent`] found.
static PARENT: OnceLock<Result<PathBuf, String>> = OnceLock::new();

/// How long the kernel may take to bury what was killed.
const PATIENCE: u32 = 500;

/// What a builder and all that it starts may use together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Processes and threads.
    pub tasks: Option<u64>,
}

/// The cgroup of one build; it is killed and removed when this is dropped.
#[derive(Debug)]
pub(super) struct BuildCgroup {
    directory: PathBuf,
    opened: File,
    memory: Option<u64>,
}

impl BuildCgroup {
    /// Makes it, if there is a place for it. An error if limits are wanted that cannot be set.
    pub(super) fn create(options: &BuildOptions) -> Result<Option<Self>, FailureKind> {
        let limits = options.limits;
        let wanted = limits != Limits::default();
        if options.use_cgroups == Some(false) && !wanted {
            return Ok(None);
        }
        let cannot = |why: &str| {
            FailureKind::Sandbox(format!(
                "builds cannot have cgroups of their own here ({why}), which `use-cgroups`, `build-memory-max` and \
                 `build-tasks-max` need: build as root, or through a daemon whose service has Delegate=yes"
            ))
        };
        let parent = match PARENT.get_or_init(find_parent) {
            Ok(parent) => parent,
            Err(why) if wanted || options.use_cgroups == Some(true) => return Err(cannot(why)),
            Err(_) => return Ok(None),
        };
        Self::below(parent, limits).map(Some).map_err(|error| cannot(&error.to_string()))
    }

    fn below(parent: &Path, limits: Limits) -> io::Result<Self> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = parent.join(format!("build-{}-{number}", std::process::id()));
        let at = |what: &str| {
            let place = directory.join(what);
            move |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", place.display()))
        };
        fs::create_dir(&directory).map_err(at(""))?;
        let made = || {
            if let Some(bytes) = limits.memory {
                fs::write(directory.join("memory.max"), bytes.to_string()).map_err(at("memory.max"))?;
                // All of it or nothing: half a build is none.
                fs::write(directory.join("memory.oom.group"), "1").map_err(at("memory.oom.group"))?;
            }
            if let Some(tasks) = limits.tasks {
                fs::write(directory.join("pids.max"), tasks.to_string()).map_err(at("pids.max"))?;
            }
            File::open(&directory).map_err(at(""))
        };
        match made() {
            Ok(opened) => Ok(Self { directory, opened, memory: limits.memory }),
            Err(error) => {
                remove(&directory);
                Err(error)
            }
        }
    }

    /// Where a process is to begin.
    pub(super) fn descriptor(&self) -> RawFd {
        self.opened.as_raw_fd()
    }

    /// The limit, if the kernel has killed for it.
    pub(super) fn exceeded_memory(&self) -> Option<u64> {
        let events = fs::read_to_string(self.directory.join("memory.events")).unwrap_or_default();
        let kills = events.lines().find_map(|line| line.strip_prefix("oom_kill "))?;
        self.memory.filter(|_| kills.trim() != "0")
    }
}

impl Drop for BuildCgroup {
    fn drop(&mut self) {
        remove(&self.directory);
    }
}

/// Kills what is in a cgroup and takes it away.
fn remove(directory: &Path) {
    if let Err(error) = fs::write(directory.join("cgroup.kill"), "1") {
        log::debug!("killing {}: {error}", directory.display());
    }
    for _ in 0..PATIENCE {
        match fs::remove_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return log::debug!("removing {}: {error}", directory.display());
            }
            _ => return,
        }
    }
    log::warn!("the cgroup {} does not become empty", directory.display());
}

/// The cgroup below which builds have theirs: our own if it was delegated to us; on a machine without another master of
/// the hierarchy, one below its root. Otherwise why there is none.
fn find_parent() -> Result<PathBuf, String> {
    let root =
        HIERARCHIES.map(PathBuf::from).into_iter().find(|root| root.join("cgroup.controllers").exists());
    let root = root.ok_or("no unified hierarchy of cgroups is mounted")?;
    let own =
        fs::read_to_string("/proc/self/cgroup").map_err(|error| format!("/proc/self/cgroup: {error}"))?;
    let own = own
        .lines()
        .find_map(|line| line.strip_prefix("0::/"))
        .ok_or("this process is in no unified cgroup")?;
    let directory = root.join(own);
    if !own.is_empty() && is_delegated(&directory) {
        return divide(&directory).map_err(|error| format!("{}: {error}", directory.display()));
    }
    if !rustix::process::geteuid().is_root() {
        return Err(format!("{} is not ours to divide", directory.display()));
    }
    // Firn makes that directory as well, for programs that ask by it whether they can talk to a service manager.
    if Path::new("/run/systemd/system").exists() && !Path::new("/run/firn").exists() {
        return Err(format!("{} is systemd's", directory.display()));
    }
    enable_controllers(&root);
    let parent = root.join("firn.builds");
    match fs::create_dir(&parent) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(format!("{}: {error}", parent.display()));
        }
        _ => enable_controllers(&parent),
    }
    Ok(parent)
}

/// Whether a service manager gave us this cgroup: it says so by an attribute.
fn is_delegated(directory: &Path) -> bool {
    let mut value = [0; 1];
    let says = |name| rustix::fs::getxattr(directory, name, &mut value[..]).is_ok_and(|length| length == 1);
    ["trusted.delegate", "user.delegate"].into_iter().any(says) && value == *b"1"
}

/// Makes room in a delegated cgroup: only leaves may have processes, so those that are in it move to one.
fn divide(directory: &Path) -> io::Result<PathBuf> {
    let leaf = directory.join("supervisor");
    match fs::create_dir(&leaf) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    for process in fs::read_to_string(directory.join("cgroup.procs"))?.lines() {
        match fs::write(leaf.join("cgroup.procs"), process) {
            // It ended meanwhile.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {}
            other => other?,
        }
    }
    enable_controllers(directory);
    Ok(directory.to_owned())
}

/// Lets cgroups below have limits, as far as there are controllers: who wants a limit without one hears of it then.
fn enable_controllers(directory: &Path) {
    for controller in ["+memory", "+pids"] {
        if let Err(error) = fs::write(directory.join("cgroup.subtree_control"), controller) {
            log::debug!("{controller} in {}: {error}", directory.display());
        }
    }
}
