//! Running a command: its own process group, separate streams sent as they come, exit code or signal at the end.

use std::ffi::OsStr;
use std::io::{Read, Write as _};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{ChildStdin, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Mutex, PoisonError};
use std::thread;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use qemu_tests::protocol::Reply;
use qemu_tests::protocol::message::CHUNK;

use crate::port::Port;
use crate::session::{Task, failed};

/// For services started by a PID 1 that gives them no PATH.
const DEFAULT_PATH: &str = "/run/wrappers/bin:/run/current-system/sw/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// See `Request::Run`.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) argv: Vec<Vec<u8>>,
    pub(crate) env: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) clear_env: bool,
    pub(crate) cwd: Vec<u8>,
    pub(crate) stdin: bool,
}

/// The process group of a command, which can be sent signals at any time.
#[derive(Debug, Default)]
pub(crate) struct Group(Mutex<State>);

#[derive(Debug)]
enum State {
    /// Signals that came before there was somebody to send them to.
    Starting(Vec<i32>),
    Runs(Pid),
    Over,
}

impl Default for State {
    fn default() -> Self {
        Self::Starting(Vec::new())
    }
}

impl Group {
    /// Sends a signal to all of it: now, when it starts, or no more.
    pub(crate) fn signal(&self, number: i32) {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Starting(early) => early.push(number),
            State::Runs(group) => send(*group, number),
            State::Over => {}
        }
    }

    fn started(&self, pid: u32) {
        let group = Pid::from_raw(pid as i32);
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Starting(early) = std::mem::replace(&mut *state, State::Runs(group)) {
            for number in early {
                send(group, number);
            }
        }
    }

    fn over(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = State::Over;
    }
}

fn send(group: Pid, number: i32) {
    if let Ok(signal) = Signal::try_from(number) {
        // An error says that it has ended just now.
        killpg(group, signal).unwrap_or_default();
    }
}

/// Runs to the end; the streams are sent on the way.
pub(crate) fn run(port: &Port, task: &Task, command: &Command) -> Result<Reply, Reply> {
    let mut words = command.argv.iter().map(|word| OsStr::from_bytes(word));
    let program = words.next().ok_or_else(|| failed(0, "a command without words".to_owned()))?;
    let mut process = std::process::Command::new(program);
    if command.clear_env {
        process.env_clear();
    } else if std::env::var_os("PATH").is_none() {
        process.env("PATH", DEFAULT_PATH);
    }
    if !command.cwd.is_empty() {
        process.current_dir(OsStr::from_bytes(&command.cwd));
    }
    process.args(words).process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped());
    process.envs(command.env.iter().map(|(name, value)| (OsStr::from_bytes(name), OsStr::from_bytes(value))));
    process.stdin(if command.stdin { Stdio::piped() } else { Stdio::null() });
    let mut child = process.spawn().map_err(|e| {
        failed(e.raw_os_error().unwrap_or(0), format!("cannot run {}: {e}", program.display()))
    })?;
    task.group.started(child.id());
    let (stdout, stderr, stdin) = (child.stdout.take(), child.stderr.take(), child.stdin.take());
    let exited = AtomicBool::new(false);
    let status = thread::scope(|scope| {
        let (exited, request) = (&exited, task.request);
        scope.spawn(move || {
            stdout.map(|pipe| pump(pipe, exited, |bytes| port.send(request, &Reply::Stdout(bytes))))
        });
        scope.spawn(move || {
            stderr.map(|pipe| pump(pipe, exited, |bytes| port.send(request, &Reply::Stderr(bytes))))
        });
        let input = &task.input;
        let waiter = scope.spawn(move || {
            let status = child.wait();
            exited.store(true, Ordering::SeqCst);
            status
        });
        if let Some(pipe) = stdin {
            feed(pipe, input, exited);
        }
        waiter.join()
    });
    task.group.over();
    match status {
        Ok(Ok(status)) => Ok(Reply::Exit { code: status.code(), signal: status.signal() }),
        _ => Err(failed(0, format!("lost track of {}", program.display()))),
    }
}

/// Sends what comes out of a pipe until its end; or, once the command has exited and left the pipe to a daemon, until
/// it is empty.
fn pump<R: Read + AsFd>(mut pipe: R, exited: &AtomicBool, send: impl Fn(Vec<u8>)) {
    let mut buffer = vec![0; CHUNK];
    loop {
        // Asked before polling: what was written before the exit is then in the pipe.
        let over = exited.load(Ordering::SeqCst);
        let mut fds = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::from(50_u8)) {
            Ok(0) if over => return,
            Ok(0) | Err(nix::errno::Errno::EINTR) => continue,
            Ok(_) => {}
            Err(_) => return,
        }
        match pipe.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => send(buffer.get(..length).unwrap_or_default().to_vec()),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// Hands the driver's data to the command's standard input until its end or the command's.
fn feed(mut pipe: ChildStdin, input: &Receiver<Option<Vec<u8>>>, exited: &AtomicBool) {
    while !exited.load(Ordering::SeqCst) {
        match input.recv_timeout(std::time::Duration::from_millis(50)) {
            Ok(Some(bytes)) => {
                if pipe.write_all(&bytes).is_err() {
                    return;
                }
            }
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
            Ok(None) | Err(_) => return,
        }
    }
}
