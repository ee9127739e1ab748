//! `nix search -f FILE ATTRIBUTE EXPRESSION…`: the packages in which every expression is found, in their attribute, name or
//! description, whatever the case. nix3-search(1).

use super::build::Installables;
use crate::eval_io::StoreIo;
use crate::flakes::outputs::{Called, Purpose, steps};
use crate::flakes::words::Word;
use crate::nix_env::split_name;
use crate::nix_front::{Arguments, Front};
use anyhow::{Result, bail};
use evaluator::regex::{Piece, Regex};
use evaluator::{Arena, EvalIo, Evaluator, Handle};
use serde_json::{Map, Value, json};
use std::io::Write as _;
use std::ops::Range;
use std::process::ExitCode;
use std::rc::Rc;

/// A package found.
#[derive(Debug)]
struct Package {
    attribute: String,
    name: String,
    version: String,
    description: String,
}

/// `nix search`.
pub(super) fn search(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let mut installables = Installables::default();
    let (mut as_json, mut excluded) = (false, Vec::new());
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => as_json = true,
            "-e" | "--exclude" => excluded.push(pattern(&arguments.value(&argument)?)?),
            _ if installables.take(front, &argument, arguments)? => {}
            other => bail!("unrecognised flag '{other}'"),
        }
    }
    let (attribute, patterns) = match installables.words().split_first() {
        Some((attribute, texts)) => {
            (attribute.clone(), texts.iter().map(|text| pattern(text)).collect::<Result<Vec<_>>>()?)
        }
        None => bail!("name an attribute ('' for all) and what to look for"),
    };
    let packages = packages(front, &mut installables, &attribute)?;
    let mut out = std::io::stdout().lock();
    let (mut values, mut found) = (Map::new(), 0);
    for package in packages {
        let texts = [&package.attribute, &package.name, &package.description];
        let matches = |pattern: &Regex| texts.iter().any(|text| !hits(pattern, text).is_empty());
        if !patterns.iter().all(matches) || excluded.iter().any(matches) {
            continue;
        }
        found += 1;
        if as_json {
            let value = json!({
                "pname": package.name, "version": package.version, "description": package.description,
            });
            values.insert(package.attribute, value);
            continue;
        }
        if found > 1 {
            writeln!(out)?;
        }
        let attribute = highlighted(&patterns, &package.attribute, "\u{1b}[0;1m");
        let version =
            if package.version.is_empty() { String::new() } else { format!(" ({})", package.version) };
        writeln!(out, "* \u{1b}[0;1m{attribute}\u{1b}[0m{version}")?;
        if !package.description.is_empty() {
            writeln!(out, "  {}", highlighted(&patterns, &package.description, "\u{1b}[0m"))?;
        }
    }
    if as_json {
        writeln!(out, "{}", Value::Object(values))?;
    } else if found == 0 {
        bail!("no results for the given search term(s)!");
    }
    Ok(ExitCode::SUCCESS)
}

/// Case does not count: both sides are made small.
fn pattern(text: &str) -> Result<Regex> {
    let text = if text.is_empty() { "^".to_owned() } else { text.to_lowercase() };
    Regex::new(text.as_bytes()).map_err(|error| anyhow::anyhow!("'{text}': {error}"))
}

/// Where an expression is found in a text.
fn hits(pattern: &Regex, text: &str) -> Vec<Range<usize>> {
    let small = text.to_lowercase();
    if small.len() != text.len() {
        return Vec::new(); // places would not be the same
    }
    let (mut found, mut start) = (Vec::new(), None);
    for piece in pattern.split(small.as_bytes()).unwrap_or_default() {
        if let Piece::Text(range) = piece {
            found.extend(start.map(|start| start..range.start));
            start = Some(range.end);
        }
    }
    found
}

/// A text with what was found in green, what overlaps as one; behind it the colour is `back` again.
fn highlighted(patterns: &[Regex], text: &str, back: &str) -> String {
    let mut ranges: Vec<Range<usize>> = patterns.iter().flat_map(|pattern| hits(pattern, text)).collect();
    ranges.retain(|range| !range.is_empty());
    ranges.sort_by_key(|range| (range.start, range.end));
    let mut merged: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match merged.last_mut().filter(|last| range.start <= last.end) {
            Some(last) => last.end = last.end.max(range.end),
            None => merged.push(range),
        }
    }
    let (mut shown, mut at) = (String::new(), 0);
    for range in merged {
        shown.push_str(text.get(at..range.start).unwrap_or_default());
        let inside = text.get(range.clone()).unwrap_or_default();
        shown += &["\u{1b}[32;1m", inside, back].concat();
        at = range.end;
    }
    shown.push_str(text.get(at..).unwrap_or_default());
    shown
}

