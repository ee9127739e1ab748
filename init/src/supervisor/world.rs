//! Effects on the machine: what the engine decides, carried out. Nothing here decides anything.

mod mounts;
mod watching;

use super::engine::unit_state::{JobKind, JobResult, PENDING_PID};
use super::engine::{Effect, Event, Role, Scope, step};
use super::launch::{self, Extra};
use super::{
    COLLECTOR, LogCollector, LogPipe, Supervisor, cgroup, channel, conditions, console, listening, now,
};
use crate::console::Level;
use crate::log_collector;
use crate::log_collector::announcement::{self, Origin};
use crate::sorted_map::sort_few;
use formats::control::Shutdown;
use formats::service_graph::UnitKind;
use formats::service_graph::key::{Key, flag, service_type, standard_io};
use formats::service_graph::view::Unit;
use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::Pid;
use std::os::fd::AsFd as _;
use std::path::Path;
use sys::sibling::{Birth, spawn};

/// How often a unit's processes are looked for when a signal goes to all of them.
const ROUNDS: usize = 32;

impl Supervisor {
    /// One event through the engine and its effects into the world. What the world answers at once is fed as well.
    pub(super) fn feed(&mut self, event: &Event) {
        let mut effects = Vec::new();
        step(&mut self.state, &self.graph, now(), event, &mut effects);
        // Before anything of it is done: whoever takes over finds every job that was asked for.
        while let Some(index) = self.state.jobs_changed.pop_first() {
            self.note(index);
        }
        if let Some((how, _)) = self.state.shutdown
            && self.memory.ending().is_none()
        {
            self.memory.set_ending(how as u32);
        }
        for effect in effects {
            self.carry_out(effect);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::CheckConditions { unit } => {
                let verdict = self.graph.unit(unit).map_or(Some(false), |unit| conditions::verdict(&unit));
                self.events.push_back(Event::Conditions { unit, verdict });
            }
            Effect::Spawn { unit, key, number, role } => self.spawn(unit, key, number, role),
            Effect::Mount { unit } => self.mount(unit, true),
            Effect::Unmount { unit } => self.mount(unit, false),
            Effect::Arm { unit } => self.arm(unit),
            Effect::Disarm { unit } => self.disarm(unit),
            Effect::Signal { unit, signal, scope } => self.signal(unit, signal, scope),
            Effect::FindMainPid { unit } => self.find_main_pid(unit),
            Effect::AwaitBusName { unit } => self.await_bus_name(unit),
            Effect::Release { unit } => self.release(unit),
            Effect::Changed { unit } => self.changed(unit),
            Effect::JobDone { unit, kind, result } => self.job_done(unit, kind, result),
            Effect::Final { how, culprits } => self.end_machine(how, &culprits),
        }
    }

