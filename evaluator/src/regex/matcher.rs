//! The matcher: depth first, in the order in which the library tries things, on a stack of its own, and with a memory of
//! which branching states were left at which positions, and whether a match was found from there. Going the same way
//! again could find only matches that are known already and no longer, so it is not gone again. What failed at a
//! position fails there in a later search as well, so a text is split in the time of one search: the number of branching
//! states times the length of the text, whatever the expression. Memory is bounded; what needs more is refused.

mod memory;

use super::program::{Program, State};
use super::{Groups, RegexError};
use memory::{Memory, Outcome};
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

/// Stands for no position.
const NOWHERE: u32 = u32::MAX;

/// What a group has seen so far: its last opening, its last closing with the opening of that time.
#[derive(Debug, Clone, Copy)]
struct Group {
    start: u32,
    end: u32,
}

const UNSEEN: Group = Group { start: 0, end: NOWHERE };

/// How often a loop was entered without getting on.
#[derive(Debug, Clone, Copy, Default)]
struct Counter {
    position: u32,
    times: u8,
}

/// What is left to do.
#[derive(Debug, Clone, Copy)]
enum Frame {
    Visit {
        state: u32,
        position: u32,
    },
    /// The body of a loop was tried: go on without it if it found nothing.
    AfterMore {
        less: u32,
        position: u32,
    },
    /// The first alternative was tried: try the second, whatever the first found.
    AfterFirst {
        second: u32,
        position: u32,
    },
    /// Both were tried.
    AfterSecond {
        first_found: bool,
    },
    /// A run was tried at its longest: try it shorter.
    Shorter {
        run: u32,
        shortest: u32,
        position: u32,
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
        row: u32,
        position: u32,
    },
}

/// How many states inside loops that got nowhere are walked as the library walks them. In nested loops over nothing
/// that are three to the power of their number; from then on each branch is walked once a position, which finds the
/// same matches, only what groups hold in such loops may be another way's.
const PATIENCE: u32 = 1 << 18;

/// As much is left to do at most: a gigabyte of frames, for texts of some megabytes.
const MOST_FRAMES: usize = 1 << 26;

/// A matcher over one text.
#[derive(Debug)]
pub(super) struct Matcher<'a> {
    program: &'a Program,
    text: &'a [u8],
    stack: Vec<Frame>,
    groups: Vec<Group>,
    counters: Vec<Counter>,
    /// How many counters stand at each position with a loop that got nowhere. Empty if there are no counters.
    stuck: Vec<u32>,
    memory: Memory,
    found: bool,
    best: Option<(u32, Vec<Group>)>,
    /// What is left of [`PATIENCE`].
    patience: u32,
}

impl<'a> Matcher<'a> {
    /// A matcher for a program and a text.
    pub(super) fn new(program: &'a Program, text: &'a [u8]) -> Result<Self, RegexError> {
        if text.len() >= NOWHERE as usize {
            return Err(RegexError::TooLarge);
        }
        let stuck = if program.counters > 0 { vec![0; text.len() + 1] } else { Vec::new() };
        Ok(Self {
            program,
            text,
            stack: Vec::new(),
            groups: vec![UNSEEN; program.groups],
            counters: vec![Counter::default(); program.counters],
            stuck,
            memory: Memory::new(program.rows),
            found: false,
            best: None,
            patience: PATIENCE,
        })
    }

    /// Whether a match could begin at `start`, as far as the byte there tells.
    pub(super) fn may_begin(&self, start: usize) -> bool {
        let Some(first) = &self.program.first else { return true };
        self.text.get(start).is_some_and(|byte| first.contains(*byte))
    }

    /// The match that starts exactly at `start`, if there is one. Later calls must not start further to the left.
    pub(super) fn run(&mut self, start: usize, mode: Mode) -> Result<Option<Found>, RegexError> {
        let begin = start as u32;
        self.groups.fill(UNSEEN);
        for number in 0..self.counters.len() {
            self.set_counter(number as u32, Counter::default());
        }
        self.memory.start_at(begin);
        (self.found, self.best) = (false, None);
        self.stack.clear();
        self.stack.push(Frame::Visit { state: self.program.start, position: begin });
        while let Some(frame) = self.stack.pop() {
            self.step(frame, begin, mode);
            // Nothing can be longer than a match that reaches the end.
            if self.best.as_ref().is_some_and(|(end, _)| *end as usize == self.text.len()) {
                break;
            }
            if self.memory.is_full() || self.stack.len() > MOST_FRAMES {
                return Err(RegexError::TooLarge);
            }
        }
        let Some((end, groups)) = self.best.take() else { return Ok(None) };
        self.memory.forget(end);
        let range =
            |group: &Group| (group.end != NOWHERE).then_some(group.start as usize..group.end as usize);
        Ok(Some(Found { range: start..end as usize, groups: groups.iter().map(range).collect() }))
    }