/// The packages below an attribute. Sets inside are entered if they say `recurseForDerivations`; what cannot be evaluated
/// there is passed over.
fn packages(front: &Front, installables: &mut Installables, attribute: &str) -> Result<Vec<Package>> {
    let store = Rc::new(front.open()?);
    if installables.is_of_file() {
        installables.settle(front);
    } else {
        installables.settle_flakes(front);
    }
    let request = installables.request_of(attribute);
    let io = Rc::new(StoreIo::new(Rc::clone(&store), front.build_options(&store)));
    let arena = Arena::new();
    let mut evaluator =
        Evaluator::new(&arena, Rc::clone(&io) as Rc<dyn EvalIo>, request.evaluator_options()?);
    let mut found = Vec::new();
    if !installables.is_of_file() {
        let system = request.evaluator_options()?.system;
        let word = Word::parse(attribute, false)?;
        let explain = |error: evaluator::EvalError| request.explain(&error);
        let mut called = Called::default();
        let (_, flake) = called.flake(&mut evaluator, &mut installables.locking, &word.flake)?;
        let outputs = evaluator.attribute(flake, "outputs").map_err(explain)?.unwrap_or(flake);
        let places = match word.fragment.as_str() {
            "" => vec![format!("packages.{system}"), format!("legacyPackages.{system}")],
            fragment => Purpose::Packages.candidates(fragment, &system),
        };
        for place in places {
            let path = steps(&place)?;
            let mut value = Some(outputs);
            for step in &path {
                value = match value {
                    Some(set) => evaluator.attribute(set, step).map_err(explain)?,
                    None => None,
                };
            }
            if let Some(value) = value {
                visit(&mut evaluator, value, &path, true, &mut found);
            }
        }
        return Ok(found);
    }
    for value in request.evaluate(&mut evaluator)? {
        let path = if attribute.is_empty() { Vec::new() } else { vec![attribute.to_owned()] };
        visit(&mut evaluator, value, &path, true, &mut found);
    }
    Ok(found)
}

fn visit<'a>(
    evaluator: &mut Evaluator<'a>,
    value: Handle<'a>,
    path: &[String],
    enter: bool,
    found: &mut Vec<Package>,
) {
    let Some(names) = evaluator.attribute_names(value) else { return };
    let text = |evaluator: &mut Evaluator<'a>, value: Handle<'a>, name: &str| -> Option<String> {
        evaluator.attribute_names(value)?.iter().any(|known| known == name).then_some(())?;
        let value = evaluator.attribute(value, name).ok()??;
        Some(String::from_utf8_lossy(evaluator.as_string(value)?).into_owned())
    };
    if text(evaluator, value, "type").as_deref() == Some("derivation") {
        let Some(full) = text(evaluator, value, "name") else { return };
        let (name, version) = split_name(&full);
        let mut description = None;
        if names.iter().any(|name| name == "meta")
            && let Ok(Some(meta)) = evaluator.attribute(value, "meta")
        {
            description = text(evaluator, meta, "description");
        }
        let description = description.unwrap_or_default().replace('\n', " ");
        found.push(Package { attribute: path.join("."), name, version, description });
        return;
    }
    let recurse = names.iter().any(|name| name == "recurseForDerivations")
        && evaluator
            .attribute(value, "recurseForDerivations")
            .ok()
            .flatten()
            .is_some_and(|wanted| evaluator.is_true(wanted));
    if !enter && !recurse {
        return;
    }
    for name in names {
        if let Ok(Some(inner)) = evaluator.attribute(value, &name) {
            let mut path = path.to_vec();
            path.push(name);
            visit(evaluator, inner, &path, false, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_is_green() {
        let patterns: Vec<Regex> = ["oo", "foo"].iter().map(|text| pattern(text).unwrap()).collect();
        assert_eq!(highlighted(&patterns, "a foo", "<"), "a \u{1b}[32;1mfoo<");
        let patterns = [pattern("B").unwrap()];
        assert_eq!(highlighted(&patterns, "broken Bar", "<"), "\u{1b}[32;1mb<roken \u{1b}[32;1mB<ar");
        assert_eq!(highlighted(&[pattern("").unwrap()], "bar", "<"), "bar");
        assert!(hits(&pattern("x").unwrap(), "bar").is_empty());
        assert!(!hits(&pattern("").unwrap(), "bar").is_empty());
    }
}
