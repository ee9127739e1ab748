//! A whole machine's units, compiled as `firn-tools service-graph` does, from the first job to the last: in a world in which
//! every process does what it should, the boot must reach its target and the shutdown must leave nothing behind. What
//! the model check cannot see (its units are few and of few types), a graph of real size and shape shows.

use super::*;
use formats::service_graph::key::service_type;
use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc;
use std::time::Duration;
use units::definition::{GraphInput, UnitDefinition};
use units::unit_file;

const SERVER: &str = include_str!("boot/server.units");

/// `== NAME` and a unit file, again and again.
fn definitions(text: &str) -> BTreeMap<String, UnitDefinition> {
    let parts = text.split("\n== ").skip(1).map(|part| part.split_once('\n').unwrap_or((part, "")));
    parts
        .map(|(name, file)| {
            let sections = unit_file::parse(file).unwrap_or_else(|error| panic!("{name}: {error}"));
            (name.trim().to_owned(), UnitDefinition { sections, ..UnitDefinition::default() })
        })
        .collect()
}

fn compiled(units: BTreeMap<String, UnitDefinition>) -> Vec<u8> {
    units::compile::compile(&GraphInput { units, ..GraphInput::default() }).unwrap()
}

/// A world in which everybody is willing: oneshots end well, daemons become ready and obey signals. Every process takes
/// its time: what it does comes after all that is known already.
struct Willing<'g> {
    graph: Graph<'g>,
    state: State,
    now: u64,
    answers: VecDeque<Event>,
    failures: Vec<String>,
    is_over: bool,
    most_effects: usize,
}

impl<'g> Willing<'g> {
    fn new(graph: Graph<'g>) -> Self {
        let state = State::new(&graph);
        Self {
            graph,
            state,
            now: 1000,
            answers: VecDeque::new(),
            failures: Vec::new(),
            is_over: false,
            most_effects: 0,
        }
    }

    /// One event and all that follows; then whatever has a time is waited for, as long as there are jobs.
    fn send(&mut self, event: Event) {
        self.answers.push_back(event);
        for _ in 0..100_000 {
            let event = match self.answers.pop_front() {
                Some(event) => event,
                None if self.state.job_count == 0 => return,
                None => match self.state.next_deadline() {
                    Some(at) => {
                        self.now = self.now.max(at);
                        Event::Tick
                    }
                    None => return,
                },
            };
            let mut effects = Vec::new();
            self.now += 10;
            step(&mut self.state, &self.graph, self.now, &event, &mut effects);
            self.most_effects = self.most_effects.max(effects.len());
            for effect in effects {
                self.carry_out(effect);
            }
        }
        panic!("100,000 events and no end");
    }

    fn carry_out(&mut self, effect: Effect) {
        let exited = |unit, role| Event::Exited { unit, role, exit: Exit::Code(0) };
        match effect {
            Effect::CheckConditions { unit } => {
                self.answers.push_back(Event::Conditions { unit, verdict: Some(true) });
            }
            Effect::Spawn { unit, key, role, .. } => {
                self.answers.push_back(Event::Spawned { unit, role, pid: 100 + unit });
                let definition = self.graph.unit(unit).unwrap();
                let kind = definition.number(Key::Type).unwrap_or(service_type::SIMPLE);
                match (key, kind) {
                    (Key::ExecStart, service_type::NOTIFY | service_type::NOTIFY_RELOAD) => {
                        self.answers.push_back(Event::Ready { unit });
                    }
                    (Key::ExecStart, service_type::EXEC) => self.answers.push_back(Event::Executed { unit }),
                    (Key::ExecStart, service_type::ONESHOT) => {
                        self.answers.push_back(exited(unit, role));
                        self.answers.push_back(Event::CgroupEmpty { unit });
                    }
                    (Key::ExecStart, service_type::FORKING) => self.answers.push_back(exited(unit, role)),
                    (Key::ExecStart, _) => {}
                    _ => self.answers.push_back(exited(unit, role)),
                }
            }
            Effect::AwaitBusName { unit } => self.answers.push_back(exited(unit, Role::Control)),
            Effect::Mount { unit } | Effect::Unmount { unit } => {
                self.answers.push_back(exited(unit, Role::Control));
            }
            Effect::Arm { unit } => self.answers.push_back(Event::Armed { unit, worked: true }),
            Effect::FindMainPid { unit } => self.answers.push_back(Event::MainPid { unit, pid: 100 + unit }),
            Effect::Signal { unit, signal, .. } => {
                let state = self.state.unit(unit);
                let known = [(state.main_pid, Role::Main), (state.control_pid, Role::Control)];
                for (_, role) in known.into_iter().filter(|(pid, _)| *pid != 0) {
                    let exit = Exit::Signal(signal);
                    self.answers.push_back(Event::Exited { unit, role, exit });
                }
                self.answers.push_back(Event::CgroupEmpty { unit });
            }
            Effect::JobDone { unit, kind, result } if result != JobResult::Done => {
                self.failures.push(format!("{}:{kind:?}-{}", self.name(unit), result.word()));
            }
            Effect::Final { culprits, .. } => {
                self.is_over = true;
                for unit in culprits {
                    self.failures.push(format!("{} is left", self.name(unit)));
                }
            }
            _ => {}
        }
    }