    fn step(&mut self, frame: Frame, start: u32, mode: Mode) {
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
            Frame::Shorter { run, shortest, position } => self.shorter(run, shortest, position),
            Frame::RestoreGroup { group, value } => {
                if let Some(group) = self.groups.get_mut(group as usize) {
                    *group = value;
                }
            }
            Frame::RestoreCounter { counter, value } => self.set_counter(counter, value),
            Frame::Remember { row, position } => self.memory.set(row, position, Outcome::of(self.found)),
        }
    }

    /// How far a run that starts here may go; nothing if a match is known from further on, and so from here. From where
    /// nothing can be found, only shorter ones are of interest.
    fn longest(&mut self, tester: u32, row: u32, shortest: u32) -> Option<u32> {
        let mut position = shortest;
        while self.tests(tester, position) {
            position += 1;
            match self.memory.get(row, position) {
                Outcome::Unknown => {}
                Outcome::Failed => return Some(position - 1),
                Outcome::Found => {
                    self.found = true;
                    (shortest + 1..position)
                        .for_each(|between| self.memory.set(row, between, Outcome::Found));
                    return None;
                }
            }
        }
        Some(position)
    }

    /// What followed a run that ended at `position` was tried: remembers that, and tries it one byte earlier.
    fn shorter(&mut self, run: u32, shortest: u32, position: u32) {
        let Some(State::Run { next, row, .. }) = self.program.states.get(run as usize) else { return };
        // At the shortest, whoever came there remembers.
        if self.found {
            for position in shortest + 1..=position {
                self.memory.set(*row, position, Outcome::Found);
            }
        } else if position > shortest {
            self.memory.set(*row, position, Outcome::Failed);
            self.stack.push(Frame::Shorter { run, shortest, position: position - 1 });
            self.stack.push(Frame::Visit { state: *next, position: position - 1 });
        }
    }

    /// Tries a state at a position. Leaves in `found` whether a match was found from there.
    fn visit(&mut self, mut state: u32, mut position: u32, start: u32, mode: Mode) {
        self.found = false;
        let program = self.program;
        let mut walked = 0;
        while let Some(current) = program.states.get(state as usize) {
            walked += 1;
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
                    if position as usize != self.text.len() {
                        return;
                    }
                    state = next;
                }
                State::Open(group, next) => {
                    self.change_group(group, |value| value.start = position);
                    state = next;
                }
                State::Close(group, next) => {
                    self.change_group(group, |value| value.end = position);
                    state = next;
                }
                State::Join { next, row } => {
                    if self.recall(row, position, walked) {
                        return;
                    }
                    state = next;
                }
                State::Either { first, second, row } => {
                    if self.recall(row, position, walked) {
                        return;
                    }
                    self.stack.push(Frame::AfterFirst { second, position });
                    state = first;
                }
                State::Run { tester, next, row } => {
                    if self.recall(row, position, walked) {
                        return;
                    }
                    let Some(longest) = self.longest(tester, row, position) else { return };
                    self.stack.push(Frame::Shorter { run: state, shortest: position, position: longest });
                    position = longest;
                    state = next;
                }
                State::Repeat { more, less, row, counter } => {
                    if self.recall(row, position, walked) {
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
    fn tests(&self, state: u32, position: u32) -> bool {
        let Some(&byte) = self.text.get(position as usize) else { return false };
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
    fn accept(&mut self, position: u32, start: u32, mode: Mode) {
        self.found =
            (!mode.exact || position as usize == self.text.len()) && !(mode.not_empty && position == start);
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
    /// `walked` states led here from the branch before.
    fn recall(&mut self, row: u32, position: u32, walked: u32) -> bool {
        let known = self.memory.get(row, position);
        // Inside a loop that got nowhere yet, less is allowed than elsewhere: that is not for remembering.
        if self.stuck.get(position as usize).is_some_and(|&count| count > 0) {
            if self.patience > 0 {
                self.patience = self.patience.saturating_sub(walked);
                return false;
            }
            // Once is enough: whatever can be found from here, the first visit finds.
            if known == Outcome::Unknown {
                self.memory.set(row, position, Outcome::Failed);
            }
        }
        if known == Outcome::Unknown {
            self.stack.push(Frame::Remember { row, position });
            return false;
        }
        self.found = known == Outcome::Found;
        true
    }

    fn set_counter(&mut self, number: u32, value: Counter) {
        let Some(counter) = self.counters.get_mut(number as usize) else { return };
        let before = std::mem::replace(counter, value);
        if before.times > 0
            && let Some(count) = self.stuck.get_mut(before.position as usize)
        {
            *count -= 1;
        }
        if value.times > 0
            && let Some(count) = self.stuck.get_mut(value.position as usize)
        {
            *count += 1;
        }
    }

    /// Whether the body of a loop may be entered: twice at most without getting on.
    fn may_enter(&mut self, counter: Option<u32>, position: u32) -> bool {
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
