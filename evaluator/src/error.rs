//! Errors while they travel: one word, everything else in the arena, made only on the failing path. At the border of
//! the library they become [`crate::EvalError`].

use crate::position::Pos;
use crate::symbol::Symbol;
use bumpalo::Bump;

/// A result of evaluation.
pub(crate) type Eval<'a, T> = Result<T, Error<'a>>;

/// An error on its way up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Error<'a>(pub(crate) &'a ErrorNode<'a>);

/// What went wrong, and the newest step of the trace.
#[derive(Debug)]
pub(crate) struct ErrorNode<'a> {
    pub(crate) cause: &'a Cause<'a>,
    pub(crate) trace: Option<&'a Frame<'a>>,
}

/// What went wrong and where.
#[derive(Debug)]
pub(crate) struct Cause<'a> {
    pub(crate) kind: ErrorKind,
    pub(crate) message: &'a str,
    pub(crate) pos: Pos,
    /// A sentence on what to do, or names that are close.
    pub(crate) hint: Option<&'a str>,
}

/// The kinds of errors that somebody may want to tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// `throw`, or a failed look-up in the search path: `tryEval` catches it.
    Throw,
    /// A failed `assert`: `tryEval` catches it.
    Assertion,
    /// `abort`.
    Abort,
    /// A value of the wrong type.
    Type,
    /// A variable that is nowhere defined.
    UndefinedVariable,
    /// An attribute that is not there.
    MissingAttribute,
    /// A value that needs itself.
    InfiniteRecursion,
    /// More nested calls than allowed.
    StackOverflow,
    /// The text is not Nix.
    Syntax,
    /// The world said no: a file, the store, the network.
    Io,
    /// Something fetched is not what its hash says.
    Mismatch,
    /// Somebody does not want the answer any more.
    Interrupted,
    /// Forbidden in pure or restricted evaluation.
    Restricted,
    /// Anything else.
    Other,
}

/// One step of a trace.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) what: What<'a>,
    pub(crate) pos: Pos,
    /// The step before (further in).
    pub(crate) next: Option<&'a Frame<'a>>,
}

/// What was going on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum What<'a> {
    Attribute(Symbol),
    Call(Option<Symbol>),
    Builtin(&'static str),
    /// Evaluating a file; said where the whole trace is asked for, since places name their files.
    File(&'a str),
    /// `addErrorContext`, always shown.
    Context(&'a str),
    /// Evaluating a derivation's attribute.
    Derivation {
        name: &'a str,
        attribute: Option<Symbol>,
    },
    /// A value that turned out to need itself was being evaluated here.
    Cycle,
    /// A binding on the way from such a value back to itself.
    Needs,
}

impl<'a> Error<'a> {
    /// A new error.
    #[cold]
    pub(crate) fn new(arena: &'a Bump, kind: ErrorKind, pos: Pos, message: &str) -> Self {
        let cause = arena.alloc(Cause { kind, message: arena.alloc_str(message), pos, hint: None });
        Self(arena.alloc(ErrorNode { cause, trace: None }))
    }

    /// The error with a hint.
    #[cold]
    pub(crate) fn hint(self, arena: &'a Bump, hint: &str) -> Self {
        let cause = arena.alloc(Cause { hint: Some(arena.alloc_str(hint)), ..*self.0.cause });
        Self(arena.alloc(ErrorNode { cause, trace: self.0.trace }))
    }

    /// The error with a position, unless it has one.
    #[cold]
    pub(crate) fn at(self, arena: &'a Bump, pos: Pos) -> Self {
        if self.0.cause.pos != Pos::NONE || pos == Pos::NONE {
            return self;
        }
        let cause = arena.alloc(Cause { pos, ..*self.0.cause });
        Self(arena.alloc(ErrorNode { cause, trace: self.0.trace }))
    }

    /// The error, one step further out.
    #[cold]
    pub(crate) fn within(self, arena: &'a Bump, what: What<'a>, pos: Pos) -> Self {
        let frame = arena.alloc(Frame { what, pos, next: self.0.trace });
        Self(arena.alloc(ErrorNode { cause: self.0.cause, trace: Some(frame) }))
    }

    pub(crate) fn kind(self) -> ErrorKind {
        self.0.cause.kind
    }

    /// Whether `tryEval` turns it into `false`.
    pub(crate) fn is_catchable(self) -> bool {
        matches!(self.kind(), ErrorKind::Throw | ErrorKind::Assertion)
    }
}
