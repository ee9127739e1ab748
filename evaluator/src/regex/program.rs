//! From the syntax tree to the states that the matcher walks. Counted repetitions are copies, as in the library: what a
//! state may still do depends on how often its loop went round, so a counter would have to be part of where the matcher
//! has been, and nothing would be won. The library's limit bounds them.

use super::RegexError;
use super::bracket::ByteSet;
use super::parser::Syntax;

/// The library's limit, in its own states (see [`Size`]).
const STATE_LIMIT: u64 = 100_000;

/// So many states without a branch may be walked more than once at a position; more of them get a [`State::Join`].
const SHORT_WALK: usize = 8;

/// One state. Numbers are indices into [`Program::states`].
#[derive(Debug, Clone)]
pub(super) enum State {
    /// The end of the expression.
    Accept,
    /// One byte.
    Byte(u8, u32),
    /// Any byte but NUL.
    Any(u32),
    /// A byte of a set.
    Set(u32, u32),
    /// The beginning of the text.
    Begin(u32),
    /// The end of the text.
    End(u32),
    /// A group opens.
    Open(u32, u32),
    /// A group closes.
    Close(u32, u32),
    /// Two ways, of which both are tried and the longer match wins.
    Either {
        /// Tried first.
        first: u32,
        /// Tried second.
        second: u32,
        /// Which row of the matcher's memory is its own.
        row: u32,
    },
    /// Once more, or on.
    Repeat {
        /// Tried first.
        more: u32,
        /// Tried if `more` found nothing.
        less: u32,
        /// Which row of the matcher's memory is its own.
        row: u32,
        /// If the body can match nothing: which counter bounds that.
        counter: Option<u32>,
    },
    /// A single byte repeated at will: no body to walk.
    Run {
        /// The state that tests one byte; its successor does not matter.
        tester: u32,
        /// What follows.
        next: u32,
        /// Which row of the matcher's memory is its own.
        row: u32,
    },
    /// Several ways come together before a long walk, which is remembered like a branch.
    Join {
        /// What follows.
        next: u32,
        /// Which row of the matcher's memory is its own.
        row: u32,
    },
}

/// A compiled expression.
#[derive(Debug, Clone)]
pub(super) struct Program {
    /// All states.
    pub(super) states: Vec<State>,
    /// The sets that `State::Set` names.
    pub(super) sets: Vec<ByteSet>,
    /// Where matching starts.
    pub(super) start: u32,
    /// The number of groups.
    pub(super) groups: usize,
    /// The number of states that branch.
    pub(super) rows: usize,
    /// The number of loops whose body can be empty.
    pub(super) counters: usize,
    /// The bytes that a match may begin with; `None` if it may be empty.
    pub(super) first: Option<ByteSet>,
}

impl Program {
    /// Compiles a tree.
    pub(super) fn compile(syntax: &Syntax, groups: usize) -> Result<Self, RegexError> {
        if Size::of_branch(syntax).made + 3 > STATE_LIMIT {
            return Err(RegexError::TooLarge);
        }
        let mut first = ByteSet::empty();
        let first = first_bytes(syntax, &mut first).then_some(first);
        let mut program =
            Self { states: Vec::new(), sets: Vec::new(), start: 0, groups, rows: 0, counters: 0, first };
        let accept = program.add(State::Accept)?;
        program.start = program.emit(syntax, accept)?;
        Ok(program)
    }

    fn add(&mut self, state: State) -> Result<u32, RegexError> {
        if self.states.len() as u64 > STATE_LIMIT {
            return Err(RegexError::TooLarge);
        }
        self.states.push(state);
        Ok(self.states.len() as u32 - 1)
    }

    fn row(&mut self) -> u32 {
        self.rows += 1;
        self.rows as u32 - 1
    }

