//! Instances of templates that somebody names only at run time (systemd.unit(5), "a single template unit"): the service
//! graph holds each template's definition; an instance is compiled from it here, with its specifiers filled in, and joins
//! the running graph as systemd-run's units do.

use super::ask_states;
use crate::fronts::run::{enter, running_graph};
use anyhow::{Context as _, Result};
use formats::control::Request;
use formats::service_graph::key::{Key, flag};
use formats::service_graph::view::{Graph, Unit};
use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use units::definition::{Sections, UnitDefinition};

/// Makes a unit of that name, if it is an instance of a template and not there yet.
pub(crate) fn ensure(stream: &mut UnixStream, name: &str) -> Result<()> {
    if !name.contains('@') || nix::unistd::geteuid().as_raw() != 0 {
        return Ok(());
    }
    let Some((name, template)) = names(name) else { return Ok(()) };
    if ask_states(stream, &Request::List)?.iter().any(|unit| unit.name == name) {
        return Ok(());
    }
    let bytes = running_graph()?;
    let running = Graph::load(&bytes).map_err(|error| anyhow::anyhow!("the running graph: {error}"))?;
    let Some(template) = running.find(&template).filter(|unit| unit.flag(flag::TEMPLATE)) else {
        return Ok(());
    };
    let added = BTreeMap::from([(name.clone(), definition(&template))]);
    enter(stream, &name, &added).with_context(|| format!("cannot make {name} of {}", template.name()))
}

/// An instance's full name and its template's; a name without suffix is a service's.
fn names(name: &str) -> Option<(String, String)> {
    const SUFFIXES: [&str; 8] =
        [".service", ".socket", ".timer", ".target", ".path", ".mount", ".swap", ".slice"];
    let suffix = SUFFIXES.into_iter().find(|suffix| name.ends_with(suffix));
    let (stem, suffix) = (name.strip_suffix(suffix.unwrap_or_default())?, suffix.unwrap_or(".service"));
    let (prefix, instance) = stem.split_once('@')?;
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    let is_fine = !prefix.is_empty() && !instance.is_empty() && stem.len() < 250 && stem.bytes().all(is_name);
    is_fine.then(|| (format!("{stem}{suffix}"), format!("{prefix}@{suffix}")))
}

/// The definition that a template carries.
fn definition(template: &Unit<'_>) -> UnitDefinition {
    let words: Vec<&str> = template.texts(Key::Template).collect();
    let mut sections = Sections::new();
    for line in words.chunks_exact(3) {
        let [section, directive, value] = line else { continue };
        let directives = sections.entry((*section).to_owned()).or_default();
        directives.entry((*directive).to_owned()).or_default().push((*value).to_owned());
    }
    let defined_at = template.text(Key::DefinedAt).map(str::to_owned);
    UnitDefinition { sections, defined_at, ..UnitDefinition::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use units::definition::GraphInput;

    #[test]
    fn names_of_instances() {
        let both = |name: &str, template: &str| Some((name.to_owned(), template.to_owned()));
        assert_eq!(names("a@b"), both("a@b.service", "a@.service"));
        assert_eq!(names("a@b.timer"), both("a@b.timer", "a@.timer"));
        assert_eq!(names("a@dev-x\\x20y.service"), both("a@dev-x\\x20y.service", "a@.service"));
        for name in ["a", "a@", "a@.service", "@b", "a@b/../../c", "a@b c"] {
            assert_eq!(names(name), None, "{name}");
        }
    }

    #[test]
    fn a_template_keeps_its_definition() {
        let service = BTreeMap::from([
            ("ExecStart".to_owned(), vec!["/bin/x %i".to_owned()]),
            ("Environment".to_owned(), vec!["A=1".to_owned(), "B=2\n3".to_owned()]),
        ]);
        let sections = Sections::from([("Service".to_owned(), service)]);
        let place = Some("c.nix:7".to_owned());
        let unit = UnitDefinition { sections, defined_at: place, ..UnitDefinition::default() };
        let units = BTreeMap::from([("a@.service".to_owned(), unit.clone())]);
        let file = units::compile::compile(&GraphInput { units, ..GraphInput::default() }).unwrap();
        let graph = Graph::load(&file).unwrap();
        let template = graph.find("a@.service").unwrap();
        assert!(template.flag(flag::TEMPLATE) && !template.has(Key::ExecStart));
        assert_eq!(definition(&template), unit);
    }
}
