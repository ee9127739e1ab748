//! From definitions to the graph: packages' units with the configuration's on top, templates instantiated, every
//! directive read by its rule, dependencies resolved, what systemd implies added, everything checked. All faults
//! that can be found are reported together.

mod settings;

use crate::definition::{GraphInput, UnitDefinition};
use crate::error::{Problem, UnitError, UnitErrors};
use crate::implicit;
use crate::nearest::nearest;
use crate::network_filter::Wishes;
use crate::unit_file;
use formats::service_graph::UnitKind;
use formats::service_graph::builder::{BuildError, GraphBuilder, Settings, Value};
use formats::service_graph::key::{Key, flag};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Lists of units in which a missing one is no fault: it is only order or wish.
const SOFT: [Key; 10] = [
    Key::JoinsNamespaceOf,
    Key::Wants,
    Key::After,
    Key::Before,
    Key::Conflicts,
    Key::PartOf,
    Key::Upholds,
    Key::PropagatesReloadTo,
    Key::PropagatesStopTo,
    Key::Sockets,
];

/// Lists of units in which each must exist.
const HARD: [Key; 6] =
    [Key::Requires, Key::Requisite, Key::BindsTo, Key::OnFailure, Key::OnSuccess, Key::Triggers];

/// Compiles everything to the bytes of a graph.
pub fn compile(input: &GraphInput) -> Result<Vec<u8>, UnitErrors> {
    let mut errors = Vec::new();
    let mut definitions = gather(input, &mut errors);
    let templates = take_templates(&mut definitions, input, &mut errors);
    let mut units: BTreeMap<String, Settings> = BTreeMap::new();
    let mut mounts_for: Vec<(String, Key, Vec<String>)> = Vec::new();
    let networks = networks_of_slices(&definitions, input);
    for (name, definition) in &definitions {
        let above = network_above(name, definition, &networks);
        let mut reader = settings::Reader::new(name, definition, input).below(above);
        reader.read();
        let serves = name.split_once('@').map(|(prefix, _)| format!("{prefix}.socket"));
        if serves.is_some_and(|socket| definitions.get(&socket).is_some_and(accepts)) {
            reader.serves_connection();
        }
        if UnitKind::of_name(name) == Some(UnitKind::Socket) && accepts(definition) {
            let count = connections_of(definition).unwrap_or(0);
            let instances = (0..count).map(|number| instance_name(name, number)).collect();
            reader.settings.insert(Key::Triggers, Value::Units(instances));
        }
        errors.extend(reader.errors);
        mounts_for.extend(reader.mounts_for.into_iter().map(|(key, paths)| (name.clone(), key, paths)));
        units.insert(name.clone(), reader.settings);
    }
    install(&definitions, &mut units);
    resolve(&definitions, &mut units, &mut errors);
    for (name, key, paths) in mounts_for {
        for path in paths {
            implicit::require_mounts(&mut units, &name, &path, key);
        }
    }
    for (name, parent) in nested_mounts(&units) {
        implicit::require_mounts(&mut units, &name, &parent, Key::Requires);
    }
    implicit::add(&mut units);
    if !errors.is_empty() {
        return Err(UnitErrors(errors));
    }
    let mut builder = GraphBuilder::default();
    for (name, settings) in units.into_iter().chain(templates) {
        builder.add(&name, settings);
    }
    builder.build().map_err(|error| UnitErrors(vec![build_error(&definitions, error)]))
}

/// What slices say about addresses, by their names.
fn networks_of_slices(
    definitions: &BTreeMap<String, UnitDefinition>,
    input: &GraphInput,
) -> BTreeMap<String, Wishes> {
    let slices = definitions.iter().filter(|(name, _)| UnitKind::of_name(name) == Some(UnitKind::Slice));
    let read = slices.map(|(name, definition)| {
        let mut reader = settings::Reader::new(name, definition, input);
        // What is wrong with a slice is told when it is read as a unit.
        reader.read();
        (name.clone(), reader.network)
    });
    read.filter(|(_, network)| *network != Wishes::default()).collect()
}

