//! Moving a running machine to another generation: one plan first, then stop what must not see the new files, activate, and
//! let the supervisor go from graph to graph. Each stage is written down (`journal`) before it begins, so that a switch that
//! was cut off is known, and what it had stopped is started by the next one. When a unit that ran before does not come up
//! again, the machine goes back to the generation that it came from, and says so.

pub mod journal;
pub mod supervisor;

use crate::error::{Error, Result};
use crate::root::Root;
use crate::steps::{self, Action, Report};
use crate::toplevel::{self, Toplevel};
use formats::control::ActiveState;
use formats::service_graph::diff;
use formats::service_graph::view::{Graph, LoadError};
use journal::{Outcome, Record, Stage};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use supervisor::{Supervisor, UnitStep};

/// Exit codes, as NixOS's switch-to-configuration has them.
pub mod exit {
    /// Everything was done.
    pub const DONE: u8 = 0;
    /// Nothing was begun.
    pub const NOT_BEGUN: u8 = 1;
    /// Steps of the activation failed.
    pub const ACTIVATION_FAILED: u8 = 2;
    /// Units failed.
    pub const UNITS_FAILED: u8 = 4;
    /// The generation needs another init: only a reboot leads to it.
    pub const OTHER_INIT: u8 = 100;
}

/// One unit of the plan, for people.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct PlannedUnit {
    /// The unit.
    pub unit: String,
    /// `start`, `stop`, `restart`, `reload`, `keep`.
    pub action: String,
    /// Why.
    pub reason: String,
}

/// What a switch would do.
#[derive(Debug, Default)]
pub struct Plan {
    /// Files, accounts, wrappers.
    pub activation: Report,
    /// Units.
    pub units: Vec<PlannedUnit>,
    /// What only a reboot brings about.
    pub needs_reboot: Vec<&'static str>,
}

/// How a switch ended.
#[derive(Debug)]
pub struct Finished {
    /// The exit code.
    pub code: u8,
    /// What the activation changed and what failed.
    pub activation: Report,
    /// What the supervisor did.
    pub units: Vec<UnitStep>,
    /// Further sentences for the user.
    pub remarks: Vec<String>,
}

/// Computes the plan; changes nothing.
///
/// # Errors
/// When the generation cannot be activated here at all.
pub fn plan(root: &Root, toplevel: &Toplevel, supervisor: Option<&mut dyn Supervisor>) -> Result<Plan> {
    let activation = steps::preview(root, toplevel)?;
    let running = toplevel::current(root)?;
    let states = match supervisor {
        Some(supervisor) => supervisor.states()?,
        None => BTreeMap::new(),
    };
    let units = match &running {
        Some(running) => planned_units(root, running, &toplevel.path, &states)?,
        None => Vec::new(),
    };
    let booted = std::fs::read_link(root.join("/run/booted-system")).ok();
    let needs_reboot = booted.map(|booted| needs_reboot(root, &booted, &toplevel.path)).unwrap_or_default();
    Ok(Plan { activation, units, needs_reboot })
}

/// Parts of a generation that a running machine cannot exchange and that differ.
pub fn needs_reboot(root: &Root, from: &Path, to: &Path) -> Vec<&'static str> {
    let part = |toplevel: &Path, name: &str| {
        let place = root.join(toplevel.join(name));
        std::fs::read_link(&place)
            .map(PathBuf::into_os_string)
            .or_else(|_| std::fs::read_to_string(&place).map(Into::into))
            .ok()
    };
    ["kernel", "initrd", "kernel-modules", "kernel-params"]
        .into_iter()
        .filter(|name| part(from, name) != part(to, name))
        .collect()
}

fn read_graph(root: &Root, toplevel: &Path) -> Result<Option<Vec<u8>>> {
    crate::durable::read_if_there(&root.resolve(toplevel.join("services.graph"))?)
}

fn load<'a>(bytes: &'a [u8], toplevel: &Path) -> std::result::Result<Graph<'a>, (LoadError, Error)> {
    Graph::load(bytes).map_err(|error| {
        let problem = format!("cannot use {}/services.graph: {error}", toplevel.display());
        (error, Error::Supervisor { problem })
    })
}

fn planned_units(
    root: &Root,
    from: &Path,
    to: &Path,
    states: &BTreeMap<String, ActiveState>,
) -> Result<Vec<PlannedUnit>> {
    let (Some(old), Some(new)) = (read_graph(root, from)?, read_graph(root, to)?) else {
        return Ok(Vec::new());
    };
    let old = load(&old, from).map_err(|(_, error)| error)?;
    let new = load(&new, to).map_err(|(_, error)| error)?;
    let is_active = |name: &str| {
        states.get(name).is_some_and(|state| !matches!(state, ActiveState::Inactive | ActiveState::Failed))
    };
    let steps = diff::plan(&old, &new, is_active, |_| false);
    let described = steps.into_iter().map(|step| PlannedUnit {
        unit: step.unit.to_owned(),
        action: step.action.word().to_owned(),
        reason: step.reason.words().to_owned(),
    });
    Ok(described.collect())
}

