//! The supervisor: PID 1's child that does the thinking. It maps the service graph, feeds what happens to the engine
//! (`engine`) and carries out what the engine decides (`world`). It keeps nothing that its successor would miss: where
//! each unit stands is noted in shared memory before anybody else can see it, descriptors are held by PID 1, the
//! services are PID 1's children.

pub mod accounts;
mod bus_name;
pub mod cgroup;
pub mod clients;
pub mod conditions;
pub mod engine;
mod held_sockets;
pub mod launch;
pub mod listening;
pub mod notify;
mod path_watches;
mod records;
mod requests;
mod switching;
mod timers;
mod world;

use crate::channel::{self, Received};
use crate::console::{self, Level};
use crate::hand_over::{Ended, HandOver};
use crate::kernel_command_line::KernelCommandLine;
use crate::pid1::inherited;
use crate::sorted_map::SortedMap;
use clients::{Client, Waiting};
use engine::unit_state::JobKind;
use engine::{Event, Exit, Role, State};
use formats::control::Shutdown;
use formats::service_graph::view::Graph;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::inotify::{InitFlags, Inotify, WatchDescriptor};
use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::process::ExitCode;

/// Tokens of the event loop: a class in the high half, a number in the low one.
const CHANNEL: u64 = 0;
const CONTROL: u64 = 1 << 32;
const NOTIFY: u64 = 2 << 32;
const CGROUPS: u64 = 3 << 32;
const CLIENT: u64 = 4 << 32;
const SOCKET: u64 = 5 << 32;
const ALARM: u64 = 6 << 32;
const PATHS: u64 = 7 << 32;
const EXECUTED: u64 = 8 << 32;

/// The owner number of the log collector's process.
const COLLECTOR: u32 = 0x00ff_ffff;

/// The log collector that we started: its process, and the socket whose end is its end.
#[derive(Debug)]
struct LogCollector {
    pid: u32,
    socket: OwnedFd,
}

/// A unit's log: the pipe's read end and the tag under which PID 1 holds it.
#[derive(Debug)]
struct LogPipe {
    read: OwnedFd,
    write: OwnedFd,
    tag: u32,
}

/// Everything.
#[derive(Debug)]
struct Supervisor {
    graph: Graph<'static>,
    graph_path: String,
    state: State,
    memory: HandOver,
    channel: OwnedFd,
    control: Option<UnixListener>,
    notify: Option<OwnedFd>,
    epoll: Epoll,
    cgroups: Inotify,
    watched: SortedMap<WatchDescriptor, u32>,
    clients: SortedMap<u32, Client>,
    next_client: u32,
    events: VecDeque<Event>,
    logs: SortedMap<u32, LogPipe>,
    next_tag: u32,
    collector: Option<LogCollector>,
    /// Syslog's, the journal's and the streams' socket, by the letter under which the collector knows them.
    log_sockets: Vec<(char, OwnedFd)>,
    sockets: SortedMap<u32, Vec<OwnedFd>>,
    /// When each socket fired lately.
    socket_times: SortedMap<u32, VecDeque<u64>>,
    /// Connections of sockets with Accept=, by the instance that serves each, and where they come from.
    connections: SortedMap<u32, (OwnedFd, Option<(String, u16)>)>,
    invocations: SortedMap<u32, String>,
    /// How often the kernel killed for want of memory, by the unit whose cgroup counts it.
    oom_kills: SortedMap<u32, u64>,
    identifiers: sys::random::Identifiers,
    status: SortedMap<u32, String>,
    timers: SortedMap<u32, timers::Timer>,
    /// The calendar's clock, when a timer looks at it.
    alarm: Option<nix::sys::timerfd::TimerFd>,
    /// When units that timers start came up and went down last.
    lives: SortedMap<u32, (u64, u64)>,
    paths: Option<path_watches::PathWatches>,
    /// Pipes of Type=exec services that have not executed yet.
    executions: SortedMap<u32, OwnedFd>,
    switch: Option<switching::Switch>,
    quiet: bool,
}

/// Microseconds of CLOCK_BOOTTIME.
fn now() -> u64 {
    let clock = nix::time::ClockId::CLOCK_BOOTTIME;
    nix::time::clock_gettime(clock)
        .map_or(0, |time| time.tv_sec() as u64 * 1_000_000 + time.tv_nsec() as u64 / 1000)
}

/// Maps a graph's file.
fn load_graph(path: &str) -> Result<Graph<'static>, String> {
    let failed = |error: std::io::Error| format!("cannot read {path}: {error}");
    let bytes = sys::file_map::map(&File::open(path).map_err(failed)?).map_err(failed)?;
    let graph = Graph::load(bytes).map_err(|error| format!("{path}: {error}"))?;
    if graph.len() as usize > crate::hand_over::RECORDS {
        return Err(format!("{path}: more than {} units", crate::hand_over::RECORDS));
    }
    Ok(graph)
}