/// What the slices above a service say together.
fn network_above(name: &str, definition: &UnitDefinition, networks: &BTreeMap<String, Wishes>) -> Wishes {
    let mut above = Wishes::default();
    if networks.is_empty() || UnitKind::of_name(name) != Some(UnitKind::Service) {
        return above;
    }
    let values = definition.sections.get("Service").and_then(|section| section.get("Slice"));
    let slice = values.and_then(|values| values.last()).map_or("system.slice", String::as_str);
    for slice in implicit::slice_with_its_parents(slice) {
        if let Some(network) = networks.get(&slice) {
            above.join(network);
        }
    }
    above
}

/// Mounts and the directory above each, on which they may need another mount.
fn nested_mounts(units: &BTreeMap<String, Settings>) -> Vec<(String, String)> {
    units
        .iter()
        .filter_map(|(name, settings)| match settings.get(&Key::MountWhere) {
            Some(Value::Text(place)) => Some((name.clone(), Path::new(place).parent()?.to_str()?.to_owned())),
            _ => None,
        })
        .collect()
}

/// Puts a fault of the graph's builder at the place of the unit that it is about.
fn build_error(definitions: &BTreeMap<String, UnitDefinition>, error: BuildError) -> UnitError {
    let (unit, problem) = match error {
        BuildError::Cycle(path) => {
            let first = path.first().cloned().unwrap_or_default();
            let path = path.iter().map(|name| {
                match definitions.get(name).and_then(|unit| unit.defined_at.as_ref()) {
                    Some(place) => format!("{name} ({place})"),
                    None => name.clone(),
                }
            });
            (first, Problem::Cycle { path: path.collect::<Vec<_>>().join(" is after ") })
        }
        BuildError::MissingUnit { unit, key, target } => {
            (unit, Problem::MissingUnit { directive: key.name().into(), target, nearest: None })
        }
        other => (String::new(), Problem::UnitFile { message: other.to_string() }),
    };
    let defined_at = definitions.get(&unit).and_then(|definition| definition.defined_at.clone());
    UnitError { unit, defined_at, problem }
}

/// Packages' units, the configuration's merged into them, and instances of templates that somebody names.
fn gather(input: &GraphInput, errors: &mut Vec<UnitError>) -> BTreeMap<String, UnitDefinition> {
    let mut all: BTreeMap<String, UnitDefinition> = BTreeMap::new();
    for package in &input.packages {
        match unit_file::read_package(Path::new(package)) {
            // What lies in a package is there to be enabled; only the configuration enables (NixOS, `systemd.packages`).
            Ok(found) => all.extend(found.into_iter().filter(|(name, _)| UnitKind::of_name(name).is_some())),
            Err(message) => errors.push(UnitError {
                unit: package.clone(),
                defined_at: None,
                problem: Problem::UnitFile { message },
            }),
        }
    }
    for (name, definition) in &input.units {
        match all.get_mut(name) {
            Some(base) => {
                unit_file::merge(&mut base.sections, &definition.sections);
                base.defined_at = definition.defined_at.clone().or(base.defined_at.take());
                base.x = definition.x.clone();
            }
            None => {
                all.insert(name.clone(), definition.clone());
            }
        }
    }
    // Instances named anywhere, until no new ones are found.
    loop {
        let mut missing = BTreeSet::new();
        for definition in all.values() {
            let lists =
                ["Unit", "Install"].iter().filter_map(|section| definition.sections.get(*section)).flatten();
            for name in lists.flat_map(|(_, values)| values).flat_map(|value| value.split_whitespace()) {
                if template_of(name).is_some_and(|template| all.contains_key(&template))
                    && !all.contains_key(name)
                {
                    missing.insert(name.to_owned());
                }
            }
        }
        if missing.is_empty() {
            break;
        }
        for name in missing {
            let template = template_of(&name).and_then(|template| all.get(&template).cloned());
            all.extend(template.map(|definition| (name, definition)));
        }
    }
    for (name, definition) in input.units.iter().filter(|(name, _)| name.contains('@')) {
        // An instance that the configuration defines adds to its template.
        if let Some(template) = template_of(name).and_then(|template| all.get(&template)) {
            let mut whole = template.clone();
            unit_file::merge(&mut whole.sections, &definition.sections);
            whole.defined_at.clone_from(&definition.defined_at);
            whole.x = definition.x.clone();
            all.insert(name.clone(), whole);
        }
    }
    add_instances_for_connections(&mut all, errors);
    all
}

