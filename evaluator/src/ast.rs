//! The syntax tree as the parser leaves it: names not yet resolved, sugar already taken away where Nix takes it away
//! (`a - b` is a call of `__sub`, `a.b.c = 1` nested sets). It lives in an arena of its own that is dropped when the
//! file has been resolved into [`crate::code`].

use crate::position::Pos;
use crate::symbol::Symbol;
use bumpalo::collections::Vec as ArenaVec;
use std::cell::{Cell, RefCell};

/// An expression and where it stands. It is copied often: what does not fit into two words is elsewhere.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expr<'t> {
    pub(crate) pos: Pos,
    pub(crate) kind: Kind<'t>,
}

/// What an expression is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind<'t> {
    Int(i64),
    Float(f64),
    String(&'t [u8]),
    /// Absolute and canonical.
    Path(&'t [u8]),
    Var(Symbol),
    CurPos,
    Select(&'t SelectNode<'t>),
    HasAttr(&'t HasAttrNode<'t>),
    Attrs(&'t AttrsNode<'t>),
    List(&'t [Expr<'t>]),
    Lambda(&'t LambdaNode<'t>),
    Call(&'t CallNode<'t>),
    Let {
        bindings: &'t AttrsNode<'t>,
        body: &'t Expr<'t>,
    },
    With {
        attrs: &'t Expr<'t>,
        body: &'t Expr<'t>,
    },
    /// The condition and the two branches.
    If(&'t [Expr<'t>; 3]),
    Assert {
        condition: &'t Expr<'t>,
        body: &'t Expr<'t>,
    },
    Not(&'t Expr<'t>),
    Binary {
        operator: Binary,
        sides: &'t [Expr<'t>; 2],
    },
    /// `+`, an interpolated string (`force_string`) or an interpolated path.
    Concat {
        force_string: bool,
        parts: &'t [Expr<'t>],
    },
}

/// `base.path or default`.
#[derive(Debug)]
pub(crate) struct SelectNode<'t> {
    pub(crate) base: Expr<'t>,
    pub(crate) path: &'t [AttrName<'t>],
    pub(crate) default: Option<Expr<'t>>,
}

/// `base ? path`.
#[derive(Debug)]
pub(crate) struct HasAttrNode<'t> {
    pub(crate) base: Expr<'t>,
    pub(crate) path: &'t [AttrName<'t>],
}

/// `function arguments…`.
#[derive(Debug)]
pub(crate) struct CallNode<'t> {
    pub(crate) function: Expr<'t>,
    pub(crate) arguments: &'t [Expr<'t>],
}

/// The operators that are not calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binary {
    Equal,
    NotEqual,
    And,
    Or,
    Implies,
    Update,
    ConcatLists,
}

/// One step of an attribute path.
#[derive(Debug, Clone, Copy)]
pub(crate) enum AttrName<'t> {
    Static(Symbol, Pos),
    Dynamic(&'t Expr<'t>),
}

/// An attribute set or the bindings of a `let`.
#[derive(Debug)]
pub(crate) struct AttrsNode<'t> {
    /// Identifies the node in the parser's index of attributes.
    pub(crate) id: u32,
    pub(crate) recursive: Cell<bool>,
    pub(crate) attrs: RefCell<ArenaVec<'t, AttrDef<'t>>>,
    pub(crate) dynamic: RefCell<ArenaVec<'t, DynamicAttr<'t>>>,
    /// The expressions of `inherit (e) …`, each evaluated once.
    pub(crate) sources: RefCell<ArenaVec<'t, Expr<'t>>>,
}

/// One attribute with a name known when parsing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AttrDef<'t> {
    pub(crate) name: Symbol,
    pub(crate) pos: Pos,
    pub(crate) value: AttrValue<'t>,
}

/// Where an attribute's value comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum AttrValue<'t> {
    Plain(Expr<'t>),
    /// `inherit x`: the variable of that name outside the set.
    Inherited,
    /// `inherit (e) x`: an index into the node's sources.
    InheritedFrom(u32),
}

/// `${e} = value`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DynamicAttr<'t> {
    pub(crate) name: &'t Expr<'t>,
    pub(crate) value: Expr<'t>,
    pub(crate) pos: Pos,
}

/// A function.
#[derive(Debug)]
pub(crate) struct LambdaNode<'t> {
    /// `x:` or the name before or after `@`.
    pub(crate) argument: Option<Symbol>,
    pub(crate) formals: Option<Formals<'t>>,
    pub(crate) body: Expr<'t>,
    /// The attribute or variable that the function was bound to, for messages.
    pub(crate) name: Cell<Option<Symbol>>,
}

/// `{ a, b ? c, ... }`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Formals<'t> {
    pub(crate) list: &'t [Formal<'t>],
    pub(crate) ellipsis: bool,
}

/// One named argument.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Formal<'t> {
    pub(crate) name: Symbol,
    pub(crate) pos: Pos,
    pub(crate) default: Option<Expr<'t>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_small() {
        assert_eq!(size_of::<Expr<'_>>(), 32);
    }
}