    /// Emits states for `syntax` that go on to `next`; gives the first.
    fn emit(&mut self, syntax: &Syntax, next: u32) -> Result<u32, RegexError> {
        match syntax {
            Syntax::Empty => Ok(next),
            Syntax::Byte(byte) => self.add(State::Byte(*byte, next)),
            Syntax::Any => self.add(State::Any(next)),
            Syntax::Set(set) => {
                self.sets.push((**set).clone());
                self.add(State::Set(self.sets.len() as u32 - 1, next))
            }
            Syntax::Begin => self.add(State::Begin(next)),
            Syntax::End => self.add(State::End(next)),
            Syntax::Group(number, content) => {
                let close = self.add(State::Close(*number as u32, next))?;
                let content = self.emit(content, close)?;
                self.add(State::Open(*number as u32, content))
            }
            Syntax::Sequence(terms) => terms.iter().rev().try_fold(next, |next, term| self.emit(term, next)),
            Syntax::Either(branches) => {
                let next = self.join(next)?;
                let mut rest = None;
                for branch in branches.iter().rev() {
                    let first = self.emit(branch, next)?;
                    rest = Some(match rest {
                        None => first,
                        Some(second) => {
                            let row = self.row();
                            self.add(State::Either { first, second, row })?
                        }
                    });
                }
                Ok(rest.unwrap_or(next))
            }
            Syntax::Repeat(body, least, most) => self.emit_repeat(body, *least, *most, next),
        }
    }

    fn emit_repeat(
        &mut self,
        body: &Syntax,
        least: u32,
        most: Option<u32>,
        next: u32,
    ) -> Result<u32, RegexError> {
        let mut least = least;
        let mut start = match most {
            // `x+`: in at the body. Loops in loops would be doubled with each level otherwise.
            None if least > 0 && !is_one_byte(body) => {
                least -= 1;
                self.emit_loop(body, next)?.1
            }
            None => self.emit_loop(body, next)?.0,
            // Nothing, however often.
            Some(0) => next,
            // body (body (body …)?)?
            Some(most) => {
                let next = if least < most { self.join(next)? } else { next };
                (least..most).try_fold(next, |inner, _| {
                    let more = self.emit(body, inner)?;
                    let (row, counter) = (self.row(), self.counter(body));
                    self.add(State::Repeat { more, less: next, row, counter })
                })?
            }
        };
        for _ in 0..least {
            let before = self.states.len();
            start = self.emit(body, start)?;
            if self.states.len() == before {
                break;
            }
        }
        Ok(start)
    }

    /// A loop: where it decides whether to go on, and where its body starts.
    fn emit_loop(&mut self, body: &Syntax, next: u32) -> Result<(u32, u32), RegexError> {
        let row = self.row();
        if is_one_byte(body) {
            let tester = self.emit(body, next)?;
            let run = self.add(State::Run { tester, next, row })?;
            return Ok((run, run));
        }
        let counter = self.counter(body);
        let head = self.add(State::Repeat { more: next, less: next, row, counter })?;
        let body = self.emit(body, head)?;
        if let Some(State::Repeat { more, .. }) = self.states.get_mut(head as usize) {
            *more = body;
        }
        Ok((head, body))
    }

    /// A state from which `next` is reached, once a position if it takes long to the next branch.
    fn join(&mut self, next: u32) -> Result<u32, RegexError> {
        let mut state = next;
        for _ in 0..SHORT_WALK {
            match self.states.get(state as usize) {
                Some(
                    State::Byte(_, next)
                    | State::Any(next)
                    | State::Set(_, next)
                    | State::Begin(next)
                    | State::End(next)
                    | State::Open(_, next)
                    | State::Close(_, next),
                ) => state = *next,
                _ => return Ok(next),
            }
        }
        let row = self.row();
        self.add(State::Join { next, row })
    }

    fn counter(&mut self, body: &Syntax) -> Option<u32> {
        can_be_empty(body).then(|| {
            self.counters += 1;
            self.counters as u32 - 1
        })
    }
}

