//! The evaluator's heart: runs [`crate::code`], forces thunks, calls functions.
//!
//! `eval` always returns a value in weak head normal form. Calls in tail position loop instead of recursing, but count as
//! calls; the native stack grows in segments, so depth is limited by `max_call_depth` and not by the machine's stack.

use crate::attrs::{Attrs, share};
use crate::builtins::Builtin;
use crate::code::{
    Arithmetic, AttrsCode, Call, Code, DynamicCode, FormalsCode, HasAttr, LambdaCode, Lazy, ListCode,
    RecCode, Select, Step, WithVar,
};
use crate::error::{Error, ErrorKind, Eval, What};
use crate::evaluator::Evaluator;
use crate::position::Pos;
use crate::symbol::{Known, Symbol};
use crate::value::{Apply, Env, List, Mapped, Partial, Passing, Slot, Value};
use std::sync::atomic::Ordering;

/// Stack that must be left before going deeper.
const RED_ZONE: usize = 96 * 1024;
/// Size of a new piece of stack.
const SEGMENT: usize = 8 * 1024 * 1024;

impl<'a> Evaluator<'a> {
    /// Roughly where the stack pointer is.
    #[inline]
    fn stack_pointer() -> usize {
        let marker = 0_u8;
        (&raw const marker).addr()
    }

    /// Notes how much stack the thread has left.
    pub(crate) fn measure_stack(&mut self) {
        let left = stacker::remaining_stack().unwrap_or(0);
        self.stack_limit = Self::stack_pointer().saturating_sub(left.saturating_sub(RED_ZONE));
    }

    #[inline]
    pub(crate) fn stack_is_low(&self) -> bool {
        Self::stack_pointer() < self.stack_limit
    }

