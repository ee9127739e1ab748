//! From a graph back to what the builder takes, so that a graph can be written again with a unit more.

use super::builder::{CommandLine, Settings, Value};
use super::key::Shape;
use super::view::{Graph, Unit};

/// A unit's settings, with names for indices.
pub fn settings_of(graph: &Graph<'_>, unit: &Unit<'_>) -> Settings {
    let name_of = |index: u32| graph.unit(index).map_or_else(String::new, |unit| unit.name().to_owned());
    unit.keys()
        .filter_map(|key| {
            let value = match key.shape() {
                Shape::Number => Value::Number(unit.number(key)?),
                Shape::Text => Value::Text(unit.text(key)?.to_owned()),
                Shape::Texts => Value::Texts(unit.texts(key).map(str::to_owned).collect()),
                Shape::Units => Value::Units(unit.units(key).map(name_of).collect()),
                Shape::Numbers => Value::Numbers(unit.numbers(key).collect()),
                Shape::Tagged => {
                    Value::Tagged(unit.tagged(key).map(|(tag, text)| (tag, text.to_owned())).collect())
                }
                Shape::Commands => {
                    let words = |words: &std::ffi::CStr| words.to_string_lossy().into_owned();
                    let command = unit.commands(key).map(|line| CommandLine {
                        flags: line.flags(),
                        program: words(line.program()),
                        arguments: line.arguments().map(words).collect(),
                    });
                    Value::Commands(command.collect())
                }
            };
            Some((key, value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::builder::GraphBuilder;
    use super::super::key::Key;
    use super::*;

    #[test]
    fn a_graph_written_again_is_the_same() {
        let mut builder = GraphBuilder::default();
        let one = |key, value| Settings::from([(key, value)]);
        let line =
            CommandLine { flags: 3, program: "/bin/a".into(), arguments: vec!["a".into(), "b c".into()] };
        let mut service = one(Key::ExecStart, Value::Commands(vec![line]));
        service.insert(Key::Requires, Value::Units(vec!["b.target".into()]));
        service.insert(Key::After, Value::Units(vec!["b.target".into()]));
        service.insert(Key::Environment, Value::Texts(vec!["A=1".into()]));
        service.insert(Key::Limits, Value::Numbers(vec![1, 2, 3]));
        service.insert(Key::EnvironmentFiles, Value::Tagged(vec![(1, "/etc/x".into())]));
        builder.add("a.service", service);
        builder.add("b.target", one(Key::Flags, Value::Number(7)));
        builder.add("c.target", one(Key::Wants, Value::Units(vec!["a.service".into()])));
        let bytes = builder.build().unwrap();
        let graph = Graph::load(&bytes).unwrap();
        let mut again = GraphBuilder::default();
        for unit in graph.units() {
            again.add(unit.name(), settings_of(&graph, &unit));
        }
        assert_eq!(again.build().unwrap(), bytes);
    }
}
