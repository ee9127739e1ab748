//! Resolves names: turns the syntax tree into [`crate::code`]. Each variable becomes a slot of an environment a known
//! number of scopes out, a builtin becomes a constant, and a name that nothing can define is an error of the whole file.

use crate::arena::Arena;
use crate::ast::{AttrDef, AttrName, AttrValue, AttrsNode, Binary, Expr, Kind, LambdaNode};
use crate::attrs::Keys;
use crate::code::{
    Arithmetic, Assert, AttrsCode, Call, Code, Codes, DynamicCode, FormalCode, FormalsCode, HasAttr, IfCode,
    LambdaCode, Lazy, LetCode, ListCode, MoreAttrs, Parts, RecCode, Select, Step, WithCode, WithVar,
};
use crate::parser::SyntaxError;
use crate::position::Pos;
use crate::symbol::{Known, Symbol, Symbols};
use crate::value::{List, Str, Value};
use hashbrown::HashMap;
use std::cell::Cell;
use std::num::NonZero;

/// Functions of more plain arguments than this become functions that return functions.
const MOST_ARGUMENTS: usize = 16;

/// Strings of more bytes are not looked for among the names.
const LONGEST_NAME: usize = 32;

/// What resolution adds to.
pub(crate) struct Resolver<'a, 'r> {
    pub(crate) arena: &'a Arena,
    pub(crate) symbols: &'r Symbols<'a>,
    pub(crate) codes: &'r mut Codes<'a>,
    /// Where the binding of each code that waits was written, for messages.
    pub(crate) code_places: &'r mut Vec<Pos>,
    pub(crate) lambdas: &'r mut Vec<&'a LambdaCode<'a>>,
    pub(crate) globals: &'r HashMap<Symbol, Value<'a>>,
    pub(crate) scopes: &'r mut Scopes,
}

/// The scopes around what is being resolved, outermost first. Their memory serves one text after the other.
#[derive(Debug, Default)]
pub(crate) struct Scopes {
    list: Vec<Scope>,
    /// The names of all of them, each scope's sorted.
    names: Vec<(Symbol, u32)>,
}

/// A scope that will be an environment when the code runs.
#[derive(Debug, Clone, Copy)]
enum Scope {
    /// Names in that range, with their slots.
    Names {
        start: usize,
        end: usize,
    },
    /// Names in that range, which have the slots in their order.
    Ordered {
        start: usize,
        end: usize,
    },
    With,
}

impl Scopes {
    /// Nothing but the globals is known.
    pub(crate) fn clear(&mut self) {
        self.list.clear();
        self.names.clear();
    }

    /// Enters a scope of sorted names with their slots.
    pub(crate) fn enter(&mut self, names: &[(Symbol, u32)]) {
        let start = self.names.len();
        self.names.extend_from_slice(names);
        self.list.push(Scope::Names { start, end: self.names.len() });
    }

    /// Makes a scope of the names from there on, which have their slots.
    fn enter_from(&mut self, start: usize) {
        self.names[start..].sort_unstable();
        self.list.push(Scope::Names { start, end: self.names.len() });
    }

    /// Leaves the scope that was entered last.
    fn leave(&mut self) {
        if let Some(Scope::Names { start, .. } | Scope::Ordered { start, .. }) = self.list.pop() {
            self.names.truncate(start);
        }
    }

    /// How many scopes further out the name is, and its slot there.
    #[inline]
    fn find(&self, name: Symbol) -> Option<(u32, u32)> {
        for (depth, scope) in self.list.iter().rev().enumerate() {
            let (Scope::Names { start, end } | Scope::Ordered { start, end }) = *scope else { continue };
            if let Ok(index) = self.names[start..end].binary_search_by_key(&name, |entry| entry.0) {
                let slot = match scope {
                    Scope::Ordered { .. } => index as u32,
                    _ => self.names[start + index].1,
                };
                return Some((depth as u32, slot));
            }
        }
        None
    }
}