    fn name(&self, unit: u32) -> &'g str {
        self.graph.unit(unit).unwrap().name()
    }

    fn named_in(&self, is_wanted: impl Fn(&UnitState) -> bool) -> Vec<&'g str> {
        let units = (0..self.graph.len()).filter(|unit| is_wanted(self.state.unit(*unit)));
        units.map(|unit| self.name(unit)).collect()
    }
}

/// Boots a graph and shuts it down again, on a thread of its own: an engine that decides without end is a failure, not a hang.
fn boot_and_shut_down(units: BTreeMap<String, UnitDefinition>) {
    let (done, wait) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let file = compiled(units);
        let graph = Graph::load(&file).unwrap();
        let unit = graph.find("default.target").unwrap().index();
        let mut world = Willing::new(graph);
        world.send(Event::Request { unit, kind: JobKind::Start });
        assert_eq!(world.failures, [""; 0]);
        assert_eq!(world.named_in(|state| state.job.is_some()), [""; 0], "these still have a job");
        for target in ["default.target", "multi-user.target", "boot-complete.target"] {
            let Some(unit) = world.graph.find(target) else { continue };
            // boot-complete.target is asked for by who waits for the boot.
            if target == "boot-complete.target" {
                world.send(Event::Request { unit: unit.index(), kind: JobKind::Start });
            }
            assert!(world.state.unit(unit.index()).is_up(), "{target} is not reached");
        }
        let wanted = |unit: &u32| {
            let by = world.graph.unit(*unit).unwrap().units(Key::WantedBy).collect::<Vec<_>>();
            let is_oneshot = world.graph.unit(*unit).unwrap().number(Key::Type)
                == Some(service_type::ONESHOT)
                && !world
                    .graph
                    .unit(*unit)
                    .unwrap()
                    .flag(formats::service_graph::key::flag::REMAIN_AFTER_EXIT);
            !is_oneshot && by.iter().any(|by| world.state.unit(*by).is_up())
        };
        let missing = (0..world.graph.len()).filter(|unit| wanted(unit) && !world.state.unit(*unit).is_up());
        let missing: Vec<&str> = missing.map(|unit| world.name(unit)).collect();
        assert_eq!(missing, [""; 0], "wanted by what is up, and not up");
        world.send(Event::Shutdown { how: Shutdown::PowerOff });
        assert!(world.is_over, "the shutdown does not end");
        assert_eq!(world.failures, [""; 0]);
        assert_eq!(world.named_in(|state| state.main_pid != 0 || state.control_pid != 0), [""; 0]);
        assert!(world.now < SHUTDOWN_LIMIT, "nobody had to be waited for");
        done.send(()).unwrap();
    });
    let verdict = wait.recv_timeout(Duration::from_secs(20));
    assert!(verdict != Err(mpsc::RecvTimeoutError::Timeout), "the engine goes in circles");
    thread.join().unwrap();
}

#[test]
fn a_server_boots_and_shuts_down() {
    boot_and_shut_down(definitions(SERVER));
}

/// The same with units of every type beside them, hundreds of them.
#[test]
fn a_large_machine_boots_and_shuts_down() {
    let mut units = definitions(SERVER);
    let types = ["simple", "exec", "forking", "oneshot", "notify", "dbus", "idle", "notify-reload"];
    for number in 0..400 {
        let kind = types[number % types.len()];
        let mut file = format!("[Unit]\nAfter=network.target\n[Service]\nType={kind}\nExecStart=/bin/x\n");
        file.push_str(if kind == "dbus" { "BusName=a.b\n" } else { "" });
        file.push_str(if number % 3 == 0 { "ExecStartPre=/bin/x\nExecStop=/bin/x\n" } else { "" });
        file.push_str("[Install]\nWantedBy=multi-user.target\n");
        let mut sections = unit_file::parse(&file).unwrap();
        if number >= 10 {
            let before = format!("load{}.service", number / 2);
            let relations = sections.get_mut("Unit").unwrap();
            relations.get_mut("After").unwrap().push(before.clone());
            relations.insert(["Wants", "Requires"][number % 2].into(), vec![before]);
        }
        units.insert(
            format!("load{number}.service"),
            UnitDefinition { sections, ..UnitDefinition::default() },
        );
    }
    boot_and_shut_down(units);
}
