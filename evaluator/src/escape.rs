//! What becomes of a function's scope: when nothing that outlives a call refers to it, its memory is used again as soon as
//! the call is over. Who makes something that refers to a scope marks the scope; here is seen which bodies only compute
//! (they make no function, no scope of their own and nothing that waits and would need the scope when it runs), so that
//! an argument that is handed on as it is need not keep the scope.

use crate::code::{Code, Codes, Lazy, Step};
use crate::value::Value;

/// How long the scope of a function of one plain argument lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// Until the call is over, unless something keeps it that was made meanwhile.
    Open,
    /// Until the call is over, but others may get to know the argument: it must lie elsewhere while it waits.
    CallWithSharedArgument,
    /// Until the call is over, and the argument's slot stays in it.
    Call,
}

/// The lifetime of the scope that a function's body runs in. `codes` are those that the body's numbers mean.
pub(crate) fn lifetime<'a>(body: &Code<'a>, codes: &Codes<'a>) -> Lifetime {
    let mut escape = Escape { codes, shared: false };
    match (escape.keeps(body), escape.shared) {
        (true, _) => Lifetime::Open,
        (false, true) => Lifetime::CallWithSharedArgument,
        (false, false) => Lifetime::Call,
    }
}

struct Escape<'r, 'a> {
    codes: &'r Codes<'a>,
    /// Whether the argument is handed on without being evaluated.
    shared: bool,
}

