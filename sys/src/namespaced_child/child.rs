//! What runs between clone and exec. Everything here must be callable in a process that shares memory with a
//! multi-threaded parent: raw system calls on prepared memory and nothing else.

use super::step::{SocketFilter, Step};
use super::{Plan, Report};
use crate::clone3::{CLONE_INTO_CGROUP, CloneArgs, clone_with_stack};
use std::io;
use std::sync::atomic::{AtomicI32, Ordering};

/// Room for the few frames below.
const STACK: usize = 64 * 1024;

/// All that the child reads, made before it exists.
pub(crate) struct Prepared<'a> {
    plan: &'a Plan,
    report: &'a Report,
    arguments: Vec<*const libc::c_char>,
    environment: Vec<*const libc::c_char>,
    trees: Vec<AtomicI32>,
    pipes: Pipes,
}

/// Descriptors of the pipes between parent and child.
#[derive(Clone, Copy)]
pub(crate) struct Pipes {
    /// The child says here that it exists.
    pub(crate) ready: i32,
    /// The child hears here that it may go on.
    pub(crate) go: i32,
    /// The other end of that: the child closes its copy, so that only the parent has it.
    pub(crate) parents_end: i32,
}

impl<'a> Prepared<'a> {
    pub(crate) fn new(plan: &'a Plan, report: &'a Report, pipes: Pipes) -> Self {
        let pointers = |strings: &[std::ffi::CString]| {
            strings.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect::<Vec<_>>()
        };
        let slots = plan.steps.iter().filter(|step| matches!(step, Step::TakeTree { .. })).count();
        Self {
            plan,
            report,
            arguments: pointers(&plan.arguments),
            environment: pointers(&plan.environment),
            trees: (0..slots).map(|_| AtomicI32::new(-1)).collect(),
            pipes,
        }
    }
}

/// Clones; returns when the child has executed or died. Its id is in `pid`.
pub(crate) fn clone(prepared: &Prepared<'_>, pid: &AtomicI32) -> io::Result<()> {
    let namespaces = prepared.plan.namespaces;
    let mut flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PARENT_SETTID;
    for (wanted, flag) in [
        (namespaces.user, libc::CLONE_NEWUSER),
        (namespaces.pid, libc::CLONE_NEWPID),
        (namespaces.mount, libc::CLONE_NEWNS),
        (namespaces.ipc, libc::CLONE_NEWIPC),
        (namespaces.uts, libc::CLONE_NEWUTS),
        (namespaces.net, libc::CLONE_NEWNET),
    ] {
        if wanted {
            flags |= flag;
        }
    }
    let mut arguments = CloneArgs {
        flags: flags as u64,
        exit_signal: libc::SIGCHLD as u64,
        parent_tid: pid.as_ptr() as u64,
        ..CloneArgs::default()
    };
    if let Some(directory) = prepared.plan.cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = directory as u64;
    }
    let mut old = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    let mut all = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `all` is a valid place for a signal set.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // No handler of the parent may run in the child, which shares its memory.
    // SAFETY: `all` was initialised above, `old` is a valid place.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), old.as_mut_ptr()) };
    // SAFETY: `enter` gets a pointer to `prepared`, which outlives the child's use of our memory because CLONE_VFORK
    // stops this thread until then; `pid` is valid.
    let result =
        unsafe { clone_with_stack(arguments, STACK, enter, std::ptr::from_ref(prepared).cast_mut().cast()) };
    // SAFETY: `old` was filled in by the first call.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, old.as_ptr(), std::ptr::null_mut()) };
    result.map(drop)
}