/// Templates, taken out of the definitions. Each stays in the graph as its definition, from which an instance that is
/// named only at run time can be compiled; nothing starts it and nothing refers to it. Those of the configuration are
/// checked as any unit is; a package's are when they are used.
fn take_templates(
    all: &mut BTreeMap<String, UnitDefinition>,
    input: &GraphInput,
    errors: &mut Vec<UnitError>,
) -> BTreeMap<String, Settings> {
    let names: Vec<String> = all.keys().filter(|name| name.contains("@.")).cloned().collect();
    let mut templates = BTreeMap::new();
    for (name, definition) in names.into_iter().filter_map(|name| all.remove_entry(&name)) {
        let instance = name.replacen("@.", "@instance.", 1);
        let mut reader = settings::Reader::new(&instance, &definition, input);
        reader.read();
        if input.units.contains_key(&name) {
            // A program whose path holds the instance's name is looked for when that is known.
            let is_known = |error: &UnitError| !error.problem.to_string().contains("@instance");
            errors.extend(reader.errors.into_iter().filter(is_known));
        }
        let mut words = Vec::new();
        for (section, directives) in &definition.sections {
            for (directive, values) in directives {
                for value in values {
                    words.extend([section.clone(), directive.clone(), value.clone()]);
                }
            }
        }
        let mut settings = Settings::from([
            (Key::Flags, Value::Number(flag::TEMPLATE)),
            (Key::Template, Value::Texts(words)),
        ]);
        for key in [Key::Description, Key::DefinedAt, Key::Fingerprint] {
            settings.extend(reader.settings.remove(&key).map(|value| (key, value)));
        }
        templates.insert(name, settings);
    }
    templates
}

/// How many connections a socket with Accept= serves at once when it does not say (systemd.socket(5), MaxConnections=).
const MAX_CONNECTIONS: usize = 64;

/// No graph has room for more of one socket.
const MOST_CONNECTIONS: usize = 512;

/// Whether a socket's definition says Accept=yes.
fn accepts(definition: &UnitDefinition) -> bool {
    let values = definition.sections.get("Socket").and_then(|section| section.get("Accept"));
    values.and_then(|values| values.last()).is_some_and(|value| crate::value::boolean(value) == Ok(true))
}

/// The name of the instance of that number for a socket with Accept=.
fn instance_name(socket: &str, number: usize) -> String {
    format!("{}@{number}.service", socket.rsplit_once('.').map_or(socket, |(name, _)| name))
}

fn connections_of(definition: &UnitDefinition) -> Result<usize, String> {
    let values = definition.sections.get("Socket").and_then(|section| section.get("MaxConnections"));
    let Some(value) = values.and_then(|values| values.last()) else { return Ok(MAX_CONNECTIONS) };
    let number: usize = value.parse().map_err(|_| "not a number".to_owned())?;
    if (1..=MOST_CONNECTIONS).contains(&number) {
        Ok(number)
    } else {
        Err(format!("must lie between 1 and {MOST_CONNECTIONS}"))
    }
}

/// A socket with Accept= has one service a connection: as many instances of its template as connections are served at once
/// wait in the graph.
fn add_instances_for_connections(all: &mut BTreeMap<String, UnitDefinition>, errors: &mut Vec<UnitError>) {
    let sockets: Vec<(String, UnitDefinition)> = all
        .iter()
        .filter(|(name, definition)| UnitKind::of_name(name) == Some(UnitKind::Socket) && accepts(definition))
        .map(|(name, definition)| (name.clone(), definition.clone()))
        .collect();
    for (name, definition) in sockets {
        let template = name.rsplit_once('.').map_or(name.as_str(), |(name, _)| name).to_owned() + "@.service";
        let mut fault = |problem| {
            errors.push(UnitError { unit: name.clone(), defined_at: definition.defined_at.clone(), problem });
        };
        let count = match connections_of(&definition) {
            Ok(count) => count,
            Err(reason) => {
                fault(Problem::BadValue { directive: "MaxConnections".into(), value: String::new(), reason });
                continue;
            }
        };
        let Some(unit) = all.get(&template).cloned() else {
            fault(Problem::MissingUnit { directive: "Accept".into(), target: template, nearest: None });
            continue;
        };
        all.extend((0..count).map(|number| (instance_name(&name, number), unit.clone())));
    }
}

