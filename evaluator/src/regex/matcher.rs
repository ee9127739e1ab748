//! The matcher: depth first, in the order in which the library tries things, on a stack of its own, and with a memory of
//! which branching states were left at which positions, and whether a match was found from there. Going the same way
//! again could find only matches that are known already and no longer, so it is not gone again.

use super::Groups;
use super::program::{Program, State};
use std::ops::Range;

/// How a match may lie.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Mode {
    /// It must reach the end of the text.
    pub(super) exact: bool,
    /// It must not be empty.
    pub(super) not_empty: bool,
    /// Something stands before its start, so `^` does not match there.
    pub(super) has_previous: bool,
}

/// A match.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// The whole of it.
    pub(super) range: Range<usize>,
    /// Its groups.
    pub(super) groups: Groups,
}

/// What a group has seen so far: its last opening, its last closing with the opening of that time.
#[derive(Debug, Clone, Copy, Default)]
struct Group {
    start: usize,
    end: Option<usize>,
}

/// How often a loop was entered without getting on.
#[derive(Debug, Clone, Copy, Default)]
struct Counter {
    position: usize,
    times: u8,
}

/// What is left to do.
#[derive(Debug, Clone, Copy)]
enum Frame {
    Visit {
        state: u32,
        position: usize,
    },
    /// The body of a loop was tried: go on without it if it found nothing.
    AfterMore {
        less: u32,
        position: usize,
    },
    /// The first alternative was tried: try the second, whatever the first found.
    AfterFirst {
        second: u32,
        position: usize,
    },
    /// Both were tried.
    AfterSecond {
        first_found: bool,
    },
    /// A run was tried at its longest: try it shorter.
    Shorter {
        next: u32,
        shortest: usize,
        position: usize,
    },
    RestoreGroup {
        group: u32,
        value: Group,
    },
    RestoreCounter {
        counter: u32,
        value: Counter,
    },
    /// All that goes from here was tried: remember what came of it.
    Remember {
        cell: usize,
    },
}

const UNKNOWN: u8 = 0;
const FAILED: u8 = 1;
const FOUND: u8 = 2;

/// How many branches inside loops that got nowhere are walked as the library walks them. In nested loops over nothing
/// that are three to the power of their number; from then on each branch is walked once a position, which finds the
/// same matches, only what groups hold in such loops may be another way's.
const PATIENCE: u32 = 1 << 16;

/// A matcher over one text.
#[derive(Debug)]
pub(super) struct Matcher<'a> {
    program: &'a Program,
    text: &'a [u8],
    stack: Vec<Frame>,
    groups: Vec<Group>,
    counters: Vec<Counter>,
    /// How many counters stand at each position with a loop that got nowhere.
    stuck: Vec<u32>,
    /// One cell for each branching state and each position from the start of the run.
    memory: Vec<u8>,
    /// The cells written, for cleaning up.
    written: Vec<usize>,
    found: bool,
    best: Option<(usize, Vec<Group>)>,
    /// What is left of [`PATIENCE`].
    patience: u32,
}

impl<'a> Matcher<'a> {
    /// A matcher for a program and a text.
    pub(super) fn new(program: &'a Program, text: &'a [u8]) -> Self {
        Self {
            program,
            text,
            stack: Vec::new(),
            groups: vec![Group::default(); program.groups],
            counters: vec![Counter::default(); program.counters],
            stuck: vec![0; text.len() + 1],
            memory: vec![UNKNOWN; program.rows * (text.len() + 1)],
            written: Vec::new(),
            found: false,
            best: None,
            patience: PATIENCE,
        }
    }

    /// The match that starts exactly at `start`, if there is one.
    pub(super) fn run(&mut self, start: usize, mode: Mode) -> Option<Found> {
        self.groups.fill(Group::default());
        self.counters.fill(Counter::default());
        self.stuck.fill(0);
        for cell in self.written.drain(..) {
            if let Some(cell) = self.memory.get_mut(cell) {
                *cell = UNKNOWN;
            }
        }
        (self.found, self.best) = (false, None);
        self.stack.clear();
        self.stack.push(Frame::Visit { state: self.program.start, position: start });
        while let Some(frame) = self.stack.pop() {
            self.step(frame, start, mode);
            // Nothing can be longer than a match that reaches the end.
            if self.best.as_ref().is_some_and(|(end, _)| *end == self.text.len()) {
                break;
            }
        }
        let (end, groups) = self.best.take()?;
        let groups = groups.iter().map(|group| group.end.map(|end| group.start..end)).collect();
        Some(Found { range: start..end, groups })
    }

    fn step(&mut self, frame: Frame, start: usize, mode: Mode) {
        match frame {
            Frame::Visit { state, position } => self.visit(state, position, start, mode),
            Frame::AfterMore { less, position } => {
                if !self.found {
                    self.stack.push(Frame::Visit { state: less, position });
                }
            }
            Frame::AfterFirst { second, position } => {
                self.stack.push(Frame::AfterSecond { first_found: self.found });
                self.found = false;
                self.stack.push(Frame::Visit { state: second, position });
            }
            Frame::AfterSecond { first_found } => self.found |= first_found,
            Frame::Shorter { next, shortest, position } => {
                if !self.found && position > shortest {
                    self.stack.push(Frame::Shorter { next, shortest, position: position - 1 });
                    self.stack.push(Frame::Visit { state: next, position: position - 1 });
                }
            }
            Frame::RestoreGroup { group, value } => {
                if let Some(group) = self.groups.get_mut(group as usize) {
                    *group = value;
                }
            }
            Frame::RestoreCounter { counter, value } => self.set_counter(counter, value),
            Frame::Remember { cell } => {
                if let Some(value) = self.memory.get_mut(cell) {
                    *value = if self.found { FOUND } else { FAILED };
                    self.written.push(cell);
                }
            }
        }
    }

