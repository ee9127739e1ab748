//! A child in new namespaces, prepared by a list of steps and then executed: clone(2), namespaces(7),
//! user_namespaces(7), mount_setattr(2), pivot_root(2).
//!
//! The child shares the parent's memory until it executes (`CLONE_VM | CLONE_VFORK`), so that the cost does not grow
//! with the parent's heap. Between clone and exec it only makes raw system calls on memory that was prepared before:
//! no allocation, no locks, no libc wrappers that look at other threads. Which step failed, and how, is left in shared memory.

mod child;
mod step;

pub use step::{Namespaces, SocketFilter, Step, TreeSlot};

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};

/// What a child is: its namespaces, the way there, and the program.
#[derive(Debug)]
pub struct Plan {
    /// The namespaces that it gets of its own.
    pub namespaces: Namespaces,
    /// With a user namespace: (inside, outside) of the one user that exists in it.
    pub user: Option<(u32, u32)>,
    /// The same for the group.
    pub group: Option<(u32, u32)>,
    /// Whether setgroups(2) stays possible in the user namespace: only root may allow it.
    pub allow_groups: bool,
    /// Carried out in order by the child.
    pub steps: Vec<Step>,
    /// What it executes, as seen after the steps.
    pub program: CString,
    /// argv, with `argv[0]`.
    pub arguments: Vec<CString>,
    /// `NAME=value` strings: the whole environment.
    pub environment: Vec<CString>,
    /// The directory of the cgroup in which it begins, which is open for as long as the plan is used; the parent's own if none.
    pub cgroup: Option<RawFd>,
}

/// Why there is no child.
#[derive(Debug)]
pub enum SpawnError {
    /// The kernel did not make the process or its namespaces.
    Clone(io::Error),
    /// The user and group maps could not be written.
    Maps(io::Error),
    /// A step failed; the index is that of [`Plan::steps`].
    Step(usize, io::Error),
    /// All steps were done, but the program could not be executed.
    Execute(io::Error),
}

impl std::fmt::Display for SpawnError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Clone(error) => write!(formatter, "cannot create a process in new namespaces: {error}"),
            Self::Maps(error) => write!(formatter, "cannot write the user namespace's maps: {error}"),
            Self::Step(index, error) => write!(formatter, "step {index} of the new process: {error}"),
            Self::Execute(error) => write!(formatter, "cannot execute the program: {error}"),
        }
    }
}

impl std::error::Error for SpawnError {}

/// A running child. Dropping it neither kills nor waits.
#[derive(Debug)]
pub struct Child {
    pid: libc::pid_t,
    descriptor: OwnedFd,
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It exited with this code.
    Exited(i32),
    /// This signal killed it.
    Signaled(i32),
}

impl Child {
    /// Its process id, as seen from here.
    #[must_use]
    pub const fn pid(&self) -> i32 {
        self.pid
    }

