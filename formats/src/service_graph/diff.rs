//! What a switch from one graph to another does to the units that run: a pure function, used by `activate` to show the
//! plan and by the supervisor to carry it out. The rules are those that NixOS documents under "What happens during a
//! system switch" and in its `restartIfChanged`, `reloadIfChanged`, `stopIfChanged`, `restartTriggers` and `reloadTriggers` options.

use super::UnitKind;
use super::key::{Key, flag};
use super::view::{Graph, Unit};

/// What happens to one unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Stopped and not started again.
    Stop,
    /// Stopped under the old graph, started under the new one.
    StopStart,
    /// Restarted under the new graph.
    Restart,
    /// Reloaded under the new graph.
    Reload,
    /// Started.
    Start,
    /// Changed, but left running until its next start.
    Keep,
}

/// Why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It is not in the new graph.
    Removed,
    /// Its definition changed.
    Changed,
    /// Its restart triggers changed.
    RestartTrigger,
    /// Its reload triggers changed.
    ReloadTrigger,
    /// It says that it stops at every reconfiguration.
    Reconfiguration,
    /// A target that is up wants or requires it.
    Wanted,
}

impl Action {
    /// One word for people.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::StopStart | Self::Restart => "restart",
            Self::Reload => "reload",
            Self::Start => "start",
            Self::Keep => "keep",
        }
    }
}

impl Reason {
    /// A few words for people.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Removed => "no longer in the configuration",
            Self::Changed => "definition changed",
            Self::RestartTrigger => "restart trigger changed",
            Self::ReloadTrigger => "reload trigger changed",
            Self::Reconfiguration => "stops at every reconfiguration",
            Self::Wanted => "wanted by a target that is up",
        }
    }
}

/// One line of the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step<'a> {
    /// The unit's name.
    pub unit: &'a str,
    /// What happens to it.
    pub action: Action,
    /// Why.
    pub reason: Reason,
}

/// Compares two graphs. `is_active` says which units of the old graph run (or are on their way up), `is_held` which
/// units an administrator stopped by hand: those are not started again by a target that wants them.
pub fn plan<'a>(
    old: &Graph<'a>,
    new: &Graph<'a>,
    is_active: impl Fn(&str) -> bool,
    is_held: impl Fn(&str) -> bool,
) -> Vec<Step<'a>> {
    let mut steps = Vec::new();
    for unit in old.units().filter(|unit| is_active(unit.name())) {
        let name = unit.name();
        let step = match new.find(name) {
            // What lies in a slice goes on without its limits.
            None if unit.flag(flag::KEEP_ON_REMOVAL) || unit.kind() == UnitKind::Slice => None,
            None => Some((Action::Stop, Reason::Removed)),
            Some(next) => changed(&unit, &next),
        };
        steps.extend(step.map(|(action, reason)| Step { unit: name, action, reason }));
    }
    for unit in new.units() {
        let wanted = [Key::WantedBy, Key::RequiredBy].iter().any(|key| {
            unit.units(*key)
                .filter_map(|index| new.unit(index))
                // A new slice is there for what it gets, though that runs already.
                .any(|by| {
                    (by.kind() == UnitKind::Target || unit.kind() == UnitKind::Slice) && is_active(by.name())
                })
        });
        let startable =
            !unit.flag(flag::ONLY_MANUAL_START) && !is_active(unit.name()) && !is_held(unit.name());
        // A oneshot that ran and ended is not active; only what the old graph lacked, or what changed, starts anew.
        let is_news = old.find(unit.name()).is_none_or(|before| fingerprint(&before) != fingerprint(&unit));
        if wanted && startable && is_news {
            steps.push(Step { unit: unit.name(), action: Action::Start, reason: Reason::Wanted });
        }
    }
    steps
}

fn fingerprint(unit: &Unit<'_>) -> u64 {
    unit.number(Key::Fingerprint).unwrap_or(0)
}

