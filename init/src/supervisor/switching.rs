//! From the running graph to another one, while everything that did not change goes on running. The plan is
//! `formats::service_graph::diff`'s; here it is carried out: what goes is stopped under the old graph, the new one is
//! mapped and every unit's state carried over by name, what restarts, reloads and starts follows.

use super::clients::Waiting;
use super::engine::unit_state::{JobKind, JobResult};
use super::engine::{Event, State};
use super::{Supervisor, cgroup, load_graph};
use crate::console::{self, Level};
use crate::sorted_map::SortedMap;
use formats::control::{Phase, Reply};
use formats::service_graph::UnitKind;
use formats::service_graph::diff::{self, Action};
use formats::service_graph::key::Key;

/// One unit of the plan.
#[derive(Debug, Clone)]
struct Planned {
    unit: String,
    action: Action,
    reason: &'static str,
    result: Option<&'static str>,
}

/// A switch under way.
#[derive(Debug)]
pub(super) struct Switch {
    client: u32,
    path: String,
    phase: Phase,
    steps: Vec<Planned>,
    /// Units whose job's end is awaited now.
    awaited: Vec<String>,
    is_new: bool,
}

impl Supervisor {
    /// A client asks for a switch.
    pub(super) fn begin_switch(&mut self, client: u32, path: &str, phase: Phase) {
        if self.switch.is_some() {
            self.answer_switch(client, &Reply::Refused { reason: "another switch is under way".into() });
            return;
        }
        let new = match load_graph(path) {
            Ok(graph) => graph,
            Err(reason) => {
                self.answer_switch(client, &Reply::Refused { reason });
                return;
            }
        };
        let state_of = |name: &str| self.graph.find(name).map(|unit| self.state.unit(unit.index()));
        let is_active =
            |name: &str| state_of(name).is_some_and(|state| !state.is_down() || state.job.is_some());
        let is_held = |name: &str| state_of(name).is_some_and(|state| state.held);
        let steps = diff::plan(&self.graph, &new, is_active, is_held);
        let steps = steps
            .into_iter()
            .map(|step| Planned {
                unit: step.unit.to_owned(),
                action: step.action,
                reason: step.reason.words(),
                result: (step.action == Action::Keep).then_some("kept"),
            })
            .collect();
        if let Some(client) = self.clients.get_mut(&client) {
            client.waiting = Waiting::Switch;
        }
        self.switch =
            Some(Switch { client, path: path.to_owned(), phase, steps, awaited: Vec::new(), is_new: false });
        let stops = [Action::Stop, Action::StopStart];
        // With phase Finish, what had to stop was stopped by an earlier request; what still runs is stopped now.
        self.run_actions(|action| stops.contains(&action).then_some(JobKind::Stop));
        self.go_on();
    }

    /// Makes the jobs of one part of the plan.
    fn run_actions(&mut self, kind_of: impl Fn(Action) -> Option<JobKind>) {
        let Some(switch) = &mut self.switch else { return };
        let mut requests = Vec::new();
        switch.awaited.clear();
        for step in switch.steps.iter().filter(|step| step.result.is_none()) {
            let Some(kind) = kind_of(step.action) else { continue };
            if let Some(unit) = self.graph.find(&step.unit) {
                switch.awaited.push(step.unit.clone());
                requests.push((unit.index(), kind));
            }
        }
        for (unit, kind) in requests {
            self.feed(&Event::Request { unit, kind });
        }
        self.drop_finished();
    }

    /// Awaited units that have no job any more are done, whatever way that came.
    fn drop_finished(&mut self) {
        let Some(switch) = &mut self.switch else { return };
        let (graph, state) = (self.graph, &self.state);
        let is_quiet = self.events.is_empty();
        switch.awaited.retain(|name| {
            let has_job = graph.find(name).is_some_and(|unit| state.unit(unit.index()).job.is_some());
            has_job || !is_quiet
        });
    }

    /// A job of the plan is done.
    pub(super) fn switch_job_done(&mut self, index: u32, result: JobResult) {
        let Some(unit) = self.graph.unit(index) else { return };
        let Some(switch) = &mut self.switch else { return };
        switch.awaited.retain(|name| name != unit.name());
        let is_new = switch.is_new;
        for step in switch.steps.iter_mut().filter(|step| step.unit == unit.name()) {
            // The stop of a stop-and-start is only half of it.
            if is_new || step.action == Action::Stop {
                step.result = Some(result.word());
            }
        }
        if switch.awaited.is_empty() {
            self.events.push_back(Event::Tick);
        }
    }

    /// Called when nothing more happens by itself: the next part of the switch, if its time has come.
    pub(super) fn go_on(&mut self) {
        loop {
            while let Some(event) = self.events.pop_front() {
                self.feed(&event);
            }
            self.drop_finished();
            let Some(switch) = &self.switch else { return };
            if !switch.awaited.is_empty() {
                return;
            }
            if switch.is_new || switch.phase == Phase::Stop {
                self.finish_switch();
                return;
            }
            let (path, client) = (switch.path.clone(), switch.client);
            if let Err(reason) = self.adopt_graph(&path) {
                self.switch = None;
                self.answer_switch(client, &Reply::Refused { reason });
                return;
            }
            if let Some(switch) = &mut self.switch {
                switch.is_new = true;
            }
            self.start_new_ones();
        }
    }

