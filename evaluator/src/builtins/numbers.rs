//! Builtins on numbers and on types.

use super::{Builtin, builtin};
use crate::code::Arithmetic;
use crate::error::{ErrorKind, Eval};
use crate::evaluator::Evaluator;
use crate::position::Pos;
use crate::value::Value;

pub(super) const TABLE: &[Builtin] = &[
    builtin("__add", 2, 3 | Builtin::UNCHECKED, add, "a b: a + b"),
    builtin(
        "__sub",
        2,
        3 | Builtin::UNCHECKED,
        |e, args, pos| e.arithmetic(Arithmetic::Sub, args[0], args[1], pos),
        "a b: a - b",
    ),
    builtin(
        "__mul",
        2,
        3 | Builtin::UNCHECKED,
        |e, args, pos| e.arithmetic(Arithmetic::Mul, args[0], args[1], pos),
        "a b: a * b",
    ),
    builtin(
        "__div",
        2,
        3 | Builtin::UNCHECKED,
        |e, args, pos| e.arithmetic(Arithmetic::Div, args[0], args[1], pos),
        "a b: a / b",
    ),
    builtin(
        "__lessThan",
        2,
        3 | Builtin::UNCHECKED,
        |e, args, pos| e.less_than(args[0], args[1], pos).map(Value::Bool),
        "a b: a < b",
    ),
    builtin("__bitAnd", 2, 3, |e, args, pos| bits(e, args, pos, |a, b| a & b), "a b: the bits set in both"),
    builtin("__bitOr", 2, 3, |e, args, pos| bits(e, args, pos, |a, b| a | b), "a b: the bits set in either"),
    builtin(
        "__bitXor",
        2,
        3,
        |e, args, pos| bits(e, args, pos, |a, b| a ^ b),
        "a b: the bits set in one only",
    ),
    builtin(
        "__ceil",
        1,
        1,
        |e, args, pos| round(e, args, pos, f64::ceil, "ceil"),
        "n: the next integer not below n",
    ),
    builtin(
        "__floor",
        1,
        1,
        |e, args, pos| round(e, args, pos, f64::floor, "floor"),
        "n: the next integer not above n",
    ),
    builtin(
        "isNull",
        1,
        1,
        |_, args, _| Ok(Value::Bool(matches!(args[0], Value::Null))),
        "e: whether it is null",
    ),
    builtin(
        "__isFunction",
        1,
        1,
        |_, args, _| Ok(Value::Bool(Evaluator::is_function(args[0]))),
        "e: whether it is a function",
    ),
    builtin(
        "__isInt",
        1,
        1,
        |_, args, _| Ok(Value::Bool(matches!(args[0], Value::Int(_)))),
        "e: whether it is an integer",
    ),
    builtin(
        "__isFloat",
        1,
        1,
        |_, args, _| Ok(Value::Bool(matches!(args[0], Value::Float(_)))),
        "e: whether it is a float",
    ),
    builtin(
        "__isString",
        1,
        1,
        |_, args, _| Ok(Value::Bool(matches!(args[0], Value::String(_)))),
        "e: whether it is a string",
    ),
    builtin(
        "__isBool",
        1,
        1,
        |_, args, _| Ok(Value::Bool(matches!(args[0], Value::Bool(_)))),
        "e: whether it is a Boolean",
    ),
    builtin(
        "__isPath",
        1,
        1,
        |_, args, _| Ok(Value::Bool(matches!(args[0], Value::Path(_)))),
        "e: whether it is a path",
    ),
    builtin(
        "__typeOf",
        1,
        1,
        |e, args, _| Ok(e.new_string(args[0].type_name().as_bytes())),
        "e: the name of its type",
    ),
];

fn add<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    for &value in args {
        if !matches!(value, Value::Int(_) | Value::Float(_)) {
            return Err(e.wrong_type(value, "a number", pos));
        }
    }
    e.add_numbers(args[0], args[1], pos)
}

fn bits<'a>(
    e: &mut Evaluator<'a>,
    args: &[Value<'a>],
    pos: Pos,
    f: fn(i64, i64) -> i64,
) -> Eval<'a, Value<'a>> {
    let left = e.expect_int(args[0], pos)?;
    let right = e.expect_int(args[1], pos)?;
    Ok(Value::Int(f(left, right)))
}

fn round<'a>(
    e: &mut Evaluator<'a>,
    args: &[Value<'a>],
    pos: Pos,
    f: fn(f64) -> f64,
    name: &str,
) -> Eval<'a, Value<'a>> {
    let number = match args[0] {
        // Nix before 2.32 rounded it to the nearest float; what came out wrong then is an error since (NixOS/nix#12899).
        Value::Int(number) if (number as f64) as i128 == i128::from(number) => return Ok(Value::Int(number)),
        Value::Int(number) => {
            let message = format!("'{name}' of the integer {number}, which is no float");
            return e.fail(ErrorKind::Other, pos, &message);
        }
        Value::Float(number) => f(number),
        other => return Err(e.wrong_type(other, "a number", pos)),
    };
    // 2^63 itself is no integer of 64 bits any more.
    if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&number) {
        return Ok(Value::Int(number as i64));
    }
    e.fail(ErrorKind::Other, pos, &format!("the result of '{name}' is not an integer of 64 bits: {number}"))
}
