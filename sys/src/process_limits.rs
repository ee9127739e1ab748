//! What a process gives up or bounds before it executes a service: capabilities(7), setrlimit(2), ioprio and nice.

use std::io;

const LAST_CAPABILITY: u64 = 40;

/// Drops from the bounding set every capability that the mask lacks.
pub fn bound_capabilities(keep: u64) -> io::Result<()> {
    for capability in 0..=LAST_CAPABILITY {
        if keep & (1 << capability) == 0 {
            // SAFETY: prctl with plain numbers.
            let result = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
            let unknown = result < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL);
            if result < 0 && !unknown {
                return Err(io::Error::last_os_error());
            }
        }
    }
    Ok(())
}

/// Keeps permitted capabilities over the next change of user.
pub fn keep_capabilities() -> io::Result<()> {
    // SAFETY: prctl with plain numbers.
    check(unsafe { libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0) })
}

/// For capget(2) and capset(2): version 3, the calling process.
const CAPABILITIES_OF_SELF: [u32; 2] = [0x2008_0522, 0];

/// Makes permitted, effective, inheritable and ambient exactly this set.
pub fn set_ambient(mask: u64) -> io::Result<()> {
    let (low, high) = (mask as u32, (mask >> 32) as u32);
    raise_ambient([low, low, low, high, high, high], mask)
}

/// Adds a set to the inheritable and the ambient one.
pub fn add_ambient(mask: u64) -> io::Result<()> {
    let header = CAPABILITIES_OF_SELF;
    let mut data = [0_u32; 6];
    // SAFETY: both arrays are laid out as the kernel has them and outlive the call.
    check(unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), data.as_mut_ptr()) } as libc::c_int)?;
    data[2] |= mask as u32;
    data[5] |= (mask >> 32) as u32;
    raise_ambient(data, mask)
}

/// Sets effective, permitted and inheritable (for the low, then the high 32 bits), then raises the ambient ones.
fn raise_ambient(data: [u32; 6], mask: u64) -> io::Result<()> {
    let header = CAPABILITIES_OF_SELF;
    // SAFETY: both arrays are laid out as the kernel has them and outlive the call.
    check(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) } as libc::c_int)?;
    for capability in 0..=LAST_CAPABILITY {
        if mask & (1 << capability) != 0 {
            // SAFETY: prctl with plain numbers.
            check(unsafe {
                libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, capability, 0, 0)
            })?;
        }
    }
    Ok(())
}

/// setrlimit(2) by the resource's number; `u64::MAX` is infinity. What is more than may be becomes what may be: so many descriptors
/// as fs.nr_open says, and of the rest what this process may have itself.
pub fn limit(resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    match set_limit(resource, soft, hard) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            let most = if resource == libc::RLIMIT_NOFILE {
                let text = std::fs::read_to_string("/proc/sys/fs/nr_open").unwrap_or_default();
                text.trim().parse().unwrap_or(1 << 20)
            } else {
                let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
                // SAFETY: the structure outlives the call.
                check(unsafe { libc::getrlimit(resource, &raw mut now) })?;
                now.rlim_max
            };
            set_limit(resource, soft.min(most), hard.min(most))
        }
        result => result,
    }
}

fn set_limit(resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the structure outlives the call.
    check(unsafe { libc::setrlimit(resource, &raw const limit) })
}

/// The nice value of the calling process.
pub fn nice(value: i32) -> io::Result<()> {
    // SAFETY: plain numbers.
    check(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, value) })
}

/// PR_SET_NO_NEW_PRIVS.
pub fn no_new_privileges() -> io::Result<()> {
    // SAFETY: prctl with plain numbers.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })
}

/// PR_SET_SECUREBITS.
pub fn secure_bits(mask: u64) -> io::Result<()> {
    // SAFETY: prctl with plain numbers.
    check(unsafe { libc::prctl(libc::PR_SET_SECUREBITS, mask, 0, 0, 0) })
}

/// PR_SET_TIMERSLACK, in nanoseconds.
pub fn timer_slack(nanoseconds: u64) -> io::Result<()> {
    // SAFETY: prctl with plain numbers.
    check(unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, nanoseconds, 0, 0, 0) })
}

/// ioprio_set(2) of the calling process.
pub fn io_priority(value: u64) -> io::Result<()> {
    const OF_PROCESS: libc::c_int = 1;
    // SAFETY: plain numbers.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, OF_PROCESS, 0, value as libc::c_int) } as libc::c_int)
}

/// sched_setscheduler(2) of the calling process.
pub fn scheduling(policy: u64, priority: u64, reset_on_fork: bool) -> io::Result<()> {
    const RESET_ON_FORK: i32 = 0x4000_0000;
    let policy = policy as i32 | if reset_on_fork { RESET_ON_FORK } else { 0 };
    let priority = libc::sched_param { sched_priority: priority as i32 };
    // SAFETY: the structure outlives the call.
    check(unsafe { libc::sched_setscheduler(0, policy, &raw const priority) })
}

/// sched_setaffinity(2) of the calling process.
pub fn affinity(cpus: &[u64]) -> io::Result<()> {
    let mut mask = [0_u64; 16];
    for cpu in cpus {
        if let Some(word) = mask.get_mut((cpu / 64) as usize) {
            *word |= 1 << (cpu % 64);
        }
    }
    // SAFETY: the mask outlives the call and is as long as said.
    check(unsafe { libc::sched_setaffinity(0, size_of_val(&mask), mask.as_ptr().cast()) })
}

/// Joins a new session keyring (keyctl(2)); with `links_user` the user's keyring is reached from it.
pub fn new_session_keyring(links_user: bool) -> io::Result<()> {
    const JOIN: libc::c_long = 1;
    const LINK: libc::c_long = 8;
    const USER: libc::c_long = -4;
    const SESSION: libc::c_long = -3;
    // SAFETY: plain numbers; a null name means an anonymous keyring.
    check(unsafe { libc::syscall(libc::SYS_keyctl, JOIN, 0, 0, 0, 0) } as libc::c_int)?;
    if links_user {
        // SAFETY: plain numbers.
        check(unsafe { libc::syscall(libc::SYS_keyctl, LINK, USER, SESSION, 0, 0) } as libc::c_int)?;
    }
    Ok(())
}

/// Lets SIGPIPE, or another signal, be ignored from here over execve(2).
pub fn ignore_signal(signal: i32) -> io::Result<()> {
    // SAFETY: SIG_IGN is a valid disposition and no handler runs.
    let old = unsafe { libc::signal(signal, libc::SIG_IGN) };
    if old == libc::SIG_ERR { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Turns the kernel's own reaction to Ctrl-Alt-Del off: it sends SIGINT to PID 1 instead.
pub fn ctrl_alt_del_is_ours() -> io::Result<()> {
    // SAFETY: reboot with a command that only changes this setting.
    check(unsafe { libc::reboot(libc::RB_DISABLE_CAD) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Gives a signal its default disposition back.
pub fn default_signal(signal: i32) -> io::Result<()> {
    // SAFETY: SIG_DFL is a valid disposition and no handler runs.
    let old = unsafe { libc::signal(signal, libc::SIG_DFL) };
    if old == libc::SIG_ERR { Err(io::Error::last_os_error()) } else { Ok(()) }
}
