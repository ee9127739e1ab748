//! What the evaluator runs: the syntax tree with every name resolved to a slot of an environment, laid out in the arena.
//! What may have to wait is a [`Lazy`]; its code has a number so that a thunk is a number and an environment.

use crate::attrs::Keys;
use crate::position::Pos;
use crate::symbol::Symbol;
use crate::value::Value;
pub(crate) use crate::value::slot::Lazy;
use std::cell::Cell;

/// An expression.
#[derive(Debug)]
pub(crate) enum Code<'a> {
    Const(Value<'a>),
    /// A variable of the innermost scope.
    Local(u32),
    /// A variable `depth` scopes further out.
    Var {
        depth: u32,
        slot: u32,
    },
    /// A name that only the `with`s around it can know, nearest first.
    WithVar(&'a WithVar<'a>),
    CurPos(Pos),
    Select(&'a Select<'a>),
    HasAttr {
        base: &'a Code<'a>,
        path: &'a [Step<'a>],
    },
    Attrs(&'a AttrsCode<'a>),
    RecAttrs(&'a RecCode<'a>),
    List(&'a [Lazy<'a>]),
    Lambda(u32),
    Call(&'a Call<'a>),
    Let {
        scope: &'a RecCode<'a>,
        body: &'a Code<'a>,
    },
    With {
        attrs: Lazy<'a>,
        body: &'a Code<'a>,
    },
    If {
        condition: &'a Code<'a>,
        branches: &'a (Code<'a>, Code<'a>),
        pos: Pos,
    },
    Assert(&'a Assert<'a>),
    Not {
        operand: &'a Code<'a>,
        pos: Pos,
    },
    Equal {
        pair: &'a (Code<'a>, Code<'a>),
        negate: bool,
        pos: Pos,
    },
    And {
        pair: &'a (Code<'a>, Code<'a>),
        pos: Pos,
    },
    Or {
        pair: &'a (Code<'a>, Code<'a>),
        pos: Pos,
    },
    Implies {
        pair: &'a (Code<'a>, Code<'a>),
        pos: Pos,
    },
    Update {
        pair: &'a (Code<'a>, Code<'a>),
        pos: Pos,
    },
    ConcatLists {
        pair: &'a (Code<'a>, Code<'a>),
        pos: Pos,
    },
    /// `a + b` and interpolated paths.
    Plus {
        parts: &'a [Code<'a>],
        pos: Pos,
    },
    /// `"…${…}…"`.
    Interpolate {
        parts: &'a [Code<'a>],
        pos: Pos,
    },
    Arithmetic {
        operator: Arithmetic,
        pair: &'a (Code<'a>, Code<'a>),
        pos: Pos,
    },
    /// The attribute `name` of source number `source` of an `inherit (e) …`.
    Inherited {
        source: u32,
        name: Symbol,
        pos: Pos,
    },
}

/// The operators that Nix desugars to builtins, when the builtins are not shadowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    Sub,
    Mul,
    Div,
    Less,
}

/// `with`-resolved name.
#[derive(Debug)]
pub(crate) struct WithVar<'a> {
    pub(crate) name: Symbol,
    pub(crate) depths: &'a [u32],
    pub(crate) pos: Pos,
}

/// `base.path or default`.
#[derive(Debug)]
pub(crate) struct Select<'a> {
    pub(crate) base: Code<'a>,
    pub(crate) path: &'a [Step<'a>],
    pub(crate) default: Option<&'a Code<'a>>,
    pub(crate) pos: Pos,
}

/// One step of a selection, with the place where the last set of the same shape had the attribute.
#[derive(Debug)]
pub(crate) struct Step<'a> {
    pub(crate) name: StepName<'a>,
    pub(crate) pos: Pos,
    pub(crate) keys: Cell<Option<&'a Keys<'a>>>,
    pub(crate) index: Cell<u32>,
}

/// What a step selects.
#[derive(Debug)]
pub(crate) enum StepName<'a> {
    Static(Symbol),
    Dynamic(&'a Code<'a>),
}

/// A set whose attributes do not see each other.
#[derive(Debug)]
pub(crate) struct AttrsCode<'a> {
    pub(crate) keys: &'a Keys<'a>,
    pub(crate) values: &'a [Init<'a>],
    /// What `inherit (e) …` evaluates; when there is any, it gets an environment of its own.
    pub(crate) sources: &'a [Lazy<'a>],
    pub(crate) dynamic: &'a [DynamicCode<'a>],
}

/// How an attribute begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Init<'a> {
    pub(crate) lazy: Lazy<'a>,
    /// Whether it is one of an `inherit (e) …`.
    pub(crate) inherited: bool,
}

/// A scope whose bindings see each other: `rec { … }` or `let`. The hidden sources of `inherit (e)` come last.
#[derive(Debug)]
pub(crate) struct RecCode<'a> {
    pub(crate) keys: &'a Keys<'a>,
    pub(crate) values: &'a [Lazy<'a>],
    pub(crate) dynamic: &'a [DynamicCode<'a>],
    /// Where `__overrides` stands.
    pub(crate) overrides: Option<u32>,
}

/// `${name} = value`.
#[derive(Debug)]
pub(crate) struct DynamicCode<'a> {
    pub(crate) name: Code<'a>,
    pub(crate) value: Lazy<'a>,
    pub(crate) pos: Pos,
}

/// `assert condition; body`.
#[derive(Debug)]
pub(crate) struct Assert<'a> {
    pub(crate) condition: Code<'a>,
    pub(crate) body: Code<'a>,
    pub(crate) text: &'a str,
    pub(crate) pos: Pos,
}

/// `function arguments…`.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) function: Code<'a>,
    pub(crate) arguments: &'a [Argument<'a>],
    pub(crate) pos: Pos,
}

/// An argument, ready to wait or to be evaluated at once.
#[derive(Debug)]
pub(crate) struct Argument<'a> {
    pub(crate) lazy: Lazy<'a>,
    pub(crate) code: &'a Code<'a>,
}

/// A function.
#[derive(Debug)]
pub(crate) struct LambdaCode<'a> {
    pub(crate) name: Option<Symbol>,
    pub(crate) pos: Pos,
    /// The name of the whole argument; it is slot 0.
    pub(crate) argument: Option<Symbol>,
    pub(crate) formals: Option<FormalsCode<'a>>,
    pub(crate) body: &'a Code<'a>,
}

/// The named arguments of a function, sorted by symbol.
#[derive(Debug)]
pub(crate) struct FormalsCode<'a> {
    pub(crate) list: &'a [FormalCode<'a>],
    pub(crate) ellipsis: bool,
}

/// One named argument.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FormalCode<'a> {
    pub(crate) name: Symbol,
    pub(crate) pos: Pos,
    pub(crate) default: Option<Lazy<'a>>,
}