    /// Kills it; with a PID namespace everything in there dies with it.
    pub fn kill(&self) -> io::Result<()> {
        // SAFETY: the descriptor is an open pidfd; a null siginfo is allowed.
        let result = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.descriptor.as_raw_fd(),
                libc::SIGKILL,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Kills the process group that it leads: what is left to do without a PID namespace.
    pub fn kill_group(&self) -> io::Result<()> {
        // SAFETY: plain system call without pointers.
        let result = unsafe { libc::kill(-self.pid, libc::SIGKILL) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Waits for its end and reaps it.
    pub fn wait(&self) -> io::Result<Ending> {
        loop {
            let mut status = 0;
            // SAFETY: `status` outlives the call.
            let result = unsafe { libc::waitpid(self.pid, &raw mut status, 0) };
            if result == self.pid {
                return Ok(if libc::WIFSIGNALED(status) {
                    Ending::Signaled(libc::WTERMSIG(status))
                } else {
                    Ending::Exited(libc::WEXITSTATUS(status))
                });
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }
}

impl AsFd for Child {
    /// The pidfd: readable when the child has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// What the child leaves behind when it fails: -1 while all is well.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) step: AtomicI32,
    pub(crate) errno: AtomicI32,
}

/// Makes the child and waits until it executes its program or fails.
pub fn spawn(plan: &Plan) -> Result<Child, SpawnError> {
    let report = Report { step: AtomicI32::new(-1), errno: AtomicI32::new(0) };
    let pid = AtomicI32::new(0);
    let (ready_read, ready_write) = io::pipe().map_err(SpawnError::Clone)?;
    let (go_read, go_write) = io::pipe().map_err(SpawnError::Clone)?;
    let mapped = plan.namespaces.user;
    let maps = std::thread::scope(|scope| {
        let writer = scope
            .spawn(|| if mapped { write_maps(plan, ready_read.into(), &go_write, &pid) } else { Ok(()) });
        let pipes = child::Pipes {
            ready: ready_write.as_raw_fd(),
            go: go_read.as_raw_fd(),
            parents_end: go_write.as_raw_fd(),
        };
        let prepared = child::Prepared::new(plan, &report, pipes);
        let cloned = child::clone(&prepared, &pid);
        drop(ready_write);
        let maps = writer.join().unwrap_or_else(|_| Err(io::Error::other("the writer of the maps died")));
        cloned.map(|()| maps)
    })
    .map_err(SpawnError::Clone)?;
    let pid = pid.load(Ordering::SeqCst);
    let step = report.step.load(Ordering::SeqCst);
    if step >= 0 || maps.is_err() {
        reap(pid);
        maps.map_err(SpawnError::Maps)?;
        let error = io::Error::from_raw_os_error(report.errno.load(Ordering::SeqCst));
        let index = step as usize;
        return Err(if index >= plan.steps.len() {
            SpawnError::Execute(error)
        } else {
            SpawnError::Step(index, error)
        });
    }
    // SAFETY: plain system call without pointers; the child is not reaped yet, so the id is its own.
    let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if descriptor < 0 {
        let error = io::Error::last_os_error();
        // SAFETY: plain system call without pointers on our own unreaped child.
        unsafe { libc::kill(pid, libc::SIGKILL) };
        reap(pid);
        return Err(SpawnError::Clone(error));
    }
    // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
    let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor as i32) };
    Ok(Child { pid, descriptor })
}

fn reap(pid: libc::pid_t) {
    let mut status = 0;
    // SAFETY: `status` outlives the call; the child is ours and dead or dying.
    unsafe { libc::waitpid(pid, &raw mut status, 0) };
}

/// Waits until the child exists, gives its user namespace the one user and group, and lets it go on.
fn write_maps(plan: &Plan, ready: OwnedFd, mut go: &io::PipeWriter, pid: &AtomicI32) -> io::Result<()> {
    let mut byte = [0];
    if File::from(ready).read(&mut byte)? == 0 {
        return Ok(()); // there is no child
    }
    let directory = format!("/proc/{}", pid.load(Ordering::SeqCst));
    let put = |name: &str, text: String| {
        std::fs::write(format!("{directory}/{name}"), text)
            .map_err(|error| io::Error::new(error.kind(), format!("{name}: {error}")))
    };
    let written = (|| {
        if !plan.allow_groups {
            put("setgroups", "deny".to_owned())?;
        }
        if let Some((inside, outside)) = plan.group {
            put("gid_map", format!("{inside} {outside} 1"))?;
        }
        if let Some((inside, outside)) = plan.user {
            put("uid_map", format!("{inside} {outside} 1"))?;
        }
        Ok(())
    })();
    // The answer: go on, or give up. The pipe stays open until the child has executed: its end tells it of our death.
    go.write_all(if written.is_ok() { b"1" } else { b"0" })?;
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(program: &str, arguments: &[&str], steps: Vec<Step>) -> Plan {
        Plan {
            namespaces: Namespaces::default(),
            user: None,
            group: None,
            allow_groups: false,
            steps,
            program: CString::new(program).unwrap(),
            arguments: arguments.iter().map(|text| CString::new(*text).unwrap()).collect(),
            environment: Vec::new(),
            cgroup: None,
        }
    }

    #[test]
    fn runs_a_program_and_tells_its_end() {
        let child = spawn(&plan("/bin/sh", &["sh", "-c", "exit 7"], vec![])).unwrap();
        assert_eq!(child.wait().unwrap(), Ending::Exited(7));
        let child = spawn(&plan("/bin/sh", &["sh", "-c", "kill -9 $$"], vec![])).unwrap();
        assert_eq!(child.wait().unwrap(), Ending::Signaled(9));
    }

    #[test]
    fn failures_name_their_step() {
        let error = spawn(&plan("/does/not/exist", &["x"], vec![])).unwrap_err();
        assert!(matches!(error, SpawnError::Execute(error) if error.raw_os_error() == Some(libc::ENOENT)));
        let steps = vec![Step::Umask(0o22), Step::ChangeDirectory(c"/does/not/exist".into())];
        let error = spawn(&plan("/bin/true", &["true"], steps)).unwrap_err();
        assert!(matches!(error, SpawnError::Step(1, error) if error.raw_os_error() == Some(libc::ENOENT)));
    }

    #[test]
    fn namespaces_isolate() {
        // SAFETY: plain system calls.
        let (user, group) = (unsafe { libc::getuid() }, unsafe { libc::getgid() });
        let mut plan = plan(
            "/bin/sh",
            &["sh", "-c", "test $$ = 1 && test $(id -u) = 1000 && test $(hostname) = inside"],
            vec![
                Step::HostName(c"inside".into()),
                Step::SetGroup(100),
                Step::SetUser(1000),
                Step::NoNewPrivileges,
            ],
        );
        plan.environment = vec![c"PATH=/usr/bin:/bin".into()];
        plan.namespaces = Namespaces { user: true, pid: true, mount: true, ipc: true, uts: true, net: true };
        plan.user = Some((1000, user));
        plan.group = Some((100, group));
        let child = spawn(&plan).unwrap();
        assert_eq!(child.wait().unwrap(), Ending::Exited(0));
    }

    #[test]
    fn killing_the_first_process_ends_the_namespace() {
        // SAFETY: plain system calls.
        let (user, group) = (unsafe { libc::getuid() }, unsafe { libc::getgid() });
        let (mut read, write) = io::pipe().unwrap();
        let steps = vec![Step::Duplicate { from: write.as_raw_fd(), to: 1 }, Step::CloseFrom(3)];
        let mut plan = plan("/bin/sh", &["sh", "-c", "(setsid sleep 1000 &) ; sleep 1000"], steps);
        plan.environment = vec![c"PATH=/usr/bin:/bin".into()];
        plan.namespaces = Namespaces { user: true, pid: true, ..Namespaces::default() };
        plan.user = Some((0, user));
        plan.group = Some((0, group));
        let child = spawn(&plan).unwrap();
        drop(write);
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap(), Ending::Signaled(9));
        let mut rest = Vec::new();
        read.read_to_end(&mut rest).unwrap(); // ends only when no process holds the pipe
    }
}
