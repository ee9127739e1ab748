//! What the supervisor says of all units, beside the running generation's service graph, which says how they are defined.

use crate::fronts::run::running_graph;
use crate::logs::reading::is_named;
use crate::service::{ask_states, connect};
use anyhow::Result;
use formats::control::{ActiveState, Request, UnitStatus};
use formats::service_graph::key::{Key, flag};
use formats::service_graph::view::{Graph, Unit};
use std::collections::BTreeMap;

/// Endings of units' names.
const KINDS: [&str; 9] =
    [".service", ".socket", ".timer", ".target", ".path", ".mount", ".swap", ".slice", ".automount"];

/// All of it.
pub(super) struct Units {
    statuses: BTreeMap<String, UnitStatus>,
    graph: Graph<'static>,
}

impl Units {
    pub(super) fn read() -> Result<Self> {
        let statuses = ask_states(&mut connect()?, &Request::List)?;
        // For as long as this command runs.
        let graph = Graph::load(running_graph()?.leak())
            .map_err(|error| anyhow::anyhow!("the running graph: {error}"))?;
        Ok(Self { statuses: statuses.into_iter().map(|unit| (unit.name.clone(), unit)).collect(), graph })
    }

    /// Full names for names without suffix, aliases and patterns. What nobody knows stays as it is.
    pub(super) fn named(&self, names: &[String]) -> Vec<String> {
        let mut found = Vec::new();
        for name in names {
            if name.contains(['*', '?']) {
                found.extend(self.statuses.keys().filter(|unit| is_named(name, unit)).cloned());
                continue;
            }
            let full = if KINDS.iter().any(|kind| name.ends_with(kind)) {
                name.clone()
            } else {
                format!("{name}.service")
            };
            let known = self.graph.find(&full).map(|unit| unit.name().to_owned());
            found.push(known.filter(|known| self.statuses.contains_key(known)).unwrap_or(full));
        }
        found
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &UnitStatus> {
        self.statuses.values()
    }

    pub(super) fn status(&self, name: &str) -> Option<&UnitStatus> {
        self.statuses.get(name)
    }

    pub(super) fn active(&self, name: &str) -> Option<ActiveState> {
        self.status(name).map(|unit| unit.active)
    }

    /// How the unit is defined.
    pub(super) fn definition(&self, name: &str) -> Option<Unit<'static>> {
        self.graph.find(name)
    }

    /// The name of the unit of that index.
    pub(super) fn name_of(&self, index: u32) -> &'static str {
        self.graph.unit(index).map_or("", |unit| unit.name())
    }

    /// Names of the units in a setting.
    pub(super) fn names_in(&self, unit: &Unit<'_>, key: Key) -> Vec<&'static str> {
        unit.units(key).map(|index| self.name_of(index)).collect()
    }

    /// `enabled` when something that is started wants it, `enabled-runtime` until the next boot, `static` otherwise.
    pub(super) fn enablement(&self, name: &str) -> Option<&'static str> {
        let unit = self.definition(name)?;
        let is_wanted = [Key::WantedBy, Key::RequiredBy, Key::UpheldBy]
            .iter()
            .any(|key| unit.units(*key).next().is_some());
        Some(match is_wanted {
            true => "enabled",
            false if crate::service::enabled::is_enabled(name) => "enabled-runtime",
            false => "static",
        })
    }

    /// `running`, `degraded`, `starting`, `stopping`.
    pub(super) fn system_state(&self) -> &'static str {
        let is = |name: &str, state| self.active(name) == Some(state);
        if self.all().any(|unit| unit.active == ActiveState::Failed) {
            "degraded"
        } else if is("shutdown.target", ActiveState::Active) || is("final.target", ActiveState::Active) {
            "stopping"
        } else if is("multi-user.target", ActiveState::Active) || is("graphical.target", ActiveState::Active)
        {
            "running"
        } else {
            "starting"
        }
    }

    /// Whether it is a template, which is no unit to run.
    pub(super) fn is_template(unit: &Unit<'_>) -> bool {
        unit.flag(flag::TEMPLATE)
    }
}
