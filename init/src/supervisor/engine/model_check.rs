//! Random graphs and random events, hundreds of thousands of steps: the engine and the [`reference`](super::reference) must
//! agree after each on every unit's state, job, result and on what was answered; no job may wait for nobody; when the
//! world answers, everything comes to rest. A failing case is made smaller and printed with its seed;
//! `FIRN_MODEL_SEED=N` runs one seed, `FIRN_MODEL_ROUNDS=N` more of them.

use super::reference::{Definition, Dependency, Life, Reference};
use super::*;
use formats::service_graph::builder::{CommandLine, GraphBuilder, Settings, Value};
use formats::service_graph::key::{flag, service_type};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A small generator (Knuth's MMIX constants), so that a seed says all.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % bound as u64) as usize
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }
}

const KEYS: [(Dependency, Key); 12] = [
    (Dependency::After, Key::After),
    (Dependency::Requires, Key::Requires),
    (Dependency::Requisite, Key::Requisite),
    (Dependency::Wants, Key::Wants),
    (Dependency::BindsTo, Key::BindsTo),
    (Dependency::PartOf, Key::PartOf),
    (Dependency::Upholds, Key::Upholds),
    (Dependency::Conflicts, Key::Conflicts),
    (Dependency::OnFailure, Key::OnFailure),
    (Dependency::OnSuccess, Key::OnSuccess),
    (Dependency::PropagatesStopTo, Key::PropagatesStopTo),
    (Dependency::PropagatesReloadTo, Key::PropagatesReloadTo),
];

/// Units `u0` … with dependencies among them; ordering only towards smaller numbers, so that there is no circle.
fn definitions(random: &mut Random) -> Vec<Definition> {
    let count = 2 + random.below(7);
    let density = 4 + random.below(12);
    let unit = |number: usize, random: &mut Random| {
        let service = [
            None,
            Some(service_type::SIMPLE),
            Some(service_type::NOTIFY),
            Some(service_type::NOTIFY),
            Some(service_type::ONESHOT),
            Some(service_type::IDLE),
        ][random.below(6)];
        let mut definition = Definition {
            name: format!("u{number}.{}", if service.is_some() { "service" } else { "target" }),
            service,
            remains: service.is_some() && random.one_in(4),
            restart: if service.is_some_and(|kind| kind != service_type::ONESHOT) {
                random.below(7) as u64
            } else {
                0
            },
            delay: [0, 100_000, 20_000_000][random.below(3)],
            burst: 1 + random.below(5),
            only_if_needed: random.one_in(8),
            dependencies: BTreeMap::new(),
        };
        for (dependency, _) in KEYS {
            for other in 0..count {
                let is_possible =
                    if dependency == Dependency::After { other < number } else { other != number };
                if is_possible && random.one_in(density) {
                    definition.dependencies.entry(dependency).or_default().push(other);
                }
            }
        }
        definition
    };
    (0..count).map(|number| unit(number, random)).collect()
}

fn compile(definitions: &[Definition]) -> Vec<u8> {
    let mut builder = GraphBuilder::default();
    for definition in definitions {
        let mut settings = Settings::new();
        if let Some(kind) = definition.service {
            let line = CommandLine { flags: 0, program: "/bin/x".into(), arguments: vec!["x".into()] };
            settings.insert(Key::ExecStart, Value::Commands(vec![line]));
            settings.insert(Key::Type, Value::Number(kind));
            settings.insert(Key::Restart, Value::Number(definition.restart));
            settings.insert(Key::RestartSec, Value::Number(definition.delay));
            settings.insert(Key::StartLimitBurst, Value::Number(definition.burst as u64));
        }
        let mut flags = 0;
        for (is_set, bit) in [
            (definition.remains, flag::REMAIN_AFTER_EXIT),
            (definition.only_if_needed, flag::STOP_WHEN_UNNEEDED),
        ] {
            flags |= if is_set { bit } else { 0 };
        }
        settings.insert(Key::Flags, Value::Number(flags));
        for (dependency, key) in KEYS {
            let named = definition.dependencies.get(&dependency).cloned().unwrap_or_default();
            if !named.is_empty() {
                let names = named.iter().map(|other| definitions[*other].name.clone()).collect();
                settings.insert(key, Value::Units(names));
            }
        }
        builder.add(&definition.name, settings);
    }
    builder.build().unwrap()
}