/// `getty@tty1.service` → `getty@.service`.
fn template_of(name: &str) -> Option<String> {
    let (prefix, rest) = name.split_once('@')?;
    let (instance, suffix) = rest.rsplit_once('.')?;
    (!instance.is_empty()).then(|| format!("{prefix}@.{suffix}"))
}

/// Carries out `[Install]`, as `systemctl enable` would, and what else units say of others.
fn install(definitions: &BTreeMap<String, UnitDefinition>, units: &mut BTreeMap<String, Settings>) {
    for (name, definition) in definitions {
        for (section, directive, key) in [
            ("Install", "WantedBy", Key::Wants),
            ("Install", "RequiredBy", Key::Requires),
            ("Install", "UpheldBy", Key::Upholds),
            ("Unit", "ReloadPropagatedFrom", Key::PropagatesReloadTo),
            ("Unit", "StopPropagatedFrom", Key::PropagatesStopTo),
        ] {
            let values = definition.sections.get(section).and_then(|section| section.get(directive));
            for target in values.into_iter().flatten().flat_map(|value| value.split_whitespace()) {
                if let Some(settings) = units.get_mut(target) {
                    implicit::depend(settings, key, name);
                }
            }
        }
    }
}

/// Replaces aliases by names, drops wishes for units that are not there, and reports needs for them.
fn resolve(
    definitions: &BTreeMap<String, UnitDefinition>,
    units: &mut BTreeMap<String, Settings>,
    errors: &mut Vec<UnitError>,
) {
    let names: BTreeSet<String> = units.keys().cloned().collect();
    let mut real: BTreeMap<String, String> = BTreeMap::new();
    for (name, settings) in units.iter() {
        if let Some(Value::Texts(aliases)) = settings.get(&Key::Aliases) {
            real.extend(aliases.iter().map(|alias| (alias.clone(), name.clone())));
        }
    }
    for (name, settings) in units.iter_mut() {
        for (key, is_hard) in SOFT.iter().map(|key| (*key, false)).chain(HARD.iter().map(|key| (*key, true)))
        {
            let Some(Value::Units(list)) = settings.get_mut(&key) else { continue };
            let mut found = Vec::new();
            for target in list.drain(..) {
                let target = real.get(&target).cloned().unwrap_or(target);
                if names.contains(&target) {
                    if target != *name && !found.contains(&target) {
                        found.push(target);
                    }
                } else if is_hard {
                    let nearest = nearest(&target, names.iter().map(String::as_str));
                    let problem = Problem::MissingUnit { directive: key.name().into(), target, nearest };
                    let defined_at =
                        definitions.get(name).and_then(|definition| definition.defined_at.clone());
                    errors.push(UnitError { unit: name.clone(), defined_at, problem });
                }
            }
            *list = found;
        }
        settings.retain(|_, value| !matches!(value, Value::Units(list) if list.is_empty()));
    }
}

/// The flags that a definition's switch rules stand for.
fn switch_flags(definition: &UnitDefinition) -> u64 {
    let x = &definition.x;
    let mut flags = 0;
    for (is_set, bit) in [
        (x.restart_if_changed == Some(false), flag::NO_RESTART_IF_CHANGED),
        (x.reload_if_changed == Some(true), flag::RELOAD_IF_CHANGED),
        (x.stop_if_changed == Some(false), flag::NO_STOP_IF_CHANGED),
    ] {
        if is_set {
            flags |= bit;
        }
    }
    flags
}

#[cfg(test)]
mod tests;
