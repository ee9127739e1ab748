//! Builtins that steer evaluation: errors, sequence, tracing.

use super::{Builtin, builtin};
use crate::attrs::Attrs;
use crate::coerce::Coercion;
use crate::error::{ErrorKind, Eval, What};
use crate::evaluator::Evaluator;
use crate::position::Pos;
use crate::print_value::Style;
use crate::symbol::Known;
use crate::value::Value;
use hashbrown::HashSet;

pub(super) const TABLE: &[Builtin] = &[
    builtin("throw", 1, 1, throw, "s: fails with the message s; tryEval catches it"),
    builtin("abort", 1, 1, abort, "s: ends the evaluation with the message s"),
    builtin(
        "__tryEval",
        1,
        0,
        try_eval,
        "e: { success, value }: whether e evaluates without throw and assert",
    ),
    builtin("__seq", 2, 1, |e, args, _| e.force_value(args[1]), "a b: b, after evaluating a"),
    builtin("__deepSeq", 2, 0, deep_seq, "a b: b, after evaluating a and everything in it"),
    builtin("__trace", 2, 1, trace, "a b: b, after printing a"),
    builtin("__traceVerbose", 2, 0, trace_verbose, "a b: b, after printing a if trace-verbose is set"),
    builtin("__warn", 2, 1, warn, "s b: b, after printing the warning s"),
    builtin("__addErrorContext", 2, 0, add_error_context, "s e: e; should it fail, s is part of the trace"),
    builtin("break", 1, 0, |e, args, _| e.force_value(args[0]), "e: e (a debugger would stop here)"),
];

fn message<'a>(e: &mut Evaluator<'a>, value: Value<'a>, pos: Pos) -> Eval<'a, String> {
    let text = e.coerce(value, Coercion::INTERPOLATION, pos)?;
    Ok(String::from_utf8_lossy(text.bytes()).into_owned())
}

fn throw<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let text = message(e, args[0], pos)?;
    e.fail(ErrorKind::Throw, pos, &text)
}

fn abort<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let text = message(e, args[0], pos)?;
    e.fail(ErrorKind::Abort, pos, &format!("evaluation aborted with the following error message: '{text}'"))
}

fn try_eval<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], _: Pos) -> Eval<'a, Value<'a>> {
    let depth = e.depth;
    let (success, value) = match e.force_value(args[0]) {
        Ok(value) => (true, value),
        Err(error) if error.is_catchable() => (false, Value::Bool(false)),
        Err(error) => return Err(error),
    };
    e.depth = depth;
    let mut attrs = [(Known::SUCCESS, Pos::NONE, Value::Bool(success)), (Known::VALUE, Pos::NONE, value)];
    Ok(Value::Attrs(Attrs::from_unsorted(&e.shapes, &mut attrs)))
}

fn deep_seq<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let first = e.force_value(args[0])?;
    e.force_everything(first, pos)?;
    e.force_value(args[1])
}

fn shown<'a>(e: &Evaluator<'a>, value: Value<'a>) -> String {
    match value {
        Value::String(text) => String::from_utf8_lossy(text.bytes()).into_owned(),
        other => String::from_utf8_lossy(&e.print_value(other, Style::Talkative)).into_owned(),
    }
}

fn trace<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], _: Pos) -> Eval<'a, Value<'a>> {
    let line = format!("trace: {}", shown(e, args[0]));
    e.io.message(&line);
    e.force_value(args[1])
}

fn trace_verbose<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    if e.options.trace_verbose {
        let first = e.force_value(args[0])?;
        return trace(e, &[first, args[1]], pos);
    }
    e.force_value(args[1])
}

fn warn<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let text = e.expect_string(args[0], pos)?;
    let text = String::from_utf8_lossy(text.bytes()).into_owned();
    e.io.message(&format!("evaluation warning: {text}"));
    if e.options.abort_on_warn {
        return e.fail(ErrorKind::Abort, pos, "aborting because of a warning (abort-on-warn is set)");
    }
    e.force_value(args[1])
}

fn add_error_context<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let depth = e.depth;
    e.force_value(args[1]).map_err(|error| {
        e.depth = depth;
        match e.force_value(args[0]).and_then(|text| e.coerce(text, Coercion::INTERPOLATION, pos)) {
            Ok(text) => {
                let text = e.arena.alloc_str(&String::from_utf8_lossy(text.bytes()));
                error.within(e.arena, What::Context(text), pos)
            }
            Err(own) => own,
        }
    })
}

impl<'a> Evaluator<'a> {
    /// Evaluates a value and everything in it.
    pub(crate) fn force_everything(&mut self, value: Value<'a>, pos: Pos) -> Eval<'a, ()> {
        let mut seen = HashSet::new();
        self.force_deep(value, pos, &mut seen)
    }

    fn force_deep(&mut self, value: Value<'a>, pos: Pos, seen: &mut HashSet<usize>) -> Eval<'a, ()> {
        if self.stack_is_low() {
            return self.on_new_stack(|evaluator| evaluator.force_deep(value, pos, seen));
        }
        self.depth += 1;
        if self.depth > self.options.max_call_depth {
            return self.fail(ErrorKind::StackOverflow, pos, "stack overflow; max-call-depth exceeded");
        }
        match value {
            Value::Attrs(attrs) if seen.insert(std::ptr::from_ref(attrs).addr()) => {
                for attr in attrs.iter() {
                    let inner = self
                        .force(attr.slot)
                        .map_err(|error| error.within(self.arena, What::Attribute(attr.name), attr.pos))?;
                    self.force_deep(inner, pos, seen)
                        .map_err(|error| error.within(self.arena, What::Attribute(attr.name), attr.pos))?;
                }
            }
            Value::List(list) if seen.insert(std::ptr::from_ref(list).addr()) => {
                for slot in list.items() {
                    let inner = self.force(slot)?;
                    self.force_deep(inner, pos, seen)?;
                }
            }
            _ => {}
        }
        self.depth -= 1;
        Ok(())
    }
}
