//! Children made with clone3(2) that belong to the caller's parent: so a supervisor can start services and die without
//! taking them along, as PID 1 is their parent from the first instruction.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::sync::atomic::AtomicU32;

/// Where and as whose child the new process starts.
#[derive(Debug, Default)]
pub struct Birth<'a> {
    /// The cgroup directory to start in.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// The kernel writes the process's id here before the process runs: a place that outlives the caller.
    pub pid_slot: Option<&'a AtomicU32>,
    /// Be a child of the caller's parent instead of the caller's. Not for PID 1.
    pub as_sibling: bool,
}

/// `struct clone_args` of clone3(2).
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

const CLONE_PARENT: u64 = 0x8000;
const CLONE_PARENT_SETTID: u64 = 0x0010_0000;
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Starts a process that runs `child` on a copy of the caller's memory and ends with the code that it returns. Returns
/// the process's id. For processes with one thread only: locks that another thread holds stay locked in the child.
pub fn spawn(birth: &Birth<'_>, child: impl FnOnce() -> i32) -> io::Result<u32> {
    let mut arguments = CloneArgs { flags: CLONE_CLEAR_SIGHAND, ..CloneArgs::default() };
    if birth.as_sibling {
        arguments.flags |= CLONE_PARENT;
    } else {
        arguments.exit_signal = libc::SIGCHLD as u64;
    }
    if let Some(directory) = birth.cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = directory.as_raw_fd() as u64;
    }
    if let Some(slot) = birth.pid_slot {
        arguments.flags |= CLONE_PARENT_SETTID;
        arguments.parent_tid = std::ptr::from_ref(slot) as u64;
    }
    // SAFETY: the structure is laid out as the kernel has it and outlives the call; without CLONE_VM the child has its own
    // memory and returns here on its own copy of the stack; parent_tid points to a live, aligned 32-bit atomic.
    let result = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<CloneArgs>()) };
    match result {
        0 => {
            let code = child();
            // SAFETY: ends the child without running the parent's exit handlers.
            unsafe { libc::_exit(code) }
        }
        pid if pid > 0 => Ok(pid as u32),
        _ => Err(io::Error::last_os_error()),
    }
}
