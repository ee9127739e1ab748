//! The engine against a small model of a machine: processes start, end and obey signals as the test says.

use super::*;
use formats::service_graph::builder::{CommandLine, GraphBuilder, Settings, Value};
use formats::service_graph::key::{flag, kill_mode, service_type};

/// One unit in a line: `name key=value …`. Keys: after, requires, wants, binds, partof, conflicts, upholds, onfailure
/// (comma-separated names), type, restart, start (a number of commands), pre, post, stop, stoppost, flags, burst, sec, mode, job, running.
fn graph(units: &[&str]) -> Vec<u8> {
    let mut builder = GraphBuilder::default();
    for line in units {
        let mut words = line.split(' ');
        let name = words.next().unwrap();
        let mut settings = Settings::new();
        let commands = |count: &str| {
            let line = CommandLine { flags: 8, program: "/bin/x".into(), arguments: vec!["x".into()] };
            Value::Commands(vec![line; count.parse().unwrap()])
        };
        if name.ends_with(".service") {
            settings.insert(Key::ExecStart, commands("1"));
        }
        for word in words {
            let (key, value) = word.split_once('=').unwrap();
            let number = || Value::Number(value.parse().unwrap());
            let names = || Value::Units(value.split(',').map(str::to_owned).collect());
            let (key, value) = match key {
                "after" => (Key::After, names()),
                "requires" => (Key::Requires, names()),
                "wants" => (Key::Wants, names()),
                "binds" => (Key::BindsTo, names()),
                "partof" => (Key::PartOf, names()),
                "conflicts" => (Key::Conflicts, names()),
                "upholds" => (Key::Upholds, names()),
                "triggers" => (Key::Triggers, names()),
                "onfailure" => (Key::OnFailure, names()),
                "type" => (Key::Type, number()),
                "restart" => (Key::Restart, number()),
                "start" => (Key::ExecStart, commands(value)),
                "pre" => (Key::ExecStartPre, commands(value)),
                "post" => (Key::ExecStartPost, commands(value)),
                "stop" => (Key::ExecStop, commands(value)),
                "stoppost" => (Key::ExecStopPost, commands(value)),
                "flags" => (Key::Flags, number()),
                "burst" => (Key::StartLimitBurst, number()),
                "sec" => (Key::RestartSec, number()),
                "mode" => (Key::KillMode, number()),
                "writes" => (Key::CgroupWrites, Value::Texts(vec![value.to_owned()])),
                "failureaction" => (Key::FailureAction, number()),
                "successaction" => (Key::SuccessAction, number()),
                "limitaction" => (Key::StartLimitAction, number()),
                "jobaction" => (Key::JobTimeoutAction, number()),
                "job" => (Key::JobTimeout, number()),
                "running" => (Key::JobRunningTimeout, number()),
                other => panic!("{other}"),
            };
            settings.insert(key, value);
        }
        builder.add(name, settings);
    }
    builder.build().unwrap()
}

/// A machine: what the engine asked for, in words, and the processes that it believes in.
struct Machine<'g> {
    graph: Graph<'g>,
    state: State,
    now: u64,
    log: Vec<String>,
    next_pid: u32,
    /// Processes obey signals at once.
    obedient: bool,
    pending: Vec<Event>,
}

impl<'g> Machine<'g> {
    fn new(file: &'g [u8]) -> Self {
        let graph = Graph::load(file).unwrap();
        Self {
            state: State::new(&graph),
            graph,
            now: 1000,
            log: Vec::new(),
            next_pid: 100,
            obedient: true,
            pending: Vec::new(),
        }
    }

    fn index(&self, name: &str) -> u32 {
        self.graph.find(name).unwrap().index()
    }

