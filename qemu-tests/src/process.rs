//! The QEMU process: started, watched by a thread of its own, killed for sure.
//!
//! The thread that starts it also waits for it, so that "die with your parent" (`setpriv --pdeathsig`, prctl(2)) means
//! the whole test program: when that is killed, no machine stays behind.

use std::ffi::OsString;
use std::fs::File;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use crate::error::{Error, Result};

/// A child that is certain to end with this value.
#[derive(Debug)]
pub(crate) struct Process {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    pid: Option<Pid>,
    failed: Option<std::io::Error>,
    status: Option<ExitStatus>,
}

impl Process {
    /// Starts a program with its output in a file.
    pub(crate) fn start(program: &Path, arguments: Vec<OsString>, output: &Path) -> Result<Self> {
        let log = File::create(output).map_err(Error::file("cannot create", output))?;
        let errors = log.try_clone().map_err(Error::file("cannot use", output))?;
        let mut command = if Path::new("/usr/bin/setpriv").exists() {
            let mut command = Command::new("/usr/bin/setpriv");
            command.args(["--pdeathsig", "KILL", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.args(arguments).stdin(Stdio::null()).stdout(log).stderr(errors);
        let shared = Arc::new(Shared::default());
        let watching = Arc::clone(&shared);
        thread::spawn(move || watch(&mut command, &watching));
        let process = Self { shared };
        let state =
            process.shared.wait_until(Duration::from_secs(60), |s| s.pid.is_some() || s.failed.is_some());
        match state.failed {
            Some(e) => Err(Error::file("cannot run", program)(e)),
            None => Ok(process),
        }
    }

    /// Its exit status, if it ends within the limit.
    pub(crate) fn wait(&self, limit: Duration) -> Option<ExitStatus> {
        self.shared.wait_until(limit, |s| s.status.is_some()).status
    }

    /// A value to wait with while the process itself belongs to somebody else.
    pub(crate) fn ended(&self) -> Ended {
        Ended { shared: Arc::clone(&self.shared) }
    }

    /// Its process number while it runs.
    pub(crate) fn pid(&self) -> Option<Pid> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner).pid
    }

    /// SIGKILL, and waits until it is gone.
    pub(crate) fn kill(&self) {
        {
            // Under the lock: the number cannot be another process's, since only the watcher reaps, under the same lock.
            let state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(pid) = state.pid {
                kill(pid, Signal::SIGKILL).unwrap_or_default();
            }
        }
        self.wait(Duration::from_secs(30));
    }
}

/// See [`Process::ended`].
#[derive(Debug)]
pub(crate) struct Ended {
    shared: Arc<Shared>,
}

impl Ended {
    /// The exit status, if the process ends within the limit.
    pub(crate) fn wait(&self, limit: Duration) -> Option<ExitStatus> {
        self.shared.wait_until(limit, |s| s.status.is_some()).status
    }
}

impl Shared {
    fn wait_until(&self, limit: Duration, done: impl Fn(&State) -> bool) -> State {
        let end = Instant::now() + limit;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while !done(&state) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        State { pid: state.pid, failed: state.failed.take(), status: state.status }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn watch(command: &mut Command, shared: &Shared) {
    let lock = || shared.state.lock().unwrap_or_else(PoisonError::into_inner);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(e) => {
            lock().failed = Some(e);
            shared.changed.notify_all();
            return;
        }
    };
    let pid = Pid::from_raw(child.id() as i32);
    lock().pid = Some(pid);
    shared.changed.notify_all();
    // Waits without reaping, so that the number stays ours until the lock is held.
    while waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) == Err(nix::errno::Errno::EINTR) {
    }
    let mut state = lock();
    state.pid = None;
    state.status = child.wait().ok();
    drop(state);
    shared.changed.notify_all();
}
