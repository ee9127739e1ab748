//! The tree of a build as data, and as lines for a screen of any size: what runs and what failed, below what waits for it,
//! then the counts. Knows no terminal and no clock of its own, so that tests can say what is shown.

use formats::store_path::StorePath;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};
use store::build::Event;

/// How far back a rate looks.
const RATE_WINDOW: Duration = Duration::from_secs(5);

/// How lines look.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    /// Characters beyond ASCII.
    pub(super) unicode: bool,
    /// Colours, as ECMA-48 writes them.
    pub(super) colour: bool,
    /// Columns.
    pub(super) width: usize,
    /// Lines, at most.
    pub(super) height: usize,
}

/// What one step is at.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// Something it needs is not there.
    Waiting,
    /// Somebody else builds it.
    Locked,
    Running(Instant),
    /// Its outputs are taken into the store.
    Registering(Instant),
    Done,
    Failed(String),
}

/// One step of the plan.
#[derive(Debug)]
struct Step {
    path: StorePath,
    state: State,
    fetch: bool,
    needed_by: Vec<usize>,
    /// How many of its needs are not done.
    missing: usize,
    phase: String,
    line: String,
    done: u64,
    total: Option<u64>,
}

impl Step {
    fn new(path: StorePath, fetch: bool) -> Self {
        let state = State::Waiting;
        let (phase, line) = (String::new(), String::new());
        Self { path, state, fetch, needed_by: Vec::new(), missing: 0, phase, line, done: 0, total: None }
    }