/// The child's first and only function. Never returns.
extern "C" fn enter(argument: *mut libc::c_void) -> ! {
    // SAFETY: `clone` passes a pointer to a `Prepared` that lives until we exec or exit.
    let prepared = unsafe { &*argument.cast::<Prepared<'_>>() };
    let (step, errno) = match run(prepared) {
        Ok(never) => match never {},
        Err(failure) => failure,
    };
    prepared.report.errno.store(errno, Ordering::SeqCst);
    prepared.report.step.store(step as i32, Ordering::SeqCst);
    // SAFETY: ends this process alone, without the parent's exit handlers.
    unsafe { libc::_exit(127) }
}

/// The result of a raw call: its value or errno.
type Call<T = ()> = Result<T, i32>;

fn checked(result: libc::c_long) -> Call<i32> {
    // Reads the thread's errno, which this process shares with its stopped parent thread; no allocation.
    if result < 0 {
        Err(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
    } else {
        Ok(result as i32)
    }
}

/// A system call with an error from errno.
macro_rules! call {
    ($($argument:expr),+ $(,)?) => {{
        // SAFETY: all pointers given point into prepared memory or locals that outlive the call.
        let result = unsafe { libc::syscall($($argument),+) };
        checked(result)
    }};
}

fn run(prepared: &Prepared<'_>) -> Result<std::convert::Infallible, (usize, i32)> {
    default_signals();
    call!(libc::SYS_close, prepared.pipes.parents_end).map_err(|errno| (0, errno))?;
    // Also while it waits: siblings that were being made at the same time may hold copies of the pipe.
    if prepared.plan.steps.iter().any(|step| matches!(step, Step::DieWithParent)) {
        call!(libc::SYS_prctl, libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0).map_err(|errno| (0, errno))?;
    }
    if prepared.plan.namespaces.user {
        wait_for_maps(prepared).map_err(|errno| (0, errno))?;
    }
    for (index, step) in prepared.plan.steps.iter().enumerate() {
        take(prepared, step).map_err(|errno| (index, errno))?;
    }
    unblock_signals();
    let failed = prepared.plan.steps.len();
    match call!(
        libc::SYS_execve,
        prepared.plan.program.as_ptr(),
        prepared.arguments.as_ptr(),
        prepared.environment.as_ptr()
    ) {
        Ok(_) => Err((failed, libc::EIO)), // execve returns only errors
        Err(errno) => Err((failed, errno)),
    }
}

/// All signals as a new program expects them, also those that the parent ignores.
fn default_signals() {
    for signal in 1..=64 {
        // The kernel's own structure: handler, flags, restorer, mask.
        let action = [0usize; 4];
        // Some cannot be changed (SIGKILL, SIGSTOP): no matter.
        call!(libc::SYS_rt_sigaction, signal, action.as_ptr(), std::ptr::null::<usize>(), 8)
            .unwrap_or_default();
    }
}

fn unblock_signals() {
    let none = 0u64;
    call!(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, std::ptr::from_ref(&none), std::ptr::null::<u64>(), 8)
        .unwrap_or_default();
}

fn wait_for_maps(prepared: &Prepared<'_>) -> Call {
    call!(libc::SYS_write, prepared.pipes.ready, c"1".as_ptr(), 1)?;
    let mut byte = [0u8; 1];
    call!(libc::SYS_read, prepared.pipes.go, byte.as_mut_ptr(), 1)?;
    if byte == *b"1" { Ok(()) } else { Err(libc::EPERM) }
}

fn take(prepared: &Prepared<'_>, step: &Step) -> Call {
    match step {
        Step::PrivateMounts => {
            let flags = libc::MS_REC | libc::MS_PRIVATE;
            call!(libc::SYS_mount, c"none".as_ptr(), c"/".as_ptr(), std::ptr::null::<u8>(), flags, 0)
                .map(drop)
        }
        Step::OwnCgroupView => call!(libc::SYS_unshare, libc::CLONE_NEWCGROUP).map(drop),
        Step::Mount { source, target, kind, flags, options } => {
            call!(libc::SYS_mount, source.as_ptr(), target.as_ptr(), kind.as_ptr(), *flags, options.as_ptr())
                .map(drop)
        }
        Step::TakeTree { source, slot, read_only } => take_tree(prepared, source, *slot, *read_only),
        Step::PutTree { slot, target } => put_tree(prepared, *slot, target),
        Step::MakeDirectory { path, mode } => {
            call!(libc::SYS_mkdirat, libc::AT_FDCWD, path.as_ptr(), *mode)?;
            call!(libc::SYS_fchmodat, libc::AT_FDCWD, path.as_ptr(), *mode).map(drop)
        }
        Step::MakeFile { path, mode, contents } => make_file(path, *mode, contents),
        Step::Symlink { target, path } => {
            call!(libc::SYS_symlinkat, target.as_ptr(), libc::AT_FDCWD, path.as_ptr()).map(drop)
        }
        Step::ChangeMode { path, mode } => {
            call!(libc::SYS_fchmodat, libc::AT_FDCWD, path.as_ptr(), *mode).map(drop)
        }
        Step::PivotToWorkingDirectory => {
            call!(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr())?;
            call!(libc::SYS_umount2, c".".as_ptr(), libc::MNT_DETACH)?;
            call!(libc::SYS_chdir, c"/".as_ptr()).map(drop)
        }
        Step::ChangeDirectory(path) => call!(libc::SYS_chdir, path.as_ptr()).map(drop),
        Step::HostName(name) => call!(libc::SYS_sethostname, name.as_ptr(), name.as_bytes().len()).map(drop),
        Step::LoopbackUp => loopback_up(),
        Step::NewSession => call!(libc::SYS_setsid).map(drop),
        Step::ControllingTerminal => call!(libc::SYS_ioctl, 0, libc::TIOCSCTTY, 0).map(drop),
        Step::Duplicate { from, to } if from == to => {
            call!(libc::SYS_fcntl, *from, libc::F_SETFD, 0).map(drop)
        }
        Step::Duplicate { from, to } => call!(libc::SYS_dup3, *from, *to, 0).map(drop),
        Step::CloseFrom(first) => call!(libc::SYS_close_range, *first as u32, u32::MAX, 0).map(drop),
        Step::SetGroup(group) => call!(libc::SYS_setresgid, *group, *group, *group).map(drop),
        Step::NoSupplementaryGroups => call!(libc::SYS_setgroups, 0, std::ptr::null::<u32>()).map(drop),
        Step::SetUser(user) => call!(libc::SYS_setresuid, *user, *user, *user).map(drop),
        Step::Personality(flags) => call!(libc::SYS_personality, *flags).map(drop),
        Step::Umask(mask) => call!(libc::SYS_umask, *mask).map(drop),
        Step::SoftLimit { resource, value } => soft_limit(*resource, *value),
        Step::NoCapabilities => no_capabilities(),
        Step::DieWithParent => die_with_parent(prepared),
        Step::NoNewPrivileges => call!(libc::SYS_prctl, libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0).map(drop),
        Step::Seccomp(filter) => seccomp(filter),
        Step::ScopeAbstractSockets => scope_abstract_sockets(),
    }
}

fn die_with_parent(prepared: &Prepared<'_>) -> Call {
    call!(libc::SYS_prctl, libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0)?;
    // It may have died before: then nobody has the other end of this pipe.
    let mut descriptor = libc::pollfd { fd: prepared.pipes.go, events: 0, revents: 0 };
    let at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    call!(libc::SYS_ppoll, std::ptr::from_mut(&mut descriptor), 1, std::ptr::from_ref(&at_once), 0, 8)?;
    if descriptor.revents & libc::POLLHUP != 0 { Err(libc::ESRCH) } else { Ok(()) }
}

/// struct mount_attr of mount_setattr(2).
#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

const ATTRIBUTE_READ_ONLY: u64 = 1;
const ATTRIBUTE_NO_SET_ID: u64 = 2;

fn take_tree(prepared: &Prepared<'_>, source: &std::ffi::CStr, slot: usize, read_only: bool) -> Call {
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_RECURSIVE as u32;
    let flags = flags | libc::AT_SYMLINK_NOFOLLOW as u32;
    let tree = call!(libc::SYS_open_tree, libc::AT_FDCWD, source.as_ptr(), flags)?;
    if read_only {
        let attributes = MountAttributes {
            set: ATTRIBUTE_READ_ONLY | ATTRIBUTE_NO_SET_ID,
            clear: 0,
            propagation: 0,
            user_namespace: 0,
        };
        call!(
            libc::SYS_mount_setattr,
            tree,
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
            std::ptr::from_ref(&attributes),
            size_of::<MountAttributes>()
        )?;
    }
    match prepared.trees.get(slot) {
        Some(place) => place.store(tree, Ordering::Relaxed),
        None => return Err(libc::EBADF),
    }
    Ok(())
}

fn put_tree(prepared: &Prepared<'_>, slot: usize, target: &std::ffi::CStr) -> Call {
    let Some(tree) = prepared.trees.get(slot).map(|tree| tree.load(Ordering::Relaxed)) else {
        return Err(libc::EBADF);
    };
    call!(
        libc::SYS_move_mount,
        tree,
        c"".as_ptr(),
        libc::AT_FDCWD,
        target.as_ptr(),
        libc::MOVE_MOUNT_F_EMPTY_PATH
    )?;
    call!(libc::SYS_close, tree).map(drop)
}

fn make_file(path: &std::ffi::CStr, mode: libc::mode_t, contents: &[u8]) -> Call {
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC;
    let file = call!(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), flags, 0o600)?;
    let mut rest = contents;
    while !rest.is_empty() {
        let written = call!(libc::SYS_write, file, rest.as_ptr(), rest.len())?;
        rest = rest.get(written as usize..).unwrap_or_default();
    }
    call!(libc::SYS_fchmod, file, mode)?;
    call!(libc::SYS_close, file).map(drop)
}

/// struct ifreq of netdevice(7), as far as flags need it.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; 16],
    flags: libc::c_short,
    rest: [u8; 22],
}