impl<'a> Escape<'_, 'a> {
    /// Whether running the code may leave something behind that refers to the scope.
    fn keeps(&mut self, code: &Code<'a>) -> bool {
        match code {
            Code::Const(_) | Code::Local(_) | Code::Var { .. } | Code::WithVar(_) | Code::CurPos(_) => false,
            Code::Select(select) => {
                self.keeps(&select.base)
                    || self.path_keeps(select.path)
                    || select.default.is_some_and(|default| self.keeps(default))
            }
            Code::HasAttr(has) => self.keeps(&has.base) || self.path_keeps(has.path),
            Code::Attrs(attrs) => attrs.more.is_some() || self.any_stays(attrs.values),
            Code::List(list) => self.any_stays(list.items),
            Code::RecAttrs(_) | Code::Lambda(_) | Code::Let(_) | Code::With(_) | Code::Inherited { .. } => {
                true
            }
            Code::Call(call) => {
                if let Code::Const(function) = &call.function
                    && let Some(Value::Builtin(builtin)) = function.constant()
                    && call.arguments.len() == builtin.arity as usize
                {
                    let mut arguments = call.arguments.iter().enumerate();
                    return arguments.any(|(index, &argument)| {
                        if builtin.strict & (1 << index) != 0 {
                            self.evaluation_keeps(argument)
                        } else {
                            self.stays(argument)
                        }
                    });
                }
                self.keeps(&call.function) || self.any_stays(call.arguments)
            }
            Code::If(choice) => {
                self.keeps(&choice.condition) || self.keeps(&choice.then) || self.keeps(&choice.otherwise)
            }
            Code::Assert(assert) => self.keeps(&assert.condition) || self.keeps(&assert.body),
            Code::Not { operand, .. } => self.keeps(operand),
            Code::Equal { pair, .. }
            | Code::And { pair, .. }
            | Code::Or { pair, .. }
            | Code::Implies { pair, .. }
            | Code::Update { pair, .. }
            | Code::ConcatLists { pair, .. }
            | Code::Arithmetic { pair, .. } => self.keeps(&pair.0) || self.keeps(&pair.1),
            Code::Plus(parts) | Code::Interpolate(parts) => parts.parts.iter().any(|part| self.keeps(part)),
        }
    }

    fn path_keeps(&mut self, path: &[Step<'a>]) -> bool {
        path.iter().any(|step| {
            let code = step.computed.map(|number| self.codes.get(number.get() - 1));
            code.is_some_and(|code| self.keeps(code))
        })
    }

    fn any_stays(&mut self, values: &[Lazy<'a>]) -> bool {
        values.iter().any(|&value| self.stays(value))
    }

    /// Whether what is stored for something that waits refers to the scope.
    fn stays(&mut self, lazy: Lazy<'a>) -> bool {
        match (lazy.constant(), lazy.as_variable()) {
            (Some(_), _) => false,
            (None, Some((depth, _))) => {
                self.shared |= depth == 0;
                false
            }
            (None, None) => true,
        }
    }

    /// Whether evaluating it at once may leave something behind.
    fn evaluation_keeps(&mut self, lazy: Lazy<'a>) -> bool {
        match lazy.thunk_number().map(|number| self.codes.get(number)) {
            Some(code) => self.keeps(code),
            None => lazy.constant().is_none() && lazy.as_variable().is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Lifetime::{self, Call, CallWithSharedArgument, Open};
    use crate::io::MemoryIo;
    use crate::value::Value;
    use crate::{Arena, Evaluator, Options, Style};
    use std::rc::Rc;

    fn lifetime_of(function: &str) -> Lifetime {
        let arena = Arena::new();
        let mut evaluator = Evaluator::new(&arena, Rc::new(MemoryIo::default()), Options::default());
        let value = evaluator.eval_str(function, b"/").unwrap();
        let Value::Lambda(number, _) = value.0 else { panic!("{function} is no function") };
        evaluator.lambdas[number as usize].lifetime
    }

    #[test]
    fn a_body_that_only_computes_keeps_nothing() {
        for function in [
            "x: 1",
            "x: x",
            "x: x + 1",
            "x: -x * 2",
            "x: !x && x || x",
            "x: if x then 1 else x",
            "x: assert x; x",
            "x: x.a.b or (x + 1)",
            "x: x ? a.${x}",
            "x: x.${x + \"a\"}",
            "x: \"${x}-\"",
            "x: x // x",
            "x: x ++ x",
            "x: { a = 1; }",
            "x: __add x 1",
            "x: y: x + y",
            "x: y: z: if x < y then z else x",
        ] {
            assert_eq!(lifetime_of(function), Call, "{function}");
        }
    }

    #[test]
    fn an_argument_that_is_handed_on_lies_elsewhere() {
        for function in [
            "x: [ x ]",
            "x: { a = x; }",
            "f: x: f x",
            "x: [ 1 x 2 ] ++ [ ]",
            "x: y: { a = x; b = y; }",
            "x: __seq x x",
        ] {
            assert_eq!(lifetime_of(function), CallWithSharedArgument, "{function}");
        }
    }

    #[test]
    fn what_waits_may_keep_its_scope() {
        for function in [
            "x: y: z: { a = x + y; }",
            "x: [ (x + 1) ]",
            "x: let y = x; in y",
            "x: with x; a",
            "x: rec { a = x; }",
            "x: { inherit (x) a; }",
            "x: { ${x} = x; }",
            "x: __seq x (x + 1)",
            "f: x: f (x + 1)",
            "x: map (y: x) [ 1 ]",
            "x: (y: y) x",
            "x: { a ? x }: a",
            "x: if x then (y: y) else x",
        ] {
            assert_eq!(lifetime_of(function), Open, "{function}");
        }
        // Not analysed.
        assert_eq!(lifetime_of("{ x }: x"), Open);
    }

    /// What a call gave is the same after its scope's memory has served others.
    #[test]
    fn results_outlive_the_scopes_they_came_from() {
        for function in [
            "x: x + 1",
            "x: [ x ]",
            "x: [ x [ x ] ]",
            "x: { a = x; }",
            "x: { a = x + 1; b = { c = x; }; }",
            "x: \"${toString x}!\"",
            "x: let y = x * 2; in { inherit x y; }",
            "x: (y: [ x y ]) (x + 1)",
            "x: (y: z: [ x y z ]) (x + 1) (x + 2)",
            "x: __seq x [ x ]",
            "x: map (y: y + x) [ 1 2 ]",
            "x: (a: b: { inherit a b; }) x x",
            "x: (a: b: c: if a < b then [ c ] else [ b ]) x 5 (x * 2)",
            "x: { a = x; }.a or x",
            "x: __foldl' (a: b: a + b) x [ x x ]",
            "x: __head (__filter (y: y == x) [ 0 x ])",
        ] {
            let text = format!(
                "let f = {function}; arguments = __genList (n: n) 500; once = map f arguments; \
                 noise = map (n: (x: x + n) n) arguments; \
                 in __deepSeq once (__deepSeq noise (__deepSeq (map f noise) (once == map f arguments && __length once == 500)))"
            );
            let arena = Arena::new();
            let mut evaluator = Evaluator::new(&arena, Rc::new(MemoryIo::default()), Options::default());
            let value = evaluator.eval_str(&text, b"/").unwrap();
            assert_eq!(evaluator.print(value, Style::Plain), b"true", "{function}");
        }
    }
}