/// Where a name was found.
enum Found<'a> {
    Slot { depth: u32, slot: u32 },
    Global(Value<'a>),
    With,
}

type Resolved<T> = Result<T, Box<SyntaxError>>;

impl<'a> Resolver<'a, '_> {
    fn find(&self, name: Symbol, pos: Pos) -> Resolved<Found<'a>> {
        if let Some((depth, slot)) = self.scopes.find(name) {
            return Ok(Found::Slot { depth, slot });
        }
        if let Some(value) = self.globals.get(&name) {
            return Ok(Found::Global(*value));
        }
        if !self.scopes.list.iter().any(|scope| matches!(scope, Scope::With)) {
            let known: Vec<&[u8]> =
                self.names_in_scope().into_iter().map(|name| self.symbols.text(name)).collect();
            return Err(Box::new(SyntaxError {
                pos,
                message: format!("undefined variable '{}'", self.symbols.show(name)),
                other: None,
                hint: crate::suggest::closest(self.symbols.text(name), known.into_iter()),
            }));
        }
        Ok(Found::With)
    }

    /// All names that are in scope, for "did you mean".
    fn names_in_scope(&self) -> Vec<Symbol> {
        let mut names: Vec<Symbol> = self.globals.keys().copied().collect();
        for scope in &self.scopes.list {
            if let Scope::Names { start, end } | Scope::Ordered { start, end } = *scope {
                names.extend(self.scopes.names[start..end].iter().map(|entry| entry.0));
            }
        }
        names
    }

    fn alloc(&self, code: Code<'a>) -> &'a Code<'a> {
        self.arena.alloc(code)
    }

    fn string(&self, text: &[u8]) -> Value<'a> {
        // A short one may be a name that is there already.
        if text.len() <= LONGEST_NAME
            && let Some(symbol) = self.symbols.find(text)
        {
            return Value::String(self.symbols.string(symbol));
        }
        let bytes = self.arena.alloc_slice_copy(text);
        Value::String(self.arena.alloc(Str::new(bytes, None)))
    }

    fn constant(&self, value: Value<'a>) -> Code<'a> {
        Code::Const(Lazy::value(self.arena, value))
    }

    fn variable(&self, name: Symbol, pos: Pos) -> Resolved<Code<'a>> {
        Ok(match self.find(name, pos)? {
            Found::Slot { depth: 0, slot } => Code::Local(slot),
            Found::Slot { depth, slot } => Code::Var { depth, slot },
            Found::Global(value) => self.constant(value),
            Found::With => {
                let scopes = self.scopes.list.iter().rev().zip(0..);
                let withs = scopes.filter(|(scope, _)| matches!(scope, Scope::With));
                let mut depths =
                    bumpalo::collections::Vec::with_capacity_in(withs.clone().count(), self.arena);
                depths.extend(withs.map(|(_, depth)| depth));
                let depths = depths.into_bump_slice();
                Code::WithVar(self.arena.alloc(WithVar { name, depths, pos }))
            }
        })
    }

    /// Gives code a number.
    fn numbered(&mut self, code: Code<'a>, pos: Pos) -> u32 {
        self.code_places.push(pos);
        self.codes.push(code)
    }

    /// Code that is put off: no thunk where there is nothing to do.
    fn lazy_code(&mut self, code: Code<'a>) -> Lazy<'a> {
        match code {
            Code::Const(value) => value,
            Code::Local(slot) => Lazy::variable(0, slot),
            Code::Var { depth, slot } => Lazy::variable(depth, slot),
            Code::Lambda(number) => Lazy::lambda(number),
            code => Lazy::thunk(self.numbered(code, Pos::NONE)),
        }
    }

    fn lazy(&mut self, expression: &Expr<'_>) -> Resolved<Lazy<'a>> {
        let code = self.code(expression)?;
        Ok(self.lazy_code(code))
    }

    /// The same for what a binding says, remembering where the binding is.
    fn lazy_binding(&mut self, expression: &Expr<'_>, pos: Pos) -> Resolved<Lazy<'a>> {
        let lazy = self.lazy(expression)?;
        if let Some(number) = lazy.thunk_number()
            && let Some(place) = self.code_places.get_mut(number as usize)
        {
            *place = pos;
        }
        Ok(lazy)
    }

    fn pair(&mut self, left: &Expr<'_>, right: &Expr<'_>) -> Resolved<&'a (Code<'a>, Code<'a>)> {
        let pair = (self.code(left)?, self.code(right)?);
        Ok(self.arena.alloc(pair))
    }

    /// The code of an expression.
    pub(crate) fn code(&mut self, expression: &Expr<'_>) -> Resolved<Code<'a>> {
        stacker::maybe_grow(64 * 1024, 1024 * 1024, || self.code_here(expression))
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each kind of expression")]
    fn code_here(&mut self, expression: &Expr<'_>) -> Resolved<Code<'a>> {
        let pos = expression.pos;
        Ok(match expression.kind {
            Kind::Int(number) => self.constant(Value::Int(number)),
            Kind::Float(number) => self.constant(Value::Float(number)),
            Kind::String(text) => self.constant(self.string(text)),
            Kind::Path(path) => {
                let bytes = self.arena.alloc_slice_copy(path);
                self.constant(Value::Path(self.arena.alloc(Str::new(bytes, None))))
            }
            Kind::Var(name) => self.variable(name, pos)?,
            Kind::CurPos => Code::CurPos(pos),
            Kind::Select(select) => {
                let base = self.code(&select.base)?;
                let path = self.steps(select.path)?;
                let default = select.default.as_ref().map(|default| self.code(default)).transpose()?;
                let default = default.map(|code| self.alloc(code));
                Code::Select(self.arena.alloc(Select { base, path, default, pos }))
            }
            Kind::HasAttr(has) => {
                let base = self.code(&has.base)?;
                let path = self.steps(has.path)?;
                Code::HasAttr(self.arena.alloc(HasAttr { base, path }))
            }
            Kind::Attrs(node) if node.recursive.get() => {
                self.enter_set(node);
                let code = self.recursive_inside(node, true)?;
                self.scopes.leave();
                Code::RecAttrs(code)
            }
            Kind::Attrs(node) => self.attrs(node)?,
            Kind::List([]) => self.constant(Value::List(List::over(self.arena, &[]))),
            Kind::List(items) => {
                let items = self.lazies(items)?;
                Code::List(self.arena.alloc(ListCode { items }))
            }
            Kind::Lambda(node) => Code::Lambda(self.lambda(node, pos)?),
            Kind::Call(call) => self.call(&call.function, call.arguments, pos)?,
            Kind::Let { bindings, body } => {
                self.enter_set(bindings);
                let scope = self.recursive_inside(bindings, false)?;
                let body = self.code(body)?;
                self.scopes.leave();
                Code::Let(self.arena.alloc(LetCode { scope, body }))
            }
            Kind::With { attrs, body } => {
                let attrs = self.lazy(attrs)?;
                self.scopes.list.push(Scope::With);
                let body = self.code(body)?;
                self.scopes.leave();
                Code::With(self.arena.alloc(WithCode { attrs, body }))
            }
            Kind::If([condition, then, otherwise]) => {
                let condition = self.code(condition)?;
                let then = self.code(then)?;
                let otherwise = self.code(otherwise)?;
                Code::If(self.arena.alloc(IfCode { condition, then, otherwise, pos }))
            }
            Kind::Assert { condition, body } => {
                let text = crate::print_ast::print(condition, self.symbols);
                let text = self.arena.alloc_str(&String::from_utf8_lossy(&text));
                let condition = self.code(condition)?;
                let body = self.code(body)?;
                Code::Assert(self.arena.alloc(Assert { condition, body, text, pos }))
            }
            Kind::Not(operand) => {
                let operand = self.code(operand)?;
                Code::Not { operand: self.alloc(operand), pos }
            }
            Kind::Binary { operator, sides: [left, right] } => {
                let pair = self.pair(left, right)?;
                match operator {
                    Binary::Equal => Code::Equal { pair, negate: false, pos },
                    Binary::NotEqual => Code::Equal { pair, negate: true, pos },
                    Binary::And => Code::And { pair, pos },
                    Binary::Or => Code::Or { pair, pos },
                    Binary::Implies => Code::Implies { pair, pos },
                    Binary::Update => Code::Update { pair, pos },
                    Binary::ConcatLists => Code::ConcatLists { pair, pos },
                }
            }
            Kind::Concat { force_string, parts } => {
                let parts = self.each(parts, Self::code)?;
                let parts = self.arena.alloc(Parts { parts, pos });
                if force_string { Code::Interpolate(parts) } else { Code::Plus(parts) }
            }
        })
    }

    fn steps(&mut self, path: &[AttrName<'_>]) -> Resolved<&'a [Step<'a>]> {
        self.each(path, |this, step| {
            let (name, pos, computed) = match step {
                AttrName::Static(name, pos) => (*name, *pos, None),
                AttrName::Dynamic(name) => {
                    let code = this.code(name)?;
                    (Known::NAME, name.pos, NonZero::new(this.numbered(code, Pos::NONE) + 1))
                }
            };
            Ok(Step { name, pos, keys: Cell::new(None), index: Cell::new(0), computed })
        })
    }

    /// What becomes of each of some things, in the arena.
    fn each<T, U>(
        &mut self,
        things: &[T],
        mut becomes: impl FnMut(&mut Self, &T) -> Resolved<U>,
    ) -> Resolved<&'a [U]> {
        let arena = self.arena;
        Ok(arena.alloc_slice_try_fill_with(things.len(), |index| becomes(self, &things[index]))?)
    }

    fn lazies(&mut self, expressions: &[Expr<'_>]) -> Resolved<&'a [Lazy<'a>]> {
        self.each(expressions, Self::lazy)
    }

    fn call(&mut self, function: &Expr<'_>, arguments: &[Expr<'_>], pos: Pos) -> Resolved<Code<'a>> {
        if let (Kind::Var(name), [left, right]) = (function.kind, arguments) {
            let operator = match name {
                Known::SUB => Some(Arithmetic::Sub),
                Known::MUL => Some(Arithmetic::Mul),
                Known::DIV => Some(Arithmetic::Div),
                Known::LESS_THAN => Some(Arithmetic::Less),
                _ => None,
            };
            if let Some(operator) = operator
                && matches!(self.find(name, pos)?, Found::Global(_))
            {
                return Ok(Code::Arithmetic { operator, pair: self.pair(left, right)?, pos });
            }
        }
        let function = self.code(function)?;
        let arguments = self.lazies(arguments)?;
        Ok(Code::Call(self.arena.alloc(Call { function, arguments, pos })))
    }

    /// Puts the names of a set behind all names, sorted, each with the number of its definition.
    fn order(&mut self, node: &AttrsNode<'_>) {
        let names = &mut self.scopes.names;
        let start = names.len();
        let defs = node.attrs.borrow();
        names.extend(defs.iter().enumerate().map(|(index, def)| (def.name, index as u32)));
        names[start..].sort_unstable();
    }

    /// The keys of a set whose names are in order from there on.
    fn keys(&self, defs: &[AttrDef<'_>], start: usize) -> &'a Keys<'a> {
        let order = &self.scopes.names[start..];
        let names = self.arena.alloc_slice_fill_iter(order.iter().map(|entry| entry.0));
        let positions =
            self.arena.alloc_slice_fill_iter(order.iter().map(|entry| defs[entry.1 as usize].pos));
        self.arena.alloc(Keys::new(names, positions))
    }

    fn attrs(&mut self, node: &AttrsNode<'_>) -> Resolved<Code<'a>> {
        let start = self.scopes.names.len();
        self.order(node);
        let code = self.attrs_from(node, start)?;
        self.scopes.names.truncate(start);
        Ok(code)
    }

    /// The set whose names are in order from there on.
    fn attrs_from(&mut self, node: &AttrsNode<'_>, start: usize) -> Resolved<Code<'a>> {
        let defs = node.attrs.borrow();
        let keys = self.keys(&defs, start);
        let sources = self.lazies(&node.sources.borrow())?;
        let arena = self.arena;
        let values = arena.alloc_slice_try_fill_with(defs.len(), |index| -> Resolved<_> {
            let def = &defs[self.scopes.names[start + index].1 as usize];
            Ok(match &def.value {
                AttrValue::Plain(value) => self.lazy_binding(value, def.pos)?,
                AttrValue::Inherited => {
                    let code = self.variable(def.name, def.pos)?;
                    self.lazy_code(code)
                }
                AttrValue::InheritedFrom(source) => {
                    let code = Code::Inherited { source: *source, name: def.name, pos: def.pos };
                    self.lazy_code(code).inherited()
                }
            })
        })?;
        let dynamic = self.dynamic(node)?;
        if values.is_empty() && dynamic.is_empty() {
            let empty = crate::attrs::Attrs::filled(self.arena, keys, |_| crate::value::Slot::default());
            return Ok(self.constant(Value::Attrs(empty)));
        }
        let more: Option<&'a MoreAttrs<'a>> = if sources.is_empty() && dynamic.is_empty() {
            None
        } else {
            Some(self.arena.alloc(MoreAttrs { sources, dynamic }))
        };
        Ok(Code::Attrs(self.arena.alloc(AttrsCode { keys, values, more })))
    }

    fn dynamic(&mut self, node: &AttrsNode<'_>) -> Resolved<&'a [DynamicCode<'a>]> {
        self.each(&node.dynamic.borrow(), |this, attr| {
            Ok(DynamicCode { name: this.code(attr.name)?, value: this.lazy(&attr.value)?, pos: attr.pos })
        })
    }

    /// Enters the scope of a `rec { }` or `let`.
    fn enter_set(&mut self, node: &AttrsNode<'_>) {
        let start = self.scopes.names.len();
        self.order(node);
        self.scopes.list.push(Scope::Ordered { start, end: self.scopes.names.len() });
    }

    /// The bindings of the scope that was entered last.
    fn recursive_inside(&mut self, node: &AttrsNode<'_>, is_set: bool) -> Resolved<&'a RecCode<'a>> {
        let defs = node.attrs.borrow();
        let start = self.scopes.names.len() - defs.len();
        let keys = self.keys(&defs, start);
        let order = &self.scopes.names[start..];
        let overrides = order.iter().position(|entry| entry.0 == Known::OVERRIDES).filter(|_| is_set);
        let sources = node.sources.borrow();
        let arena = self.arena;
        let values = arena.alloc_slice_try_fill_with(defs.len() + sources.len(), |index| -> Resolved<_> {
            if let Some(source) = index.checked_sub(defs.len()) {
                return self.lazy(&sources[source]);
            }
            let def = &defs[self.scopes.names[start + index].1 as usize];
            Ok(match &def.value {
                // What `__overrides` may replace must not be looked at before.
                AttrValue::Plain(value) if overrides.is_some() => {
                    let code = self.code(value)?;
                    Lazy::thunk(self.numbered(code, def.pos))
                }
                AttrValue::Plain(value) => match self.lazy_binding(value, def.pos)? {
                    // `x = x`: a thunk, so that the message about it has a place.
                    lazy if lazy.is_local(index) => {
                        Lazy::thunk(self.numbered(Code::Local(index as u32), def.pos))
                    }
                    lazy => lazy,
                },
                AttrValue::InheritedFrom(source) => {
                    let source = defs.len() as u32 + source;
                    self.lazy_code(Code::Inherited { source, name: def.name, pos: def.pos })
                }
                AttrValue::Inherited => {
                    let code = self.outside(def.name, def.pos)?;
                    self.lazy_code(code)
                }
            })
        })?;
        let dynamic = self.dynamic(node)?;
        let overrides = overrides.map(|index| index as u32);
        Ok(self.arena.alloc(RecCode { keys, values, dynamic, overrides }))
    }

    /// `inherit x`: the variable outside the scope that was entered last, seen from inside.
    fn outside(&mut self, name: Symbol, pos: Pos) -> Resolved<Code<'a>> {
        let scope = self.scopes.list.pop();
        // It has no names meanwhile.
        self.scopes.list.push(Scope::Ordered { start: 0, end: 0 });
        let code = self.variable(name, pos)?;
        self.scopes.list.pop();
        self.scopes.list.extend(scope);
        Ok(code)
    }

    fn lambda(&mut self, node: &LambdaNode<'_>, pos: Pos) -> Resolved<u32> {
        if node.formals.is_none() && node.argument.is_some() {
            return self.plain_lambda(node, pos);
        }
        let names = &mut self.scopes.names;
        let start = names.len();
        let formals = node.formals.iter().flat_map(|formals| formals.list.iter().map(|formal| formal.name));
        names.extend(node.argument.into_iter().chain(formals).zip(0..));
        self.scopes.enter_from(start);
        let (formals, body) = self.lambda_inside(node)?;
        self.scopes.leave();
        let code = LambdaCode {
            name: node.name.get(),
            pos,
            argument: node.argument,
            formals,
            body: self.alloc(body),
            lifetime: crate::escape::Lifetime::Open,
            given: 0,
            arity: 1,
        };
        self.lambdas.push(self.arena.alloc(code));
        Ok(self.lambdas.len() as u32 - 1)
    }

    /// `a: b: c: body`: one function of many arguments, with as many numbers.
    fn plain_lambda(&mut self, node: &LambdaNode<'_>, pos: Pos) -> Resolved<u32> {
        let mut levels = vec![(node.argument, node.name.get(), pos)];
        let mut body = &node.body;
        while let Kind::Lambda(inner) = &body.kind
            && inner.formals.is_none()
            && inner.argument.is_some()
            && levels.len() < MOST_ARGUMENTS
        {
            levels.push((inner.argument, inner.name.get(), body.pos));
            body = &inner.body;
        }
        let names = &mut self.scopes.names;
        let start = names.len();
        // The last of two arguments of one name is the one that the body sees.
        for (slot, level) in levels.iter().enumerate().rev() {
            let new = level.0.filter(|&name| names[start..].iter().all(|known| known.0 != name));
            names.extend(new.map(|name| (name, slot as u32)));
        }
        self.scopes.enter_from(start);
        let body = self.code(body)?;
        self.scopes.leave();
        let body = self.alloc(body);
        let lifetime = crate::escape::lifetime(body, self.codes);
        let first = self.lambdas.len() as u32;
        let arity = levels.len() as u16;
        for (given, (argument, name, pos)) in levels.into_iter().enumerate() {
            let given = given as u16;
            let code = LambdaCode { name, pos, argument, formals: None, body, lifetime, given, arity };
            self.lambdas.push(self.arena.alloc(code));
        }
        Ok(first)
    }

    fn lambda_inside(&mut self, node: &LambdaNode<'_>) -> Resolved<(Option<FormalsCode<'a>>, Code<'a>)> {
        let formals = match node.formals {
            None => None,
            Some(formals) => {
                let list = self.each(formals.list, |this, formal| {
                    let default = formal.default.as_ref().map(|default| this.lazy(default)).transpose()?;
                    Ok(FormalCode { name: formal.name, pos: formal.pos, default })
                })?;
                Some(FormalsCode { list, ellipsis: formals.ellipsis })
            }
        };
        Ok((formals, self.code(&node.body)?))
    }
}