    /// Starts a command of a unit.
    fn spawn(&mut self, index: u32, key: Key, number: usize, role: Role) {
        let Some(unit) = self.graph.unit(index) else { return };
        let Some(line) = unit.command(key, number) else { return };
        let needs_log = [Key::StandardOutput, Key::StandardError].iter().any(|key| {
            unit.tagged(*key).next().is_none_or(|(tag, _)| {
                matches!(tag, standard_io::LOG | standard_io::LOG_AND_CONSOLE | standard_io::INHERIT)
            })
        });
        if needs_log {
            self.open_log(&unit);
        }
        if role == Role::Main {
            self.invocations.insert(index, self.identifiers.draw());
        }
        let state = self.state.unit(index);
        let is_stop = matches!(key, Key::ExecStop | Key::ExecStopPost);
        let extra = Extra {
            main_pid: if state.main_pid == PENDING_PID || role == Role::Main { 0 } else { state.main_pid },
            result: is_stop.then(|| (state.outcome.word(), state.exit_status)),
            invocation: self.invocations.get(&index).cloned().unwrap_or_default(),
            socket_names: self.socket_names(&unit),
            peer: self.connections.get(&index).and_then(|(_, peer)| peer.clone()),
        };
        let owner = index | (role as u32) << 24;
        let log = self.logs.get(&index).map(|log| log.write.as_fd());
        let sockets = match role {
            Role::Main => self.sockets_of(&unit),
            Role::Control => Vec::new(),
        };
        let peers = self.namespace_peers(&unit);
        let joined = peers.iter().filter(|peer| **peer != index).map(|peer| self.state.unit(*peer).main_pid);
        let joined = joined.filter(|pid| !matches!(*pid, 0 | PENDING_PID)).min();
        let own = [state.main_pid]
            .into_iter()
            .find(|pid| role == Role::Control && !matches!(*pid, 0 | PENDING_PID));
        let shared_name =
            peers.first().and_then(|peer| self.graph.unit(*peer)).map_or(unit.name(), |peer| peer.name());
        let shared = (shared_name, own.or(joined));
        let waits = role == Role::Main && unit.number(Key::Type) == Some(service_type::EXEC);
        let pipe = if waits { nix::unistd::pipe2(OFlag::O_CLOEXEC).ok() } else { None };
        let passed = launch::Passed {
            log,
            sockets: &sockets,
            executed: pipe.as_ref().map(|(_, write)| write.as_fd()),
            is_start: key == Key::ExecStart,
            shared,
        };
        let started = launch::start(unit, &line, owner, &self.memory, &passed, &extra);
        match started {
            Ok(pid) => {
                if let Some((read, write)) = pipe {
                    drop(write);
                    self.await_execution(index, read);
                }
                self.watch(&unit);
                self.feed(&Event::Spawned { unit: index, role, pid });
                self.note(index);
            }
            Err(launch::NotStarted(code, error)) => {
                let text =
                    format!("{}: cannot start {}: {error}", unit.name(), line.program().to_string_lossy());
                console::log(Level::Error, &text);
                self.events.push_back(match code {
                    Some(code) => Event::Exited { unit: index, role, exit: super::Exit::Code(code) },
                    None => Event::SpawnFailed { unit: index, role },
                });
            }
        }
    }

    /// The units that share namespaces and /tmp with a unit (JoinsNamespaceOf= in either direction), itself among them, in order.
    fn namespace_peers(&self, unit: &Unit<'_>) -> Vec<u32> {
        use formats::service_graph::key::sandbox;
        let shares = sandbox::PRIVATE_TMP | sandbox::PRIVATE_NETWORK | sandbox::PRIVATE_IPC;
        let mut peers = vec![unit.index()];
        if unit.number(Key::Sandbox).unwrap_or(0) & shares == 0 {
            return peers;
        }
        let pairs: Vec<(u32, u32)> = self
            .graph
            .units()
            .filter(|one| one.has(Key::JoinsNamespaceOf))
            .flat_map(|one| one.units(Key::JoinsNamespaceOf).map(move |other| (one.index(), other)))
            .collect();
        let mut at = 0;
        while let Some(peer) = peers.get(at).copied() {
            at += 1;
            for (one, other) in &pairs {
                for (from, to) in [(one, other), (other, one)] {
                    if *from == peer && !peers.contains(to) {
                        peers.push(*to);
                    }
                }
            }
        }
        sort_few(&mut peers, |one, other| one < other);
        peers
    }

    /// Copies of the sockets that a service is given.
    fn sockets_of(&self, unit: &Unit<'_>) -> Vec<std::os::fd::OwnedFd> {
        if unit.flag(flag::FOR_CONNECTION) {
            let connection =
                self.connections.get(&unit.index()).and_then(|(socket, _)| socket.try_clone().ok());
            return connection.into_iter().collect();
        }
        let by = unit.units(Key::TriggeredBy).chain(unit.units(Key::Sockets));
        let lists = by.filter_map(|index| self.sockets.get(&index));
        lists.flatten().filter_map(|socket| socket.try_clone().ok()).collect()
    }

