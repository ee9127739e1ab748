//! Process 1 of the booted system. It mounts what the kernel offers, runs the generation's activation, starts the supervisor, and
//! from then on only does what nobody else can: it reaps, it holds the descriptors and the memory that must
//! outlive the supervisor, it passes signals on, starts the supervisor again when it dies, and ends the machine. It
//! parses nothing, waits for nothing but events, and keeps going when something fails.

pub mod again;
mod deaths;
mod ending;
mod ground;
mod watchdog;

use crate::channel::{self, Received};
use crate::console::{self, Level};
use crate::hand_over::{self, HandOver};
use deaths::{Deaths, Next};
use formats::control::Shutdown;
use nix::fcntl::{FcntlArg, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::ffi::CString;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};
use sys::sibling::{Birth, spawn};

/// The numbers at which the supervisor finds what it inherits; held descriptors follow, with their tags in its arguments.
pub mod inherited {
    /// The shared memory.
    pub const STATE: i32 = 3;
    /// The socket to PID 1.
    pub const CHANNEL: i32 = 4;
    /// The listening control socket.
    pub const CONTROL: i32 = 5;
    /// The socket of sd_notify.
    pub const NOTIFY: i32 = 6;
    /// The socket behind /dev/log.
    pub const SYSLOG: i32 = 7;
    /// The journal's own socket.
    pub const JOURNAL: i32 = 8;
    /// The listening socket of stdout streams.
    pub const STREAMS: i32 = 9;
    /// The first held descriptor.
    pub const FIRST_HELD: i32 = 16;
}

/// So many descriptors are held at most.
const HELD_LIMIT: usize = 4096;

/// How many descriptors PID 1 and the supervisor may have open; what services get as their hard limit, as with systemd.
pub(crate) const DESCRIPTORS: u64 = 524_288;

/// So many presses of Ctrl-Alt-Del within that time end the machine at once, whoever hangs.
const PRESSES: usize = 7;
const PRESSES_WITHIN: Duration = Duration::from_secs(2);

/// Everything that PID 1 holds.
struct Held {
    state: OwnedFd,
    memory: HandOver,
    control: Option<OwnedFd>,
    notify: Option<OwnedFd>,
    /// Syslog's, the journal's and the streams' socket.
    logs: [Option<OwnedFd>; 3],
    tagged: Vec<(u32, OwnedFd)>,
}

impl Held {
    /// What is handed over at fixed numbers.
    fn fixed(&self) -> [(Option<BorrowedFd<'_>>, i32); 6] {
        let [syslog, journal, streams] = &self.logs;
        [
            (Some(self.state.as_fd()), inherited::STATE),
            (self.control.as_ref().map(OwnedFd::as_fd), inherited::CONTROL),
            (self.notify.as_ref().map(OwnedFd::as_fd), inherited::NOTIFY),
            (syslog.as_ref().map(OwnedFd::as_fd), inherited::SYSLOG),
            (journal.as_ref().map(OwnedFd::as_fd), inherited::JOURNAL),
            (streams.as_ref().map(OwnedFd::as_fd), inherited::STREAMS),
        ]
    }
}

/// The supervisor, as PID 1 sees it.
struct Supervisor {
    pid: u32,
    channel: OwnedFd,
}

/// Runs stage 2 as process 1. `path` is how it was called: the generation's `init`, unresolved.
pub fn run(path: &str) -> ! {
    let toplevel = ground::toplevel_of(path);
    ground::prepare(&toplevel);
    // A pipe a service, and sockets: more than the 1024 that the kernel gives. Services get the usual limit back.
    crate::best_effort::tolerate(sys::process_limits::limit(7, DESCRIPTORS, DESCRIPTORS));
    let held = match hold() {
        Ok(held) => held,
        Err(error) => {
            console::show(&format!("firn: cannot set up process 1: {error}\n"));
            ending::console_of_last_resort()
        }
    };
    keep_going(held, &toplevel)
}

/// Goes on as process 1 where another program stopped that became this one: arguments are the generation's directory and
/// `TAG=NUMBER` of held descriptors.
pub fn resume(arguments: &[String]) -> ! {
    let toplevel = arguments.first().cloned().unwrap_or_default();
    let held = match again::take(arguments.get(1..).unwrap_or_default()) {
        Ok(held) => held,
        Err(error) => {
            console::show(&format!("firn: process 1 cannot take over from its predecessor: {error}\n"));
            ending::console_of_last_resort()
        }
    };
    console::log(Level::Info, &format!("process 1 is now the one of {toplevel}"));
    keep_going(held, &toplevel)
}

/// Sockets and memory that live as long as the machine. A socket that cannot be made only costs its service.
fn hold() -> std::io::Result<Held> {
    let state = far(hand_over::create()?);
    let memory = HandOver::map(state.as_fd())?;
    let (control, notify) = (ground::control_socket(), ground::notify_socket());
    let logs = ground::log_sockets().map(|socket| socket.map(far));
    Ok(Held { state, memory, control: control.map(far), notify: notify.map(far), logs, tagged: Vec::new() })
}

/// Moves a descriptor away from the numbers at which the supervisor inherits.
fn far(descriptor: OwnedFd) -> OwnedFd {
    match fcntl(descriptor.as_fd(), FcntlArg::F_DUPFD_CLOEXEC(10_000.min(descriptor_limit() / 2))) {
        Ok(raw) => sys::terminal::adopt(raw).unwrap_or(descriptor),
        Err(_) => descriptor,
    }
}

fn descriptor_limit() -> i32 {
    let limit = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE);
    limit.map_or(1024, |(soft, _)| i32::try_from(soft).unwrap_or(1 << 20))
}