    /// Tries a state at a position. Leaves in `found` whether a match was found from there.
    fn visit(&mut self, mut state: u32, mut position: usize, start: usize, mode: Mode) {
        self.found = false;
        let program = self.program;
        while let Some(current) = program.states.get(state as usize) {
            match *current {
                State::Accept => {
                    self.accept(position, start, mode);
                    return;
                }
                State::Byte(_, next) | State::Any(next) | State::Set(_, next) => {
                    if !self.tests(state, position) {
                        return;
                    }
                    position += 1;
                    state = next;
                }
                State::Begin(next) => {
                    if position != start || mode.has_previous {
                        return;
                    }
                    state = next;
                }
                State::End(next) => {
                    if position != self.text.len() {
                        return;
                    }
                    state = next;
                }
                State::Open(group, next) => {
                    self.change_group(group, |value| value.start = position);
                    state = next;
                }
                State::Close(group, next) => {
                    self.change_group(group, |value| value.end = Some(position));
                    state = next;
                }
                State::Either { first, second, row } => {
                    if self.recall(row, position) {
                        return;
                    }
                    self.stack.push(Frame::AfterFirst { second, position });
                    state = first;
                }
                State::Run { tester, next, row } => {
                    if self.recall(row, position) {
                        return;
                    }
                    let shortest = position;
                    while self.tests(tester, position) {
                        position += 1;
                    }
                    self.stack.push(Frame::Shorter { next, shortest, position });
                    state = next;
                }
                State::Repeat { more, less, row, counter } => {
                    if self.recall(row, position) {
                        return;
                    }
                    self.stack.push(Frame::AfterMore { less, position });
                    if !self.may_enter(counter, position) {
                        return;
                    }
                    state = more;
                }
            }
        }
    }

    /// Whether the byte at `position` is one that this state takes.
    fn tests(&self, state: u32, position: usize) -> bool {
        let Some(&byte) = self.text.get(position) else { return false };
        match self.program.states.get(state as usize) {
            Some(State::Byte(wanted, _)) => byte == *wanted,
            Some(State::Any(_)) => byte != 0,
            Some(State::Set(set, _)) => {
                self.program.sets.get(*set as usize).is_some_and(|set| set.contains(byte))
            }
            _ => false,
        }
    }

    /// The longest match wins; among equals the first.
    fn accept(&mut self, position: usize, start: usize, mode: Mode) {
        self.found = (!mode.exact || position == self.text.len()) && !(mode.not_empty && position == start);
        if self.found && self.best.as_ref().is_none_or(|(end, _)| *end < position) {
            self.best = Some((position, self.groups.clone()));
        }
    }

    fn change_group(&mut self, group: u32, change: impl FnOnce(&mut Group)) {
        if let Some(value) = self.groups.get_mut(group as usize) {
            self.stack.push(Frame::RestoreGroup { group, value: *value });
            change(value);
        }
    }

    /// Whether this way was gone before; then `found` says what came of it. Else arranges for it to be remembered.
    fn recall(&mut self, row: u32, position: usize) -> bool {
        let cell = row as usize * (self.text.len() + 1) + position;
        // Inside a loop that got nowhere yet, less is allowed than elsewhere: that is not for remembering.
        if self.stuck.get(position).is_some_and(|&count| count > 0) {
            if self.patience > 0 {
                self.patience -= 1;
                return false;
            }
            // Once is enough: whatever can be found from here, the first visit finds.
            if let Some(value @ &mut UNKNOWN) = self.memory.get_mut(cell) {
                *value = FAILED;
                self.written.push(cell);
                self.stack.push(Frame::Remember { cell });
                return false;
            }
        }
        match self.memory.get(cell) {
            Some(&UNKNOWN) | None => {
                self.stack.push(Frame::Remember { cell });
                false
            }
            Some(&known) => {
                self.found = known == FOUND;
                true
            }
        }
    }

    fn set_counter(&mut self, number: u32, value: Counter) {
        let Some(counter) = self.counters.get_mut(number as usize) else { return };
        let before = std::mem::replace(counter, value);
        if before.times > 0
            && let Some(count) = self.stuck.get_mut(before.position)
        {
            *count -= 1;
        }
        if value.times > 0
            && let Some(count) = self.stuck.get_mut(value.position)
        {
            *count += 1;
        }
    }

    /// Whether the body of a loop may be entered: twice at most without getting on.
    fn may_enter(&mut self, counter: Option<u32>, position: usize) -> bool {
        let Some(number) = counter else { return true };
        let Some(&before) = self.counters.get(number as usize) else { return true };
        if before.times == 0 || before.position != position {
            self.set_counter(number, Counter { position, times: 1 });
        } else if before.times < 2 {
            self.set_counter(number, Counter { position, times: before.times + 1 });
        } else {
            return false;
        }
        self.stack.push(Frame::RestoreCounter { counter: number, value: before });
        true
    }
}