    fn start_new_ones(&mut self) {
        self.run_actions(|action| match action {
            Action::StopStart | Action::Start => Some(JobKind::Start),
            Action::Restart => Some(JobKind::Restart),
            Action::Reload => Some(JobKind::Reload),
            Action::Stop | Action::Keep => None,
        });
    }

    /// Tells the client all steps and the whole's result.
    fn finish_switch(&mut self) {
        let Some(switch) = self.switch.take() else { return };
        let mut failed = false;
        for step in &switch.steps {
            let result = step.result.unwrap_or("done");
            failed |= matches!(result, "failed" | "dependency" | "timeout");
            let reply = Reply::Step {
                unit: step.unit.clone(),
                action: step.action.word().to_owned(),
                reason: step.reason.to_owned(),
                result: result.to_owned(),
            };
            self.send_reply(switch.client, &reply);
        }
        let result = if failed { "failed" } else { "done" };
        self.answer_switch(switch.client, &Reply::Done { result: result.to_owned() });
    }

    fn answer_switch(&mut self, client: u32, reply: &Reply) {
        self.send_reply(client, reply);
        if let Some(client) = self.clients.get_mut(&client) {
            client.waiting = Waiting::Nothing;
        }
    }

    fn send_reply(&mut self, client: u32, reply: &Reply) {
        if let Some(found) = self.clients.get_mut(&client)
            && !found.reply(reply)
        {
            self.clients.remove(&client);
        }
    }

    /// Maps another graph and carries every unit's state over by its name.
    fn adopt_graph(&mut self, path: &str) -> Result<(), String> {
        let new = load_graph(path)?;
        let old = self.graph;
        let renamed: SortedMap<u32, u32> =
            old.units().filter_map(|unit| Some((unit.index(), new.find(unit.name())?.index()))).collect();
        let mut state = State::new(&new);
        for (from, to) in renamed.iter() {
            if let (Some(old), Some(slot)) =
                (self.state.units.get(*from as usize), state.units.get_mut(*to as usize))
            {
                *slot = old.clone();
            }
        }
        // Jobs that are under way go on; those of units that are gone end with them.
        state.shutdown = self.state.shutdown;
        state.recount();
        self.memory.rename_owners(|owner| {
            let (role, unit) = (owner & 0xff00_0000, owner & 0x00ff_ffff);
            role | if unit == super::COLLECTOR {
                unit
            } else {
                renamed.get(&unit).copied().unwrap_or(0x00ff_fffe)
            }
        });
        let gone: Vec<u32> = self.logs.keys().filter(|index| !renamed.contains_key(index)).copied().collect();
        for index in gone {
            self.close_log(index);
        }
        self.logs = rename(std::mem::take(&mut self.logs), &renamed);
        // All of the new graph stands in the memory's other bank before that is put in use: whoever takes over finds the one or the other.
        let (before, next) = (self.memory.number(), self.memory.next());
        let held: Vec<(u32, usize)> =
            self.sockets.iter().map(|(index, sockets)| (*index, sockets.len())).collect();
        self.sockets = rename(std::mem::take(&mut self.sockets), &renamed);
        for index in self.sockets.keys() {
            self.hold_sockets(next.number(), *index);
        }
        self.connections = rename(std::mem::take(&mut self.connections), &renamed);
        self.socket_times = rename(std::mem::take(&mut self.socket_times), &renamed);
        self.invocations = rename(std::mem::take(&mut self.invocations), &renamed);
        self.oom_kills = rename(std::mem::take(&mut self.oom_kills), &renamed);
        self.status = rename(std::mem::take(&mut self.status), &renamed);
        self.timers = rename(std::mem::take(&mut self.timers), &renamed);
        self.lives = rename(std::mem::take(&mut self.lives), &renamed);
        self.executions = rename(std::mem::take(&mut self.executions), &renamed);
        self.rename_paths(&renamed);
        self.watched = std::mem::take(&mut self.watched)
            .into_iter()
            .filter_map(|(watch, index)| Some((watch, *renamed.get(&index)?)))
            .collect();
        for client in self.clients.values_mut() {
            match &mut client.waiting {
                Waiting::Job(index) | Waiting::State(index, ..) => {
                    *index = renamed.get(index).copied().unwrap_or(u32::MAX);
                }
                _ => {}
            }
        }
        for slice in old.units().filter(|unit| unit.kind() == UnitKind::Slice && unit.has(Key::CgroupWrites))
        {
            let next = new.find(slice.name());
            let is_up = self.state.unit(slice.index()).is_up();
            if let Err(error) = if is_up { cgroup::change_slice(&slice, next.as_ref()) } else { Ok(()) } {
                console::log(Level::Error, &format!("{}: {error}", slice.name()));
            }
        }
        self.graph = new;
        self.state = state;
        path.clone_into(&mut self.graph_path);
        for index in 0..self.graph.len() {
            self.note_in(&next, index);
        }
        next.set_graph_path(path);
        next.put_in_use();
        for (index, count) in held {
            self.let_sockets_go(before, index, count);
        }
        self.watch_executions();
        let sockets: Vec<u32> = self.sockets.keys().copied().collect();
        for index in sockets {
            self.watch_sockets(index);
        }
        Ok(())
    }
}

fn rename<T>(map: SortedMap<u32, T>, renamed: &SortedMap<u32, u32>) -> SortedMap<u32, T> {
    map.into_iter().filter_map(|(index, value)| Some((*renamed.get(&index)?, value))).collect()
}
