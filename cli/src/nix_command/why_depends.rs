//! `nix why-depends`: the shortest chain of references from one path to another, or with `--all` every chain; with `--precise` where in
//! each path the next one is mentioned. nix3-why-depends(1).

use super::info::{outputs, read};
use crate::nix_front::{Arguments, Front};
use anyhow::{Result, bail};
use formats::store_path::StorePath;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use store::Store;

/// What stands around a mention on both sides.
const MARGIN: usize = 32;

/// `nix why-depends`.
pub(super) fn why_depends(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let (store, mut installables, flags) = read(front, arguments, &["--all", "-a", "--precise"])?;
    let paths = outputs(front, &store, &mut installables)?;
    let [from, to] = paths.as_slice() else { bail!("'nix why-depends' needs two paths") };
    let mut graph = Graph::of(&store, from)?;
    graph.measure(to);
    if !graph.distances.contains_key(from) {
        let print = |path: &StorePath| store.dir().print(path);
        writeln!(std::io::stderr(), "'{}' does not depend on '{}'", print(from), print(to))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut printer = Printer {
        store: &store,
        graph: &graph,
        target: to,
        all: flags.contains("--all") || flags.contains("-a"),
        precise: flags.contains("--precise"),
        visited: BTreeSet::new(),
        out: Vec::new(),
    };
    writeln!(printer.out, "{}", store.dir().print(from))?;
    printer.below(from, "")?;
    std::io::stdout().write_all(&printer.out)?;
    Ok(ExitCode::SUCCESS)
}

/// The closure of a path, and how far each of it is from another.
struct Graph {
    references: BTreeMap<StorePath, BTreeSet<StorePath>>,
    distances: BTreeMap<StorePath, usize>,
}

impl Graph {
    fn of(store: &Store, from: &StorePath) -> Result<Self> {
        let mut references = BTreeMap::new();
        let mut queue = vec![from.clone()];
        while let Some(path) = queue.pop() {
            if references.contains_key(&path) {
                continue;
            }
            let found = store.path_info(&path)?.references;
            queue.extend(found.iter().cloned());
            references.insert(path, found.into_iter().collect());
        }
        Ok(Self { references, distances: BTreeMap::new() })
    }

    /// Counts the steps from each path to the target.
    fn measure(&mut self, to: &StorePath) {
        if !self.references.contains_key(to) {
            return;
        }
        let mut referrers: BTreeMap<&StorePath, Vec<&StorePath>> = BTreeMap::new();
        for (path, references) in &self.references {
            for reference in references {
                referrers.entry(reference).or_default().push(path);
            }
        }
        self.distances.insert(to.clone(), 0);
        let mut queue = VecDeque::from([(to, 0)]);
        while let Some((path, distance)) = queue.pop_front() {
            for &referrer in referrers.get(path).into_iter().flatten() {
                if !self.distances.contains_key(referrer) {
                    self.distances.insert(referrer.clone(), distance + 1);
                    queue.push_back((referrer, distance + 1));
                }
            }
        }
    }
}

struct Printer<'p> {
    store: &'p Store,
    graph: &'p Graph,
    target: &'p StorePath,
    all: bool,
    precise: bool,
    visited: BTreeSet<StorePath>,
    out: Vec<u8>,
}

impl Printer<'_> {
    /// Prints what leads on from a path that has been printed.
    fn below(&mut self, path: &StorePath, pad: &str) -> Result<()> {
        if path == self.target || !self.visited.insert(path.clone()) {
            return Ok(());
        }
        let graph = self.graph;
        let mut next: Vec<(usize, &StorePath)> = graph
            .references
            .get(path)
            .into_iter()
            .flatten()
            .filter(|reference| *reference != path)
            .filter_map(|reference| Some((*graph.distances.get(reference)?, reference)))
            .collect();
        // The shortest way first.
        next.sort_by_key(|(distance, _)| *distance);
        if !self.all {
            next.truncate(1);
        }
        let hits = if self.precise {
            mentions(&self.store.real_path(path), next.iter().map(|(_, reference)| *reference))?
        } else {
            BTreeMap::new()
        };
        let count = next.len();
        for (index, (_, reference)) in next.into_iter().enumerate() {
            let is_last = index + 1 == count;
            let (branch, below) = if is_last { ("└───", "    ") } else { ("├───", "│   ") };
            let printed = self.store.dir().print(reference);
            let inner = format!("{pad}{below}");
            if self.precise {
                let found = hits.get(reference.hash_part()).map(Vec::as_slice).unwrap_or_default();
                let shown = if self.all { found } else { found.get(..1).unwrap_or_default() };
                for (number, hit) in shown.iter().enumerate() {
                    writeln!(self.out, "{pad}{}{hit}", if number == 0 { branch } else { below })?;
                }
                writeln!(self.out, "{inner}→ {printed}")?;
            } else {
                writeln!(self.out, "{pad}{branch}{printed}")?;
            }
            self.below(reference, &inner)?;
        }
        Ok(())
    }
}

/// Where in a tree paths are mentioned, by their hash parts.
fn mentions<'p>(
    root: &Path,
    paths: impl Iterator<Item = &'p StorePath>,
) -> Result<BTreeMap<String, Vec<String>>> {
    let digits: Vec<&str> = paths.map(StorePath::hash_part).collect();
    let mut hits: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut stack = vec![root.to_owned()];
    while let Some(place) = stack.pop() {
        let inside = place.strip_prefix(root).unwrap_or(&place).display().to_string();
        let shown = if inside.is_empty() { "/" } else { &inside };
        let found = std::fs::symlink_metadata(&place)?;
        if found.is_dir() {
            let mut entries =
                std::fs::read_dir(&place)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
            // Taken from the end.
            entries.sort_by(|one, other| other.cmp(one));
            stack.extend(entries);
            continue;
        }
        let is_link = found.is_symlink();
        let text = if is_link {
            std::fs::read_link(&place)?.into_os_string().into_encoded_bytes()
        } else {
            std::fs::read(&place)?
        };
        for digits in &digits {
            let wanted = digits.as_bytes();
            let Some(at) = text.windows(wanted.len()).position(|window| window == wanted) else { continue };
            let hit = if is_link {
                format!("{shown} -> {}", String::from_utf8_lossy(&text))
            } else {
                let end = (at + wanted.len() + MARGIN).min(text.len());
                let around = text.get(at.saturating_sub(MARGIN)..end).unwrap_or_default();
                let printable: String = around
                    .iter()
                    .map(|byte| if (b' '..=b'~').contains(byte) { char::from(*byte) } else { '.' })
                    .collect();
                format!("{shown}: …{printable}…")
            };
            hits.entry((*digits).to_owned()).or_default().push(hit);
        }
    }
    Ok(hits)
}