/// Carries a switch out.
///
/// # Errors
/// When nothing was begun; what goes wrong later is in the result.
pub fn run(
    root: &Root,
    toplevel: &Toplevel,
    action: Action,
    mut supervisor: Option<&mut dyn Supervisor>,
    no_revert: bool,
) -> Result<Finished> {
    let graph = read_graph(root, &toplevel.path)?;
    if let Some(bytes) = &graph
        && let Err((LoadError::Version(_) | LoadError::UnknownKey(_), error)) = load(bytes, &toplevel.path)
    {
        let remarks = vec![error.to_string(), "use `firn boot` and reboot into it".to_owned()];
        return Ok(Finished {
            code: exit::OTHER_INIT,
            activation: Report::default(),
            units: Vec::new(),
            remarks,
        });
    }
    // Everything that can be known to be impossible is known here, before anything stops.
    let plan = plan(root, toplevel, reborrow(&mut supervisor))?;
    let unfinished = journal::last(root)?.filter(|record| record.outcome.is_none());
    let from = toplevel::current(root)?;
    let states = match &mut supervisor {
        Some(supervisor) => supervisor.states()?,
        None => BTreeMap::new(),
    };
    let mut record = Record::begin(action, from.as_deref(), &toplevel.path);
    note_units(&mut record, &plan, unfinished.as_ref(), &states);
    journal::write(root, &record)?;

    let mut remarks: Vec<String> = Vec::new();
    if let Some(unfinished) = &unfinished {
        remarks.push(format!(
            "the switch to {} had been cut off; this one finishes its work",
            unfinished.to.display()
        ));
    }
    let (activation, mut units) = match carry_out(root, toplevel, action, &mut supervisor, &mut record) {
        Ok(done) => done,
        Err(error) => {
            remarks.push(error.to_string());
            record.problems.push(error.to_string());
            (Report::default(), Vec::new())
        }
    };
    let broken_off = !record.problems.is_empty();
    if let (false, Some(supervisor)) = (broken_off, &mut supervisor) {
        remarks.extend(note_short_lived(*supervisor, &mut units));
    }
    let failed: Vec<String> =
        units.iter().filter(|step| step.failed()).map(|step| step.unit.clone()).collect();
    record.failed_units.clone_from(&failed);
    record.problems.extend(activation.problems.iter().map(ToString::to_string));
    let lost: Vec<&str> =
        failed.iter().filter(|unit| record.ran_before.contains(*unit)).map(String::as_str).collect();
    let must_go_back = broken_off || (!lost.is_empty() && !no_revert);
    if let (true, Some(from)) = (must_go_back, from.as_ref().filter(|from| **from != toplevel.path)) {
        if !lost.is_empty() {
            remarks.push(format!("{} ran before and did not come up again", lost.join(", ")));
        }
        remarks.push(format!("going back to {}", from.display()));
        let back = go_back(root, from, action, &mut supervisor, &mut record);
        record.outcome = Some(if back.is_ok() { Outcome::Reverted } else { Outcome::Stuck });
        journal::write(root, &record)?;
        match back {
            Ok(still) if still.is_empty() => remarks.push("the machine runs as before".to_owned()),
            Ok(still) => remarks.push(format!("after going back these still fail: {}", still.join(", "))),
            Err(error) => remarks.push(format!("going back failed: {error}")),
        }
        return Ok(Finished { code: exit::UNITS_FAILED, activation, units, remarks });
    }
    let code = match (failed.is_empty() && !broken_off, activation.problems.is_empty()) {
        (false, _) => exit::UNITS_FAILED,
        (true, false) => exit::ACTIVATION_FAILED,
        (true, true) => exit::DONE,
    };
    record.outcome = Some(if code == exit::DONE { Outcome::Done } else { Outcome::DoneWithFailures });
    journal::write(root, &record)?;
    if supervisor.is_none() {
        remarks.push("no supervisor is running here; services were not touched".to_owned());
    }
    if !plan.needs_reboot.is_empty() {
        remarks.push(format!("only a reboot brings about: {}", plan.needs_reboot.join(", ")));
    }
    Ok(Finished { code, activation, units, remarks })
}

/// How long a started service must live to count as started.
const PROBATION: Duration = Duration::from_millis(700);