/// The definitions with the numbers that the graph gave the units.
fn in_graph_order(definitions: &[Definition], graph: &Graph<'_>) -> Vec<Definition> {
    let place = |number: usize| graph.find(&definitions[number].name).unwrap().index() as usize;
    let mut out = vec![Definition::default(); definitions.len()];
    for (number, definition) in definitions.iter().enumerate() {
        let mut definition = definition.clone();
        for list in definition.dependencies.values_mut() {
            *list = list.iter().map(|other| place(*other)).collect();
            list.sort_unstable();
        }
        out[place(number)] = definition;
    }
    out
}

/// What happens next, by numbers that are taken modulo what is possible, so that a shortened history is one as well.
#[derive(Debug, Clone, Copy)]
enum Happening {
    Request(usize, JobKind),
    Verdict(usize, Option<bool>),
    Ready(usize),
    Reloading(usize),
    Exit(usize, Exit),
    Wait(u64),
}

fn happening(random: &mut Random, count: usize) -> Happening {
    use Happening::{Exit as Exits, Ready, Reloading, Request, Verdict, Wait};
    let unit = random.below(count);
    match random.below(20) {
        0..=2 => Request(unit, JobKind::Start),
        3 => Request(unit, JobKind::Stop),
        4 => Request(unit, JobKind::Restart),
        5 => Request(unit, [JobKind::TryRestart, JobKind::Reload][random.below(2)]),
        6..=10 => Verdict(
            unit,
            [Some(true), Some(true), Some(true), Some(true), Some(false), None][random.below(6)],
        ),
        11..=12 => Ready(unit),
        13 => Reloading(unit),
        14..=17 => Exits(
            unit,
            [Exit::Code(0), Exit::Code(1), Exit::Signal(15), Exit::Signal(9), Exit::Core(6)][random.below(5)],
        ),
        _ => Wait([1000, 150_000, 3_000_000, 21_000_000, 91_000_000][random.below(5)]),
    }
}

/// Both of them, side by side.
struct Pair<'g> {
    graph: Graph<'g>,
    engine: State,
    reference: Reference,
    now: u64,
    done: Vec<(usize, JobKind, JobResult)>,
    steps: usize,
}

impl<'g> Pair<'g> {
    fn new(file: &'g [u8], definitions: &[Definition]) -> Self {
        let graph = Graph::load(file).unwrap();
        let reference = Reference::new(in_graph_order(definitions, &graph), 1000);
        Self { engine: State::new(&graph), graph, reference, now: 1000, done: Vec::new(), steps: 0 }
    }

    fn feed(&mut self, event: &Event) {
        let mut effects = Vec::new();
        step(&mut self.engine, &self.graph, self.now, event, &mut effects);
        for effect in effects {
            match effect {
                Effect::JobDone { unit, kind, result } => self.done.push((unit as usize, kind, result)),
                Effect::Spawn { unit, role, .. } => self.feed(&Event::Spawned { unit, role, pid: 7 }),
                _ => {}
            }
        }
    }

