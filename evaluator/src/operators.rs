//! Arithmetic, equality and order.

use crate::code::Arithmetic;
use crate::error::{ErrorKind, Eval};
use crate::evaluator::Evaluator;
use crate::position::Pos;
use crate::symbol::Known;
use crate::value::{Slot, Value};

impl<'a> Evaluator<'a> {
    pub(crate) fn arithmetic(
        &mut self,
        operator: Arithmetic,
        left: Value<'a>,
        right: Value<'a>,
        pos: Pos,
    ) -> Eval<'a, Value<'a>> {
        if operator == Arithmetic::Less {
            return Ok(Value::Bool(self.less_than(left, right, pos)?));
        }
        match (left, right) {
            (Value::Int(a), Value::Int(b)) => self.integers(operator, a, b, pos),
            (Value::Int(a), Value::Float(b)) => self.floats(operator, a as f64, b, pos),
            (Value::Float(a), Value::Int(b)) => self.floats(operator, a, b as f64, pos),
            (Value::Float(a), Value::Float(b)) => self.floats(operator, a, b, pos),
            (Value::Int(_) | Value::Float(_), other) | (other, _) => {
                Err(self.wrong_type(other, "a number", pos))
            }
        }
    }

    fn integers(&mut self, operator: Arithmetic, a: i64, b: i64, pos: Pos) -> Eval<'a, Value<'a>> {
        let (result, verb, sign) = match operator {
            Arithmetic::Sub => (a.checked_sub(b), "subtracting", '-'),
            Arithmetic::Mul => (a.checked_mul(b), "multiplying", '*'),
            _ if b == 0 => return self.fail(ErrorKind::Other, pos, "division by zero"),
            _ => (a.checked_div(b), "dividing", '/'),
        };
        match result {
            Some(number) => Ok(Value::Int(number)),
            None => self.fail(ErrorKind::Other, pos, &format!("integer overflow in {verb} {a} {sign} {b}")),
        }
    }

    fn floats(&mut self, operator: Arithmetic, a: f64, b: f64, pos: Pos) -> Eval<'a, Value<'a>> {
        Ok(Value::Float(match operator {
            Arithmetic::Sub => a - b,
            Arithmetic::Mul => a * b,
            _ if b == 0.0 => return self.fail(ErrorKind::Other, pos, "division by zero"),
            _ => a / b,
        }))
    }

    /// `left < right`.
    pub(crate) fn less_than(&mut self, left: Value<'a>, right: Value<'a>, pos: Pos) -> Eval<'a, bool> {
        match (left, right) {
            (Value::Int(a), Value::Int(b)) => Ok(a < b),
            (Value::Float(a), Value::Float(b)) => Ok(a < b),
            (Value::Int(a), Value::Float(b)) => Ok((a as f64) < b),
            (Value::Float(a), Value::Int(b)) => Ok(a < b as f64),
            (Value::String(a), Value::String(b)) | (Value::Path(a), Value::Path(b)) => {
                Ok(a.bytes() < b.bytes())
            }
            (Value::List(a), Value::List(b)) => {
                if self.stack_is_low() {
                    return self.on_new_stack(|evaluator| evaluator.less_than(left, right, pos));
                }
                for (x, y) in a.items().iter().zip(b.items()) {
                    if !self.equal_slots(x, y, pos)? {
                        let x = self.force(x)?;
                        let y = self.force(y)?;
                        return self.less_than(x, y, pos);
                    }
                }
                Ok(a.len() < b.len())
            }
            (left, right) if std::mem::discriminant(&left) == std::mem::discriminant(&right) => {
                let message = format!(
                    "cannot compare {} with {}; values of that type are incomparable",
                    left.describe_type(),
                    right.describe_type()
                );
                self.fail(ErrorKind::Type, pos, &message)
            }
            (left, right) => {
                let message =
                    format!("cannot compare {} with {}", left.describe_type(), right.describe_type());
                self.fail(ErrorKind::Type, pos, &message)
            }
        }
    }

    /// Equality of things that are stored somewhere: the same thing is equal to itself, functions included.
    pub(crate) fn equal_slots(
        &mut self,
        left: &'a Slot<'a>,
        right: &'a Slot<'a>,
        pos: Pos,
    ) -> Eval<'a, bool> {
        let a = self.force(left)?;
        let b = self.force(right)?;
        if std::ptr::eq(left, right) || Self::identical(a, b) {
            return Ok(true);
        }
        self.equal(a, b, pos)
    }

    /// Whether two values are one and the same.
    pub(crate) fn identical(left: Value<'a>, right: Value<'a>) -> bool {
        match (left, right) {
            (Value::Lambda(a, x), Value::Lambda(b, y)) => a == b && std::ptr::eq(x, y),
            (Value::Builtin(a), Value::Builtin(b)) => std::ptr::eq(a, b),
            (Value::Partial(a), Value::Partial(b)) => std::ptr::eq(a, b),
            (Value::Attrs(a), Value::Attrs(b)) => std::ptr::eq(a, b),
            (Value::List(a), Value::List(b)) => std::ptr::eq(a, b),
            (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
            _ => false,
        }
    }

    /// `left == right`.
    #[expect(clippy::float_cmp, reason = "the language compares floats exactly")]
    pub(crate) fn equal(&mut self, left: Value<'a>, right: Value<'a>, pos: Pos) -> Eval<'a, bool> {
        match (left, right) {
            (Value::Null, Value::Null) => Ok(true),
            (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
            (Value::Int(a), Value::Int(b)) => Ok(a == b),
            (Value::Float(a), Value::Float(b)) => Ok(a == b),
            (Value::Int(a), Value::Float(b)) => Ok(a as f64 == b),
            (Value::Float(a), Value::Int(b)) => Ok(a == b as f64),
            (Value::String(a), Value::String(b)) | (Value::Path(a), Value::Path(b)) => {
                Ok(a.bytes() == b.bytes())
            }
            (Value::List(_), Value::List(_)) | (Value::Attrs(_), Value::Attrs(_)) => {
                self.depth += 1;
                if self.depth > self.options.max_call_depth {
                    return self.fail(
                        ErrorKind::StackOverflow,
                        pos,
                        "stack overflow; max-call-depth exceeded",
                    );
                }
                let result = if self.stack_is_low() {
                    self.on_new_stack(|evaluator| evaluator.equal_compound(left, right, pos))
                } else {
                    self.equal_compound(left, right, pos)
                };
                self.depth -= 1;
                result
            }
            _ => Ok(false),
        }
    }

    fn equal_compound(&mut self, left: Value<'a>, right: Value<'a>, pos: Pos) -> Eval<'a, bool> {
        match (left, right) {
            (Value::List(a), Value::List(b)) => {
                if a.len() != b.len() {
                    return Ok(false);
                }
                for (x, y) in a.items().iter().zip(b.items()) {
                    if !self.equal_slots(x, y, pos)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (Value::Attrs(a), Value::Attrs(b)) => {
                // Derivations are equal when their outputs are.
                if self.is_derivation(left)?
                    && self.is_derivation(right)?
                    && let (Some(x), Some(y)) = (a.get(Known::OUT_PATH), b.get(Known::OUT_PATH))
                {
                    return self.equal_slots(x, y, pos);
                }
                if a.len() != b.len() {
                    return Ok(false);
                }
                let (a, b) = (a.flatten(&self.shapes), b.flatten(&self.shapes));
                for (x, y) in a.iter().zip(b.iter()) {
                    if x.name != y.name || !self.equal_slots(x.slot, y.slot, pos)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}
