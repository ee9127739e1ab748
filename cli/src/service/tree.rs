//! `firn service graph`: what a unit pulls in, or what pulls it in, as a tree with the states; or the whole order of the
//! running graph for Graphviz.

use super::ask_states;
use crate::family::Failure;
use crate::fronts::run::running_graph;
use crate::json;
use anyhow::Result;
use clap::{Arg, ArgAction, ArgMatches, Command};
use formats::control::{ActiveState, Request, UnitStatus};
use formats::service_graph::key::{Key, flag};
use formats::service_graph::view::{Graph, Unit};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

/// What pulls another unit in, the strongest first.
const PULLS: [(Key, &str); 5] = [
    (Key::BindsTo, "binds to"),
    (Key::Requires, "requires"),
    (Key::Requisite, "requisite"),
    (Key::Upholds, "upholds"),
    (Key::Wants, "wants"),
];
/// The same from the other side.
const PULLED: [(Key, &str); 5] = [
    (Key::BoundBy, "bound by"),
    (Key::RequiredBy, "required by"),
    (Key::RequisiteOf, "requisite of"),
    (Key::UpheldBy, "upheld by"),
    (Key::WantedBy, "wanted by"),
];

/// Its command line.
pub(super) fn command() -> Command {
    let switch = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
    Command::new("graph")
        .about("What a unit pulls in, as a tree")
        .arg(Arg::new("unit").value_name("UNIT").help("Default: multi-user.target"))
        .arg(switch("reverse").short('r').help("What pulls it in"))
        .arg(
            switch("dot")
                .conflicts_with_all(["unit", "reverse"])
                .help("The order of all units, for Graphviz"),
        )
        .arg(json::argument().conflicts_with("dot"))
}