    /// Lets something happen to both, if it can.
    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Request(unit, kind) => {
                self.feed(&Event::Request { unit: unit as u32, kind });
                self.reference.request(unit, kind);
            }
            Happening::Verdict(unit, verdict) => {
                if matches!(self.reference.units[unit].life, Life::Checking(_)) {
                    self.feed(&Event::Conditions { unit: unit as u32, verdict });
                    self.reference.verdict(unit, verdict);
                }
            }
            Happening::Ready(unit) => {
                self.feed(&Event::Ready { unit: unit as u32 });
                self.reference.ready(unit);
            }
            Happening::Reloading(unit) => {
                if self.reference.units[unit].life.has_process() {
                    self.feed(&Event::Reloading { unit: unit as u32 });
                    self.reference.reloading(unit);
                }
            }
            Happening::Exit(unit, exit) => self.exit(unit, exit),
            Happening::Wait(span) => {
                self.now += span;
                self.feed(&Event::Tick);
                self.reference.wait_until(self.now);
            }
        }
        self.steps += 1;
        // Nothing survives SIGKILL.
        for unit in 0..self.reference.units.len() {
            if self.reference.units[unit].life == Life::Killed {
                self.exit(unit, Exit::Signal(9));
            }
        }
    }

    fn exit(&mut self, unit: usize, exit: Exit) {
        let Some(kind) = self.reference.definitions[unit].service else { return };
        if !self.reference.units[unit].life.has_process() {
            return;
        }
        self.feed(&Event::Exited { unit: unit as u32, role: Role::Main, exit });
        self.feed(&Event::CgroupEmpty { unit: unit as u32 });
        let outcome = match exit {
            Exit::Code(0) => Outcome::Success,
            Exit::Code(_) => Outcome::ExitCode,
            Exit::Signal(15) if kind != service_type::ONESHOT => Outcome::Success,
            Exit::Signal(_) => Outcome::Signal,
            Exit::Core(_) => Outcome::CoreDump,
        };
        self.reference.exited(unit, outcome);
    }

    /// What differs, or waits in vain.
    fn fault(&mut self) -> Option<String> {
        let mut out = String::new();
        for (index, (is, should)) in self.engine.units.iter().zip(&self.reference.units).enumerate() {
            let life = match is.phase {
                Phase::Dead => Life::Dead,
                Phase::Failed => Life::Failed,
                Phase::Checking => Life::Checking(is.had_failed),
                Phase::Start => Life::Starting,
                Phase::Running | Phase::Active => Life::Up,
                Phase::Exited => Life::Exited,
                Phase::Reload => Life::Reloading,
                Phase::StopSigkill => Life::Killed,
                Phase::AutoRestart => Life::Pausing,
                _ => Life::Stopping,
            };
            let job = is.job.map(|job| (job.kind, job.running));
            let is = (life, job, is.outcome, is.restarts);
            let should = (should.life, should.job, should.outcome, should.restarts);
            if is != should {
                let name = &self.reference.definitions[index].name;
                writeln!(out, "{name} (unit {index}) is {is:?} and should be {should:?}").unwrap();
            }
        }
        let sorted = |list: &mut Vec<(usize, JobKind, JobResult)>| {
            let mut list = std::mem::take(list);
            list.retain(|(.., result)| *result != JobResult::Refused);
            list.sort_by_key(|(unit, kind, result)| (*unit, *kind, *result as u8));
            list
        };
        let (is, should) = (sorted(&mut self.done), sorted(&mut self.reference.done));
        if is != should {
            writeln!(out, "jobs that ended: {is:?} and should be {should:?}").unwrap();
        }
        for (index, unit) in self.reference.units.iter().enumerate() {
            let waits_for_nobody =
                self.reference.waits_for(index).is_empty() && !self.reference.lets_others_go_first(index);
            let can_move = !matches!(unit.life, Life::Dead | Life::Failed | Life::Up | Life::Exited);
            if unit.job.is_some_and(|(_, running)| !running) && waits_for_nobody && !can_move {
                writeln!(out, "unit {index}'s job waits for nobody").unwrap();
            }
        }
        (!out.is_empty()).then_some(out)
    }

    /// The world answers whatever it is asked: work gets done until there is none. Units may chase each other for ever (one upholds
    /// what another conflicts with), but as long as there are jobs, some end.
    fn comes_to_rest(&mut self) -> Option<String> {
        let count = self.reference.units.len();
        let mut idle_rounds = 0;
        for _ in 0..25 {
            if self.reference.units.iter().all(|unit| unit.job.is_none()) {
                break;
            }
            for unit in 0..count {
                self.happen(Happening::Verdict(unit, Some(true)));
                match (self.reference.units[unit].life, self.reference.definitions[unit].service) {
                    (Life::Starting, Some(service_type::ONESHOT)) | (Life::Stopping, _) => {
                        self.happen(Happening::Exit(unit, Exit::Code(0)));
                    }
                    (Life::Starting | Life::Reloading, _) => self.happen(Happening::Ready(unit)),
                    _ => {}
                }
            }
            self.happen(Happening::Wait(21_000_000));
            idle_rounds = if self.done.is_empty() { idle_rounds + 1 } else { 0 };
            if idle_rounds > 10 {
                return Some(format!("jobs never end: {:?}", self.reference.units));
            }
            if let Some(fault) = self.fault() {
                return Some(fault);
            }
        }
        None
    }
}