    fn socket_names(&self, unit: &Unit<'_>) -> String {
        if unit.flag(flag::FOR_CONNECTION) {
            return "connection".into();
        }
        let mut names = Vec::new();
        for index in unit.units(Key::TriggeredBy).chain(unit.units(Key::Sockets)) {
            let count = self.sockets.get(&index).map_or(0, Vec::len);
            let socket = self.graph.unit(index);
            let name =
                socket.map_or("", |socket| socket.text(Key::FileDescriptorName).unwrap_or(socket.name()));
            names.extend(std::iter::repeat_n(name, count));
        }
        names.join(":")
    }

    /// Makes the unit's log pipe, once: PID 1 holds it, the collector reads it.
    fn open_log(&mut self, unit: &Unit<'_>) {
        if self.collector.is_none() {
            self.start_collector();
        }
        if self.logs.contains_key(&unit.index()) {
            return;
        }
        let Ok((read, write)) = nix::unistd::pipe2(OFlag::O_CLOEXEC) else { return };
        // Only the reading side must not block: services write as they are used to.
        crate::best_effort::tolerate(nix::fcntl::fcntl(
            read.as_fd(),
            nix::fcntl::FcntlArg::F_SETFL(OFlag::O_NONBLOCK),
        ));
        let tag = self.next_tag;
        self.next_tag += 1;
        crate::best_effort::tolerate(channel::send_surely(
            self.channel.as_fd(),
            channel::HOLD,
            tag,
            Some(read.as_fd()),
        ));
        if let Some(collector) = &self.collector {
            crate::best_effort::tolerate(announcement::send_pipe(
                collector.socket.as_fd(),
                &origin_of(unit),
                read.as_fd(),
            ));
        }
        self.logs.insert(unit.index(), LogPipe { read, write, tag });
    }