    /// Goes on, on a new piece of stack; fails if there is no memory for one.
    #[cold]
    #[inline(never)]
    pub(crate) fn on_new_stack<T>(&mut self, run: impl FnOnce(&mut Self) -> Eval<'a, T>) -> Eval<'a, T> {
        self.on_new_stack_or(run, |evaluator| {
            let message = "stack overflow; there is no memory for so many nested calls";
            let error = Error::new(evaluator.arena, ErrorKind::StackOverflow, Pos::NONE, message);
            Err(error.hint(evaluator.arena, "a lower `--option max-call-depth` finds the recursion earlier"))
        })
    }

    /// The same for what has errors of its own.
    pub(crate) fn on_new_stack_or<R>(
        &mut self,
        run: impl FnOnce(&mut Self) -> R,
        fail: impl FnOnce(&mut Self) -> R,
    ) -> R {
        // Who grows the stack panics when there is no memory; so it is asked for first, and given back. With as much
        // again for what runs there: without memory for values the process ends, without stack the evaluation.
        // So much that the allocator asks the system and gives it back at once.
        let mut probe: Vec<u8> = Vec::new();
        let refused = probe.try_reserve_exact(5 * SEGMENT).is_err();
        drop(std::hint::black_box(probe));
        if refused {
            return fail(self);
        }
        let outer = self.stack_limit;
        let result = stacker::grow(SEGMENT, || {
            self.stack_limit = Self::stack_pointer().saturating_sub(SEGMENT - RED_ZONE);
            run(self)
        });
        self.stack_limit = outer;
        result
    }

    /// Runs code to weak head normal form.
    #[inline]
    pub(crate) fn eval(&mut self, code: &'a Code<'a>, env: &'a Env<'a>) -> Eval<'a, Value<'a>> {
        // What is there already needs no frame of its own on the stack.
        match code {
            Code::Local(slot) => self.force(&env.slots()[*slot as usize]),
            Code::Var { depth, slot } => self.force(env.variable(*depth, *slot)),
            Code::Const(value) => match value.constant() {
                Some(value) if value.is_evaluated() => Ok(value),
                _ => self.eval_in_frame(code, env),
            },
            Code::Lambda(number) => {
                env.keep();
                Ok(Value::Lambda(*number, env))
            }
            // Nor does what calls nothing in tail position.
            Code::Not { .. }
            | Code::And { .. }
            | Code::Or { .. }
            | Code::Implies { .. }
            | Code::Equal { .. }
            | Code::HasAttr(_) => self.condition_value(code, env),
            Code::Attrs(attrs) if attrs.more.is_none() => self.plain_attrs(attrs, env),
            Code::List(list) => self.list(list, env),
            Code::Update { pair, pos } => self.update(pair, env, *pos),
            Code::Arithmetic { operator, pair, pos } => self.computed(*operator, pair, env, *pos),
            Code::Plus(sum) => self.plus(sum.parts, env, sum.pos),
            Code::Interpolate(text) => self.interpolate(text.parts, env, text.pos),
            Code::Select(select) if select.default.is_none() => self.selected_value(select, env),
            _ => self.eval_in_frame(code, env),
        }
    }

    /// Runs what could have waited.
    #[inline]
    fn eval_lazy(&mut self, lazy: Lazy<'a>, env: &'a Env<'a>) -> Eval<'a, Value<'a>> {
        if let Some(number) = lazy.thunk_number() {
            return self.eval(self.codes.get(number), env);
        }
        match lazy.as_variable() {
            Some((depth, slot)) => self.force(env.variable(depth, slot)),
            None => self.force_value(lazy.within(env).get()),
        }
    }

    fn eval_in_frame(&mut self, code: &'a Code<'a>, env: &'a Env<'a>) -> Eval<'a, Value<'a>> {
        if self.stack_is_low() {
            return self.on_new_stack(|evaluator| evaluator.eval_in_frame(code, env));
        }
        let depth = self.depth;
        let mut called = None;
        let mut own = None;
        let result = self.run(code, env, &mut called, &mut own);
        self.depth = depth;
        if let (Ok(_), Some(own)) = (&result, own) {
            own.end(self.arena);
        }
        match (result, called) {
            (Err(error), Some((number, pos))) => {
                let name = self.lambdas[number as usize].name;
                Err(error.within(self.arena, What::Call(name), pos))
            }
            (result, _) => result,
        }
    }

    #[expect(
        clippy::too_many_lines,
        reason = "one arm for each kind of code; the loop is what makes tail calls"
    )]
    fn run(
        &mut self,
        code: &'a Code<'a>,
        env: &'a Env<'a>,
        called: &mut Option<(u32, Pos)>,
        own: &mut Option<Passing<'a>>,
    ) -> Eval<'a, Value<'a>> {
        let mut code = code;
        let mut env = env;
        loop {
            match code {
                Code::Const(value) => return self.eval_lazy(*value, env),
                Code::Local(slot) => return self.force(&env.slots()[*slot as usize]),
                Code::Var { depth, slot } => return self.force(env.variable(*depth, *slot)),
                Code::WithVar(var) => return self.with_variable(var, env),
                Code::CurPos(pos) => return Ok(self.position_value(*pos)),
                Code::Select(select) => {
                    let Some(default) = &select.default else { return self.selected_value(select, env) };
                    if let Some(value) = self.selection(select, env)? {
                        return Ok(value);
                    }
                    code = default;
                }
                Code::Attrs(attrs) => return self.attrs(attrs, env),
                Code::RecAttrs(scope) => return self.rec_attrs(scope, env),
                Code::List(list) => return self.list(list, env),
                Code::Lambda(number) => {
                    env.keep();
                    return Ok(Value::Lambda(*number, env));
                }
                Code::Call(call) => match self.call_code(call, env, called)? {
                    Called::Value(value) => return Ok(value),
                    Called::Tail(body, inner, passing) => {
                        code = body;
                        env = inner;
                        if let Some(done) = own.replace(passing) {
                            done.end(self.arena);
                        }
                    }
                },
                Code::Let(bound) => {
                    env = self.scope(bound.scope, env);
                    code = &bound.body;
                }
                Code::With(with) => {
                    env = Env::with_one(self.arena, env, &with.attrs.within(env));
                    code = &with.body;
                }
                Code::If(choice) => {
                    let condition = self.eval_bool(&choice.condition, env, choice.pos)?;
                    code = if condition { &choice.then } else { &choice.otherwise };
                }
                Code::Assert(assert) => {
                    if !self.eval_bool(&assert.condition, env, assert.pos)? {
                        let message = format!("assertion '{}' failed", assert.text);
                        return self.fail(ErrorKind::Assertion, assert.pos, &message);
                    }
                    code = &assert.body;
                }
                Code::Not { .. }
                | Code::And { .. }
                | Code::Or { .. }
                | Code::Implies { .. }
                | Code::Equal { .. }
                | Code::HasAttr(_) => return self.condition_value(code, env),
                Code::Update { pair, pos } => return self.update(pair, env, *pos),
                Code::ConcatLists { pair, pos } => {
                    let left = self.eval(&pair.0, env)?;
                    let right = self.eval(&pair.1, env)?;
                    let left = self.expect_list(left, *pos)?;
                    let right = self.expect_list(right, *pos)?;
                    return Ok(Value::List(self.concat_lists(&[left, right])));
                }
                Code::Plus(sum) => return self.plus(sum.parts, env, sum.pos),
                Code::Interpolate(text) => return self.interpolate(text.parts, env, text.pos),
                Code::Arithmetic { operator, pair, pos } => {
                    return self.computed(*operator, pair, env, *pos);
                }
                Code::Inherited { source, name, pos } => {
                    let source = self.force(&env.slots()[*source as usize])?;
                    let attrs = self.expect_attrs(source, *pos)?;
                    return match attrs.get(*name) {
                        Some(slot) => self.force_attr(slot, *name, *pos),
                        None => Err(self.missing_attribute(attrs, *name, *pos)),
                    };
                }
            }
        }
    }

    /// The value in a slot, evaluated; the slot keeps it.
    #[inline]
    pub(crate) fn force(&mut self, slot: &'a Slot<'a>) -> Eval<'a, Value<'a>> {
        if slot.is_evaluated() {
            return Ok(slot.get());
        }
        self.force_slot(slot)
    }

    #[inline(never)]
    fn force_slot(&mut self, slot: &'a Slot<'a>) -> Eval<'a, Value<'a>> {
        if slot.settled() {
            return Ok(slot.get());
        }
        let value = slot.get();
        self.statistics.forced += 1;
        let result = match value {
            Value::Thunk(number, env) => {
                slot.enter();
                let code = self.codes.get(number);
                self.eval(code, env).map(|value| self.copied_list(value))
            }
            Value::Apply(apply) => {
                slot.enter();
                self.call_values(apply.function, apply.arguments, Pos::NONE)
                    .map(|value| self.copied_list(value))
            }
            Value::Item(index, mapped) => {
                slot.enter();
                self.call_mapped(index, mapped).map(|value| self.copied_list(value))
            }
            Value::Ref(inner) => {
                slot.enter();
                match self.force(inner) {
                    Ok(value) => {
                        slot.put(inner);
                        return Ok(value);
                    }
                    error => error,
                }
            }
            Value::Blackhole => return Err(self.infinite_recursion(slot)),
            Value::Failed(error) => return Err(error),
            value => return Ok(value),
        };
        match result {
            Ok(value) => {
                slot.set(self.arena, value);
                Ok(value)
            }
            Err(error) => {
                let error = self.note_cycle(slot, value, error);
                // Who interrupts may ask again.
                let interrupted = error.kind() == ErrorKind::Interrupted;
                slot.set(self.arena, if interrupted { value } else { Value::Failed(error) });
                Err(error)
            }
        }
    }

    /// A list of one or two items is its own thing wherever it is the result of something: that is how Nix, which
    /// stores such lists in place, tells lists apart when it prints `«repeated»`.
    #[inline]
    fn copied_list(&self, value: Value<'a>) -> Value<'a> {
        match value {
            Value::List(list) if matches!(list.len(), 1 | 2) && list.is_held() => {
                Value::List(List::over(self.arena, list.items()))
            }
            value => value,
        }
    }

    /// Evaluates a value that nobody else holds.
    #[inline]
    pub(crate) fn force_value(&mut self, value: Value<'a>) -> Eval<'a, Value<'a>> {
        match value {
            Value::Thunk(number, env) => {
                let code = self.codes.get(number);
                self.eval(code, env)
            }
            Value::Apply(apply) => self.call_values(apply.function, apply.arguments, Pos::NONE),
            Value::Item(index, mapped) => self.call_mapped(index, mapped),
            Value::Ref(slot) => self.force(slot),
            Value::Failed(error) => Err(error),
            value => Ok(value),
        }
    }

    fn call_mapped(&mut self, index: u32, mapped: &'a Mapped<'a>) -> Eval<'a, Value<'a>> {
        let place = index as usize;
        let function = self.force(&mapped.function)?;
        match mapped.over.get() {
            Value::List(list) => self.call_with(function, [list.items()[place].share()], Pos::NONE),
            Value::Attrs(attrs) => {
                let name = Value::String(self.symbols.string(attrs.keys().names[place]));
                let name = Slot::new(self.arena, name);
                self.call_with(function, [name, attrs.slots()[place].share()], Pos::NONE)
            }
            _ => self.call_with(function, [Slot::of_index(index)], Pos::NONE),
        }
    }

    /// The same value in a form that may be copied: a thunk moves to a slot of its own.
    #[inline]
    pub(crate) fn shared(&self, value: Value<'a>) -> Value<'a> {
        match value {
            Value::Thunk(..) | Value::Apply(_) | Value::Item(..) => {
                Value::Ref(Slot::alone(self.arena, value))
            }
            value => value,
        }
    }

    /// A value that calls a function when it is needed.
    pub(crate) fn apply_later(&self, function: Value<'a>, arguments: &[Value<'a>]) -> Value<'a> {
        let arguments = self.arena.alloc_slice_copy(arguments);
        Value::Apply(self.arena.alloc(Apply { function, arguments }))
    }

    fn force_attr(&mut self, slot: &'a Slot<'a>, name: Symbol, pos: Pos) -> Eval<'a, Value<'a>> {
        self.force(slot).map_err(|error| error.within(self.arena, What::Attribute(name), pos))
    }

    #[inline]
    pub(crate) fn eval_bool(&mut self, code: &'a Code<'a>, env: &'a Env<'a>, pos: Pos) -> Eval<'a, bool> {
        match code {
            Code::Not { .. }
            | Code::And { .. }
            | Code::Or { .. }
            | Code::Implies { .. }
            | Code::Equal { .. }
            | Code::HasAttr(_) => self.condition(code, env),
            _ => match self.eval(code, env)? {
                Value::Bool(value) => Ok(value),
                other => Err(self.wrong_type(other, "a Boolean", pos)),
            },
        }
    }

    #[inline(never)]
    fn condition_value(&mut self, code: &'a Code<'a>, env: &'a Env<'a>) -> Eval<'a, Value<'a>> {
        self.condition(code, env).map(Value::Bool)
    }

    /// Runs code that gives a Boolean if it gives anything.
    #[inline(never)]
    fn condition(&mut self, code: &'a Code<'a>, env: &'a Env<'a>) -> Eval<'a, bool> {
        if self.stack_is_low() {
            return self.on_new_stack(|evaluator| evaluator.condition(code, env));
        }
        match code {
            Code::HasAttr(has) => self.has_attr(has, env),
            Code::Not { operand, pos } => Ok(!self.eval_bool(operand, env, *pos)?),
            Code::Equal { pair, negate, pos } => {
                let left = self.eval(&pair.0, env)?;
                let right = self.eval(&pair.1, env)?;
                Ok(self.equal(left, right, *pos)? != *negate)
            }
            Code::And { pair, pos } => {
                Ok(self.eval_bool(&pair.0, env, *pos)? && self.eval_bool(&pair.1, env, *pos)?)
            }
            Code::Or { pair, pos } => {
                Ok(self.eval_bool(&pair.0, env, *pos)? || self.eval_bool(&pair.1, env, *pos)?)
            }
            Code::Implies { pair, pos } => {
                Ok(!self.eval_bool(&pair.0, env, *pos)? || self.eval_bool(&pair.1, env, *pos)?)
            }
            _ => self.fail(ErrorKind::Other, Pos::NONE, "this is not a condition"),
        }
    }

    #[inline(never)]
    fn with_variable(&mut self, var: &WithVar<'a>, env: &'a Env<'a>) -> Eval<'a, Value<'a>> {
        for &depth in var.depths {
            let slot = env.variable(depth, 0);
            let value = self.force(slot)?;
            let attrs = self.expect_attrs(value, var.pos)?;
            if let Some(slot) = attrs.get(var.name) {
                return self.force(slot);
            }
        }
        let searched: Vec<_> = var
            .depths
            .iter()
            .filter_map(|&depth| match self.force(env.variable(depth, 0)) {
                Ok(Value::Attrs(attrs)) => Some(attrs),
                _ => None,
            })
            .collect();
        Err(self.undefined_variable(var.name, var.pos, &searched))
    }

    #[inline]
    fn find_cached(step: &Step<'a>, attrs: &'a Attrs<'a>, name: Symbol) -> Option<&'a Slot<'a>> {
        // The cache knows the shape only; a computed name can be another one each time.
        if step.computed.is_some() {
            return attrs.get(name);
        }
        let known = step.keys.get();
        let mut layer = attrs;
        loop {
            let keys = layer.keys();
            if known.is_some_and(|known| std::ptr::eq(known, keys)) {
                return layer.slots().get(step.index.get() as usize);
            }
            if let Some(index) = keys.find(name) {
                step.keys.set(Some(keys));
                step.index.set(index as u32);
                return layer.slots().get(index);
            }
            layer = layer.under()?;
        }
    }

    fn step_name(&mut self, step: &'a Step<'a>, env: &'a Env<'a>) -> Eval<'a, Symbol> {
        let Some(computed) = step.computed else { return Ok(step.name) };
        let value = self.eval(self.codes.get(computed.get() - 1), env)?;
        self.expect_name(value, step.pos)
    }

    /// A selection without a default.
    #[inline(never)]
    fn selected_value(&mut self, select: &'a Select<'a>, env: &'a Env<'a>) -> Eval<'a, Value<'a>> {
        if self.stack_is_low() {
            return self.on_new_stack(|evaluator| evaluator.selected_value(select, env));
        }
        match self.selection(select, env)? {
            Some(value) => Ok(value),
            None => self.fail(ErrorKind::Other, select.pos, "attribute missing"),
        }
    }

    /// A selection; `None` when the default is wanted.
    fn selection(&mut self, select: &'a Select<'a>, env: &'a Env<'a>) -> Eval<'a, Option<Value<'a>>> {
        let mut value = self.eval(&select.base, env)?;
        let Some((mut step, mut rest)) = select.path.split_first() else { return Ok(Some(value)) };
        let mut name = self.step_name(step, env)?;
        loop {
            let attrs = match value {
                Value::Attrs(attrs) => attrs,
                _ if select.default.is_some() => return Ok(None),
                other => return Err(self.wrong_type(other, "a set", step.pos)),
            };
            let slot = match Self::find_cached(step, attrs, name) {
                Some(slot) => slot,
                None if select.default.is_some() => return Ok(None),
                None => return Err(self.missing_attribute(attrs, name, step.pos)),
            };
            let Some((next, behind)) = rest.split_first() else {
                return self.force_attr(slot, name, step.pos).map(Some);
            };
            // A computed name comes before the value that it is looked for in.
            let next_name = self.step_name(next, env)?;
            value = self.force_attr(slot, name, step.pos)?;
            (step, name, rest) = (next, next_name, behind);
        }
    }

    fn has_attr(&mut self, has: &'a HasAttr<'a>, env: &'a Env<'a>) -> Eval<'a, bool> {
        let path = has.path;
        let mut value = self.eval(&has.base, env)?;
        for (index, step) in path.iter().enumerate() {
            let name = self.step_name(step, env)?;
            let Value::Attrs(attrs) = value else { return Ok(false) };
            match Self::find_cached(step, attrs, name) {
                None => return Ok(false),
                Some(_) if index + 1 == path.len() => {}
                Some(slot) => value = self.force_attr(slot, name, step.pos)?,
            }
        }
        Ok(true)
    }

    #[inline(never)]
    #[expect(clippy::unnecessary_wraps, reason = "`eval` ends with a call of it")]
    fn list(&mut self, list: &'a ListCode<'a>, env: &'a Env<'a>) -> Eval<'a, Value<'a>> {
        let items = list.items;
        Ok(Value::List(List::filled(self.arena, items.len(), |index| items[index].within(env))))
    }

    #[inline(never)]
    #[expect(clippy::unnecessary_wraps, reason = "`eval` ends with a call of it")]
    fn plain_attrs(&mut self, code: &'a AttrsCode<'a>, env: &'a Env<'a>) -> Eval<'a, Value<'a>> {
        let attrs = Attrs::filled(self.arena, code.keys, |index| code.values[index].within(env));
        Ok(Value::Attrs(attrs))
    }

    fn attrs(&mut self, code: &'a AttrsCode<'a>, env: &'a Env<'a>) -> Eval<'a, Value<'a>> {
        let arena = self.arena;
        let Some(more) = code.more else { return self.plain_attrs(code, env) };
        let sources = if more.sources.is_empty() {
            env
        } else {
            Env::new(arena, env, more.sources.len(), |index, _| more.sources[index].within(env))
        };
        if more.dynamic.is_empty() {
            let slot = |index: usize| code.values[index].within_set(env, sources);
            return Ok(Value::Attrs(Attrs::filled(arena, code.keys, slot)));
        }
        let written = code.keys.names.iter().zip(code.values).enumerate();
        let mut list = Vec::with_capacity(code.values.len() + more.dynamic.len());
        list.extend(written.map(|(index, (&name, value))| {
            (name, code.keys.position(index), value.within_set(env, sources).get())
        }));
        self.with_dynamic(list, more.dynamic, env)
    }

    #[inline(never)]
    fn with_dynamic(
        &mut self,
        mut list: Vec<(Symbol, Pos, Value<'a>)>,
        dynamic: &'a [DynamicCode<'a>],
        env: &'a Env<'a>,
    ) -> Eval<'a, Value<'a>> {
        list.reserve(dynamic.len());
        for attr in dynamic {
            let name = match self.eval(&attr.name, env)? {
                Value::Null => continue,
                value => self.expect_name(value, attr.pos)?,
            };
            if let Some((_, earlier, _)) = list.iter().find(|entry| entry.0 == name) {
                let message = format!(
                    "dynamic attribute '{}' already defined at {}",
                    self.symbols.show(name),
                    self.show_position(*earlier)
                );
                return self.fail(ErrorKind::Other, attr.pos, &message);
            }
            list.push((name, attr.pos, attr.value.within(env).get()));
        }
        Ok(Value::Attrs(Attrs::from_unsorted(&self.shapes, &mut list)))
    }

    /// The environment of a scope whose bindings see each other.
    #[inline]
    fn scope(&self, scope: &RecCode<'a>, env: &'a Env<'a>) -> &'a Env<'a> {
        Env::new(self.arena, env, scope.values.len(), |index, inner| scope.values[index].within(inner))
    }

    fn rec_attrs(&mut self, scope: &'a RecCode<'a>, env: &'a Env<'a>) -> Eval<'a, Value<'a>> {
        let inner = self.scope(scope, env);
        let slots = inner.slots();
        let mut attrs = Attrs::apart(self.arena, scope.keys, slots);
        if let Some(index) = scope.overrides {
            let value = self.force(&inner.slots()[index as usize])?;
            let overrides = self.expect_attrs(value, scope.keys.position(index as usize))?;
            for (index, &name) in scope.keys.names.iter().enumerate() {
                if let Some(slot) = overrides.get(name) {
                    slots[index].put(&slot.share());
                }
            }
            attrs = Attrs::update(&self.shapes, attrs, overrides);
        }
        if scope.dynamic.is_empty() {
            return Ok(Value::Attrs(attrs));
        }
        let list = attrs.iter().map(|attr| (attr.name, attr.pos, share(attr.slot)));
        self.with_dynamic(list.collect(), scope.dynamic, inner)
    }

    #[inline(never)]
    fn computed(
        &mut self,
        operator: Arithmetic,
        pair: &'a (Code<'a>, Code<'a>),
        env: &'a Env<'a>,
        pos: Pos,
    ) -> Eval<'a, Value<'a>> {
        if self.stack_is_low() {
            return self.on_new_stack(|evaluator| evaluator.computed(operator, pair, env, pos));
        }
        let left = self.eval(&pair.0, env)?;
        let right = self.eval(&pair.1, env)?;
        if let (Value::Int(a), Value::Int(b)) = (left, right) {
            match operator {
                Arithmetic::Less => return Ok(Value::Bool(a < b)),
                Arithmetic::Sub if let Some(difference) = a.checked_sub(b) => {
                    return Ok(Value::Int(difference));
                }
                _ => {}
            }
        }
        self.arithmetic(operator, left, right, pos)
    }

    #[inline(never)]
    fn update(&mut self, pair: &'a (Code<'a>, Code<'a>), env: &'a Env<'a>, pos: Pos) -> Eval<'a, Value<'a>> {
        if self.stack_is_low() {
            return self.on_new_stack(|evaluator| evaluator.update(pair, env, pos));
        }
        self.statistics.updates += 1;
        // The right one first, as Nix does since 2.32: shows in which of two errors is reported.
        let right = self.eval(&pair.1, env)?;
        let right = self.expect_attrs(right, pos)?;
        let left = self.eval(&pair.0, env)?;
        let left = self.expect_attrs(left, pos)?;
        Ok(Value::Attrs(Attrs::update(&self.shapes, left, right)))
    }

    /// Concatenates lists, sharing the items.
    pub(crate) fn concat_lists(&self, lists: &[&'a List<'a>]) -> &'a List<'a> {
        let mut filled = lists.iter().filter(|list| !list.is_empty());
        match (filled.next(), filled.next()) {
            (None, _) => self.empty_list,
            (Some(only), None) => only,
            _ => {
                let total = lists.iter().map(|list| list.len()).sum();
                let mut items = lists.iter().flat_map(|list| list.items().iter());
                List::filled(self.arena, total, |_| items.next().map_or_else(Slot::default, Slot::share))
            }
        }
    }

    /// A call as it stands in the code. A function's body in tail position is handed back to be run.
    fn call_code(
        &mut self,
        call: &'a Call<'a>,
        env: &'a Env<'a>,
        called: &mut Option<(u32, Pos)>,
    ) -> Eval<'a, Called<'a>> {
        let mut function = self.eval(&call.function, env)?;
        let mut rest = call.arguments;
        loop {
            match function {
                Value::Lambda(number, closure) => {
                    if rest.is_empty() {
                        return Ok(Called::Value(function));
                    }
                    let lambda = self.lambdas[number as usize];
                    let missing = lambda.missing();
                    self.enter(rest.len().min(missing), call.pos)?;
                    let Some((now, others)) = rest.split_at_checked(missing) else {
                        self.depth -= 1;
                        let given = |index: usize| rest[index].within(env);
                        let value = self.partly(number, lambda, closure, rest.len(), given);
                        return Ok(Called::Value(value));
                    };
                    let number = number + missing as u32 - 1;
                    if self.profile.is_some() {
                        self.profile_call(number);
                    }
                    let bound = self.bind(lambda, closure, call.pos, |index| now[index].within(env))?;
                    let (body, inner, passing) = bound;
                    if others.is_empty() {
                        *called = Some((number, call.pos));
                        return Ok(Called::Tail(body, inner, passing));
                    }
                    let result = self.eval(body, inner);
                    self.depth -= 1;
                    if result.is_ok() {
                        passing.end(self.arena);
                    }
                    function = result.map_err(|error| {
                        error.within(self.arena, What::Call(self.lambdas[number as usize].name), call.pos)
                    })?;
                    rest = others;
                }
                Value::Builtin(builtin) if rest.len() >= builtin.arity as usize => {
                    let (now, others) = rest.split_at(builtin.arity as usize);
                    let mut arguments = [Value::Null; 3];
                    for (index, argument) in now.iter().enumerate() {
                        arguments[index] = if builtin.strict & (1 << index) != 0 {
                            self.strict_argument(builtin, &arguments[..index], now, env, call.pos)?
                        } else {
                            self.shared(argument.within(env).get())
                        };
                    }
                    function = self.call_builtin(builtin, &arguments[..now.len()], call.pos)?;
                    rest = others;
                }
                _ => {
                    if rest.is_empty() {
                        return Ok(Called::Value(function));
                    }
                    let arguments: Vec<Value<'a>> =
                        rest.iter().map(|argument| self.shared(argument.within(env).get())).collect();
                    return Ok(Called::Value(self.call_values(function, &arguments, call.pos)?));
                }
            }
            if rest.is_empty() {
                return Ok(Called::Value(function));
            }
        }
    }

    /// Counts a call with so many arguments; the caller takes one off `depth` afterwards.
    #[inline]
    pub(crate) fn enter(&mut self, arguments: usize, pos: Pos) -> Eval<'a, ()> {
        self.depth += 1;
        self.statistics.calls += arguments as u64;
        if self.depth > self.options.max_call_depth {
            return self.fail(ErrorKind::StackOverflow, pos, "stack overflow; max-call-depth exceeded");
        }
        self.unless_interrupted(pos)
    }

    #[inline]
    fn unless_interrupted(&self, pos: Pos) -> Eval<'a, ()> {
        if self.interrupted.load(Ordering::Relaxed) {
            return self.fail(ErrorKind::Interrupted, pos, "interrupted");
        }
        Ok(())
    }

    /// A function with some of the arguments that it needs, as many as `count` more than it has.
    fn partly(
        &self,
        number: u32,
        lambda: &'a LambdaCode<'a>,
        closure: &'a Env<'a>,
        count: usize,
        mut argument: impl FnMut(usize) -> Slot<'a>,
    ) -> Value<'a> {
        let given = lambda.given as usize;
        let up = if given == 0 { closure } else { closure.up().unwrap_or(closure) };
        let before = closure.slots();
        let env = Env::new(self.arena, up, given + count, |index, _| {
            if index < given { before[index].share() } else { argument(index - given) }
        });
        Value::Lambda(number + count as u32, env)
    }

    /// The environment of a function's body, given all the arguments that are missing.
    #[inline]
    fn bind(
        &mut self,
        lambda: &'a LambdaCode<'a>,
        closure: &'a Env<'a>,
        pos: Pos,
        mut argument: impl FnMut(usize) -> Slot<'a>,
    ) -> Eval<'a, (&'a Code<'a>, &'a Env<'a>, Passing<'a>)> {
        let (env, passing) = match &lambda.formals {
            Some(formals) => self.bind_formals(lambda, formals, closure, argument(0).get(), pos)?,
            None if lambda.arity == 1 => Env::of_call(self.arena, closure, 1, lambda.lifetime, argument),
            None => {
                let (given, arity) = (lambda.given as usize, lambda.arity as usize);
                let up = if given == 0 { closure } else { closure.up().unwrap_or(closure) };
                let before = closure.slots();
                Env::of_call(self.arena, up, arity, lambda.lifetime, |index| {
                    if index < given { before[index].share() } else { argument(index - given) }
                })
            }
        };
        Ok((lambda.body, env, passing))
    }

    fn bind_formals(
        &mut self,
        lambda: &'a LambdaCode<'a>,
        formals: &'a FormalsCode<'a>,
        closure: &'a Env<'a>,
        argument: Value<'a>,
        pos: Pos,
    ) -> Eval<'a, (&'a Env<'a>, Passing<'a>)> {
        let value = self.force_value(argument)?;
        let Value::Attrs(attrs) = value else {
            let error = self.wrong_type(value, "a set", pos);
            return Err(error.within(self.arena, What::Call(lambda.name), lambda.pos));
        };
        let first = usize::from(lambda.argument.is_some());
        let (env, passing) = Env::of_call_by_name(self.arena, closure, first + formals.list.len());
        let slots = env.slots();
        if first == 1 {
            slots[0].set(self.arena, value);
        }
        let mut used = 0;
        // Both are sorted by symbol: a set that is not much larger than the list of names is walked beside it.
        let (keys, values) = (attrs.keys(), attrs.slots());
        let beside = attrs.under().is_none() && values.len() <= 4 * formals.list.len() + 8;
        let mut place = 0;
        for (formal, slot) in formals.list.iter().zip(&slots[first..]) {
            let given = if beside {
                while keys.names.get(place).is_some_and(|&name| name < formal.name) {
                    place += 1;
                }
                values.get(place).filter(|_| keys.names.get(place) == Some(&formal.name))
            } else {
                attrs.get(formal.name)
            };
            match given {
                Some(given) => {
                    slot.put(&given.share());
                    used += 1;
                }
                None => match &formal.default {
                    Some(default) => slot.put(&default.within(env)),
                    None => return Err(self.missing_argument(lambda, formal.name, pos)),
                },
            }
        }
        if !formals.ellipsis && used != attrs.len() {
            return Err(self.unexpected_argument(lambda, formals, attrs, pos));
        }
        Ok((env, passing))
    }

    #[inline]
    fn call_builtin(
        &mut self,
        builtin: &'static Builtin,
        arguments: &[Value<'a>],
        pos: Pos,
    ) -> Eval<'a, Value<'a>> {
        self.statistics.builtin_calls += 1;
        self.unless_interrupted(pos)?;
        let result = if self.profile.is_some() {
            self.profiled_builtin(builtin, arguments, pos)
        } else {
            (builtin.function)(self, arguments, pos)
        };
        result.map_err(|error| error.at(self.arena, pos).within(self.arena, What::Builtin(builtin.name), pos))
    }

    /// Calls a function with arguments that are ready to be stored.
    #[inline]
    pub(crate) fn call_with<const COUNT: usize>(
        &mut self,
        function: Value<'a>,
        arguments: [Slot<'a>; COUNT],
        pos: Pos,
    ) -> Eval<'a, Value<'a>> {
        if let Value::Lambda(number, closure) = function {
            let lambda = self.lambdas[number as usize];
            // The usual case: all that it needs, and no more.
            if lambda.missing() == COUNT {
                return self.call_whole(number, closure, pos, |index| arguments[index].copy());
            }
        }
        self.call_values(function, &arguments.map(|argument| argument.get()), pos)
    }

    /// Calls a function with all the arguments that it misses.
    #[inline]
    fn call_whole(
        &mut self,
        number: u32,
        closure: &'a Env<'a>,
        pos: Pos,
        argument: impl FnMut(usize) -> Slot<'a>,
    ) -> Eval<'a, Value<'a>> {
        let lambda = self.lambdas[number as usize];
        let missing = lambda.missing();
        self.enter(missing, pos)?;
        let number = number + missing as u32 - 1;
        if self.profile.is_some() {
            self.profile_call(number);
        }
        let (body, env, passing) = match self.bind(lambda, closure, pos, argument) {
            Ok(bound) => bound,
            Err(error) => {
                self.depth -= 1;
                return Err(error);
            }
        };
        let result = self.eval(body, env);
        self.depth -= 1;
        match result {
            Ok(value) => {
                passing.end(self.arena);
                Ok(value)
            }
            Err(error) => Err(error.within(self.arena, What::Call(self.lambdas[number as usize].name), pos)),
        }
    }

    /// Calls a function with one argument.
    pub(crate) fn call1(
        &mut self,
        function: Value<'a>,
        argument: Value<'a>,
        pos: Pos,
    ) -> Eval<'a, Value<'a>> {
        self.call_values(function, &[argument], pos)
    }

    /// Calls a function with arguments that may wait; they must be shareable (see [`Self::shared`]).
    pub(crate) fn call_values(
        &mut self,
        function: Value<'a>,
        arguments: &[Value<'a>],
        pos: Pos,
    ) -> Eval<'a, Value<'a>> {
        let mut function = self.force_value(function)?;
        let mut rest = arguments;
        while !rest.is_empty() {
            match function {
                Value::Lambda(number, closure) => {
                    let lambda = self.lambdas[number as usize];
                    let arena = self.arena;
                    let Some((now, others)) = rest.split_at_checked(lambda.missing()) else {
                        self.enter(rest.len(), pos)?;
                        self.depth -= 1;
                        let given = |index: usize| Slot::new(arena, rest[index]);
                        return Ok(self.partly(number, lambda, closure, rest.len(), given));
                    };
                    let given = |index: usize| Slot::new(arena, now[index]);
                    function = self.call_whole(number, closure, pos, given)?;
                    rest = others;
                }
                Value::Builtin(builtin) => {
                    function = self.give(builtin, &[], &mut rest, pos)?;
                }
                Value::Partial(partial) => {
                    function = self.give(partial.builtin, partial.arguments, &mut rest, pos)?;
                }
                Value::Attrs(attrs) => {
                    let Some(functor) = attrs.get(Known::FUNCTOR) else {
                        return Err(self.not_a_function(function, pos));
                    };
                    let functor = self.force(functor)?;
                    self.enter(1, pos)?;
                    let result = self.call_values(functor, &[function], pos);
                    self.depth -= 1;
                    function = result?;
                }
                other => return Err(self.not_a_function(other, pos)),
            }
        }
        Ok(function)
    }

    /// The error of a call whose argument failed: this argument's, unless Nix meets another one first. It looks at what an
    /// argument is before it evaluates the next, and some builtins begin with the last; here all are evaluated first.
    #[cold]
    #[inline(never)]
    fn argument_failed(
        &mut self,
        builtin: &'static Builtin,
        before: &[Value<'a>],
        error: Error<'a>,
        rest: Vec<Value<'a>>,
        pos: Pos,
    ) -> Error<'a> {
        if builtin.strict & Builtin::UNCHECKED != 0
            || (before.is_empty() && builtin.strict & Builtin::BACKWARDS == 0)
        {
            return error;
        }
        let mut arguments = before.to_vec();
        arguments.push(Value::Failed(error));
        for value in rest {
            let strict = builtin.strict & (1 << arguments.len()) != 0;
            let value = if strict { self.force_value(value).unwrap_or_else(Value::Failed) } else { value };
            arguments.push(value);
        }
        match self.call_builtin(builtin, &arguments, pos) {
            Err(other) if !std::ptr::eq(other.0.cause, error.0.cause) => other,
            _ => error,
        }
    }

    /// The value of the argument after those that are evaluated.
    #[inline]
    fn strict_argument(
        &mut self,
        builtin: &'static Builtin,
        before: &[Value<'a>],
        arguments: &'a [Lazy<'a>],
        env: &'a Env<'a>,
        pos: Pos,
    ) -> Eval<'a, Value<'a>> {
        let place = before.len();
        self.eval_lazy(arguments[place], env).map_err(|error| {
            let rest = arguments[place + 1..].iter();
            let rest = rest.map(|argument| self.shared(argument.within(env).get())).collect();
            self.argument_failed(builtin, before, error, rest, pos)
        })
    }

    /// Gives a builtin what it still needs, or as much of it as there is.
    fn give(
        &mut self,
        builtin: &'static Builtin,
        before: &[Value<'a>],
        rest: &mut &[Value<'a>],
        pos: Pos,
    ) -> Eval<'a, Value<'a>> {
        let wanted = builtin.arity as usize - before.len();
        let taken = wanted.min(rest.len());
        let (now, others) = rest.split_at(taken);
        *rest = others;
        if taken < wanted {
            let mut all = before.to_vec();
            all.extend(now.iter().map(|&value| self.shared(value)));
            let arguments = self.arena.alloc_slice_copy(&all);
            return Ok(Value::Partial(self.arena.alloc(Partial { builtin, arguments })));
        }
        let mut arguments = [Value::Null; 3];
        for (index, &value) in before.iter().chain(now).enumerate() {
            arguments[index] = if builtin.strict & (1 << index) != 0 {
                match self.force_value(value) {
                    Ok(value) => value,
                    Err(error) => {
                        let rest = before.iter().chain(now).skip(index + 1).map(|&value| self.shared(value));
                        let rest = rest.collect();
                        return Err(self.argument_failed(builtin, &arguments[..index], error, rest, pos));
                    }
                }
            } else {
                self.shared(value)
            };
        }
        let count = builtin.arity as usize;
        if self.stack_is_low() {
            return self.on_new_stack(|evaluator| evaluator.call_builtin(builtin, &arguments[..count], pos));
        }
        self.call_builtin(builtin, &arguments[..count], pos)
    }

    /// Fails with a message.
    #[cold]
    pub(crate) fn fail<T>(&self, kind: ErrorKind, pos: Pos, message: &str) -> Eval<'a, T> {
        Err(Error::new(self.arena, kind, pos, message))
    }
}

/// What came of a call.
enum Called<'a> {
    Value(Value<'a>),
    /// Run this in tail position; what ends the scope afterwards.
    Tail(&'a Code<'a>, &'a Env<'a>, Passing<'a>),
}
