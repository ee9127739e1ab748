//! Requests of clients, and answers: at once, when a job is done, when a state is reached, at every change.

use super::clients::Waiting;
use super::engine::unit_state::{JobKind, JobResult, PENDING_PID, Phase};
use super::engine::{Event, Scope};
use super::{Supervisor, cgroup, now};
use formats::control::{ActiveState, Reply, Request, UnitStatus, Verb};
use formats::service_graph::key::{Key, flag};
use nix::sys::epoll::{EpollEvent, EpollFlags};
use std::os::fd::AsFd as _;

impl Supervisor {
    /// A client can be read or written.
    pub(super) fn serve(&mut self, number: u32) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        let is_fine = client.flush() && client.read();
        let mut requests_left = is_fine;
        while requests_left {
            let Some(client) = self.clients.get_mut(&number) else { return };
            match client.next_request() {
                Ok(Some(request)) => self.answer(number, request),
                Ok(None) => requests_left = false,
                Err(_) => {
                    self.clients.remove(&number);
                    return;
                }
            }
        }
        if !is_fine {
            self.clients.remove(&number);
        }
        self.watch_output(number);
    }

    /// Asks to be told when a client can take more, as long as there is more.
    fn watch_output(&mut self, number: u32) {
        let Some(client) = self.clients.get(&number) else { return };
        let mut flags = EpollFlags::EPOLLIN;
        flags.set(EpollFlags::EPOLLOUT, client.has_output());
        let mut event = EpollEvent::new(flags, super::CLIENT | u64::from(number));
        crate::best_effort::tolerate(self.epoll.modify(client.stream(), &mut event));
    }

    fn reply(&mut self, number: u32, reply: &Reply) {
        let is_fine = self.clients.get_mut(&number).is_none_or(|client| client.reply(reply));
        if is_fine {
            self.watch_output(number);
        } else {
            self.clients.remove(&number);
        }
    }

    fn refuse(&mut self, number: u32, reason: &str) {
        self.reply(number, &Reply::Refused { reason: reason.to_owned() });
    }

    fn wait(&mut self, number: u32, waiting: Waiting) {
        if let Some(client) = self.clients.get_mut(&number) {
            client.waiting = waiting;
        }
    }

    /// The index of a unit by its name, or the refusal is sent. A name without suffix is a service's.
    fn named(&mut self, number: u32, name: &str) -> Option<u32> {
        let found = self.graph.find(name).or_else(|| self.graph.find(&format!("{name}.service")));
        if found.is_none() {
            self.refuse(number, &format!("there is no unit `{name}`; `firn service list` shows all"));
        }
        found.map(|unit| unit.index())
    }

    fn answer(&mut self, number: u32, request: Request) {
        let is_reading = matches!(
            request,
            Request::List | Request::Status { .. } | Request::Wait { .. } | Request::Subscribe
        );
        if !is_reading && !self.clients.get(&number).is_some_and(|client| client.is_root) {
            self.refuse(number, "only root may change what runs");
            return;
        }
        match request {
            Request::List => {
                // Instances that wait for connections are units once they have one, templates never.
                let is_shown = |index: &u32| {
                    let is_none_yet = |unit: formats::service_graph::view::Unit<'_>| {
                        unit.flag(flag::FOR_CONNECTION) || unit.flag(flag::TEMPLATE)
                    };
                    let waits = self.graph.unit(*index).is_some_and(is_none_yet);
                    !waits || !self.state.unit(*index).is_down()
                };
                let units = (0..self.graph.len())
                    .filter(is_shown)
                    .filter_map(|index| self.status_of(index))
                    .collect();
                self.reply(number, &Reply::Units(units));
            }
            Request::Status { unit } => {
                if let Some(index) = self.named(number, &unit) {
                    self.reply(number, &Reply::Units(self.status_of(index).into_iter().collect()));
                }
            }
            Request::Job { verb, unit, wait } => {
                if let Some(index) = self.named(number, &unit) {
                    self.job(number, verb, index, wait);
                }
            }
            Request::Kill { unit, signal, main_only } => {
                if let Some(index) = self.named(number, &unit) {
                    let scope = if main_only { Scope::Main } else { Scope::All };
                    self.send_signal(index, signal as u8, scope);
                    self.reply(number, &Reply::Done { result: "done".into() });
                }
            }
            Request::ResetFailed { unit } => {
                if unit.is_empty() {
                    for index in 0..self.graph.len() {
                        self.events.push_back(Event::ResetFailed { unit: index });
                    }
                } else if let Some(index) = self.named(number, &unit) {
                    self.events.push_back(Event::ResetFailed { unit: index });
                } else {
                    return;
                }
                self.reply(number, &Reply::Done { result: "done".into() });
            }
            Request::Shutdown { how } => {
                self.reply(number, &Reply::Done { result: "done".into() });
                self.events.push_back(Event::Shutdown { how });
            }
            Request::Wait { unit, state, timeout } => {
                if let Some(index) = self.named(number, &unit) {
                    let until = (timeout > 0).then(|| now().saturating_add(u64::from(timeout) * 1000));
                    self.wait(number, Waiting::State(index, state, until));
                    self.tell_states();
                }
            }
            Request::Subscribe => self.wait(number, Waiting::Changes),
            Request::Reexec => {
                self.reply(number, &Reply::Done { result: "done".into() });
                let sent = crate::channel::send_surely(self.channel.as_fd(), crate::channel::AGAIN, 0, None);
                crate::best_effort::tolerate(sent);
            }
            Request::Switch { graph, phase } => self.begin_switch(number, &graph, phase),
        }
    }

    /// A job that a client asks for.
    fn job(&mut self, number: u32, verb: Verb, index: u32, wait: bool) {
        let Some(unit) = self.graph.unit(index) else { return };
        let name = unit.name();
        if unit.flag(flag::TEMPLATE) {
            self.refuse(
                number,
                &format!("{name} is a template: name an instance, with a word after the `@`"),
            );
            return;
        }
        let is_up = self.state.unit(index).is_up();
        let can_reload = unit.has(Key::ExecReload)
            || unit.number(Key::Type) == Some(formats::service_graph::key::service_type::NOTIFY_RELOAD);
        let kind = match verb {
            Verb::Start => JobKind::Start,
            Verb::Stop => JobKind::Stop,
            Verb::TryRestart => JobKind::TryRestart,
            Verb::Reload if !can_reload => {
                self.refuse(number, &format!("{name} says no way to reload it (ExecReload=)"));
                return;
            }
            Verb::Reload if !is_up => {
                self.refuse(number, &format!("{name} is not running, so there is nothing to reload"));
                return;
            }
            Verb::Reload => JobKind::Reload,
            Verb::ReloadOrRestart if can_reload && is_up => JobKind::Reload,
            Verb::Restart | Verb::ReloadOrRestart => JobKind::Restart,
        };
        let refusal = match kind {
            JobKind::Start if unit.flag(flag::REFUSE_MANUAL_START) => Some("started"),
            JobKind::Stop | JobKind::Restart if unit.flag(flag::REFUSE_MANUAL_STOP) => Some("stopped"),
            _ => None,
        };
        if let Some(what) = refusal {
            self.refuse(number, &format!("{name} refuses to be {what} by hand"));
            return;
        }
        if let Some(state) = self.state.units.get_mut(index as usize) {
            state.held = kind == JobKind::Stop;
            if kind != JobKind::Stop {
                // Asked for by hand: earlier starts do not count against this one.
                state.starts.clear();
            }
        }
        if wait {
            self.wait(number, Waiting::Job(index));
        }
        self.feed(&Event::Request { unit: index, kind });
        if !wait {
            self.reply(number, &Reply::Done { result: "queued".into() });
        } else if self.state.unit(index).job.is_none() && self.events.is_empty() {
            // It was a job for nothing: done before it began.
            self.tell_job_done(index, kind, JobResult::Done);
        }
    }

    fn send_signal(&mut self, index: u32, signal: u8, scope: Scope) {
        let Some(unit) = self.graph.unit(index) else { return };
        let Ok(signal) = nix::sys::signal::Signal::try_from(i32::from(signal)) else { return };
        let pids = match scope {
            Scope::Main => vec![self.state.unit(index).main_pid],
            _ => cgroup::processes(&cgroup::path_of(&unit)),
        };
        for pid in pids.into_iter().filter(|pid| !matches!(*pid, 0 | PENDING_PID)) {
            crate::best_effort::tolerate(nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(pid as i32),
                signal,
            ));
        }
    }

    /// Tells those who wait for a unit's job.
    pub(super) fn tell_job_done(&mut self, index: u32, kind: JobKind, result: JobResult) {
        self.switch_job_done(index, result);
        // A restart's stop half is not its end.
        if kind == JobKind::Restart && result == JobResult::Canceled {
            return;
        }
        let waiting: Vec<u32> = self
            .clients
            .iter()
            .filter(|(_, client)| client.waiting == Waiting::Job(index))
            .map(|(number, _)| *number)
            .collect();
        for number in waiting {
            self.wait(number, Waiting::Nothing);
            self.reply(number, &Reply::Done { result: result.word().to_owned() });
            self.serve(number);
        }
    }

    /// A unit changed: its record is written, those who watch are told.
    pub(super) fn changed(&mut self, index: u32) {
        self.note(index);
        self.timers_see(index);
        self.paths_see(index);
        let watchers: Vec<u32> = self
            .clients
            .iter()
            .filter(|(_, client)| client.waiting == Waiting::Changes)
            .map(|(number, _)| *number)
            .collect();
        if !watchers.is_empty()
            && let Some(status) = self.status_of(index)
        {
            let reply = Reply::Changed(status);
            for number in watchers {
                self.reply(number, &reply);
            }
        }
        self.tell_states();
    }

    /// Tells those who wait for a state that has come, that cannot come any more, or for which time is up.
    pub(super) fn tell_states(&mut self) {
        if self.clients.values().all(|client| !matches!(client.waiting, Waiting::State(..))) {
            return;
        }
        let now = now();
        let mut answers = Vec::new();
        for (number, client) in self.clients.iter() {
            let Waiting::State(index, wanted, until) = client.waiting else { continue };
            let active = self.state.unit(index).phase.active();
            if active == wanted || (active == ActiveState::Failed && wanted == ActiveState::Active) {
                answers.push((*number, self.status_of(index).map(|status| Reply::Units(vec![status]))));
            } else if until.is_some_and(|until| until <= now) {
                let name = self.graph.unit(index).map_or("", |unit| unit.name());
                let reason = format!("{name} is {} and not {} yet", active.word(), wanted.word());
                answers.push((*number, Some(Reply::Refused { reason })));
            }
        }
        for (number, reply) in answers {
            self.wait(number, Waiting::Nothing);
            if let Some(reply) = reply {
                self.reply(number, &reply);
            }
        }
    }

    /// systemd's sub-state: that of what triggers others tells of them as well.
    fn sub_state(&self, unit: &formats::service_graph::view::Unit<'_>) -> &'static str {
        use formats::service_graph::UnitKind;
        let phase = self.state.unit(unit.index()).phase;
        let is_timer = unit.kind() == UnitKind::Timer;
        let triggers = is_timer || matches!(unit.kind(), UnitKind::Socket | UnitKind::Path);
        if phase != Phase::Armed || !triggers || unit.flag(flag::ACCEPT) {
            return phase.word(unit.kind());
        }
        if unit.units(Key::Triggers).any(|target| !self.state.unit(target).is_down()) {
            "running"
        } else if is_timer && self.timers.get(&unit.index()).is_none_or(super::timers::Timer::is_over) {
            "elapsed"
        } else {
            phase.word(unit.kind())
        }
    }

    /// A unit's state for clients.
    pub(super) fn status_of(&self, index: u32) -> Option<UnitStatus> {
        let unit = self.graph.unit(index)?;
        let state = self.state.unit(index);
        let real = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |span| span.as_micros() as u64);
        let is_service = unit.kind() == formats::service_graph::UnitKind::Service;
        Some(UnitStatus {
            name: unit.name().to_owned(),
            description: unit.text(Key::Description).unwrap_or_default().to_owned(),
            active: state.phase.active(),
            sub: self.sub_state(&unit).to_owned(),
            result: state.outcome.word().to_owned(),
            main_pid: if state.main_pid == PENDING_PID { 0 } else { state.main_pid },
            exit_status: state.exit_status,
            restarts: state.restarts,
            since: if state.since == 0 { 0 } else { real.saturating_sub(now().saturating_sub(state.since)) },
            took: state.took,
            status_text: self.status.get(&index).cloned().unwrap_or_default(),
            cgroup: if is_service { cgroup::path_of(&unit) } else { String::new() },
            defined_at: unit.text(Key::DefinedAt).unwrap_or_default().to_owned(),
        })
    }
}