/// Runs as PID 1's child: arguments are the booted generation's directory and `TAG=NUMBER` of held descriptors.
pub fn run(arguments: &[String]) -> ExitCode {
    let toplevel = arguments.first().cloned().unwrap_or_default();
    match Supervisor::new(&toplevel, arguments.get(1..).unwrap_or_default()) {
        Ok(mut supervisor) => {
            supervisor.main_loop();
            ExitCode::SUCCESS
        }
        Err(error) => {
            console::log(Level::Error, &format!("the supervisor cannot start: {error}"));
            ExitCode::FAILURE
        }
    }
}

impl Supervisor {
    /// Takes over what was inherited, and either begins or goes on where a predecessor stopped.
    #[expect(clippy::too_many_lines, reason = "one line a field")]
    fn new(toplevel: &str, held: &[String]) -> Result<Self, String> {
        let failed = |what: &'static str| move |error: std::io::Error| format!("{what}: {error}");
        let state_file = sys::terminal::adopt(inherited::STATE).map_err(failed("shared state"))?;
        let memory = HandOver::map(state_file.as_fd()).map_err(failed("shared state"))?;
        let channel = sys::terminal::adopt(inherited::CHANNEL).map_err(failed("channel to PID 1"))?;
        let control = sys::terminal::adopt(inherited::CONTROL).ok().map(UnixListener::from);
        let notify = sys::terminal::adopt(inherited::NOTIFY).ok();
        let goes_on = memory.is_whole() && !memory.graph_path().is_empty();
        let graph_path = if goes_on { memory.graph_path() } else { format!("{toplevel}/services.graph") };
        let graph = load_graph(&graph_path)?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(|error| error.to_string())?;
        let cgroups = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)
            .map_err(|error| error.to_string())?;
        let listen = |descriptor: std::os::fd::BorrowedFd<'_>, token| {
            epoll
                .add(descriptor, EpollEvent::new(EpollFlags::EPOLLIN, token))
                .map_err(|error| error.to_string())
        };
        listen(channel.as_fd(), CHANNEL)?;
        listen(cgroups.as_fd(), CGROUPS)?;
        if let Some(control) = &control {
            listen(control.as_fd(), CONTROL)?;
        }
        if let Some(notify) = &notify {
            listen(notify.as_fd(), NOTIFY)?;
        }
        let words = KernelCommandLine::of_this_machine();
        let mut this = Self {
            state: State::new(&graph),
            graph,
            graph_path,
            memory,
            channel,
            control,
            notify,
            epoll,
            cgroups,
            watched: SortedMap::new(),
            clients: SortedMap::new(),
            next_client: 0,
            events: VecDeque::new(),
            logs: SortedMap::new(),
            next_tag: 1,
            collector: None,
            log_sockets: [('s', inherited::SYSLOG), ('j', inherited::JOURNAL), ('o', inherited::STREAMS)]
                .into_iter()
                .filter_map(|(letter, number)| Some((letter, sys::terminal::adopt(number).ok()?)))
                .collect(),
            sockets: SortedMap::new(),
            socket_times: SortedMap::new(),
            connections: SortedMap::new(),
            invocations: SortedMap::new(),
            oom_kills: SortedMap::new(),
            identifiers: sys::random::Identifiers::new(),
            status: SortedMap::new(),
            timers: SortedMap::new(),
            alarm: None,
            lives: SortedMap::new(),
            paths: None,
            executions: SortedMap::new(),
            switch: None,
            quiet: words.quiet,
        };
        if goes_on {
            this.restore(held);
        } else {
            // Before the first service: what is said from now on is kept.
            this.start_collector();
            this.memory.set_graph_path(&this.graph_path);
            this.memory.set_whole();
        }
        let target = words.target.filter(|target| this.graph.find(target).is_some());
        let target = target.or_else(|| {
            ["default.target", "multi-user.target"]
                .into_iter()
                .find(|target| this.graph.find(target).is_some())
        });
        match target.and_then(|target| this.graph.find(target)) {
            // What a predecessor has begun goes on; only a target that nobody has asked for yet is.
            Some(unit) if goes_on && this.is_begun(unit.index()) => {}
            Some(unit) => this.events.push_back(Event::Request { unit: unit.index(), kind: JobKind::Start }),
            None => console::log(
                Level::Error,
                "the service graph has neither default.target nor multi-user.target",
            ),
        }
        Ok(this)
    }

    /// Events in, effects out, until PID 1 is told to end the machine.
    fn main_loop(&mut self) {
        let mut events = [EpollEvent::empty(); 64];
        loop {
            while let Some(event) = self.events.pop_front() {
                self.feed(&event);
            }
            let timeout = self.next_timeout();
            let count = match self.epoll.wait(&mut events, timeout) {
                Ok(count) => count,
                Err(nix::Error::EINTR) => 0,
                Err(error) => {
                    console::log(Level::Error, &format!("the supervisor cannot wait for events: {error}"));
                    return;
                }
            };
            for event in events.iter().take(count) {
                let number = event.data() as u32;
                match event.data() & !0xffff_ffff {
                    CHANNEL if !self.listen_to_pid1() => {
                        return;
                    }
                    CONTROL => self.accept(),
                    NOTIFY => self.take_notices(),
                    CGROUPS => self.take_cgroup_events(),
                    CLIENT => self.serve(number),
                    ALARM => self.alarm_rings(),
                    PATHS => self.paths_changed(),
                    EXECUTED => self.executed(number),
                    SOCKET => self.socket_fired(number),
                    _ => {}
                }
            }
            self.fire_timers();
            self.events.push_back(Event::Tick);
            self.go_on();
            self.tell_states();
        }
    }

    /// Until the next deadline.
    fn next_timeout(&self) -> EpollTimeout {
        let limit = self.state.shutdown.map(|(_, limit)| limit).filter(|limit| *limit != u64::MAX);
        let unit = self.state.next_deadline();
        let timer = self.timers.values().filter_map(|timer| timer.at).min();
        let client = self.clients.values().filter_map(|client| match client.waiting {
            Waiting::State(_, _, until) => until,
            _ => None,
        });
        match limit.into_iter().chain(unit).chain(timer).chain(client).min() {
            None => EpollTimeout::NONE,
            Some(at) => {
                let milliseconds = at.saturating_sub(now()).div_ceil(1000).min(60_000);
                EpollTimeout::from(milliseconds as u16)
            }
        }
    }

    /// Messages of PID 1; false when it is gone, which cannot be.
    fn listen_to_pid1(&mut self) -> bool {
        loop {
            match channel::receive(self.channel.as_fd()) {
                Received::Message(channel::ENDS, ..) => self.take_ends(),
                Received::Message(channel::SIGNAL, number, _) => self.signalled(number as i32),
                Received::Message(..) => {}
                Received::Nothing => return true,
                Received::Closed => return false,
            }
        }
    }

    /// Whether the kernel has killed a process of the unit for want of memory since we last asked.
    fn had_no_memory(&mut self, index: u32) -> bool {
        let kills = self.graph.unit(index).map_or(0, |unit| cgroup::oom_kills(&cgroup::path_of(&unit)));
        // A cgroup that was made anew counts anew.
        kills != 0 && self.oom_kills.insert(index, kills) != Some(kills)
    }

    /// Processes that have ended. A slot is let go only when what follows from the end is noted: if we die before that, our
    /// successor finds the end again, and what is known already it passes over, as the process is no unit's any more.
    fn take_ends(&mut self) {
        for slot in self.memory.slots() {
            let Some(ended) = self.memory.ended(slot) else { continue };
            self.take_end(&ended);
            while let Some(event) = self.events.pop_front() {
                self.feed(&event);
            }
            self.memory.release(slot);
        }
        while let Some(event) = self.events.pop_front() {
            self.feed(&event);
        }
    }

    fn take_end(&mut self, ended: &Ended) {
        let (unit, role) = (ended.owner & COLLECTOR, ended.owner >> 24);
        if unit == COLLECTOR {
            // Our predecessor's may end when ours is at work already.
            if self.collector.as_ref().is_none_or(|collector| collector.pid == ended.pid) {
                self.collector = None;
                self.start_collector();
            }
            return;
        }
        let exit = match (ended.status & 0x7f, ended.status >> 8) {
            (0, code) => Exit::Code(code as u8),
            (signal, _) if ended.status & 0x80 != 0 => Exit::Core(signal as u8),
            (signal, _) => Exit::Signal(signal as u8),
        };
        let role = if role == Role::Main as u32 { Role::Main } else { Role::Control };
        let state = self.state.unit(unit);
        let expected = if role == Role::Main { state.main_pid } else { state.control_pid };
        if expected == ended.pid {
            if exit == Exit::Signal(libc::SIGKILL as u8) && self.had_no_memory(unit) {
                self.events.push_back(Event::OutOfMemory { unit });
            }
            self.events.push_back(Event::Exited { unit, role, exit });
        }
    }

    /// Signals to PID 1: Ctrl-Alt-Del, the power button's helpers, and systemd(1)'s.
    fn signalled(&mut self, number: i32) {
        let real_time = number - libc::SIGRTMIN();
        let how = match (number, real_time) {
            (libc::SIGINT, _) | (_, 5 | 15) => Shutdown::Reboot,
            (libc::SIGPWR | libc::SIGUSR2, _) | (_, 4 | 14) => Shutdown::PowerOff,
            (libc::SIGUSR1, _) | (_, 3 | 13) => Shutdown::Halt,
            (libc::SIGTERM, _) => Shutdown::Reboot,
            (_, 6 | 16) => Shutdown::Kexec,
            (_, 0..=2) => {
                let target = ["default.target", "rescue.target", "emergency.target"].get(real_time as usize);
                if let Some(unit) = target.and_then(|target| self.graph.find(target)) {
                    self.events.push_back(Event::Request { unit: unit.index(), kind: JobKind::Start });
                }
                return;
            }
            _ => return,
        };
        self.events.push_back(Event::Shutdown { how });
    }

    /// Messages of services.
    fn take_notices(&mut self) {
        let Some(socket) = &self.notify else { return };
        let mut notices = Vec::new();
        // A bounded share: a flood of messages must not keep anybody else waiting.
        while notices.len() < 256 {
            match notify::receive(socket.as_fd()) {
                Some(notice) => notices.push(notice),
                None => break,
            }
        }
        for notice in notices {
            self.noticed(notice);
        }
    }

    fn noticed(&mut self, notice: notify::Notice) {
        use formats::service_graph::key::{Key, notify_access};
        let unit = self.unit_of(notice.sender);
        let Some(unit) = unit.and_then(|index| self.graph.unit(index)) else { return };
        let (index, state) = (unit.index(), self.state.unit(unit.index()));
        let is_main = notice.sender == state.main_pid;
        let is_allowed = match unit.number(Key::NotifyAccess).unwrap_or(notify_access::MAIN) {
            notify_access::ALL => true,
            notify_access::EXEC => is_main || notice.sender == state.control_pid,
            notify_access::MAIN => is_main,
            _ => false,
        };
        if !is_allowed {
            return;
        }
        if let Some(text) = notice.status {
            self.status.insert(index, text);
        }
        if let Some(pid) = notice.main_pid.filter(|pid| self.unit_of(*pid) == Some(index)) {
            self.adopt_main(index, pid);
        }
        for (is_said, event) in [
            (notice.reloading, Event::Reloading { unit: index }),
            (notice.stopping, Event::Stopping { unit: index }),
            (notice.alive, Event::Alive { unit: index }),
            (notice.ready, Event::Ready { unit: index }),
        ] {
            if is_said {
                self.events.push_back(event);
            }
        }
        if let Some(span) = notice.extend {
            self.events.push_back(Event::Extend { unit: index, span });
        }
    }

    /// The unit that a process belongs to.
    fn unit_of(&self, pid: u32) -> Option<u32> {
        let known = self
            .state
            .units
            .iter()
            .position(|unit| pid != 0 && (unit.main_pid == pid || unit.control_pid == pid));
        known
            .map(|index| index as u32)
            .or_else(|| Some(self.graph.find(&cgroup::unit_of_process(pid)?)?.index()))
    }

    /// cgroup.events of some units changed.
    fn take_cgroup_events(&mut self) {
        let Ok(events) = self.cgroups.read_events() else { return };
        // An end that PID 1 has already noted comes before the emptiness that it caused.
        self.take_ends();
        for event in events {
            let Some(unit) = self.watched.get(&event.wd).and_then(|index| self.graph.unit(*index)) else {
                continue;
            };
            if !cgroup::is_populated(&cgroup::path_of(&unit)) {
                self.events.push_back(Event::CgroupEmpty { unit: unit.index() });
            }
        }
    }

    fn accept(&mut self) {
        // A bounded share, as for messages.
        for _ in 0..64 {
            let Some((stream, _)) = self.control.as_ref().and_then(|control| control.accept().ok()) else {
                return;
            };
            let Ok(client) = Client::new(stream) else { continue };
            let most = if client.is_root { clients::ROOT_CLIENTS } else { clients::CLIENTS };
            if self.clients.values().count() >= most {
                continue;
            }
            let number = self.next_client;
            let event = EpollEvent::new(EpollFlags::EPOLLIN, CLIENT | u64::from(number));
            if self.epoll.add(client.stream(), event).is_ok() {
                self.clients.insert(number, client);
                self.next_client = self.next_client.wrapping_add(1);
            }
        }
    }
}