fn loopback_up() -> Call {
    let socket = call!(libc::SYS_socket, libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0)?;
    let mut request = InterfaceRequest { name: [0; 16], flags: 0, rest: [0; 22] };
    request.name[0] = b'l';
    request.name[1] = b'o';
    request.flags = (libc::IFF_UP | libc::IFF_LOOPBACK | libc::IFF_RUNNING) as libc::c_short;
    call!(libc::SYS_ioctl, socket, libc::SIOCSIFFLAGS, std::ptr::from_mut(&mut request))?;
    call!(libc::SYS_close, socket).map(drop)
}

fn soft_limit(resource: i32, value: u64) -> Call {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    let none = std::ptr::null::<libc::rlimit64>();
    call!(libc::SYS_prlimit64, 0, resource, none, std::ptr::from_mut(&mut limit))?;
    limit.rlim_cur = value.min(limit.rlim_max);
    call!(libc::SYS_prlimit64, 0, resource, std::ptr::from_ref(&limit), none).map(drop)
}

fn no_capabilities() -> Call {
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    let data = [0u32; 6];
    call!(libc::SYS_capset, header.as_ptr(), data.as_ptr()).map(drop)
}

fn seccomp(filter: &[SocketFilter]) -> Call {
    #[repr(C)]
    struct Program {
        length: u16,
        filter: *const SocketFilter,
    }
    let program = Program { length: filter.len() as u16, filter: filter.as_ptr() };
    call!(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, std::ptr::from_ref(&program)).map(drop)
}

fn scope_abstract_sockets() -> Call {
    const SCOPE_ABSTRACT_UNIX_SOCKET: u64 = 1;
    // struct landlock_ruleset_attr: file system, network, scopes.
    let attributes = [0u64, 0, SCOPE_ABSTRACT_UNIX_SOCKET];
    let size = size_of_val(&attributes);
    let ruleset = match call!(libc::SYS_landlock_create_ruleset, attributes.as_ptr(), size, 0) {
        Ok(ruleset) => ruleset,
        Err(libc::ENOSYS | libc::EOPNOTSUPP | libc::E2BIG | libc::EINVAL) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    call!(libc::SYS_landlock_restrict_self, ruleset, 0)?;
    call!(libc::SYS_close, ruleset).map(drop)
}