/// Counts what was started and has ended again, or is being started again, as failed: a simple service is started as
/// soon as it has a process. One that comes up for a moment is not what the configuration asks for.
fn note_short_lived(supervisor: &mut dyn Supervisor, units: &mut [UnitStep]) -> Vec<String> {
    let is_started = |step: &UnitStep| !step.failed() && matches!(step.action.as_str(), "start" | "restart");
    if !units.iter().any(is_started) {
        return Vec::new();
    }
    std::thread::sleep(PROBATION);
    // A supervisor that does not answer now is found out by what comes next.
    let states = supervisor.states().unwrap_or_default();
    let mut remarks = Vec::new();
    for step in units.iter_mut().filter(|step| is_started(step)) {
        let how = match states.get(&step.unit) {
            Some(ActiveState::Failed) => "ended at once",
            Some(ActiveState::Activating) => "does not stay up",
            _ => continue,
        };
        "failed".clone_into(&mut step.result);
        remarks.push(format!("{} {how}; `firn logs -u {}` shows what it said", step.unit, step.unit));
    }
    remarks
}

/// Which units the switch interrupts, and which ran before it.
fn note_units(
    record: &mut Record,
    plan: &Plan,
    unfinished: Option<&Record>,
    states: &BTreeMap<String, ActiveState>,
) {
    let restarted = plan.units.iter().filter(|unit| unit.action == "restart").map(|unit| unit.unit.clone());
    // A switch that was cut off may have stopped anything that ran before it.
    let before =
        unfinished.into_iter().flat_map(|record| record.interrupted_units.union(&record.ran_before)).cloned();
    record.interrupted_units = restarted.chain(before).collect();
    let runs = |state: &ActiveState| matches!(state, ActiveState::Active | ActiveState::Reloading);
    record.ran_before =
        states.iter().filter(|(_, state)| runs(state)).map(|(name, _)| name.clone()).collect();
}

/// Stops, activates, goes over to the new graph; each stage is in the journal before it begins.
fn carry_out(
    root: &Root,
    toplevel: &Toplevel,
    action: Action,
    supervisor: &mut Option<&mut dyn Supervisor>,
    record: &mut Record,
) -> Result<(Report, Vec<UnitStep>)> {
    use formats::control::Phase;
    let graph = toplevel.service_graph();
    let has_graph = root.resolve(&graph)?.exists();
    let mut units = Vec::new();
    if let Some(supervisor) = supervisor.as_deref_mut().filter(|_| has_graph) {
        record.stage = Stage::Stopping;
        journal::write(root, record)?;
        // The supervisor answers with its whole plan; only the stops have happened yet.
        let steps = supervisor.switch(&graph, Phase::Stop)?;
        units.extend(steps.into_iter().filter(|step| step.action == "stop"));
    }
    record.stage = Stage::Activating;
    journal::write(root, record)?;
    let activation = steps::run(root, toplevel, action);
    if let Some(supervisor) = supervisor.as_deref_mut().filter(|_| has_graph) {
        record.stage = Stage::Starting;
        journal::write(root, record)?;
        units.extend(supervisor.switch(&graph, Phase::Finish)?);
        // What was stopped on the way and is in nobody's plan any more: units that stopped along with those that they need,
        // units that no target wants, and what a switch that was cut off had stopped.
        let states = supervisor.states()?;
        let meant_to_stop: Vec<String> =
            units.iter().filter(|step| step.action == "stop").map(|step| step.unit.clone()).collect();
        for unit in record.interrupted_units.union(&record.ran_before) {
            if states.get(unit) == Some(&ActiveState::Inactive) && !meant_to_stop.contains(unit) {
                units.push(supervisor.start(unit)?);
            }
        }
    }
    Ok((activation, units))
}

/// Back to the generation that ran. The units that fail even then.
fn go_back(
    root: &Root,
    from: &Path,
    action: Action,
    supervisor: &mut Option<&mut dyn Supervisor>,
    record: &mut Record,
) -> Result<Vec<String>> {
    let former = Toplevel::read(root, from)?;
    let (_, units) = carry_out(root, &former, action, supervisor, record)?;
    let mut failed: Vec<String> =
        units.iter().filter(|step| step.failed()).map(|step| step.unit.clone()).collect();
    if let Some(supervisor) = supervisor.as_deref_mut() {
        // A unit that failed under the new graph is down; the old graph's definition is started.
        let states = supervisor.states()?;
        for unit in record.ran_before.clone() {
            if matches!(states.get(&unit), Some(ActiveState::Inactive | ActiveState::Failed)) {
                let step = supervisor.start(&unit)?;
                if step.failed() {
                    failed.push(unit);
                }
            }
        }
    }
    failed.sort();
    failed.dedup();
    Ok(failed)
}

fn reborrow<'a>(supervisor: &'a mut Option<&mut dyn Supervisor>) -> Option<&'a mut dyn Supervisor> {
    match supervisor {
        Some(supervisor) => Some(&mut **supervisor),
        None => None,
    }
}