/// Prints it.
pub(super) fn graph(stream: &mut UnixStream, matches: &ArgMatches) -> Result<ExitCode> {
    let bytes = running_graph()?;
    let graph = Graph::load(&bytes).map_err(|error| anyhow::anyhow!("the running graph: {error}"))?;
    let states: BTreeMap<String, ActiveState> = ask_states(stream, &Request::List)?
        .into_iter()
        .map(|UnitStatus { name, active, .. }| (name, active))
        .collect();
    let text = if matches.get_flag("dot") {
        dot(&graph)
    } else {
        let name = matches.get_one::<String>("unit").map_or("multi-user.target", String::as_str);
        let found = graph.find(name).or_else(|| graph.find(&format!("{name}.service")));
        let Some(unit) = found else {
            let message = format!("there is no unit `{name}`; `firn service list --all` shows all");
            return Err(Failure { code: 1, message }.into());
        };
        let kinds = if matches.get_flag("reverse") { &PULLED } else { &PULLS };
        let state_of = |name: &str| states.get(name).copied();
        if matches.get_flag("json") {
            json::print(&flat(&graph, &unit, kinds, state_of))?;
            return Ok(ExitCode::SUCCESS);
        }
        tree(&graph, &unit, kinds, state_of)
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Each unit is unfolded where it first appears.
fn tree(
    graph: &Graph<'_>,
    root: &Unit<'_>,
    kinds: &[(Key, &str)],
    state_of: impl Fn(&str) -> Option<ActiveState>,
) -> String {
    let word_of = |name: &str| state_of(name).unwrap_or(ActiveState::Inactive).word();
    let mut text = format!("{} ({})\n", root.name(), word_of(root.name()));
    let mut seen = BTreeSet::from([root.index()]);
    // What is left to print at each depth, the next one last.
    let mut levels = vec![neighbours(graph, root, kinds)];
    while let Some(level) = levels.last_mut() {
        let Some((unit, how)) = level.pop() else {
            levels.pop();
            continue;
        };
        let is_last = level.is_empty();
        let Some((_, outer)) = levels.split_last() else { break };
        let indent: String = outer.iter().map(|level| if level.is_empty() { "   " } else { "│  " }).collect();
        let branch = if is_last { "└─" } else { "├─" };
        let below = neighbours(graph, &unit, kinds);
        let is_new = seen.insert(unit.index());
        let more = if is_new || below.is_empty() { "" } else { " …" };
        let line = format!("{indent}{branch} {how} {} ({}){more}\n", unit.name(), word_of(unit.name()));
        text.push_str(&line);
        if is_new {
            levels.push(below);
        }
    }
    text
}

/// The same for programs: a list of the units, each once, with those next to it.
fn flat(
    graph: &Graph<'_>,
    root: &Unit<'_>,
    kinds: &[(Key, &str)],
    state_of: impl Fn(&str) -> Option<ActiveState>,
) -> Vec<Value> {
    let mut list = Vec::new();
    let mut seen = BTreeSet::from([root.index()]);
    let mut waiting = VecDeque::from([root.index()]);
    while let Some(unit) = waiting.pop_front().and_then(|index| graph.unit(index)) {
        let mut next = neighbours(graph, &unit, kinds);
        next.reverse();
        waiting.extend(next.iter().map(|(other, _)| other.index()).filter(|index| seen.insert(*index)));
        let relations: Vec<Value> = next
            .iter()
            .map(|(other, how)| serde_json::json!({ "relation": how, "unit": other.name() }))
            .collect();
        let state = state_of(unit.name()).unwrap_or(ActiveState::Inactive);
        list.push(serde_json::json!({ "name": unit.name(), "active": state.word(), "relations": relations }));
    }
    list
}

/// The units next to one, each by its strongest relation; in the reverse of the alphabet, as they are taken from the end.
fn neighbours<'g, 'w>(
    graph: &Graph<'g>,
    unit: &Unit<'g>,
    kinds: &[(Key, &'w str)],
) -> Vec<(Unit<'g>, &'w str)> {
    let mut found: BTreeMap<&str, (Unit<'g>, &'w str)> = BTreeMap::new();
    for (key, how) in kinds {
        for other in unit.units(*key).filter_map(|index| graph.unit(index)) {
            found.entry(other.name()).or_insert((other, how));
        }
    }
    found.into_values().rev().collect()
}

/// Edges point from what comes first to what comes after it.
fn dot(graph: &Graph<'_>) -> String {
    let mut text = String::from("digraph firn {\n  rankdir=LR;\n");
    let hides = |unit: &Unit<'_>| unit.flag(flag::TEMPLATE) || unit.flag(flag::FOR_CONNECTION);
    for unit in graph.units().filter(|unit| !hides(unit)) {
        for earlier in unit.units(Key::After).filter_map(|index| graph.unit(index)) {
            let needs = [Key::Requires, Key::BindsTo, Key::Requisite]
                .iter()
                .any(|key| unit.units(*key).any(|other| other == earlier.index()));
            let style = if needs { "" } else { " [style=dashed]" };
            let line = format!("  \"{}\" -> \"{}\"{style};\n", earlier.name(), unit.name());
            text.push_str(&line);
        }
    }
    text.push_str("}\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use units::definition::{GraphInput, Sections, UnitDefinition};

    fn compiled() -> Vec<u8> {
        let unit = |directives: &[(&str, &str)]| {
            let list = directives.iter().map(|(name, value)| ((*name).to_owned(), vec![(*value).to_owned()]));
            let mut sections = Sections::from([("Unit".to_owned(), list.collect())]);
            sections
                .entry("Unit".to_owned())
                .or_default()
                .insert("DefaultDependencies".into(), vec!["no".into()]);
            UnitDefinition { sections, ..UnitDefinition::default() }
        };
        let units = BTreeMap::from([
            (
                "top.target".to_owned(),
                unit(&[("Requires", "a.target"), ("Wants", "b.target c.target a.target")]),
            ),
            ("a.target".to_owned(), unit(&[("Wants", "c.target")])),
            ("b.target".to_owned(), unit(&[("After", "a.target c.target"), ("Requires", "a.target")])),
            ("c.target".to_owned(), unit(&[("Wants", "d.target")])),
            ("d.target".to_owned(), unit(&[])),
        ]);
        units::compile::compile(&GraphInput { units, ..GraphInput::default() }).unwrap()
    }

    #[test]
    fn a_tree_unfolds_each_unit_once() {
        let file = compiled();
        let graph = Graph::load(&file).unwrap();
        let state = |name: &str| (name == "d.target").then_some(ActiveState::Failed);
        let top = graph.find("top.target").unwrap();
        assert_eq!(
            tree(&graph, &top, &PULLS, state),
            "top.target (inactive)\n\
             ├─ requires a.target (inactive)\n\
             │  └─ wants c.target (inactive)\n\
             │     └─ wants d.target (failed)\n\
             ├─ wants b.target (inactive)\n\
             │  └─ requires a.target (inactive) …\n\
             └─ wants c.target (inactive) …\n"
        );
        let d = graph.find("d.target").unwrap();
        assert_eq!(
            tree(&graph, &d, &PULLED, state),
            "d.target (failed)\n\
             └─ wanted by c.target (inactive)\n   \
                ├─ wanted by a.target (inactive)\n   \
                │  ├─ required by b.target (inactive)\n   \
                │  │  └─ wanted by top.target (inactive)\n   \
                │  └─ required by top.target (inactive)\n   \
                └─ wanted by top.target (inactive)\n"
        );
    }

    #[test]
    fn programs_get_each_unit_once_with_all_its_relations() {
        let file = compiled();
        let graph = Graph::load(&file).unwrap();
        let list = flat(&graph, &graph.find("top.target").unwrap(), &PULLS, |_| Some(ActiveState::Active));
        let names: Vec<_> = list.iter().filter_map(|unit| unit["name"].as_str()).collect();
        assert_eq!(names, ["top.target", "a.target", "b.target", "c.target", "d.target"]);
        let expected = serde_json::json!([{ "relation": "requires", "unit": "a.target" }]);
        assert_eq!((&list[2]["relations"], &list[2]["active"]), (&expected, &"active".into()));
    }

    #[test]
    fn order_for_graphviz() {
        let file = compiled();
        let text = dot(&Graph::load(&file).unwrap());
        assert!(text.contains("\"a.target\" -> \"b.target\";"), "{text}");
        assert!(text.contains("\"c.target\" -> \"b.target\" [style=dashed];"), "{text}");
    }
}