/// Runs a history; the fault and after how many steps, and how many steps there were.
fn run(definitions: &[Definition], history: &[Happening]) -> (Option<(usize, String)>, usize) {
    let file = compile(definitions);
    let mut pair = Pair::new(&file, definitions);
    for (number, happening) in history.iter().enumerate() {
        pair.happen(*happening);
        if let Some(fault) = pair.fault() {
            return (Some((number + 1, fault)), pair.steps);
        }
    }
    let fault = pair.comes_to_rest().or_else(|| pair.fault());
    if let Some(fault) = fault {
        return (Some((history.len(), fault)), pair.steps);
    }
    // An end of the machine is bounded, whatever units do.
    pair.feed(&Event::Shutdown { how: Shutdown::PowerOff });
    pair.now += SHUTDOWN_LIMIT + 1;
    let mut effects = Vec::new();
    step(&mut pair.engine, &pair.graph, pair.now, &Event::Tick, &mut effects);
    let is_over = pair.engine.shutdown.is_some_and(|(_, limit)| limit == u64::MAX);
    let fault = (!is_over).then(|| (history.len(), "the shutdown does not end".to_owned()));
    (fault, pair.steps)
}

/// Leaves out happenings and dependencies as long as there is a fault.
fn shrink(definitions: &mut Vec<Definition>, history: &mut Vec<Happening>) -> String {
    let fails = |definitions: &[Definition], history: &[Happening]| run(definitions, history).0;
    let mut last = fails(definitions, history).map(|(_, fault)| fault).unwrap_or_default();
    loop {
        let mut smaller = false;
        for at in (0..history.len()).rev() {
            let mut fewer = history.clone();
            fewer.remove(at);
            if let Some((_, fault)) = fails(definitions, &fewer) {
                (*history, last, smaller) = (fewer, fault, true);
            }
        }
        for unit in 0..definitions.len() {
            for (dependency, _) in KEYS {
                for at in (0..definitions[unit].dependencies.get(&dependency).map_or(0, Vec::len)).rev() {
                    let mut fewer = definitions.clone();
                    fewer[unit].dependencies.entry(dependency).or_default().remove(at);
                    if let Some((_, fault)) = fails(&fewer, history) {
                        (*definitions, last, smaller) = (fewer, fault, true);
                    }
                }
            }
        }
        if !smaller {
            return last;
        }
    }
}

#[test]
fn the_engine_agrees_with_the_reference() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let rounds = number("FIRN_MODEL_ROUNDS").unwrap_or(2500);
    let seeds = number("FIRN_MODEL_SEED").map_or(0..rounds, |seed| seed..seed + 1);
    let mut steps = 0;
    for seed in seeds {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5eed);
        let mut definitions = definitions(&mut random);
        let mut history: Vec<Happening> =
            (0..80).map(|_| happening(&mut random, definitions.len())).collect();
        let (fault, taken) = run(&definitions, &history);
        steps += taken;
        if let Some((at, _)) = fault {
            history.truncate(at);
            let fault = shrink(&mut definitions, &mut history);
            let units: Vec<String> =
                definitions.iter().map(|definition| format!("{definition:?}\n")).collect();
            panic!("FIRN_MODEL_SEED={seed}\n{}{history:#?}\n{fault}", units.concat());
        }
    }
    println!("{steps} steps");
    assert!(steps > 100_000 || rounds < 2500 || number("FIRN_MODEL_SEED").is_some(), "only {steps} steps");
}