    fn send(&mut self, event: Event) {
        self.pending.push(event);
        while !self.pending.is_empty() {
            let event = self.pending.remove(0);
            let mut effects = Vec::new();
            step(&mut self.state, &self.graph, self.now, &event, &mut effects);
            for effect in effects {
                self.carry_out(effect);
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        let name = |unit: u32| self.graph.unit(unit).unwrap().name().rsplit_once('.').unwrap().0.to_owned();
        match effect {
            Effect::CheckConditions { unit } => {
                self.pending.push(Event::Conditions { unit, verdict: Some(true) });
            }
            Effect::Spawn { unit, key, number, role } => {
                self.log.push(format!("{}:{}{}", name(unit), key.name(), number));
                self.next_pid += 1;
                self.pending.push(Event::Spawned { unit, role, pid: self.next_pid });
            }
            Effect::Mount { unit } | Effect::Unmount { unit } => {
                self.pending.push(Event::Exited { unit, role: Role::Control, exit: Exit::Code(0) });
            }
            Effect::Arm { unit } => {
                if self.graph.unit(unit).unwrap().has(Key::ExecStop) {
                    self.log.push(format!("{}:arm", name(unit)));
                }
                self.pending.push(Event::Armed { unit, worked: true });
            }
            Effect::Signal { unit, signal, scope } => {
                self.log.push(format!("{}:signal{signal}", name(unit)));
                if self.obedient || signal == 9 {
                    let state = self.state.unit(unit).clone();
                    let exit = Exit::Signal(signal);
                    if state.main_pid != 0 && scope != Scope::Control {
                        self.pending.push(Event::Exited { unit, role: Role::Main, exit });
                    }
                    if state.control_pid != 0 && scope != Scope::Main {
                        self.pending.push(Event::Exited { unit, role: Role::Control, exit });
                    }
                    self.pending.push(Event::CgroupEmpty { unit });
                }
            }
            Effect::FindMainPid { unit } => {
                self.next_pid += 1;
                self.pending.push(Event::MainPid { unit, pid: self.next_pid });
            }
            Effect::JobDone { unit, kind, result } => {
                self.log.push(format!("{}:{kind:?}-{}", name(unit), result.word()));
            }
            Effect::Final { culprits, .. } => self.log.push(format!("final{}", culprits.len())),
            Effect::AwaitBusName { unit } => {
                self.next_pid += 1;
                self.pending.push(Event::Spawned { unit, role: Role::Control, pid: self.next_pid });
            }
            Effect::Disarm { .. } | Effect::Release { .. } | Effect::Changed { .. } => {}
        }
    }

    fn request(&mut self, name: &str, kind: JobKind) {
        let unit = self.index(name);
        self.send(Event::Request { unit, kind });
    }

    /// A process of a unit ends, and with it its cgroup when it was the last.
    fn exit(&mut self, name: &str, role: Role, exit: Exit) {
        let unit = self.index(name);
        self.send(Event::Exited { unit, role, exit });
        let state = self.state.unit(unit);
        if state.main_pid == 0 && state.control_pid == 0 {
            self.send(Event::CgroupEmpty { unit });
        }
    }

    fn phase(&self, name: &str) -> Phase {
        self.state.unit(self.index(name)).phase
    }

    fn take_log(&mut self) -> String {
        std::mem::take(&mut self.log).join(" ")
    }

    fn wait(&mut self, microseconds: u64) {
        self.now += microseconds;
        self.send(Event::Tick);
    }
}

#[test]
fn order_is_kept_on_the_way_up_and_reversed_on_the_way_down() {
    let file = graph(&[
        "t.target wants=a.service,b.service,c.service after=a.service,b.service,c.service",
        "a.service",
        "b.service after=a.service type=5",
        "c.service after=b.service",
    ]);
    let mut machine = Machine::new(&file);
    machine.request("t.target", JobKind::Start);
    assert_eq!(machine.take_log(), "a:ExecStart0 a:Start-done b:ExecStart0");
    let unit = machine.index("b.service");
    machine.send(Event::Ready { unit });
    assert_eq!(machine.take_log(), "b:Start-done c:ExecStart0 c:Start-done t:Start-done");
    machine.send(Event::Shutdown { how: Shutdown::PowerOff });
    assert_eq!(
        machine.take_log(),
        "t:Stop-done c:signal15 c:Stop-done b:signal15 b:Stop-done a:signal15 a:Stop-done final0"
    );
}

#[test]
fn a_oneshot_runs_its_commands_in_order() {
    let file = graph(&[
        "a.service type=3 pre=1 start=2 post=1 stoppost=1",
        "b.service after=a.service requires=a.service",
    ]);
    let mut machine = Machine::new(&file);
    machine.request("b.service", JobKind::Start);
    for role in [Role::Control, Role::Main, Role::Main, Role::Control, Role::Control] {
        machine.exit("a.service", role, Exit::Code(0));
    }
    assert_eq!(
        machine.take_log(),
        "a:ExecStartPre0 a:ExecStart0 a:ExecStart1 a:ExecStartPost0 a:signal15 a:ExecStopPost0 a:signal9 a:Start-done b:ExecStart0 b:Start-done",
        "the signals go to whatever is left in the cgroup"
    );
    assert_eq!(machine.phase("a.service"), Phase::Dead);
}

#[test]
fn what_requires_a_failed_unit_does_not_start() {
    let file = graph(&[
        "a.service type=3 onfailure=f.service",
        "b.service after=a.service requires=a.service",
        "w.service after=a.service wants=a.service",
        "f.service",
    ]);
    let mut machine = Machine::new(&file);
    machine.request("w.service", JobKind::Start);
    machine.request("b.service", JobKind::Start);
    machine.exit("a.service", Role::Main, Exit::Code(3));
    let log = machine.take_log();
    assert!(
        log.contains("b:Start-dependency") && log.contains("w:ExecStart0") && log.contains("f:ExecStart0"),
        "{log}"
    );
    assert_eq!((machine.phase("a.service"), machine.phase("b.service")), (Phase::Failed, Phase::Dead));
}

/// Restart=, how the process ends, whether it comes back.
#[test]
fn restart_policies() {
    const CASES: &[(u64, Exit, bool)] = &[
        (restart::NO, Exit::Code(1), false),
        (restart::ALWAYS, Exit::Code(0), true),
        (restart::ALWAYS, Exit::Signal(9), true),
        (restart::ON_SUCCESS, Exit::Code(0), true),
        (restart::ON_SUCCESS, Exit::Signal(15), true),
        (restart::ON_SUCCESS, Exit::Code(1), false),
        (restart::ON_FAILURE, Exit::Code(0), false),
        (restart::ON_FAILURE, Exit::Signal(1), false),
        (restart::ON_FAILURE, Exit::Code(1), true),
        (restart::ON_FAILURE, Exit::Signal(9), true),
        (restart::ON_FAILURE, Exit::Core(11), true),
        (restart::ON_ABNORMAL, Exit::Code(1), false),
        (restart::ON_ABNORMAL, Exit::Signal(9), true),
        (restart::ON_ABNORMAL, Exit::Core(6), true),
        (restart::ON_ABORT, Exit::Core(6), true),
        (restart::ON_ABORT, Exit::Code(1), false),
        (restart::ON_WATCHDOG, Exit::Code(1), false),
    ];
    for (policy, exit, expected) in CASES {
        let file = graph(&[&format!("a.service restart={policy} sec=0")]);
        let mut machine = Machine::new(&file);
        machine.request("a.service", JobKind::Start);
        machine.exit("a.service", Role::Main, *exit);
        let starts = machine.take_log().matches("ExecStart0").count();
        assert_eq!(starts == 2, *expected, "{policy} {exit:?}");
    }
}

#[test]
fn too_many_starts_end_in_failure() {
    let file = graph(&["a.service restart=6 sec=1000 burst=3"]);
    let mut machine = Machine::new(&file);
    machine.request("a.service", JobKind::Start);
    for _ in 0..5 {
        machine.exit("a.service", Role::Main, Exit::Code(1));
        machine.wait(2000);
    }
    assert_eq!(machine.take_log().matches("ExecStart0").count(), 3);
    assert_eq!(
        (machine.phase("a.service"), machine.state.unit(0).outcome),
        (Phase::Failed, Outcome::ExitCode),
        "what it failed by says more than that it failed too often"
    );
    machine.send(Event::ResetFailed { unit: 0 });
    machine.request("a.service", JobKind::Start);
    assert_eq!(machine.phase("a.service"), Phase::Running);
}

#[test]
fn a_stop_that_is_not_obeyed_becomes_a_kill() {
    let file = graph(&["a.service restart=6"]);
    let mut machine = Machine::new(&file);
    machine.obedient = false;
    machine.request("a.service", JobKind::Start);
    machine.request("a.service", JobKind::Stop);
    assert_eq!(machine.phase("a.service"), Phase::StopSigterm);
    machine.wait(90_000_001);
    assert_eq!(machine.take_log(), "a:ExecStart0 a:Start-done a:signal15 a:signal9 a:Stop-done");
    assert_eq!(machine.phase("a.service"), Phase::Failed);
}

#[test]
fn requirement_kinds_on_the_way_down() {
    let file = graph(&[
        "a.service",
        "r.service requires=a.service",
        "b.service binds=a.service after=a.service",
        "p.service partof=a.service",
        "w.service wants=a.service",
    ]);
    let all = ["r.service", "b.service", "p.service", "w.service"];
    let mut machine = Machine::new(&file);
    for name in all {
        machine.request(name, JobKind::Start);
    }
    machine.exit("a.service", Role::Main, Exit::Code(0));
    let down: Vec<bool> = all.iter().map(|name| machine.phase(name) == Phase::Dead).collect();
    assert_eq!(down, [false, true, false, false], "an end by itself takes only what is bound");
    machine.request("a.service", JobKind::Start);
    machine.request("a.service", JobKind::Stop);
    let down: Vec<bool> = all.iter().map(|name| machine.phase(name) == Phase::Dead).collect();
    assert_eq!(down, [true, true, true, false], "a stop takes all but who only wishes");
}

#[test]
fn conflicts_stop_first() {
    let file = graph(&["a.service", "b.service conflicts=a.service after=a.service"]);
    let mut machine = Machine::new(&file);
    machine.request("a.service", JobKind::Start);
    machine.take_log();
    machine.request("b.service", JobKind::Start);
    assert_eq!(machine.take_log(), "a:signal15 a:Stop-done b:ExecStart0 b:Start-done");
}

#[test]
fn restart_takes_dependents_along_in_order() {
    let file = graph(&["a.service", "b.service requires=a.service after=a.service"]);
    let mut machine = Machine::new(&file);
    machine.request("b.service", JobKind::Start);
    machine.take_log();
    machine.request("a.service", JobKind::Restart);
    assert_eq!(
        machine.take_log(),
        "b:signal15 a:signal15 a:ExecStart0 a:Start-done b:ExecStart0 b:Start-done"
    );
}

#[test]
fn a_shutdown_is_over_in_time_and_names_who_is_not() {
    let file = graph(&["a.service", "b.service"]);
    let mut machine = Machine::new(&file);
    machine.obedient = false;
    machine.request("a.service", JobKind::Start);
    machine.send(Event::Shutdown { how: Shutdown::Reboot });
    machine.take_log();
    machine.wait(SHUTDOWN_LIMIT + 1);
    assert_eq!(machine.take_log(), "final1");
    machine.request("b.service", JobKind::Start);
    assert_eq!(machine.take_log(), "b:Start-refused");
}

/// Random graphs and events: what must hold after every one of them.
#[test]
fn invariants_hold_under_random_events() {
    let mut seed = 42_u64;
    let mut random = move |bound: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % bound
    };
    for round in 0..300 {
        let count = 3 + random(8);
        let mut lines = Vec::new();
        for index in 0..count {
            let mut line = format!(
                "u{index}.service type={} restart={} sec={} mode={}",
                [0, 2, 3, 5][random(4) as usize],
                random(7),
                random(2) * 1000,
                [kill_mode::CONTROL_GROUP, kill_mode::MIXED, kill_mode::PROCESS][random(3) as usize]
            );
            for key in ["after", "requires", "wants", "binds", "partof", "conflicts"] {
                // Only earlier ones, so that there is no circle.
                if index > 0 && random(4) == 0 {
                    let target = random(index).to_string();
                    line.extend([" ", key, "=u", &target, ".service"]);
                }
            }
            for key in ["pre", "post", "stop", "stoppost"] {
                if random(4) == 0 {
                    line.push(' ');
                    line.push_str(key);
                    line.push_str("=1");
                }
            }
            lines.push(line);
        }
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let file = graph(&lines);
        let mut machine = Machine::new(&file);
        for _ in 0..60 {
            machine.obedient = random(3) > 0;
            let unit = random(count) as u32;
            let name = machine.graph.unit(unit).unwrap().name().to_owned();
            let state = machine.state.unit(unit).clone();
            match random(8) {
                0 | 1 => machine.request(&name, JobKind::Start),
                2 => machine.request(&name, JobKind::Stop),
                3 => machine.request(&name, JobKind::Restart),
                4 if state.main_pid != 0 => machine.exit(
                    &name,
                    Role::Main,
                    [Exit::Code(0), Exit::Code(1), Exit::Signal(9)][random(3) as usize],
                ),
                5 if state.control_pid != 0 => {
                    machine.exit(&name, Role::Control, [Exit::Code(0), Exit::Code(1)][random(2) as usize]);
                }
                6 => machine.send(Event::Ready { unit }),
                _ => machine.wait(random(100_000_000)),
            }
            check_invariants(&machine, round);
        }
        machine.send(Event::Shutdown { how: Shutdown::PowerOff });
        machine.wait(SHUTDOWN_LIMIT + 1);
        assert!(
            machine.log.iter().any(|line| line.starts_with("final")),
            "round {round}: the shutdown does not end"
        );
    }
}

fn check_invariants(machine: &Machine<'_>, round: u64) {
    let jobs = machine.state.units.iter().filter(|unit| unit.job.is_some()).count();
    assert_eq!(jobs as u32, machine.state.job_count, "round {round}: jobs are counted");
    let running = machine.state.units.iter().filter(|unit| unit.job.is_some_and(|job| job.running)).count();
    assert_eq!(running as u32, machine.state.running_jobs, "round {round}: running jobs are counted");
    for (index, unit) in machine.state.units.iter().enumerate() {
        if unit.is_down() {
            assert!(
                unit.main_pid == 0 && unit.control_pid == 0,
                "round {round}: unit {index} is down with a process"
            );
        }
        assert_eq!(
            unit.deadline.is_some(),
            machine
                .state
                .deadlines
                .iter()
                .any(|(at, owner)| *owner == index as u32 && Some(*at) == unit.deadline),
            "round {round}: the deadline of unit {index} is noted"
        );
        // Whoever is on the way has something that will end it: a process, a deadline, or another job to wait for.
        if matches!(
            unit.phase,
            Phase::StopSigterm | Phase::StopSigkill | Phase::FinalSigkill | Phase::AutoRestart
        ) {
            let has_end = unit.deadline.is_some() || (unit.phase == Phase::AutoRestart && unit.job.is_some());
            assert!(has_end, "round {round}: unit {index} has no end: {unit:?}");
        }
    }
}

#[test]
fn a_forking_service_is_up_when_its_first_process_is_gone() {
    let file = graph(&[&format!("a.service type={}", service_type::FORKING)]);
    let mut machine = Machine::new(&file);
    machine.request("a.service", JobKind::Start);
    assert_eq!(machine.phase("a.service"), Phase::Start);
    machine.send(Event::Exited { unit: 0, role: Role::Control, exit: Exit::Code(0) });
    assert_eq!(machine.phase("a.service"), Phase::Running);
    assert_ne!(machine.state.unit(0).main_pid, 0);
    assert!(machine.take_log().ends_with("a:Start-done"));
}

#[test]
fn exec_and_dbus_services_are_up_when_the_world_says_so() {
    let file = graph(&[
        &format!("a.service type={}", service_type::EXEC),
        &format!("b.service type={}", service_type::DBUS),
        "c.service after=a.service,b.service",
    ]);
    let mut machine = Machine::new(&file);
    for name in ["a.service", "b.service", "c.service"] {
        machine.request(name, JobKind::Start);
    }
    assert_eq!(machine.take_log(), "a:ExecStart0 b:ExecStart0");
    let unit = machine.index("a.service");
    machine.send(Event::Executed { unit });
    assert_eq!(machine.take_log(), "a:Start-done");
    machine.exit("b.service", Role::Control, Exit::Code(0));
    assert_eq!(machine.take_log(), "b:Start-done c:ExecStart0 c:Start-done");
    assert_eq!(machine.phase("b.service"), Phase::Running);
}

#[test]
fn a_dbus_service_that_ends_before_it_has_its_name_has_failed() {
    let file = graph(&[&format!("b.service type={}", service_type::DBUS)]);
    let mut machine = Machine::new(&file);
    machine.request("b.service", JobKind::Start);
    machine.exit("b.service", Role::Main, Exit::Code(0));
    assert_eq!(
        (machine.phase("b.service"), machine.state.unit(0).outcome),
        (Phase::Failed, Outcome::Protocol)
    );
    assert!(machine.take_log().ends_with("b:Start-failed"));
}

#[test]
fn what_is_upheld_comes_back_until_its_limit_and_not_after_its_upholder() {
    let file = graph(&["t.target upholds=a.service", "a.service burst=3"]);
    let mut machine = Machine::new(&file);
    machine.request("t.target", JobKind::Start);
    machine.request("a.service", JobKind::Stop);
    assert_eq!(machine.phase("a.service"), Phase::Running, "started again at once");
    machine.exit("a.service", Role::Main, Exit::Code(1));
    assert_eq!(machine.phase("a.service"), Phase::Running);
    machine.exit("a.service", Role::Main, Exit::Code(1));
    assert!(machine.state.unit(machine.index("a.service")).limit_hit);
    machine.wait(20_000_000);
    machine.request("a.service", JobKind::Start);
    machine.request("t.target", JobKind::Stop);
    machine.request("a.service", JobKind::Stop);
    assert_eq!(machine.phase("a.service"), Phase::Dead);
}

#[test]
fn what_triggers_too_often_fails() {
    let file = graph(&["a.path triggers=a.service", "a.service"]);
    let mut machine = Machine::new(&file);
    machine.request("a.path", JobKind::Start);
    let unit = machine.index("a.path");
    machine.send(Event::Fired { unit });
    assert_eq!(machine.phase("a.service"), Phase::Running);
    machine.send(Event::TriggeredTooOften { unit });
    assert_eq!(machine.state.unit(unit).outcome, Outcome::TriggerLimit);
    assert_eq!(machine.phase("a.path"), Phase::Failed);
}

#[test]
fn a_main_process_outside_of_its_cgroup_is_told_to_stop() {
    let file = graph(&["a.service"]);
    let mut machine = Machine::new(&file);
    machine.request("a.service", JobKind::Start);
    machine.send(Event::CgroupEmpty { unit: 0 });
    machine.request("a.service", JobKind::Stop);
    assert_eq!(machine.take_log(), "a:ExecStart0 a:Start-done a:signal15 a:Stop-done");
}

#[test]
fn an_idle_service_waits_for_the_others_but_not_for_ever() {
    let file = graph(&[
        "t.target wants=a.service,b.service,i.service after=a.service,b.service,i.service",
        "a.service type=3",
        "b.service type=5 after=a.service",
        &format!("i.service type={}", service_type::IDLE),
    ]);
    let mut machine = Machine::new(&file);
    machine.request("t.target", JobKind::Start);
    machine.exit("a.service", Role::Main, Exit::Code(0));
    assert!(!machine.take_log().contains("i:ExecStart0"), "b.service is still on its way");
    let unit = machine.index("b.service");
    machine.send(Event::Ready { unit });
    assert_eq!(machine.take_log(), "b:Start-done i:ExecStart0 i:Start-done t:Start-done");
    let mut machine = Machine::new(&file);
    machine.request("t.target", JobKind::Start);
    machine.wait(4_900_000);
    assert_eq!(machine.take_log(), "a:ExecStart0");
    machine.wait(200_000);
    assert_eq!(machine.take_log(), "i:ExecStart0 i:Start-done", "a.service takes too long");
    // Who is not wanted any more does not begin when its patience is over.
    let mut machine = Machine::new(&file);
    machine.request("t.target", JobKind::Start);
    machine.request("i.service", JobKind::Stop);
    machine.wait(6_000_000);
    assert!(!machine.take_log().contains("i:ExecStart0"));
}

#[test]
fn a_service_that_had_no_memory_left_says_so() {
    let file = graph(&[&format!("a.service restart={} sec=0 burst=2", restart::ON_ABNORMAL)]);
    let mut machine = Machine::new(&file);
    machine.request("a.service", JobKind::Start);
    for _ in 0..2 {
        machine.send(Event::OutOfMemory { unit: 0 });
        machine.exit("a.service", Role::Main, Exit::Signal(9));
    }
    assert_eq!(
        (machine.phase("a.service"), machine.state.unit(0).outcome),
        (Phase::Failed, Outcome::OomKill)
    );
    assert_eq!(machine.take_log().matches("ExecStart0").count(), 2);
}

#[test]
fn a_job_may_take_so_long_and_no_longer() {
    let file = graph(&[
        "first.service type=5",
        "waits.service after=first.service job=5000",
        "runs.service type=5 running=5000 onfailure=told.service",
        "needs.service requires=runs.service after=runs.service",
        "told.service",
    ]);
    let mut machine = Machine::new(&file);
    machine.request("first.service", JobKind::Start);
    machine.request("waits.service", JobKind::Start);
    machine.wait(4000);
    machine.request("needs.service", JobKind::Start);
    machine.take_log();
    machine.wait(1500);
    assert_eq!(machine.take_log(), "waits:Start-timeout", "it never began");
    assert_eq!(machine.phase("waits.service"), Phase::Dead);
    machine.wait(4000);
    let log = machine.take_log();
    assert!(log.starts_with("runs:Start-timeout needs:Start-dependency"), "{log}");
    assert!(log.contains("told:ExecStart0"), "{log}");
    // The unit itself goes on, and a job that is done in time is not touched.
    assert_eq!(machine.phase("runs.service"), Phase::Start);
    machine.send(Event::Ready { unit: machine.graph.find("runs.service").unwrap().index() });
    assert_eq!(machine.phase("runs.service"), Phase::Running);
    machine.request("runs.service", JobKind::Restart);
    machine.send(Event::Ready { unit: machine.graph.find("runs.service").unwrap().index() });
    machine.take_log();
    machine.wait(60_000);
    assert_eq!((machine.take_log().as_str(), machine.phase("runs.service")), ("", Phase::Running));
}

#[test]
fn a_sockets_commands_stand_around_its_sockets() {
    let file = graph(&["a.socket pre=2 post=1 stop=1 stoppost=1 triggers=a.service", "a.service"]);
    let mut machine = Machine::new(&file);
    machine.request("a.socket", JobKind::Start);
    for _ in 0..3 {
        assert!(machine.state.unit(machine.index("a.socket")).job.is_some());
        machine.exit("a.socket", Role::Control, Exit::Code(0));
    }
    assert_eq!(machine.take_log(), "a:ExecStartPre0 a:ExecStartPre1 a:arm a:ExecStartPost0 a:Start-done");
    assert_eq!(machine.phase("a.socket"), Phase::Armed);
    machine.request("a.socket", JobKind::Stop);
    for _ in 0..2 {
        machine.exit("a.socket", Role::Control, Exit::Code(0));
    }
    let log = machine.take_log();
    assert!(log.starts_with("a:ExecStop0 ") && log.contains("a:ExecStopPost0"), "{log}");
    assert!(log.ends_with("a:Stop-done") && !log.contains("arm"), "{log}");
    assert_eq!(machine.phase("a.socket"), Phase::Dead);
}

#[test]
fn a_socket_whose_command_fails_is_not_listened_on() {
    for (units, commands) in [("pre=1", 1), ("post=1 stop=1", 1)] {
        let file = graph(&[&format!("a.socket {units} triggers=a.service"), "a.service"]);
        let mut machine = Machine::new(&file);
        machine.request("a.socket", JobKind::Start);
        for _ in 0..commands {
            machine.exit("a.socket", Role::Control, Exit::Code(1));
        }
        if units.contains("stop") {
            machine.exit("a.socket", Role::Control, Exit::Code(0));
        }
        let log = machine.take_log();
        assert!(log.ends_with("a:Start-failed"), "{units}: {log}");
        assert_eq!(machine.phase("a.socket"), Phase::Failed, "{units}");
        let unit = machine.index("a.socket");
        assert_eq!(machine.state.unit(unit).outcome, Outcome::ExitCode);
    }
}

#[test]
fn a_slice_has_its_limits_before_anything_runs_in_it() {
    let file = graph(&[
        "a.slice writes=pids.max=3",
        "a.service after=a.slice requires=a.slice",
        "b.slice",
        "b.service after=b.slice requires=b.slice",
    ]);
    let mut machine = Machine::new(&file);
    let unit = machine.index("a.slice");
    let request = |unit| Event::Request { unit, kind: JobKind::Start };
    let mut effects = Vec::new();
    step(
        &mut machine.state,
        &machine.graph,
        1000,
        &request(machine.graph.find("a.service").unwrap().index()),
        &mut effects,
    );
    effects.clear();
    let verdict = Event::Conditions { unit, verdict: Some(true) };
    step(&mut machine.state, &machine.graph, 1000, &verdict, &mut effects);
    assert!(effects.contains(&Effect::Arm { unit }), "{effects:?}");
    assert_eq!(machine.phase("a.slice"), Phase::Arming);
    machine.send(Event::Armed { unit, worked: true });
    assert_eq!((machine.phase("a.slice"), machine.phase("a.service")), (Phase::Active, Phase::Running));
    machine.request("b.service", JobKind::Start);
    assert_eq!(machine.phase("b.slice"), Phase::Active);
    // What cannot be limited does not start.
    machine.request("a.slice", JobKind::Stop);
    assert_eq!((machine.phase("a.slice"), machine.phase("a.service")), (Phase::Dead, Phase::Dead));
}

/// What a unit's fate does to the machine: its settings, how it comes to that, and what the machine is told.
#[test]
fn actions_on_the_machine() {
    let force = formats::service_graph::key::action::FORCE;
    for (settings, exit, is_ended, stops_others) in [
        ("failureaction=2".to_owned(), Exit::Code(1), true, true),
        (format!("failureaction={}", 2 | force), Exit::Code(1), true, false),
        ("failureaction=2".to_owned(), Exit::Code(0), false, false),
        ("successaction=1".to_owned(), Exit::Code(0), true, true),
        ("successaction=1".to_owned(), Exit::Code(1), false, false),
        ("limitaction=2 burst=2 restart=6 sec=0".to_owned(), Exit::Code(1), true, true),
        ("failureaction=0".to_owned(), Exit::Code(1), false, false),
    ] {
        let file = graph(&[&format!("a.service {settings}"), "b.service"]);
        let mut machine = Machine::new(&file);
        machine.request("b.service", JobKind::Start);
        machine.request("a.service", JobKind::Start);
        machine.take_log();
        for _ in 0..3 {
            if machine.state.unit(machine.index("a.service")).main_pid != 0 {
                machine.exit("a.service", Role::Main, exit);
            }
            machine.wait(1);
        }
        let log = machine.take_log();
        assert_eq!(log.contains("final"), is_ended, "{settings} {exit:?}: {log}");
        if is_ended {
            let stopped = log.find("b:Stop-done").is_some_and(|at| at < log.find("final").unwrap());
            assert_eq!(stopped, stops_others, "{settings}: {log}");
        }
    }
    let file = graph(&["a.service type=5 job=5 jobaction=2"]);
    let mut machine = Machine::new(&file);
    machine.request("a.service", JobKind::Start);
    machine.wait(10);
    assert!(machine.take_log().contains("final"));
}

#[test]
fn a_direct_restart_is_no_failure_for_anybody() {
    let direct = flag::RESTART_DIRECT;
    for (is_direct, expected) in [(true, "b:ExecStart0"), (false, "b:Start-dependency")] {
        let flags = if is_direct { direct } else { 0 };
        let file = graph(&[
            &format!("a.service type=5 restart=6 sec=10 flags={flags}"),
            "b.service requires=a.service after=a.service",
        ]);
        let mut machine = Machine::new(&file);
        machine.request("b.service", JobKind::Start);
        machine.exit("a.service", Role::Main, Exit::Code(1));
        assert_eq!(machine.phase("a.service"), Phase::AutoRestart);
        machine.wait(20);
        assert_eq!(machine.phase("a.service"), Phase::Start);
        let unit = machine.index("a.service");
        machine.send(Event::Ready { unit });
        let log = machine.take_log();
        assert!(log.contains(expected), "{is_direct}: {log}");
        // What depends on it and runs goes on running.
        machine.request("b.service", JobKind::Start);
        machine.take_log();
        machine.exit("a.service", Role::Main, Exit::Code(1));
        machine.wait(20);
        machine.send(Event::Ready { unit });
        let log = machine.take_log();
        assert_eq!(log.contains("b:signal15"), !is_direct, "{is_direct}: {log}");
        assert_eq!(machine.state.job_count, 0, "{is_direct}");
    }
}