    /// Starts the collector and gives it every pipe there is.
    pub(super) fn start_collector(&mut self) {
        let made = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC);
        let Ok((ours, theirs)) = made else { return };
        let Some(slot) = self.memory.reserve(COLLECTOR) else { return };
        let birth = Birth { cgroup: None, pid_slot: self.memory.pid_word(slot), as_sibling: true };
        let ours_number = std::os::fd::AsRawFd::as_raw_fd(&ours);
        let started = spawn(&birth, || {
            // The child's copy of our end would keep the socket open for ever.
            drop(sys::terminal::adopt(ours_number));
            log_collector::run(&theirs)
        });
        match started {
            Ok(pid) => {
                for (letter, socket) in &self.log_sockets {
                    let sent = announcement::send_socket(ours.as_fd(), *letter, socket.as_fd());
                    crate::best_effort::tolerate(sent);
                }
                for (index, log) in self.logs.iter() {
                    let Some(unit) = self.graph.unit(*index) else { continue };
                    crate::best_effort::tolerate(announcement::send_pipe(
                        ours.as_fd(),
                        &origin_of(&unit),
                        log.read.as_fd(),
                    ));
                }
                self.collector = Some(LogCollector { pid, socket: ours });
            }
            Err(error) => {
                self.memory.release(slot);
                console::log(Level::Error, &format!("cannot start the log collector: {error}"));
            }
        }
    }

    fn signal(&mut self, index: u32, signal: u8, scope: Scope) {
        let Some(unit) = self.graph.unit(index) else { return };
        let Ok(signal) = Signal::try_from(i32::from(signal)) else { return };
        let path = cgroup::path_of(&unit);
        let state = self.state.unit(index);
        let known =
            [state.main_pid, state.control_pid].into_iter().filter(|pid| !matches!(*pid, 0 | PENDING_PID));
        let send = |pid: u32| {
            if matches!(pid, 0 | PENDING_PID) {
                return;
            }
            // Gone already: its end is on its way to us.
            crate::best_effort::tolerate(kill(Pid::from_raw(pid as i32), signal));
            if signal == Signal::SIGTERM {
                crate::best_effort::tolerate(kill(Pid::from_raw(pid as i32), Signal::SIGCONT));
            }
        };
        match scope {
            Scope::Main => send(state.main_pid),
            Scope::Control => send(state.control_pid),
            Scope::Known => known.for_each(send),
            Scope::All if signal == Signal::SIGKILL => {
                cgroup::kill(&path);
                known.for_each(send);
            }
            Scope::All => {
                // What was forked meanwhile is found by looking again; who forks faster than this meets SIGKILL in time.
                let mut told = Vec::new();
                for _ in 0..ROUNDS {
                    let before = told.len();
                    for pid in cgroup::processes(&path) {
                        if !told.contains(&pid) {
                            send(pid);
                            told.push(pid);
                        }
                    }
                    if told.len() == before {
                        break;
                    }
                }
                // A main process that left the cgroup is still the service's.
                known.filter(|pid| !told.contains(pid)).for_each(send);
            }
        }
        if scope == Scope::All && !cgroup::is_populated(&path) {
            self.events.push_back(Event::CgroupEmpty { unit: index });
        }
    }

    /// The main process of a forking service: by its PID file, else the only process that is left.
    fn find_main_pid(&mut self, index: u32) {
        let Some(unit) = self.graph.unit(index) else { return };
        let processes = cgroup::processes(&cgroup::path_of(&unit));
        let pid = match unit.text(Key::PidFile) {
            Some(path) => {
                let path = if path.starts_with('/') { path.to_owned() } else { format!("/run/{path}") };
                let text = std::fs::read_to_string(path).unwrap_or_default();
                text.trim().parse().ok().filter(|pid| processes.contains(pid))
            }
            None if unit.flag(flag::NO_GUESS_MAIN_PID) => None,
            None => processes.first().copied().filter(|_| processes.len() == 1),
        };
        self.adopt_main(index, pid.unwrap_or(0));
        if processes.is_empty() {
            self.events.push_back(Event::CgroupEmpty { unit: index });
        }
    }

    /// A main process that we did not start: its end is to be told as if we had.
    pub(super) fn adopt_main(&mut self, index: u32, pid: u32) {
        let owner = index | (Role::Main as u32) << 24;
        self.events.push_back(Event::MainPid { unit: index, pid });
        if pid == 0 || self.memory.live().iter().any(|(known, _)| *known == pid) {
            return;
        }
        let Some(slot) = self.memory.reserve(owner) else { return };
        if let Some(word) = self.memory.pid_word(slot) {
            word.store(pid, std::sync::atomic::Ordering::Release);
        }
        // Gone before PID 1 could know that it matters: nobody knows how.
        if !Path::new(&format!("/proc/{pid}")).exists() && self.memory.live().contains(&(pid, owner)) {
            self.memory.release(slot);
            self.events.push_back(Event::Exited {
                unit: index,
                role: Role::Main,
                exit: super::Exit::Code(0),
            });
        }
    }

    /// A unit is down.
    fn release(&mut self, index: u32) {
        let Some(unit) = self.graph.unit(index) else { return };
        let runs = match unit.kind() {
            UnitKind::Service => true,
            UnitKind::Socket => [Key::ExecStartPre, Key::ExecStartPost, Key::ExecStop, Key::ExecStopPost]
                .into_iter()
                .any(|key| unit.has(key)),
            _ => false,
        };
        if matches!(unit.kind(), UnitKind::Mount | UnitKind::Swap | UnitKind::Slice) {
            cgroup::remove(&cgroup::path_of(&unit));
        }
        if runs {
            let peers = self.namespace_peers(&unit);
            let is_last = peers.iter().all(|peer| *peer == index || self.state.unit(*peer).is_down());
            let shared =
                peers.first().and_then(|peer| self.graph.unit(*peer)).map_or(unit.name(), |peer| peer.name());
            // A service that comes back after its pause keeps nothing: each start begins anew.
            launch::release(&unit, Some(shared).filter(|_| is_last));
            if unit.flag(flag::TTY_VT_DISALLOCATE) {
                launch::disallocate_terminal(&unit);
            }
            let watches: Vec<_> =
                self.watched.iter().filter(|(_, owner)| **owner == index).map(|(watch, _)| *watch).collect();
            for watch in watches {
                crate::best_effort::tolerate(self.cgroups.rm_watch(watch));
                self.watched.remove(&watch);
            }
            cgroup::remove(&cgroup::path_of(&unit));
            self.status.remove(&index);
            self.oom_kills.remove(&index);
            self.connections.remove(&index);
            for socket in unit.units(Key::TriggeredBy) {
                if self.graph.unit(socket).is_some_and(|socket| socket.flag(flag::FLUSH_PENDING)) {
                    listening::flush(self.sockets.get(&socket).map_or(&[], Vec::as_slice));
                }
                self.watch_sockets(socket);
            }
        }
    }

    /// A job is finished: who waits is told, and people are when it went wrong.
    fn job_done(&mut self, index: u32, kind: JobKind, result: JobResult) {
        let Some(unit) = self.graph.unit(index) else { return };
        let name = unit.name();
        match (kind, result) {
            (JobKind::Start, JobResult::Done) if !self.quiet && unit.kind() == UnitKind::Service => {
                console::log(Level::Info, &format!("started {name}"));
            }
            (_, JobResult::Failed) => {
                let state = self.state.unit(index);
                let text = format!(
                    "{name} failed to {} ({}); `firn logs -u {name}` has its last words",
                    verb(kind),
                    state.outcome.word()
                );
                console::log(Level::Error, &text);
            }
            (_, JobResult::Timeout) => {
                let text = format!("{name} takes longer to {} than its job may; it goes on", verb(kind));
                console::log(Level::Error, &text);
            }
            (JobKind::Start, JobResult::Dependency) => {
                console::log(Level::Error, &format!("{name} is not started: a unit that it needs failed"));
            }
            _ => {}
        }
        if self.state.unit(index).is_down() {
            self.connections.remove(&index);
        }
        self.timers_see(index);
        self.paths_see(index);
        self.tell_job_done(index, kind, result);
    }

    /// Hands the machine to PID 1 for its end.
    fn end_machine(&mut self, how: Shutdown, culprits: &[u32]) {
        for unit in culprits.iter().filter_map(|index| self.graph.unit(*index)) {
            let phase = self.state.unit(unit.index()).phase;
            let text = format!(
                "{} did not stop in time ({}); going on without it",
                unit.name(),
                phase.word(unit.kind())
            );
            console::log(Level::Error, &text);
        }
        crate::best_effort::tolerate(channel::send_surely(
            self.channel.as_fd(),
            channel::FINAL,
            how as u32,
            None,
        ));
    }
}

