//! Processes that are watched at each of their system calls (ptrace(2)): what a crash, an enemy or an onlooker could do between
//! any two of them is done exactly there, and nothing is left to chance.

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// What a watched process should do after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Go on.
    Continue,
    /// Die before the call is made.
    Die,
}

/// How a victim ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The steps that it took, the one that it was killed before included.
    pub(crate) steps: usize,
    /// What it said.
    pub(crate) said: Vec<String>,
    /// It came to its end.
    pub(crate) finished: bool,
}

/// The system calls (by their numbers on x86-64) that change something that others can see.
const CHANGES: [i64; 34] = [
    libc::SYS_write,
    libc::SYS_pwrite64,
    libc::SYS_writev,
    libc::SYS_mkdir,
    libc::SYS_mkdirat,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_unlink,
    libc::SYS_unlinkat,
    libc::SYS_rmdir,
    libc::SYS_link,
    libc::SYS_linkat,
    libc::SYS_symlink,
    libc::SYS_symlinkat,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_syncfs,
    libc::SYS_chmod,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_utimensat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_lchown,
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_mount,
    libc::SYS_copy_file_range,
    libc::SYS_sendfile,
    libc::SYS_flock,
    libc::SYS_kill,
];

/// The calls that look or go somewhere by a name: between two of them names can be exchanged.
const LOOKS: [i64; 8] = [
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_fstat,
    libc::SYS_getdents64,
    libc::SYS_readlinkat,
    libc::SYS_openat,
];

/// Which calls are steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Steps {
    /// Those that change something.
    Changes,
    /// Those that look at names as well.
    Looks,
}

impl Steps {
    fn has(self, call: i64, flags: u64) -> bool {
        let creates = flags & u64::from((libc::O_CREAT | libc::O_TRUNC).cast_unsigned()) != 0;
        CHANGES.contains(&call)
            || call == libc::SYS_openat && creates
            || self == Self::Looks && LOOKS.contains(&call)
    }
}

/// Starts the test of this name in a process of its own, with its root and the word that says what to do in
/// `FIRN_TEST_STEPS_ROOT` and `FIRN_TEST_STEPS_WORK`, and calls `act` before each step, counted from 1. The test says `ready`,
/// waits for a line, and works.
pub(crate) fn watch(
    test: &str,
    work: &str,
    root: &Path,
    which: Steps,
    act: &mut dyn FnMut(usize) -> Next,
) -> Ended {
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env("FIRN_TEST_STEPS_ROOT", root)
        .env("FIRN_TEST_STEPS_WORK", work)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    let mut said = BufReader::new(victim.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(said.by_ref().any(|line| line.ends_with("ready")), "the victim did not start");
    seize(&victim);
    writeln!(victim.stdin.as_ref().unwrap(), "go").unwrap();
    let leader = Pid::from_raw(victim.id().cast_signed());
    let (mut steps, mut finished) = (0, true);
    while let Some(status) = next_stop(leader) {
        let pid = status.pid().unwrap();
        let mut signal = None;
        match status {
            // A thread that was killed meanwhile has no registers. The kernel marks an entry by ENOSYS as the result so far.
            WaitStatus::PtraceSyscall(_) => {
                if let Ok(registers) = ptrace::getregs(pid)
                    && registers.rax.cast_signed() == -i64::from(libc::ENOSYS)
                    && which.has(registers.orig_rax.cast_signed(), registers.rdx)
                    && finished
                {
                    steps += 1;
                    if act(steps) == Next::Die {
                        finished = false;
                        kill(leader, Signal::SIGKILL).unwrap();
                    }
                }
            }
            WaitStatus::Stopped(_, other) if other != Signal::SIGTRAP && other != Signal::SIGSTOP => {
                signal = Some(other);
            }
            _ => {}
        }
        let _gone_is_fine = ptrace::syscall(pid, signal);
    }
    let said = said.collect();
    // The tracer reaped it: that is no error here.
    let _reaped = victim.wait();
    Ended { steps, said, finished }
}

/// Takes hold of all threads of a process, each stopped and then told to stop at its system calls.
fn seize(victim: &Child) {
    let options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_EXITKILL;
    for entry in fs::read_dir(format!("/proc/{}/task", victim.id())).unwrap() {
        let pid = Pid::from_raw(entry.unwrap().file_name().to_str().unwrap().parse().unwrap());
        ptrace::seize(pid, options).unwrap();
        ptrace::interrupt(pid).unwrap();
        waitpid(pid, Some(WaitPidFlag::__WALL)).unwrap();
        ptrace::syscall(pid, None).unwrap();
    }
}

/// The next stop of any thread of the group; nothing when the last has ended. Other tests have children too: only the
/// victim's own process group is waited for.
fn next_stop(group: Pid) -> Option<WaitStatus> {
    loop {
        match waitpid(Pid::from_raw(-group.as_raw()), Some(WaitPidFlag::__WALL)) {
            Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) | Err(Errno::EINTR) => {}
            Ok(status) => return Some(status),
            Err(Errno::ECHILD) => return None,
            Err(error) => panic!("waiting for the victim: {error}"),
        }
    }
}