/// Whether it matches exactly one byte, whichever.
const fn is_one_byte(syntax: &Syntax) -> bool {
    matches!(syntax, Syntax::Byte(_) | Syntax::Any | Syntax::Set(_))
}

fn can_be_empty(syntax: &Syntax) -> bool {
    match syntax {
        Syntax::Empty | Syntax::Begin | Syntax::End => true,
        Syntax::Byte(_) | Syntax::Any | Syntax::Set(_) => false,
        Syntax::Group(_, content) => can_be_empty(content),
        Syntax::Sequence(terms) => terms.iter().all(can_be_empty),
        Syntax::Either(branches) => branches.iter().any(can_be_empty),
        Syntax::Repeat(body, least, _) => *least == 0 || can_be_empty(body),
    }
}

/// Adds the bytes that a match may begin with; false if it may also be empty.
fn first_bytes(syntax: &Syntax, set: &mut ByteSet) -> bool {
    match syntax {
        Syntax::Empty | Syntax::Begin | Syntax::End => false,
        Syntax::Byte(byte) => {
            set.insert(*byte);
            true
        }
        Syntax::Any => {
            (1..=255).for_each(|byte| set.insert(byte));
            true
        }
        Syntax::Set(members) => {
            (0..=255).filter(|byte| members.contains(*byte)).for_each(|byte| set.insert(byte));
            true
        }
        Syntax::Group(_, content) => first_bytes(content, set),
        Syntax::Sequence(terms) => terms.iter().any(|term| first_bytes(term, set)),
        // Each of them, though one says that it may be empty.
        Syntax::Either(branches) => branches.iter().filter(|branch| !first_bytes(branch, set)).count() == 0,
        Syntax::Repeat(body, least, _) => first_bytes(body, set) && *least > 0,
    }
}

/// How many states the library makes of an expression, so that the same ones are refused.
#[derive(Clone, Copy)]
struct Size {
    /// All that it makes on the way.
    made: u64,
    /// Those of them that it copies when the expression is repeated.
    copied: u64,
}

impl Size {
    const fn new(made: u64, copied: u64) -> Self {
        Self { made, copied }
    }

    const fn and(self, other: Self) -> Self {
        Self { made: self.made.saturating_add(other.made), copied: self.copied.saturating_add(other.copied) }
    }

    /// Of what stands between `(`, `|` and `)`: each branch ends with a state that does nothing.
    fn of_branch(syntax: &Syntax) -> Self {
        match syntax {
            Syntax::Empty => Self::new(1, 1),
            Syntax::Either(branches) => {
                let bars = 2 * (branches.len() as u64).saturating_sub(1);
                branches.iter().map(Self::of_branch).fold(Self::new(bars, bars), Self::and)
            }
            other => Self::of(other).and(Self::new(1, 1)),
        }
    }

    fn of(syntax: &Syntax) -> Self {
        match syntax {
            Syntax::Byte(_) | Syntax::Any | Syntax::Set(_) | Syntax::Begin | Syntax::End => Self::new(1, 1),
            Syntax::Sequence(terms) => terms.iter().map(Self::of).fold(Self::new(0, 0), Self::and),
            Syntax::Group(_, content) => Self::of_branch(content).and(Self::new(2, 2)),
            Syntax::Empty | Syntax::Either(_) => Self::of_branch(syntax),
            Syntax::Repeat(body, 0 | 1, None) => Self::of(body).and(Self::new(1, 1)),
            Syntax::Repeat(body, 0, Some(1)) => Self::of(body).and(Self::new(2, 2)),
            Syntax::Repeat(body, least, most) => {
                let body = Self::of(body);
                let optional = most.map_or(1, |most| u64::from(most - least));
                let end = u64::from(most.is_some());
                let copies = (u64::from(*least) + optional).saturating_mul(body.copied);
                let new = copies.saturating_add(optional + end + 1);
                Self::new(body.made.saturating_add(new), new)
            }
        }
    }
}
