//! The steps that a child takes between clone and exec, each one or a few system calls.

use std::ffi::CString;
use std::os::fd::RawFd;

/// Which namespaces are new.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "one for each kind of namespace")]
pub struct Namespaces {
    /// Users and capabilities.
    pub user: bool,
    /// Processes; the child is number 1.
    pub pid: bool,
    /// Mounts.
    pub mount: bool,
    /// System V IPC and POSIX queues.
    pub ipc: bool,
    /// Host name.
    pub uts: bool,
    /// Network.
    pub net: bool,
}

/// Names a tree that was taken by [`Step::TakeTree`]: an index below the number of such steps.
pub type TreeSlot = usize;

/// One instruction of a seccomp filter: classic BPF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct SocketFilter {
    /// The operation.
    pub code: u16,
    /// Jump if true.
    pub jump_true: u8,
    /// Jump if false.
    pub jump_false: u8,
    /// The operand.
    pub operand: u32,
}

/// One step.
#[derive(Debug)]
pub enum Step {
    /// No mount goes from here to the parent's namespace or back.
    PrivateMounts,
    /// Makes the cgroup that it is in the root of what it sees of cgroups.
    OwnCgroupView,
    /// mount(2) of a file system.
    Mount {
        /// What is mounted, mostly the type's name.
        source: CString,
        /// Where.
        target: CString,
        /// The file system's type.
        kind: CString,
        /// `MS_…`.
        flags: libc::c_ulong,
        /// Its options.
        options: CString,
    },
    /// Takes a detached copy of the mount tree at a path, for [`Step::PutTree`].
    TakeTree {
        /// The path.
        source: CString,
        /// Where it is kept.
        slot: TreeSlot,
        /// Makes it read-only and without set-id.
        read_only: bool,
    },
    /// Mounts a tree taken before.
    PutTree {
        /// The tree.
        slot: TreeSlot,
        /// Where.
        target: CString,
    },
    /// mkdir(2) with exactly this mode.
    MakeDirectory {
        /// The path.
        path: CString,
        /// Its mode, whatever the umask.
        mode: libc::mode_t,
    },
    /// A new file with exactly this mode.
    MakeFile {
        /// The path.
        path: CString,
        /// Its mode, whatever the umask.
        mode: libc::mode_t,
        /// What it holds.
        contents: Vec<u8>,
    },
    /// symlink(2).
    Symlink {
        /// What it points to.
        target: CString,
        /// Where it is.
        path: CString,
    },
    /// chmod(2).
    ChangeMode {
        /// The path.
        path: CString,
        /// The new mode.
        mode: libc::mode_t,
    },
    /// Makes the working directory, a mount, the root, and detaches the old root.
    PivotToWorkingDirectory,
    /// chdir(2).
    ChangeDirectory(CString),
    /// sethostname(2).
    HostName(CString),
    /// Sets the loopback interface up.
    LoopbackUp,
    /// setsid(2).
    NewSession,
    /// Makes standard input the session's terminal.
    ControllingTerminal,
    /// dup2(2); also clears close-on-exec when both are the same.
    Duplicate {
        /// An open descriptor.
        from: RawFd,
        /// Its new number.
        to: RawFd,
    },
    /// Closes all descriptors from this number on.
    CloseFrom(RawFd),
    /// Sets all three group ids.
    SetGroup(u32),
    /// Gives up all supplementary groups.
    NoSupplementaryGroups,
    /// Sets all three user ids. Capabilities in a user namespace survive this.
    SetUser(u32),
    /// personality(2).
    Personality(libc::c_ulong),
    /// umask(2).
    Umask(libc::mode_t),
    /// The soft limit of a resource (`RLIMIT_…`), at most the hard one.
    SoftLimit {
        /// `RLIMIT_…`.
        resource: libc::c_int,
        /// The new soft limit; more than the hard one means as much as it.
        value: u64,
    },
    /// Gives up all capabilities.
    NoCapabilities,
    /// Dies when the thread that made it does; later changes of user would undo this.
    DieWithParent,
    /// No exec gains privileges any more.
    NoNewPrivileges,
    /// Installs a seccomp filter; needs [`Step::NoNewPrivileges`] before or capabilities.
    Seccomp(Vec<SocketFilter>),
    /// Landlock: no abstract Unix sockets of processes outside. Silently nothing on kernels before 6.12.
    ScopeAbstractSockets,
}