/// What the unit says about its output.
fn origin_of(unit: &Unit<'_>) -> Origin {
    let mut origin = Origin::new(unit.name());
    let program = unit.command(Key::ExecStart, 0).map(|line| line.program().to_string_lossy().into_owned());
    let name = program.as_deref().and_then(|program| program.rsplit('/').next());
    if let Some(name) = unit.text(Key::SyslogIdentifier).or(name) {
        name.clone_into(&mut origin.identifier);
    }
    let level = |key| unit.number(key).map(|level| level.min(7) as u8);
    origin.max_level = level(Key::LogLevelMax).unwrap_or(origin.max_level);
    origin.level = level(Key::SyslogLevel).unwrap_or(origin.level);
    origin.level_prefix = unit.number(Key::SyslogLevelPrefix) != Some(0);
    origin.limit.interval = unit.number(Key::LogRateLimitInterval).unwrap_or(origin.limit.interval);
    origin.limit.burst = unit.number(Key::LogRateLimitBurst).map_or(origin.limit.burst, |burst| burst as u32);
    origin
}

fn verb(kind: JobKind) -> &'static str {
    match kind {
        JobKind::Start => "start",
        JobKind::Stop => "stop",
        JobKind::Restart | JobKind::TryRestart => "restart",
        JobKind::Reload => "reload",
    }
}
