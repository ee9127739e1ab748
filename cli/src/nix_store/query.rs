//! `nix-store --query`.

use super::Call;
use crate::nix_front::Front;
use anyhow::{Context as _, Result, bail};
use formats::path_info::PathInfo;
use formats::store_path::StorePath;
use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::ExitCode;
use store::Store;
use store::build::Wanted;

/// One query: prints its answer.
type Query = fn(&Call, &Store, &mut dyn std::io::Write) -> Result<()>;

/// Queries by their flags.
pub(super) const QUERIES: &[(&[&str], Query)] = &[
    (&["--outputs"], outputs),
    (&["--requisites", "-R"], requisites),
    (&["--references"], references),
    (&["--referrers"], referrers),
    (&["--referrers-closure"], referrers_closure),
    (&["--deriver", "-d"], deriver),
    (&["--valid-derivers"], valid_derivers),
    (&["--binding", "-b"], binding),
    (&["--hash"], hash),
    (&["--size"], size),
    (&["--tree"], tree),
    (&["--graph"], graph),
    (&["--graphml"], graphml),
    (&["--roots"], roots),
    (&["--resolve"], resolve),
];

/// Answers the query asked for.
pub(super) fn query(call: &mut Call) -> Result<ExitCode> {
    let store = call.front.open()?;
    let flag = call.query.clone().unwrap_or_else(|| "--outputs".to_owned());
    let Some((_, query)) = QUERIES.iter().find(|(names, _)| names.contains(&flag.as_str())) else {
        bail!("unknown query '{flag}'");
    };
    if call.has("-f") || call.has("--force-realise") || call.has("--force-realize") {
        let derivations = call.paths(&store)?.into_iter().filter(StorePath::is_derivation);
        let requests: Vec<_> = derivations.map(|path| (path, Wanted::All)).collect();
        Front::build(&store, &requests, &call.front.build_options(&store))?;
    }
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    query(call, &store, &mut out)?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// The paths asked about; with `--use-output`, a derivation stands for its outputs.
fn subjects(call: &Call, store: &Store) -> Result<Vec<StorePath>> {
    let use_output =
        call.has("--use-output") || call.has("-u") || call.has("-f") || call.has("--force-realise");
    let mut found = Vec::new();
    for path in call.paths(store)? {
        if use_output && path.is_derivation() {
            found.extend(outputs_of(store, &path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}

fn outputs_of(store: &Store, derivation: &StorePath) -> Result<Vec<StorePath>> {
    let known = store.known_outputs(&store.read_derivation(derivation)?)?;
    known
        .into_iter()
        .map(|(output, path)| {
            path.with_context(|| format!("output '{output}' of '{derivation}' was not built"))
        })
        .collect()
}

fn print_all(
    store: &Store,
    out: &mut dyn std::io::Write,
    paths: impl IntoIterator<Item = StorePath>,
) -> Result<()> {
    for path in paths {
        writeln!(out, "{}", store.dir().print(&path))?;
    }
    Ok(())
}

fn outputs(call: &Call, store: &Store, out: &mut dyn std::io::Write) -> Result<()> {
    for path in call.paths(store)? {
        print_all(store, out, outputs_of(store, &path)?)?;
    }
    Ok(())
}

fn requisites(call: &Call, store: &Store, out: &mut dyn std::io::Write) -> Result<()> {
    let mut closure = store.closure(subjects(call, store)?)?;
    if call.has("--include-outputs") {
        for derivation in closure.clone().iter().filter(|path| path.is_derivation()) {
            for output in store.known_outputs(&store.read_derivation(derivation)?)?.into_values().flatten() {
                if store.is_valid(&output)? {
                    closure.extend(store.closure([output])?);
                }
            }
        }
    }
    print_all(store, out, store.sort_by_references(&closure)?)
}

fn references(call: &Call, store: &Store, out: &mut dyn std::io::Write) -> Result<()> {
    let mut found = BTreeSet::new();
    for path in subjects(call, store)? {
        found.extend(store.path_info(&path)?.references);
    }
    print_all(store, out, store.sort_by_references(&found)?)
}

fn referrers(call: &Call, store: &Store, out: &mut dyn std::io::Write) -> Result<()> {
    let mut found = BTreeSet::new();
    for path in subjects(call, store)? {
        found.extend(store.referrers(&path)?);
    }
    print_all(store, out, store.sort_by_references(&found)?)
}

fn referrers_closure(call: &Call, store: &Store, out: &mut dyn std::io::Write) -> Result<()> {
    let found = store.referrers_closure(subjects(call, store)?)?.into_iter().collect();
    print_all(store, out, store.sort_by_references(&found)?)
}

fn deriver(call: &Call, store: &Store, out: &mut dyn std::io::Write) -> Result<()> {
    for path in call.paths(store)? {
        match store.path_info(&path)?.deriver {
            Some(deriver) => writeln!(out, "{}", store.dir().print(&deriver))?,
            None => writeln!(out, "unknown-deriver")?,
        }
    }
    Ok(())
}

fn valid_derivers(call: &Call, store: &Store, out: &mut dyn std::io::Write) -> Result<()> {
    for path in subjects(call, store)? {
        print_all(store, out, store.valid_derivers(&path)?)?;
    }
    Ok(())
}

fn binding(call: &Call, store: &Store, out: &mut dyn std::io::Write) -> Result<()> {
    let name = call.value("--binding").unwrap_or_default();
    for path in call.paths(store)? {
        let derivation = if path.is_derivation() {
            path
        } else {
            store.path_info(&path)?.deriver.context("it has no known deriver")?
        };
        let derivation = store.read_derivation(&derivation)?;
        let value = derivation.variable(name).with_context(|| {
            format!("derivation '{}' has no environment binding named '{name}'", derivation.name)
        })?;
        out.write_all(value)?;
        writeln!(out)?;
    }
    Ok(())
}

fn hash(call: &Call, store: &Store, out: &mut dyn std::io::Write) -> Result<()> {
    for path in subjects(call, store)? {
        writeln!(out, "{}", store.path_info(&path)?.nar_hash.base32())?;
    }
    Ok(())
}

fn size(call: &Call, store: &Store, out: &mut dyn std::io::Write) -> Result<()> {
    for path in subjects(call, store)? {
        writeln!(out, "{}", store.path_info(&path)?.nar_size)?;
    }
    Ok(())
}

fn roots(call: &Call, store: &Store, out: &mut dyn std::io::Write) -> Result<()> {
    let wanted = store.referrers_closure(subjects(call, store)?)?;
    for root in store.find_roots()?.into_iter().filter(|root| wanted.contains(&root.target)) {
        writeln!(out, "{} -> {}", root.link.display(), store.dir().print(&root.target))?;
    }
    Ok(())
}

fn resolve(call: &Call, store: &Store, out: &mut dyn std::io::Write) -> Result<()> {
    print_all(store, out, call.paths(store)?)
}

/// The references as a tree; what was shown before is marked and not shown again.
fn tree(call: &Call, store: &Store, out: &mut dyn std::io::Write) -> Result<()> {
    let mut seen = BTreeSet::new();
    for path in subjects(call, store)? {
        branch(store, &path, ("", ""), &mut seen, out)?;
    }
    Ok(())
}

fn branch(
    store: &Store,
    path: &StorePath,
    (first, rest): (&str, &str),
    seen: &mut BTreeSet<StorePath>,
    out: &mut dyn std::io::Write,
) -> Result<()> {
    if !seen.insert(path.clone()) {
        writeln!(out, "{first}{} [...]", store.dir().print(path))?;
        return Ok(());
    }
    writeln!(out, "{first}{}", store.dir().print(path))?;
    let references = store.path_info(path)?.references;
    let set: BTreeSet<StorePath> = references.into_iter().filter(|reference| reference != path).collect();
    let sorted = store.sort_by_references(&set)?;
    for (index, reference) in sorted.iter().enumerate() {
        let last = index + 1 == sorted.len();
        let first = format!("{rest}{}", if last { "└───" } else { "├───" });
        let below = format!("{rest}{}", if last { "    " } else { "│   " });
        branch(store, reference, (&first, &below), seen, out)?;
    }
    Ok(())
}

/// Every path of the closure with its description, in the order in which Nix prints them: of those that are known and were not
/// printed the first, which makes its references known.
fn walk(call: &Call, store: &Store, mut visit: impl FnMut(&PathInfo) -> Result<()>) -> Result<()> {
    let mut waiting: BTreeSet<StorePath> = subjects(call, store)?.into_iter().collect();
    let mut done = BTreeSet::new();
    while let Some(path) = waiting.pop_first() {
        let info = store.path_info(&path)?;
        visit(&info)?;
        done.insert(path);
        waiting.extend(info.references.into_iter().filter(|reference| !done.contains(reference)));
    }
    Ok(())
}

/// What edges look like, one after the other.
const COLOURS: [&str; 6] = ["black", "red", "green", "blue", "magenta", "burlywood"];

/// The references for Graphviz's `dot`.
fn graph(call: &Call, store: &Store, out: &mut dyn std::io::Write) -> Result<()> {
    writeln!(out, "digraph G {{")?;
    let mut colours = COLOURS.iter().cycle();
    walk(call, store, |info| {
        let (name, label) = (info.path.base_name(), info.path.name());
        writeln!(
            out,
            "\"{name}\" [label = \"{label}\", shape = box, style = filled, fillcolor = \"#ff0000\"];"
        )?;
        for reference in info.references.iter().filter(|reference| **reference != info.path) {
            let colour = colours.next().unwrap_or(&"black");
            writeln!(out, "\"{}\" -> \"{name}\" [color = \"{colour}\"];", reference.base_name())?;
        }
        Ok(())
    })?;
    writeln!(out, "}}")?;
    Ok(())
}

/// The references as GraphML.
fn graphml(call: &Call, store: &Store, out: &mut dyn std::io::Write) -> Result<()> {
    writeln!(out, "<?xml version='1.0' encoding='utf-8'?>")?;
    writeln!(out, "<graphml xmlns='http://graphml.graphdrawing.org/xmlns'")?;
    writeln!(out, "    xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance'")?;
    writeln!(out, "    xsi:schemaLocation='http://graphml.graphdrawing.org/xmlns/1.0/graphml.xsd'>")?;
    for (key, kind) in [("narSize", "long"), ("name", "string"), ("type", "string")] {
        write!(out, "<key id='{key}' for='node' attr.name='{key}' attr.type='{kind}'/>")?;
    }
    writeln!(out, "<graph id='G' edgedefault='directed'>")?;
    walk(call, store, |info| {
        let (node, name) = (info.path.base_name(), info.path.name());
        // Up to the first dash, as Nix has it.
        let short = name.split_inclusive('-').next().filter(|part| part.ends_with('-')).unwrap_or_default();
        let kind = if info.path.is_derivation() { "derivation" } else { "output-path" };
        writeln!(out, "  <node id=\"{node}\">")?;
        writeln!(out, "    <data key=\"narSize\">{}</data>", info.nar_size)?;
        writeln!(
            out,
            "    <data key=\"name\">{short}</data>\n    <data key=\"type\">{kind}</data>\n  </node>"
        )?;
        for reference in info.references.iter().filter(|reference| **reference != info.path) {
            writeln!(out, "  <edge source=\"{node}\" target=\"{}\"/>", reference.base_name())?;
        }
        Ok(())
    })?;
    writeln!(out, "</graph>\n</graphml>")?;
    Ok(())
}