    fn is_shown(&self) -> bool {
        !matches!(self.state, State::Waiting | State::Done)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Tree {
    steps: Vec<Step>,
    index: BTreeMap<StorePath, usize>,
    builds: usize,
    fetches: usize,
    began: Option<Instant>,
    /// Bytes that downloads brought, by time.
    arrivals: VecDeque<(Instant, u64)>,
}

impl Tree {
    /// Takes an event in.
    pub(super) fn apply(&mut self, event: &Event<'_>, now: Instant) {
        match event {
            Event::Planned { builds, fetches } => {
                *self = Self { builds: *builds, fetches: *fetches, began: Some(now), ..Self::default() };
            }
            Event::Step { path, needs, fetch, size } => {
                let index = self.add((*path).clone(), *fetch);
                for need in *needs {
                    if let Some(need) = self.index.get(*need).copied() {
                        self.steps[need].needed_by.push(index);
                        self.steps[index].missing += 1;
                    }
                }
                self.steps[index].total = *size;
            }
            Event::Waiting { derivation } => self.at(derivation).state = State::Locked,
            Event::Started { derivation, fetch } => {
                let index = self.add((*derivation).clone(), *fetch);
                self.steps[index].state = State::Running(now);
            }
            Event::Line { derivation, line } | Event::HookLine { derivation, line } => {
                self.at(derivation).line = printable(line);
            }
            Event::Phase { derivation, phase } => self.at(derivation).phase = printable(phase),
            Event::Downloaded { derivation, done, total } => {
                let step = self.at(derivation);
                let new = done.saturating_sub(step.done);
                (step.done, step.total) = (*done, total.or(step.total));
                self.arrivals.push_back((now, new));
            }
            Event::Registering { derivation } => {
                let step = self.at(derivation);
                let since = if let State::Running(since) = step.state { since } else { now };
                step.state = State::Registering(since);
            }
            Event::Finished { derivation, .. } => {
                let index = self.add((*derivation).clone(), false);
                let before = std::mem::replace(&mut self.steps[index].state, State::Done);
                if before != State::Done {
                    for waiting in self.steps[index].needed_by.clone() {
                        self.steps[waiting].missing = self.steps[waiting].missing.saturating_sub(1);
                    }
                }
            }
            Event::Failed { derivation, kind } => {
                let text = kind.to_string();
                self.at(derivation).state = State::Failed(printable(text.lines().next().unwrap_or_default()));
            }
            _ => {}
        }
    }

    /// The step of that path; one that no plan names is added, as when another's daemon builds.
    fn at(&mut self, path: &StorePath) -> &mut Step {
        let index = self.add(path.clone(), false);
        &mut self.steps[index]
    }

    fn add(&mut self, path: StorePath, fetch: bool) -> usize {
        if let Some(index) = self.index.get(&path) {
            return *index;
        }
        let index = self.steps.len();
        self.index.insert(path.clone(), index);
        self.steps.push(Step::new(path, fetch));
        index
    }

    /// What is shown now. The last line counts.
    pub(super) fn lines(&mut self, now: Instant, style: Style) -> Vec<String> {
        while self.arrivals.front().is_some_and(|(at, _)| now.duration_since(*at) > RATE_WINDOW) {
            self.arrivals.pop_front();
        }
        let room = style.height.saturating_sub(1);
        let mut lines = self.branches(now, style);
        if lines.len() > room {
            lines = self.flat(now, style);
        }
        if lines.len() > room {
            let more = lines.len() - room.saturating_sub(1);
            lines.truncate(room.saturating_sub(1));
            if room > 0 {
                lines.push(format!("{} {more} more", if style.unicode { "⋮" } else { "..." }));
            }
        }
        lines.push(cut(&self.counts(now, style), style.width));
        lines
    }

    /// What runs or failed, each below what waits for it.
    fn branches(&self, now: Instant, style: Style) -> Vec<String> {
        let mut below: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let (mut roots, mut seen) = (Vec::new(), BTreeSet::new());
        for shown in (0..self.steps.len()).filter(|index| self.steps[*index].is_shown()) {
            let mut index = shown;
            while seen.insert(index) {
                // Of those that wait for it, the first; that is enough to see why it is there.
                let above = self.steps[index].needed_by.iter().copied().find(|above| self.waits(*above));
                let Some(above) = above else {
                    roots.push(index);
                    break;
                };
                below.entry(above).or_default().push(index);
                index = above;
            }
        }
        let mut lines = Vec::new();
        let mut stack: Vec<(usize, String, bool)> =
            roots.into_iter().rev().map(|root| (root, String::new(), true)).collect();
        let (tee, last, bar) =
            if style.unicode { ("├─ ", "└─ ", "│  ") } else { ("|- ", "`- ", "|  ") };
        while let Some((index, indent, is_last)) = stack.pop() {
            let is_root = !self.steps[index]
                .needed_by
                .iter()
                .any(|above| below.get(above).is_some_and(|list| list.contains(&index)));
            let (mark, deeper) = match (is_root, is_last) {
                (true, _) => (String::new(), String::new()),
                (false, true) => (format!("{indent}{last}"), format!("{indent}   ")),
                (false, false) => (format!("{indent}{tee}"), format!("{indent}{bar}")),
            };
            lines.push(self.line(index, &mark, now, style));
            let children = below.get(&index).map(Vec::as_slice).unwrap_or_default();
            for (place, child) in children.iter().enumerate().rev() {
                stack.push((*child, deeper.clone(), place + 1 == children.len()));
            }
        }
        lines
    }

    fn waits(&self, index: usize) -> bool {
        matches!(self.steps[index].state, State::Waiting | State::Locked)
    }

    /// What runs or failed, without what waits: failures first, then what runs longest.
    fn flat(&self, now: Instant, style: Style) -> Vec<String> {
        let mut shown: Vec<usize> =
            (0..self.steps.len()).filter(|index| self.steps[*index].is_shown()).collect();
        shown.sort_by_key(|index| match &self.steps[*index].state {
            State::Failed(_) => (0, None),
            State::Running(since) | State::Registering(since) => (1, Some(*since)),
            _ => (2, None),
        });
        shown.into_iter().map(|index| self.line(index, "", now, style)).collect()
    }

    fn line(&self, index: usize, indent: &str, now: Instant, style: Style) -> String {
        let step = &self.steps[index];
        let name = super::name(&step.path);
        let clock = |since: &Instant| clock(now.duration_since(*since));
        let marks =
            if style.unicode { ["·", "⧗", "↓", "▶", "✗"] } else { ["-", "~", "v", ">", "x"] };
        let (mark, colour, text) = match &step.state {
            State::Waiting | State::Done => (marks[0], "2", format!("{name} waits for {}", step.missing)),
            State::Locked => (marks[1], "33", format!("{name} is built by somebody else")),
            State::Running(since) if step.fetch => {
                (marks[2], "36", format!("{name} {}{}", amount(step), clock(since)))
            }
            State::Running(since) => {
                let said = [step.phase.as_str(), step.line.as_str()];
                let said =
                    said.iter().filter(|text| !text.is_empty()).copied().collect::<Vec<_>>().join(": ");
                (marks[3], "32", format!("{name} {} {said}", clock(since)))
            }
            State::Registering(since) => (marks[3], "32", format!("{name} {} into the store", clock(since))),
            State::Failed(why) => (marks[4], "31", format!("{name} {why}")),
        };
        let text = cut(&format!("{indent}{mark} {}", text.trim_end()), style.width);
        match text.strip_prefix(indent).filter(|_| style.colour) {
            Some(rest) => format!("{indent}\x1b[{colour}m{rest}\x1b[0m"),
            None => text,
        }
    }

    /// `2 of 12 built, 1 failed; 3 of 5 downloaded, 12.3 of 40.0 MB at 4.2 MB/s; 0:42`
    fn counts(&self, now: Instant, style: Style) -> String {
        let count = |fetch: bool, wanted: fn(&State) -> bool| {
            self.steps.iter().filter(|step| step.fetch == fetch && wanted(&step.state)).count()
        };
        let mut parts = Vec::new();
        if self.builds > 0 || self.fetches == 0 {
            let done = count(false, |state| *state == State::Done);
            parts.push(format!("{done} of {} built", self.builds.max(count(false, |_| true))));
        }
        let failed = self.steps.iter().filter(|step| matches!(step.state, State::Failed(_))).count();
        if failed > 0 {
            parts.push(format!("{failed} failed"));
        }
        if self.fetches > 0 {
            let here: u64 = self.steps.iter().map(|step| step.done).sum();
            let total: u64 = self.steps.iter().map(|step| step.total.unwrap_or(step.done)).sum();
            parts.push(format!(
                "{} of {} downloaded, {} of {} MB{}",
                count(true, |state| *state == State::Done),
                self.fetches,
                megabytes(here),
                megabytes(total.max(here)),
                self.rate(now)
            ));
        }
        parts.extend(self.began.map(|began| clock(now.duration_since(began))));
        parts.join(if style.unicode { " · " } else { "; " })
    }

    /// ` at 4.2 MB/s`
    fn rate(&self, now: Instant) -> String {
        let Some((first, _)) = self.arrivals.front() else { return String::new() };
        let bytes: u64 = self.arrivals.iter().map(|(_, bytes)| bytes).sum();
        let seconds = now.duration_since(*first).as_secs_f64().max(0.1);
        format!(" at {:.1} MB/s", bytes as f64 / 1e6 / seconds)
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1e6)
}

/// `12.3 of 40.0 MB `, as far as it is known.
fn amount(step: &Step) -> String {
    match step.total {
        Some(total) => format!("{} of {} MB ", megabytes(step.done), megabytes(total)),
        None if step.done > 0 => format!("{} MB ", megabytes(step.done)),
        None => String::new(),
    }
}

/// Minutes and seconds, hours when there are any.
fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds / 3600 {
        0 => format!("{}:{:02}", seconds / 60, seconds % 60),
        hours => format!("{hours}:{:02}:{:02}", seconds / 60 % 60, seconds % 60),
    }
}

/// At most so many columns.
fn cut(text: &str, width: usize) -> String {
    text.chars().take(width).collect()
}

/// A builder's line without what moves the cursor or colours the screen.
fn printable(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut characters = line.trim().chars();
    while let Some(character) = characters.next() {
        if character == '\x1b' {
            // A control sequence ends with a letter; other escapes are one character long.
            if characters.next() == Some('[') {
                characters.find(|character| ('@'..='~').contains(character));
            }
        } else if character == '\t' {
            text.push(' ');
        } else if !character.is_control() {
            text.push(character);
        }
    }
    text
}

#[cfg(test)]
mod tests;
