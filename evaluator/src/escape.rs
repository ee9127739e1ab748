//! What becomes of a function's scope: when nothing that outlives a call refers to it, its memory is used again as soon as
//! the call is over. Who makes something that refers to a scope marks the scope; here is seen which bodies only compute
//! (they make no function, no scope of their own and nothing that waits and would need the scope when it runs), so that
//! an argument that is handed on as it is need not keep the scope.

use crate::code::{Code, Lazy, Step};
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
pub(crate) fn lifetime<'a>(body: &Code<'a>, codes: &[&'a Code<'a>]) -> Lifetime {
    let mut escape = Escape { codes, shared: false };
    match (escape.keeps(body), escape.shared) {
        (true, _) => Lifetime::Open,
        (false, true) => Lifetime::CallWithSharedArgument,
        (false, false) => Lifetime::Call,
    }
}

struct Escape<'r, 'a> {
    codes: &'r [&'a Code<'a>],
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
            let code = step.computed.and_then(|number| self.codes.get(number.get() as usize - 1));
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
        match lazy.thunk_number().and_then(|number| self.codes.get(number as usize)) {
            Some(code) => self.keeps(code),
            None => lazy.constant().is_none() && lazy.as_variable().is_none(),
        }
    }
}