/// What becomes of a running unit that both graphs have.
fn changed(old: &Unit<'_>, new: &Unit<'_>) -> Option<(Action, Reason)> {
    let reason = if fingerprint(old) != fingerprint(new) {
        Reason::Changed
    } else if old.text(Key::RestartTriggers) != new.text(Key::RestartTriggers) {
        Reason::RestartTrigger
    } else if old.text(Key::ReloadTriggers) != new.text(Key::ReloadTriggers) {
        return Some((Action::Reload, Reason::ReloadTrigger));
    } else if new.flag(flag::STOP_ON_RECONFIGURATION) {
        return Some((Action::StopStart, Reason::Reconfiguration));
    } else {
        return None;
    };
    let action = match new.kind() {
        // A milestone has nothing to restart; its new wants are started as such.
        UnitKind::Target | UnitKind::Slice => return None,
        UnitKind::Mount if matches!(new.text(Key::MountWhere), Some("/" | "/nix" | "/nix/store")) => {
            Action::Keep
        }
        UnitKind::Mount if old.text(Key::MountWhat) == new.text(Key::MountWhat) => Action::Reload,
        // Clients keep their connections to a listening socket; it is replaced only when the definition really changed.
        UnitKind::Socket | UnitKind::Timer | UnitKind::Path | UnitKind::Mount | UnitKind::Swap => {
            Action::Restart
        }
        UnitKind::Service if new.flag(flag::RELOAD_IF_CHANGED) => Action::Reload,
        UnitKind::Service
            if new.flag(flag::NO_RESTART_IF_CHANGED | flag::REFUSE_MANUAL_STOP | flag::ONLY_MANUAL_START) =>
        {
            Action::Keep
        }
        UnitKind::Service if new.flag(flag::NO_STOP_IF_CHANGED) => Action::Restart,
        UnitKind::Service => Action::StopStart,
    };
    Some((action, reason))
}

#[cfg(test)]
mod tests {
    use super::super::builder::{GraphBuilder, Settings, Value};
    use super::*;

    fn graph(units: &[(&str, u64, u64, &str)]) -> Vec<u8> {
        let mut builder = GraphBuilder::default();
        let mut wants = Vec::new();
        for (name, fingerprint, flags, trigger) in units {
            wants.push((*name).to_owned());
            let settings = Settings::from([
                (Key::Fingerprint, Value::Number(*fingerprint)),
                (Key::Flags, Value::Number(*flags)),
                (Key::ReloadTriggers, Value::Text((*trigger).into())),
            ]);
            builder.add(name, settings);
        }
        builder.add("up.target", Settings::from([(Key::Wants, Value::Units(wants))]));
        builder.build().unwrap()
    }

    /// old and new (fingerprint, flags, trigger; None when the graph lacks the unit), active, the step expected.
    #[test]
    fn each_rule() {
        type Side = Option<(u64, u64, &'static str)>;
        let cases: &[(Side, Side, bool, Option<Action>)] = &[
            (Some((1, 0, "")), Some((1, 0, "")), true, None),
            (Some((1, 0, "")), Some((2, 0, "")), true, Some(Action::StopStart)),
            (Some((1, 0, "")), Some((2, flag::NO_STOP_IF_CHANGED, "")), true, Some(Action::Restart)),
            (Some((1, 0, "")), Some((2, flag::RELOAD_IF_CHANGED, "")), true, Some(Action::Reload)),
            (Some((1, 0, "")), Some((2, flag::NO_RESTART_IF_CHANGED, "")), true, Some(Action::Keep)),
            (Some((1, 0, "")), Some((2, flag::REFUSE_MANUAL_STOP, "")), true, Some(Action::Keep)),
            (Some((1, 0, "a")), Some((1, 0, "b")), true, Some(Action::Reload)),
            (Some((1, 0, "a")), Some((2, 0, "b")), true, Some(Action::StopStart)),
            (Some((1, 0, "")), None, true, Some(Action::Stop)),
            (Some((1, flag::KEEP_ON_REMOVAL, "")), None, true, None),
            (Some((1, 0, "")), None, false, None),
            (None, Some((1, 0, "")), false, Some(Action::Start)),
            (None, Some((1, flag::ONLY_MANUAL_START, "")), false, None),
            (Some((1, 0, "")), Some((1, 0, "")), false, None),
            (Some((1, 0, "")), Some((2, 0, "")), false, Some(Action::Start)),
        ];
        for (number, (old, new, active, expected)) in cases.iter().enumerate() {
            let side = |side: &Side| {
                let row =
                    side.map(|(fingerprint, flags, trigger)| ("a.service", fingerprint, flags, trigger));
                graph(row.as_slice())
            };
            let (old, new) = (side(old), side(new));
            let (old, new) = (Graph::load(&old).unwrap(), Graph::load(&new).unwrap());
            let steps = plan(&old, &new, |name| name == "up.target" || *active, |_| false);
            assert_eq!(steps.first().map(|step| step.action), *expected, "case {number}: {steps:?}");
        }
    }
}
