//! What the evaluator runs: the syntax tree with every name resolved to a slot of an environment, laid out in the arena.
//! What may have to wait is a [`Lazy`]; its code has a number so that a thunk is a number and an environment.

use crate::attrs::Keys;
use crate::escape::Lifetime;
use crate::position::Pos;
use crate::symbol::Symbol;
pub(crate) use crate::value::slot::Lazy;
use bumpalo::Bump;
use std::cell::{Cell, OnceCell};
use std::num::NonZero;

/// An expression.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Code<'a> {
    /// Something that is known already, or what `builtins` and `derivation` refer to.
    Const(Lazy<'a>),
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
    HasAttr(&'a HasAttr<'a>),
    Attrs(&'a AttrsCode<'a>),
    RecAttrs(&'a RecCode<'a>),
    List(&'a ListCode<'a>),
    Lambda(u32),
    Call(&'a Call<'a>),
    Let(&'a LetCode<'a>),
    With(&'a WithCode<'a>),
    If(&'a IfCode<'a>),
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
    Plus(&'a Parts<'a>),
    /// `"…${…}…"`.
    Interpolate(&'a Parts<'a>),
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

/// Numbered code lies in blocks of so many; a power of two.
const BLOCK: usize = 1024;

/// All code that has a number: thunks are numbers and environments.
#[derive(Debug)]
pub(crate) struct Codes<'a> {
    arena: &'a Bump,
    /// They stay where they are: what runs refers to them while more are read.
    blocks: Vec<&'a [OnceCell<Code<'a>>]>,
    length: usize,
}

impl<'a> Codes<'a> {
    /// No code yet.
    pub(crate) fn new(arena: &'a Bump) -> Self {
        Self { arena, blocks: Vec::new(), length: 0 }
    }

    /// Gives code the next number.
    pub(crate) fn push(&mut self, code: Code<'a>) -> u32 {
        let number = self.length;
        if number.is_multiple_of(BLOCK) {
            self.blocks.push(self.arena.alloc_slice_fill_with(BLOCK, |_| OnceCell::new()));
        }
        self.blocks[number / BLOCK][number % BLOCK].get_or_init(|| code);
        self.length += 1;
        number as u32
    }

    /// The code of that number; null for one that was never given.
    #[inline]
    pub(crate) fn get(&self, number: u32) -> &'a Code<'a> {
        let number = number as usize;
        self.blocks[number / BLOCK][number % BLOCK].get().unwrap_or(&Code::CurPos(Pos::NONE))
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.length
    }
}

/// `base ? path`.
#[derive(Debug)]
pub(crate) struct HasAttr<'a> {
    pub(crate) base: Code<'a>,
    pub(crate) path: &'a [Step<'a>],
}

/// `[ items… ]`.
#[derive(Debug)]
pub(crate) struct ListCode<'a> {
    pub(crate) items: &'a [Lazy<'a>],
}

/// `let scope in body`.
#[derive(Debug)]
pub(crate) struct LetCode<'a> {
    pub(crate) scope: &'a RecCode<'a>,
    pub(crate) body: Code<'a>,
}

/// `with attrs; body`.
#[derive(Debug)]
pub(crate) struct WithCode<'a> {
    pub(crate) attrs: Lazy<'a>,
    pub(crate) body: Code<'a>,
}

/// `if condition then … else …`.
#[derive(Debug)]
pub(crate) struct IfCode<'a> {
    pub(crate) condition: Code<'a>,
    pub(crate) then: Code<'a>,
    pub(crate) otherwise: Code<'a>,
    pub(crate) pos: Pos,
}

/// What is added up or put together.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) parts: &'a [Code<'a>],
    pub(crate) pos: Pos,
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
    /// The name, if it is not computed.
    pub(crate) name: Symbol,
    pub(crate) pos: Pos,
    pub(crate) keys: Cell<Option<&'a Keys<'a>>>,
    pub(crate) index: Cell<u32>,
    /// One more than the number of the code that computes the name.
    pub(crate) computed: Option<NonZero<u32>>,
}

/// A set whose attributes do not see each other.
#[derive(Debug)]
pub(crate) struct AttrsCode<'a> {
    pub(crate) keys: &'a Keys<'a>,
    /// As long as the keys.
    pub(crate) values: &'a [Lazy<'a>],
    pub(crate) more: Option<&'a MoreAttrs<'a>>,
}

/// What few sets have.
#[derive(Debug)]
pub(crate) struct MoreAttrs<'a> {
    /// What `inherit (e) …` evaluates; when there is any, it gets an environment of its own.
    pub(crate) sources: &'a [Lazy<'a>],
    pub(crate) dynamic: &'a [DynamicCode<'a>],
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
    pub(crate) arguments: &'a [Lazy<'a>],
    pub(crate) pos: Pos,
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
    pub(crate) lifetime: Lifetime,
    /// `a: b: body` is one function of two arguments, whose values are the slots of one scope. It has two numbers that
    /// follow each other: the second is what is left when it was given one argument, in a scope that holds that.
    pub(crate) given: u16,
    /// How many arguments the body needs, with those that are given.
    pub(crate) arity: u16,
}

impl LambdaCode<'_> {
    /// How many arguments the body still needs.
    #[inline]
    pub(crate) fn missing(&self) -> usize {
        (self.arity - self.given) as usize
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_keeps_its_number_and_its_place() {
        let arena = Bump::new();
        let mut codes = Codes::new(&arena);
        let first = (codes.push(Code::Local(0)), codes.get(0));
        for number in 1..5 * BLOCK as u32 {
            assert_eq!(codes.push(Code::Local(number)), number);
        }
        assert_eq!(codes.len(), 5 * BLOCK);
        assert!(std::ptr::eq(first.1, codes.get(first.0)));
        for number in 0..5 * BLOCK as u32 {
            assert!(matches!(codes.get(number), Code::Local(slot) if *slot == number));
        }
    }

    #[test]
    fn code_is_small() {
        assert_eq!(size_of::<Code<'_>>(), 16);
        assert_eq!(size_of::<OnceCell<Code<'_>>>(), 16);
        assert_eq!(size_of::<Step<'_>>(), 24);
    }
}
