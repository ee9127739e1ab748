//! Values, unpacked: 16 bytes to be matched on and passed around. Where they are stored (an environment, a list, an
//! attribute set) they are packed into a [`Slot`] of eight. A thunk is a value, too: the number of a piece of code and
//! the environment to run it in, overwritten by its result. Nothing is ever freed: the arena goes as a whole.
//!
//! Sharing: whoever copies a slot that is not evaluated yet copies a [`Value::Ref`] to it, so every thunk is run once.

mod list;
pub(crate) mod slot;
mod text;

pub(crate) use self::list::List;
pub(crate) use self::slot::{Env, Passing, Slot};
pub(crate) use self::text::{Context, Str};

use crate::attrs::Attrs;
use crate::builtins::Builtin;
use crate::error::Error;

/// A value or the promise of one. The kind is a whole half word: a value is copied in the same pieces that it was written
/// in, or the processor waits for the pieces to come together.
#[derive(Debug, Clone, Copy)]
#[repr(u32)]
pub(crate) enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    String(&'a Str<'a>),
    /// An absolute path; its context is always empty.
    Path(&'a Str<'a>),
    List(&'a List<'a>),
    Attrs(&'a Attrs<'a>),
    /// A function: the number of its code and the environment it closes over, or the arguments that it was given already.
    Lambda(u32, &'a Env<'a>),
    Builtin(&'static Builtin),
    Partial(&'a Partial<'a>),
    /// Code to run when the value is needed.
    Thunk(u32, &'a Env<'a>),
    /// A function to call when the value is needed.
    Apply(&'a Apply<'a>),
    /// An item of a mapped list or set.
    Item(u32, &'a Mapped<'a>),
    /// The value lies elsewhere.
    Ref(&'a Slot<'a>),
    /// Being evaluated right now.
    Blackhole,
    /// Evaluation failed, and would fail again.
    Failed(Error<'a>),
}

/// A function applied to many things, each when it is needed: what `map`, `mapAttrs` and `genList` make.
#[derive(Debug)]
pub(crate) struct Mapped<'a> {
    pub(crate) function: Slot<'a>,
    /// A list, a set of one layer, or null: then it is applied to the numbers themselves.
    pub(crate) over: Slot<'a>,
}

/// A builtin with fewer arguments than it needs.
#[derive(Debug)]
pub(crate) struct Partial<'a> {
    pub(crate) builtin: &'static Builtin,
    pub(crate) arguments: &'a [Value<'a>],
}

/// A call that waits.
#[derive(Debug)]
pub(crate) struct Apply<'a> {
    pub(crate) function: Value<'a>,
    pub(crate) arguments: &'a [Value<'a>],
}

impl Value<'_> {
    /// Whether nothing is left to evaluate (at the top).
    pub(crate) fn is_evaluated(&self) -> bool {
        !matches!(
            self,
            Value::Thunk(..)
                | Value::Apply(_)
                | Value::Item(..)
                | Value::Ref(_)
                | Value::Blackhole
                | Value::Failed(_)
        )
    }

    /// What `builtins.typeOf` answers.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float",
            Value::String(_) => "string",
            Value::Path(_) => "path",
            Value::List(_) => "list",
            Value::Attrs(_) => "set",
            Value::Lambda(..) | Value::Builtin(_) | Value::Partial(_) => "lambda",
            _ => "thunk",
        }
    }

    /// The type with its article, for messages.
    pub(crate) fn describe_type(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "a Boolean",
            Value::Int(_) => "an integer",
            Value::Float(_) => "a float",
            Value::String(_) => "a string",
            Value::Path(_) => "a path",
            Value::List(_) => "a list",
            Value::Attrs(_) => "a set",
            Value::Lambda(..) => "a function",
            Value::Builtin(_) => "a built-in function",
            Value::Partial(_) => "a partially applied built-in function",
            _ => "a thunk",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_two_words() {
        assert_eq!(size_of::<Value<'_>>(), 16);
        assert_eq!(size_of::<Result<Value<'_>, Error<'_>>>(), 16);
    }
}
