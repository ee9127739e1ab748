//! What units wait for: sockets, paths, a name on the bus, a program that begins.

use super::super::engine::unit_state::JobKind;
use super::super::engine::{Event, Role};
use super::super::{
    EXECUTED, SOCKET, Supervisor, bus_name, cgroup, console, launch, listening, path_watches,
};
use crate::console::Level;
use formats::service_graph::UnitKind;
use formats::service_graph::key::{Key, flag};
use formats::service_graph::view::Unit;
use nix::sys::epoll::{EpollEvent, EpollFlags};
use nix::sys::inotify::AddWatchFlags;
use std::os::fd::OwnedFd;

impl Supervisor {
    /// Watches a unit's cgroup for its last process's end.
    pub(super) fn watch(&mut self, unit: &Unit<'_>) {
        if self.watched.values().any(|index| *index == unit.index()) {
            return;
        }
        let file = cgroup::events_file(&cgroup::path_of(unit));
        if let Ok(watch) = self.cgroups.add_watch(&file, AddWatchFlags::IN_MODIFY) {
            self.watched.insert(watch, unit.index());
        }
    }

    /// Waits for a service's name on the bus, in a child.
    pub(super) fn await_bus_name(&mut self, index: u32) {
        let Some(unit) = self.graph.unit(index) else { return };
        let owner = index | (Role::Control as u32) << 24;
        let name = unit.text(Key::BusName).unwrap_or_default();
        match launch::start_own(unit, owner, &self.memory, || bus_name::wait(name)) {
            Ok(pid) => {
                self.feed(&Event::Spawned { unit: index, role: Role::Control, pid });
                self.note(index);
            }
            Err(error) => {
                console::log(Level::Error, &format!("{}: cannot wait for {name}: {error}", unit.name()));
                self.events.push_back(Event::SpawnFailed { unit: index, role: Role::Control });
            }
        }
    }

    /// Keeps the pipe that closes when a Type=exec service executes its program.
    pub(super) fn await_execution(&mut self, index: u32, pipe: std::os::fd::OwnedFd) {
        let event = EpollEvent::new(EpollFlags::EPOLLIN, EXECUTED | u64::from(index));
        if self.epoll.add(&pipe, event).is_ok() {
            self.executions.insert(index, pipe);
        }
    }

    /// After a switch of graphs: units by their new numbers.
    pub(in crate::supervisor) fn watch_executions(&mut self) {
        for (index, pipe) in self.executions.iter() {
            let mut event = EpollEvent::new(EpollFlags::EPOLLIN, EXECUTED | u64::from(*index));
            crate::best_effort::tolerate(self.epoll.modify(pipe, &mut event));
        }
    }

    /// The pipe was closed: by execve(2) without a word, or by a child that failed and said so before; that one's end
    /// is on its way.
    pub(in crate::supervisor) fn executed(&mut self, index: u32) {
        let Some(pipe) = self.executions.remove(&index) else { return };
        crate::best_effort::tolerate(self.epoll.delete(&pipe));
        let mut byte = [0];
        if matches!(nix::unistd::read(&pipe, &mut byte), Ok(0)) {
            self.events.push_back(Event::Executed { unit: index });
        }
    }

    /// Sets a socket, timer, path or slice up.
    pub(in crate::supervisor) fn arm(&mut self, index: u32) {
        let Some(unit) = self.graph.unit(index) else { return };
        let worked = match unit.kind() {
            // Those that PID 1 held for us while our predecessor died.
            UnitKind::Socket if self.sockets.contains_key(&index) => {
                self.watch_sockets(index);
                true
            }
            UnitKind::Socket => match listening::open_all(&unit) {
                Ok(sockets) => {
                    self.sockets.insert(index, sockets);
                    self.hold_sockets(self.memory.number(), index);
                    listening::make_links(&unit);
                    self.watch_sockets(index);
                    true
                }
                Err(error) => {
                    console::log(Level::Error, &format!("{}: {error}", unit.name()));
                    false
                }
            },
            UnitKind::Timer => {
                self.arm_timer(&unit);
                if unit.flag(flag::ON_TIMEZONE_CHANGE) {
                    self.watch_time_zone();
                }
                true
            }
            UnitKind::Slice => match cgroup::make_slice(&unit) {
                Ok(()) => true,
                Err(error) => {
                    console::log(Level::Error, &format!("{}: {error}", unit.name()));
                    false
                }
            },
            _ => self.arm_path(&unit),
        };
        self.events.push_back(Event::Armed { unit: index, worked });
    }

    /// Waits for connections, as long as the service does not run that takes them itself.
    pub(in crate::supervisor) fn watch_sockets(&mut self, index: u32) {
        for socket in self.sockets.get(&index).into_iter().flatten() {
            let event =
                EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLONESHOT, SOCKET | u64::from(index));
            let mut again = event;
            if self.epoll.add(socket, event).is_err() {
                crate::best_effort::tolerate(self.epoll.modify(socket, &mut again));
            }
        }
    }

    /// Something waits at a socket: a service is started for it, or, with Accept=, one for each connection.
    pub(in crate::supervisor) fn socket_fired(&mut self, index: u32) {
        let Some(unit) = self.graph.unit(index) else { return };
        let is_accepting = unit.flag(flag::ACCEPT);
        let times = self.socket_times.get_or_default(index);
        if path_watches::is_too_often(&unit, times, if is_accepting { 200 } else { 20 }) {
            let text = format!("{}: triggered too often; it is not listened to any more", unit.name());
            console::log(Level::Error, &text);
            self.events.push_back(Event::TriggeredTooOften { unit: index });
            return;
        }
        if !is_accepting {
            self.events.push_back(Event::Fired { unit: index });
            return;
        }
        let most_of_one = unit.number(Key::MaxConnectionsPerSource).unwrap_or(u64::MAX);
        let listening: Vec<OwnedFd> = self
            .sockets
            .get(&index)
            .into_iter()
            .flatten()
            .filter_map(|socket| socket.try_clone().ok())
            .collect();
        for socket in listening {
            while let Ok(connection) = listening::accept_one(&socket) {
                let peer = listening::peer(&connection);
                let address = peer.as_ref().map(|(address, _)| address);
                let of_same = |other: &&(OwnedFd, Option<(String, u16)>)| {
                    address.is_some() && other.1.as_ref().map(|(address, _)| address) == address
                };
                let from_there = self.connections.values().filter(of_same).count() as u64;
                let free = unit.units(Key::Triggers).find(|instance| {
                    let state = self.state.unit(*instance);
                    state.is_down() && state.job.is_none() && !self.connections.contains_key(instance)
                });
                let Some(instance) = free.filter(|_| from_there < most_of_one) else {
                    let text = format!("{}: too many connections; one more is refused", unit.name());
                    console::log(Level::Warning, &text);
                    continue;
                };
                self.connections.insert(instance, (connection, peer));
                self.feed(&Event::ResetFailed { unit: instance });
                self.feed(&Event::Request { unit: instance, kind: JobKind::Start });
            }
        }
        self.watch_sockets(index);
    }

    pub(super) fn disarm(&mut self, index: u32) {
        self.socket_times.remove(&index);
        self.timers.remove(&index);
        self.disarm_path(index);
        self.let_sockets_go(self.memory.number(), index, self.sockets.get(&index).map_or(0, Vec::len));
        for socket in self.sockets.remove(&index).into_iter().flatten() {
            crate::best_effort::tolerate(self.epoll.delete(&socket));
        }
        if let Some(unit) = self.graph.unit(index) {
            listening::remove(&unit);
        }
    }
}
