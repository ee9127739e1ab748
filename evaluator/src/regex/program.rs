//! From the syntax tree to the states that the matcher walks.

use super::RegexError;
use super::bracket::ByteSet;
use super::parser::Syntax;

/// The library's limit.
const STATE_LIMIT: usize = 100_000;

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
}

impl Program {
    /// Compiles a tree.
    pub(super) fn compile(syntax: &Syntax, groups: usize) -> Result<Self, RegexError> {
        let mut program =
            Self { states: Vec::new(), sets: Vec::new(), start: 0, groups, rows: 0, counters: 0 };
        let accept = program.add(State::Accept)?;
        program.start = program.emit(syntax, accept)?;
        Ok(program)
    }

    fn add(&mut self, state: State) -> Result<u32, RegexError> {
        if self.states.len() >= STATE_LIMIT {
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
            Syntax::Either(first, second) => {
                let first = self.emit(first, next)?;
                let second = self.emit(second, next)?;
                let row = self.row();
                self.add(State::Either { first, second, row })
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
            // body (body (body …)?)?
            Some(most) => (least..most).try_fold(next, |inner, _| {
                let more = self.emit(body, inner)?;
                let (row, counter) = (self.row(), self.counter(body));
                self.add(State::Repeat { more, less: next, row, counter })
            })?,
        };
        for _ in 0..least {
            start = self.emit(body, start)?;
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
        Syntax::Either(first, second) => can_be_empty(first) || can_be_empty(second),
        Syntax::Repeat(body, least, _) => *least == 0 || can_be_empty(body),
    }
}
