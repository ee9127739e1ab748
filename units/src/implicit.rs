//! Dependencies that systemd adds by itself: "Implicit Dependencies" and "Default Dependencies" of systemd.service(5),
//! systemd.target(5), systemd.slice(5), systemd.mount(5), systemd.socket(5), systemd.timer(5), and RequiresMountsFor= of systemd.unit(5).

use formats::service_graph::UnitKind;
use formats::service_graph::builder::{Settings, Value};
use formats::service_graph::key::{Key, flag};
use std::collections::BTreeMap;

/// A slice, the slices that it lies in from the inside outwards, and the root's: `a-b.slice` lies in `a.slice` (systemd.slice(5)).
pub fn slice_with_its_parents(slice: &str) -> Vec<String> {
    let mut name = slice.strip_suffix(".slice").unwrap_or(slice).trim_matches('-');
    let mut found = Vec::new();
    while !name.is_empty() {
        found.push(format!("{name}.slice"));
        name = name.rsplit_once('-').map_or("", |(parent, _)| parent);
    }
    found.push("-.slice".to_owned());
    found
}

/// The nearest slice above a unit that is defined: it is started first, so that its limits are there.
fn slice_of(name: &str, settings: &Settings, exists: impl Fn(&str) -> bool) -> Option<String> {
    let chain = match (UnitKind::of_name(name)?, settings.get(&Key::Slice)) {
        (UnitKind::Slice, _) => slice_with_its_parents(name).split_off(1),
        (UnitKind::Target | UnitKind::Timer | UnitKind::Path, _) => return None,
        (_, Some(Value::Text(slice))) => slice_with_its_parents(slice),
        _ => slice_with_its_parents("system.slice"),
    };
    chain.into_iter().find(|slice| exists(slice))
}

/// Adds to `name`'s list under `key`.
pub fn depend(settings: &mut Settings, key: Key, target: &str) {
    if let Value::Units(list) = settings.entry(key).or_insert_with(|| Value::Units(Vec::new()))
        && !list.iter().any(|known| known == target)
    {
        list.push(target.to_owned());
    }
}

/// The units listed under a key.
pub fn listed(settings: &Settings, key: Key) -> &[String] {
    match settings.get(&key) {
        Some(Value::Units(list)) => list,
        _ => &[],
    }
}

/// Whether a unit wants the dependencies that all have by default.
fn has_defaults(settings: &Settings) -> bool {
    !matches!(settings.get(&Key::Flags), Some(Value::Number(flags)) if flags & flag::NO_DEFAULT_DEPENDENCIES != 0)
}

/// Adds them all. Only units that exist are depended on.
pub fn add(units: &mut BTreeMap<String, Settings>) {
    let names: Vec<String> = units.keys().cloned().collect();
    let exists = |name: &str| names.binary_search_by(|known| known.as_str().cmp(name)).is_ok();
    let defaults: BTreeMap<String, bool> =
        units.iter().map(|(name, settings)| (name.clone(), has_defaults(settings))).collect();
    let orders: BTreeMap<String, Vec<String>> =
        units.iter().map(|(name, settings)| (name.clone(), listed(settings, Key::After).to_vec())).collect();
    for (name, settings) in units.iter_mut() {
        if let Some(slice) = slice_of(name, settings, exists) {
            depend(settings, Key::Requires, &slice);
            depend(settings, Key::After, &slice);
        }
        let mut add = |key: Key, target: &str| {
            if exists(target) && target != name {
                depend(settings, key, target);
            }
        };
        let default = defaults.get(name).copied().unwrap_or(true);
        match UnitKind::of_name(name) {
            Some(UnitKind::Service) if default => {
                add(Key::Requires, "sysinit.target");
                add(Key::After, "sysinit.target");
                add(Key::After, "basic.target");
            }
            Some(UnitKind::Socket) => {
                if default {
                    add(Key::Before, "sockets.target");
                    add(Key::Requires, "sysinit.target");
                    add(Key::After, "sysinit.target");
                }
                for service in listed(settings, Key::Triggers).to_vec() {
                    depend(settings, Key::Before, &service);
                }
            }
            Some(UnitKind::Timer | UnitKind::Path) => {
                if default {
                    let is_timer = UnitKind::of_name(name) == Some(UnitKind::Timer);
                    let target = if is_timer { "timers.target" } else { "paths.target" };
                    add(Key::Before, target);
                    add(Key::Requires, "sysinit.target");
                    add(Key::After, "sysinit.target");
                }
                for unit in listed(settings, Key::Triggers).to_vec() {
                    depend(settings, Key::Before, &unit);
                }
            }
            Some(UnitKind::Mount) if default => {
                add(Key::After, "local-fs-pre.target");
                add(Key::Before, "local-fs.target");
            }
            Some(UnitKind::Swap) if default => add(Key::Before, "swap.target"),
            Some(UnitKind::Target) if default => {
                // A target comes after what it pulls in, unless that says otherwise.
                for key in [Key::Wants, Key::Requires] {
                    for target in listed(settings, key).to_vec() {
                        let is_reverse = orders.get(&target).is_some_and(|after| after.contains(name));
                        if defaults.get(&target).copied().unwrap_or(false) && !is_reverse {
                            depend(settings, Key::After, &target);
                        }
                    }
                }
            }
            _ => {}
        }
    }
}

/// Adds Requires= and After= on the mounts that a path lies on.
pub fn require_mounts(units: &mut BTreeMap<String, Settings>, name: &str, path: &str, key: Key) {
    let mounts: Vec<String> = units
        .iter()
        .filter(|(mount, settings)| {
            let place = match settings.get(&Key::MountWhere) {
                Some(Value::Text(place)) => place.trim_end_matches('/'),
                _ => return false,
            };
            mount.as_str() != name
                && path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
        .map(|(mount, _)| mount.clone())
        .collect();
    if let Some(settings) = units.get_mut(name) {
        for mount in mounts {
            depend(settings, key, &mount);
            depend(settings, Key::After, &mount);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_lie_in_slices() {
        for (slice, expected) in [
            ("a-b-c.slice", &["a-b-c.slice", "a-b.slice", "a.slice", "-.slice"][..]),
            ("system.slice", &["system.slice", "-.slice"]),
            ("-.slice", &["-.slice"]),
        ] {
            assert_eq!(slice_with_its_parents(slice), expected);
        }
    }
}
