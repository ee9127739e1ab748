//! One conversation with the driver: handshake, then requests side by side, each in a thread of its own.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::reboot::{RebootMode, reboot};
use nix::time::{ClockId, clock_gettime};
use qemu_tests::protocol::{Decoder, Reply, Request, VERSION};

use crate::command::{self, Group};
use crate::port::Port;
use crate::{files, sockets, waits};

/// What a running request can be told.
#[derive(Debug)]
pub(crate) struct Control {
    /// `Some(bytes)` from `Data`, `None` from `End`.
    input: Sender<Option<Vec<u8>>>,
    /// Set by `Cancel`.
    cancelled: Arc<AtomicBool>,
    /// The command's process group, once it runs.
    group: Arc<Group>,
}

/// What the thread of a request works with.
#[derive(Debug)]
pub(crate) struct Task {
    /// The request's number.
    pub(crate) request: u32,
    /// Data from the driver.
    pub(crate) input: Receiver<Option<Vec<u8>>>,
    /// Whether the driver gave up.
    pub(crate) cancelled: Arc<AtomicBool>,
    /// To be filled in by a command.
    pub(crate) group: Arc<Group>,
}

type Tasks = Mutex<BTreeMap<u32, Control>>;

/// Serves until reading fails.
pub(crate) fn serve(port: &Port) -> std::io::Result<()> {
    thread::scope(|scope| {
        let tasks = Tasks::default();
        let mut nonce = hello(port);
        let mut welcome = false;
        let mut decoder = Decoder::default();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let length = wait_and_read(port, &mut buffer)?;
            decoder.push(buffer.get(..length).unwrap_or_default());
            while let Some(frame) = decoder.next_frame() {
                match Request::from_frame(&frame) {
                    Ok(Request::Knock) => {
                        forget_all(&tasks);
                        welcome = false;
                        nonce = hello(port);
                    }
                    Ok(Request::Welcome { version, nonce: said }) if said == nonce => {
                        welcome = version == VERSION;
                    }
                    _ if !welcome => {}
                    Ok(request) => handle(scope, port, &tasks, frame.request, request),
                    Err(e) => port.send(frame.request, &failed(0, e.to_string())),
                }
            }
        }
    })
}

/// Reads what is there; while the host side is closed, waits for it to come back.
fn wait_and_read(port: &Port, buffer: &mut [u8]) -> std::io::Result<usize> {
    loop {
        let mut fds = [PollFd::new(port.reader.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::NONE)?;
        if fds.iter().any(|fd| fd.revents().is_some_and(|r| r.contains(PollFlags::POLLIN))) {
            match (&port.reader).read(buffer) {
                Ok(0) => {}
                Ok(length) => return Ok(length),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        thread::sleep(Duration::from_millis(100));
    }
}

fn hello(port: &Port) -> u64 {
    let boot_id = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim_ascii().to_vec();
    let mut bytes = [0; 8];
    let random = std::fs::File::open("/dev/urandom").and_then(|mut f| f.read_exact(&mut bytes));
    let nonce = match random {
        Ok(()) => u64::from_le_bytes(bytes),
        Err(_) => nanoseconds(ClockId::CLOCK_MONOTONIC),
    };
    port.send_padded(&Reply::Hello { version: VERSION, nonce, boot_id });
    nonce
}

fn handle<'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    port: &'scope Port,
    tasks: &Tasks,
    id: u32,
    request: Request,
) {
    let mut tasks = lock(tasks);
    // Forget those whose thread has ended.
    tasks.retain(|_, control| Arc::strong_count(&control.cancelled) > 1);
    match request {
        Request::Data(bytes) => tell(&tasks, id, Some(bytes)),
        Request::End => tell(&tasks, id, None),
        Request::Signal(number) => {
            if let Some(control) = tasks.get(&id) {
                control.group.signal(number);
            }
        }
        Request::Cancel => {
            if let Some(control) = tasks.remove(&id) {
                control.cancel();
            }
        }
        Request::Clock => {
            let realtime = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
            port.send(id, &Reply::Clock { realtime, monotonic: nanoseconds(ClockId::CLOCK_MONOTONIC) });
        }
        request => {
            let (input, receiver) = channel();
            let control = Control { input, cancelled: Arc::default(), group: Arc::default() };
            let task = Task {
                request: id,
                input: receiver,
                cancelled: Arc::clone(&control.cancelled),
                group: Arc::clone(&control.group),
            };
            tasks.insert(id, control);
            scope.spawn(move || {
                let reply = work(port, &task, request);
                port.send(task.request, &reply.unwrap_or_else(|failure| failure));
            });
        }
    }
}

fn work(port: &Port, task: &Task, request: Request) -> Result<Reply, Reply> {
    match request {
        Request::Run { argv, env, clear_env, cwd, stdin } => {
            command::run(port, task, &command::Command { argv, env, clear_env, cwd, stdin })
        }
        Request::ReadFile(path) => files::read(port, task, &path),
        Request::WriteFile { path, mode } => files::write(task, &path, mode),
        Request::Status(path) => files::status(&path),
        Request::List(path) => files::list(&path),
        Request::WaitPath { path, condition } => waits::path(task, &path, &condition),
        Request::WaitPort { port, open } => waits::port(task, port, open),
        Request::Connect(path) => sockets::connect(port, task, &path),
        Request::Sync => {
            nix::unistd::sync();
            Ok(Reply::Done)
        }
        Request::Reboot { power_off } => {
            let mode = if power_off { RebootMode::RB_POWER_OFF } else { RebootMode::RB_AUTOBOOT };
            match reboot(mode) {
                Ok(never) => match never {},
                Err(e) => Err(failed(e as i32, format!("reboot: {e}"))),
            }
        }
        // Handled before, or of no meaning without a request.
        Request::Welcome { .. }
        | Request::Knock
        | Request::Data(_)
        | Request::End
        | Request::Signal(_)
        | Request::Cancel
        | Request::Clock => Err(failed(0, "out of place".to_owned())),
    }
}

fn tell(tasks: &BTreeMap<u32, Control>, id: u32, input: Option<Vec<u8>>) {
    if let Some(control) = tasks.get(&id) {
        // An error says that the task has ended, which its final reply tells as well.
        drop(control.input.send(input));
    }
}

fn forget_all(tasks: &Tasks) {
    for (_, control) in std::mem::take(&mut *lock(tasks)) {
        control.cancel();
    }
}

impl Control {
    fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
        self.group.signal(nix::libc::SIGKILL);
    }
}

fn lock(tasks: &Tasks) -> MutexGuard<'_, BTreeMap<u32, Control>> {
    tasks.lock().unwrap_or_else(PoisonError::into_inner)
}

fn nanoseconds(clock: ClockId) -> u64 {
    clock_gettime(clock).map_or(0, |t| t.tv_sec() as u64 * 1_000_000_000 + t.tv_nsec() as u64)
}

/// A final reply for something that failed.
pub(crate) fn failed(errno: i32, message: String) -> Reply {
    Reply::Failed { errno, message }
}

/// A final reply for a failed file operation.
pub(crate) fn failed_io(what: &str, path: &std::path::Path, e: &std::io::Error) -> Reply {
    failed(e.raw_os_error().unwrap_or(0), format!("{what} {}: {e}", path.display()))
}