/// The loop. From here on process 1 may not die.
fn keep_going(mut held: Held, toplevel: &str) -> ! {
    let mask = SigSet::all();
    crate::best_effort::tolerate(sigprocmask(SigmaskHow::SIG_SETMASK, Some(&mask), None));
    let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC).ok();
    let mut watchdog = watchdog::Watchdog::of_this_machine();
    let mut presses: Vec<Instant> = Vec::new();
    let mut deaths = Deaths::new(Instant::now());
    let mut shell: Option<u32> = None;
    let mut supervisor: Option<Supervisor> = None;
    let mut asked: Option<Asked> = None;
    loop {
        if supervisor.is_none() && deaths.left(Instant::now()).is_zero() {
            deaths.started(Instant::now());
            supervisor = start_supervisor(&held, toplevel);
            if supervisor.is_none() {
                mourn(&mut deaths, &mut shell);
            }
        }
        if let Some(watchdog) = &mut watchdog {
            watchdog.feed();
        }
        let patience = watchdog.as_ref().map(watchdog::Watchdog::patience);
        let pause = supervisor.is_none().then(|| deaths.left(Instant::now()));
        let patience = patience.into_iter().chain(pause).min();
        wait_for_anything(signals.as_ref(), supervisor.as_ref(), patience);
        while let Some(signal) = signals.as_ref().and_then(|signals| signals.read_signal().ok().flatten()) {
            let number = signal.ssi_signo;
            if number == Signal::SIGINT as u32 {
                presses.retain(|at| at.elapsed() < PRESSES_WITHIN);
                presses.push(Instant::now());
                if presses.len() >= PRESSES {
                    console::show("firn: Ctrl-Alt-Del again and again: rebooting at once.\n");
                    asked = Some(Asked::End(Shutdown::Reboot as u32));
                }
            }
            if is_fault(number) {
                let text = format!(
                    "signal {number} was sent to process 1 by process {}; it goes on",
                    signal.ssi_pid
                );
                console::log(Level::Warning, &text);
            }
            let is_for_supervisor = number != Signal::SIGCHLD as u32;
            if let (true, Some(supervisor)) = (is_for_supervisor, &supervisor) {
                crate::best_effort::tolerate(channel::send(
                    supervisor.channel.as_fd(),
                    channel::SIGNAL,
                    number,
                    None,
                ));
            }
        }
        if let Some(current) = &supervisor {
            asked = listen(current.channel.as_fd(), &mut held).or(asked);
        }
        let (ours, died) = reap(&held.memory, supervisor.as_ref().map(|supervisor| supervisor.pid));
        if let (true, Some(current)) = (ours, &supervisor) {
            crate::best_effort::tolerate(channel::send(current.channel.as_fd(), channel::ENDS, 0, None));
        }
        if died {
            // Its last words: a descriptor that nobody held, or the end of the machine, would be lost with the socket.
            if let Some(last) = supervisor.take() {
                while let Some(last) = listen(last.channel.as_fd(), &mut held) {
                    asked = Some(last);
                }
            }
            mourn(&mut deaths, &mut shell);
        }
        match asked.take() {
            Some(Asked::End(how)) => {
                ending::end(Shutdown::from_number(how).unwrap_or(Shutdown::Reboot), watchdog.as_mut())
            }
            Some(Asked::BecomeAnother) => {
                asked = again::become_another(&mut held, supervisor.as_ref());
            }
            None => {}
        }
    }
}

/// Says that the supervisor has died and when it is started again. Where none has lived yet and they die in a row, there is a
/// shell on the console as well.
fn mourn(deaths: &mut Deaths, shell: &mut Option<u32>) {
    match deaths.died(Instant::now()) {
        Next::AtOnce => {
            console::log(Level::Error, "the supervisor has died; starting it again, services go on");
        }
        Next::After(wait) => {
            let text = format!(
                "the supervisor dies again and again; starting it again in {} s, services go on",
                wait.as_secs()
            );
            console::log(Level::Error, &text);
        }
    }
    let is_open = shell.is_some_and(|pid| nix::sys::signal::kill(Pid::from_raw(pid as i32), None).is_ok());
    if deaths.needs_shell() && !is_open {
        *shell = ending::rescue_shell().map(|child| child.id());
    }
}

/// What the supervisor asks of process 1.
#[derive(Debug, Clone, Copy)]
enum Asked {
    /// End the machine.
    End(u32),
    /// Become the program of the generation that runs now.
    BecomeAnother,
}

/// Whether it is one of the signals of a program's own faults.
fn is_fault(number: u32) -> bool {
    use Signal::{SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGQUIT, SIGSEGV, SIGSYS};
    [SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGQUIT, SIGSEGV, SIGSYS].iter().any(|signal| *signal as u32 == number)
}

/// Sleeps until a signal or a message comes; a second at most, should either be missing, and no longer than it has patience.
fn wait_for_anything(
    signals: Option<&SignalFd>,
    supervisor: Option<&Supervisor>,
    patience: Option<Duration>,
) {
    let mut polled = Vec::with_capacity(2);
    polled.extend(signals.map(|signals| PollFd::new(signals.as_fd(), PollFlags::POLLIN)));
    polled.extend(supervisor.map(|supervisor| PollFd::new(supervisor.channel.as_fd(), PollFlags::POLLIN)));
    let missing = (polled.len() < 2).then(|| Duration::from_secs(1));
    let timeout = match missing.into_iter().chain(patience).min() {
        Some(patience) => PollTimeout::from(patience.as_millis().clamp(1, 60_000) as u16),
        None => PollTimeout::NONE,
    };
    crate::best_effort::tolerate(nix::poll::poll(&mut polled, timeout));
}

/// Takes the supervisor's messages; returns how the machine is to end when it says so.
fn listen(channel: BorrowedFd<'_>, held: &mut Held) -> Option<Asked> {
    loop {
        match channel::receive(channel) {
            Received::Message(channel::HOLD, tag, Some(raw)) => {
                if let Ok(descriptor) = sys::terminal::adopt(raw)
                    && held.tagged.len() < HELD_LIMIT
                {
                    held.tagged.retain(|(known, _)| *known != tag);
                    held.tagged.push((tag, far(descriptor)));
                }
            }
            Received::Message(channel::LET_GO, tag, _) => held.tagged.retain(|(known, _)| *known != tag),
            Received::Message(channel::FINAL, how, _) => return Some(Asked::End(how)),
            Received::Message(channel::AGAIN, ..) => return Some(Asked::BecomeAnother),
            Received::Message(..) => {}
            Received::Nothing | Received::Closed => return None,
        }
    }
}

/// Reaps all that have ended. Whether the supervisor's processes were among them, and whether it was itself.
fn reap(memory: &HandOver, supervisor: Option<u32>) -> (bool, bool) {
    let (mut ours, mut died) = (false, false);
    loop {
        let (pid, status) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => (pid, (code as u32 & 0xff) << 8),
            Ok(WaitStatus::Signaled(pid, signal, core)) => (pid, signal as u32 | u32::from(core) << 7),
            Ok(WaitStatus::StillAlive) | Err(nix::Error::ECHILD) => return (ours, died),
            Ok(_) | Err(_) => continue,
        };
        let pid = pid.as_raw() as u32;
        died |= supervisor == Some(pid);
        ours |= memory.note_end(pid, status);
    }
}

/// Starts the booted generation's supervisor with everything that it inherits.
fn start_supervisor(held: &Held, toplevel: &str) -> Option<Supervisor> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).ok()?;
    let (ours, theirs) = (far(ours), far(theirs));
    let mut arguments = vec![CString::new("firn-supervisor").ok()?, CString::new(toplevel).ok()?];
    for (number, (tag, _)) in held.tagged.iter().enumerate() {
        arguments.push(CString::new(format!("{tag}={}", inherited::FIRST_HELD + number as i32)).ok()?);
    }
    let programs = [CString::new(format!("{toplevel}/init")).ok()?, CString::new("/proc/self/exe").ok()?];
    let pid = spawn(&Birth::default(), || {
        crate::best_effort::tolerate(sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None));
        drop(sys::terminal::place(theirs.as_fd(), inherited::CHANNEL));
        for (descriptor, number) in held.fixed() {
            drop(descriptor.map(|descriptor| sys::terminal::place(descriptor, number)));
        }
        for (number, (_, descriptor)) in held.tagged.iter().enumerate() {
            drop(sys::terminal::place(descriptor.as_fd(), inherited::FIRST_HELD + number as i32));
        }
        let environment: [&std::ffi::CStr; 1] = [c"PATH=/run/current-system/sw/bin"];
        for program in &programs {
            crate::best_effort::tolerate(nix::unistd::execve(program, &arguments, &environment));
        }
        127
    });
    match pid {
        Ok(pid) => Some(Supervisor { pid, channel: ours }),
        Err(error) => {
            console::log(Level::Error, &format!("cannot start the supervisor: {error}"));
            None
        }
    }
}
