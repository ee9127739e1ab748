//! Resolves names: turns the syntax tree into [`crate::code`]. Each variable becomes a slot of an environment a known
//! number of scopes out, a builtin becomes a constant, and a name that nothing can define is an error of the whole file.

use crate::arena::Arena;
use crate::ast::{AttrName, AttrValue, AttrsNode, Binary, Expr, Kind, LambdaNode};
use crate::attrs::Keys;
use crate::code::{
    Arithmetic, Assert, AttrsCode, Call, Code, DynamicCode, FormalCode, FormalsCode, HasAttr, IfCode,
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
    pub(crate) codes: &'r mut Vec<&'a Code<'a>>,
    /// Where the binding of each code that waits was written, for messages.
    pub(crate) code_places: &'r mut Vec<Pos>,
    pub(crate) lambdas: &'r mut Vec<&'a LambdaCode<'a>>,
    pub(crate) globals: &'r HashMap<Symbol, Value<'a>>,
    pub(crate) scopes: Vec<Scope>,
}

/// A scope that will be an environment when the code runs.
#[derive(Debug)]
pub(crate) enum Scope {
    /// Names, sorted, with their slots.
    Names(Vec<(Symbol, u32)>),
    With,
}

/// Where a name was found.
enum Found<'a> {
    Slot { depth: u32, slot: u32 },
    Global(Value<'a>),
    With(Vec<u32>),
}

type Resolved<T> = Result<T, Box<SyntaxError>>;

impl<'a> Resolver<'a, '_> {
    fn find(&self, name: Symbol, pos: Pos) -> Resolved<Found<'a>> {
        for (depth, scope) in self.scopes.iter().rev().enumerate() {
            if let Scope::Names(names) = scope
                && let Ok(index) = names.binary_search_by_key(&name, |entry| entry.0)
            {
                return Ok(Found::Slot { depth: depth as u32, slot: names[index].1 });
            }
        }
        if let Some(value) = self.globals.get(&name) {
            return Ok(Found::Global(*value));
        }
        let scopes = self.scopes.iter().rev().enumerate();
        let withs: Vec<u32> =
            scopes.filter(|(_, scope)| matches!(scope, Scope::With)).map(|(depth, _)| depth as u32).collect();
        if withs.is_empty() {
            let known: Vec<&[u8]> =
                self.names_in_scope().into_iter().map(|name| self.symbols.text(name)).collect();
            return Err(Box::new(SyntaxError {
                pos,
                message: format!("undefined variable '{}'", self.symbols.show(name)),
                other: None,
                hint: crate::suggest::closest(self.symbols.text(name), known.into_iter()),
            }));
        }
        Ok(Found::With(withs))
    }

    /// All names that are in scope, for "did you mean".
    fn names_in_scope(&self) -> Vec<Symbol> {
        let mut names: Vec<Symbol> = self.globals.keys().copied().collect();
        for scope in &self.scopes {
            if let Scope::Names(list) = scope {
                names.extend(list.iter().map(|entry| entry.0));
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
            Found::With(depths) => {
                let depths = self.arena.alloc_slice_copy(&depths);
                Code::WithVar(self.arena.alloc(WithVar { name, depths, pos }))
            }
        })
    }

    /// Gives code a number.
    fn numbered(&mut self, code: Code<'a>, pos: Pos) -> u32 {
        let code = self.alloc(code);
        self.codes.push(code);
        self.code_places.push(pos);
        self.codes.len() as u32 - 1
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
            Kind::Select { base, path, default } => {
                let base = self.code(base)?;
                let path = self.steps(path)?;
                let default =
                    default.map(|default| self.code(default)).transpose()?.map(|code| self.alloc(code));
                Code::Select(self.arena.alloc(Select { base, path, default, pos }))
            }
            Kind::HasAttr { base, path } => {
                let base = self.code(base)?;
                let path = self.steps(path)?;
                Code::HasAttr(self.arena.alloc(HasAttr { base, path }))
            }
            Kind::Attrs(node) if node.recursive.get() => Code::RecAttrs(self.recursive(node, true)?),
            Kind::Attrs(node) => self.attrs(node)?,
            Kind::List([]) => self.constant(Value::List(List::over(self.arena, &[]))),
            Kind::List(items) => {
                let items = items.iter().map(|item| self.lazy(item)).collect::<Resolved<Vec<_>>>()?;
                Code::List(self.arena.alloc(ListCode { items: self.arena.alloc_slice_copy(&items) }))
            }
            Kind::Lambda(node) => Code::Lambda(self.lambda(node, pos)?),
            Kind::Call { function, arguments } => self.call(function, arguments, pos)?,
            Kind::Let { bindings, body } => {
                let scope = self.recursive(bindings, false)?;
                self.scopes.push(Self::names_of(bindings));
                let body = self.code(body);
                self.scopes.pop();
                let body = body?;
                Code::Let(self.arena.alloc(LetCode { scope, body }))
            }
            Kind::With { attrs, body } => {
                let attrs = self.lazy(attrs)?;
                self.scopes.push(Scope::With);
                let body = self.code(body);
                self.scopes.pop();
                let body = body?;
                Code::With(self.arena.alloc(WithCode { attrs, body }))
            }
            Kind::If { condition, then, otherwise } => {
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
            Kind::Binary { operator, left, right } => {
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
                let parts = parts.iter().map(|part| self.code(part)).collect::<Resolved<Vec<_>>>()?;
                let parts = self.arena.alloc_slice_fill_iter(parts);
                let parts = self.arena.alloc(Parts { parts, pos });
                if force_string { Code::Interpolate(parts) } else { Code::Plus(parts) }
            }
        })
    }

    fn steps(&mut self, path: &[AttrName<'_>]) -> Resolved<&'a [Step<'a>]> {
        let steps = path
            .iter()
            .map(|step| {
                let (name, pos, computed) = match step {
                    AttrName::Static(name, pos) => (*name, *pos, None),
                    AttrName::Dynamic(name) => {
                        let code = self.code(name)?;
                        (Known::NAME, name.pos, NonZero::new(self.numbered(code, Pos::NONE) + 1))
                    }
                };
                Ok(Step { name, pos, keys: Cell::new(None), index: Cell::new(0), computed })
            })
            .collect::<Resolved<Vec<_>>>()?;
        Ok(self.arena.alloc_slice_fill_iter(steps))
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
        let arguments = arguments.iter().map(|argument| self.lazy(argument)).collect::<Resolved<Vec<_>>>()?;
        let arguments = self.arena.alloc_slice_copy(&arguments);
        Ok(Code::Call(self.arena.alloc(Call { function, arguments, pos })))
    }

    fn keys(&self, attrs: &[(Symbol, Pos)]) -> &'a Keys<'a> {
        let names = self.arena.alloc_slice_fill_iter(attrs.iter().map(|attr| attr.0));
        let positions = self.arena.alloc_slice_fill_iter(attrs.iter().map(|attr| attr.1));
        self.arena.alloc(Keys::new(names, positions))
    }

    fn attrs(&mut self, node: &AttrsNode<'_>) -> Resolved<Code<'a>> {
        let mut defs: Vec<_> = node.attrs.borrow().to_vec();
        defs.sort_unstable_by_key(|def| def.name);
        let keys = self.keys(&defs.iter().map(|def| (def.name, def.pos)).collect::<Vec<_>>());
        let sources =
            node.sources.borrow().iter().map(|source| self.lazy(source)).collect::<Resolved<Vec<_>>>()?;
        let mut values = Vec::with_capacity(defs.len());
        for def in &defs {
            values.push(match def.value {
                AttrValue::Plain(value) => self.lazy_binding(&value, def.pos)?,
                AttrValue::Inherited => {
                    let code = self.variable(def.name, def.pos)?;
                    self.lazy_code(code)
                }
                AttrValue::InheritedFrom(source) => {
                    let code = Code::Inherited { source, name: def.name, pos: def.pos };
                    self.lazy_code(code).inherited()
                }
            });
        }
        let dynamic = self.dynamic(node)?;
        let values = self.arena.alloc_slice_copy(&values);
        if values.is_empty() && dynamic.is_empty() {
            let empty = crate::attrs::Attrs::filled(self.arena, keys, |_| crate::value::Slot::default());
            return Ok(self.constant(Value::Attrs(empty)));
        }
        let more: Option<&'a MoreAttrs<'a>> = if sources.is_empty() && dynamic.is_empty() {
            None
        } else {
            let sources = self.arena.alloc_slice_copy(&sources);
            Some(self.arena.alloc(MoreAttrs { sources, dynamic }))
        };
        Ok(Code::Attrs(self.arena.alloc(AttrsCode { keys, values, more })))
    }

    fn dynamic(&mut self, node: &AttrsNode<'_>) -> Resolved<&'a [DynamicCode<'a>]> {
        let mut list = Vec::new();
        for attr in node.dynamic.borrow().iter() {
            list.push(DynamicCode {
                name: self.code(attr.name)?,
                value: self.lazy(&attr.value)?,
                pos: attr.pos,
            });
        }
        Ok(self.arena.alloc_slice_fill_iter(list))
    }

    fn names_of(node: &AttrsNode<'_>) -> Scope {
        let mut names: Vec<Symbol> = node.attrs.borrow().iter().map(|def| def.name).collect();
        names.sort_unstable();
        Scope::Names(names.into_iter().enumerate().map(|(slot, name)| (name, slot as u32)).collect())
    }

    /// The scope of a `rec { }` or `let`.
    fn recursive(&mut self, node: &AttrsNode<'_>, is_set: bool) -> Resolved<&'a RecCode<'a>> {
        let mut defs: Vec<_> = node.attrs.borrow().to_vec();
        defs.sort_unstable_by_key(|def| def.name);
        let keys = self.keys(&defs.iter().map(|def| (def.name, def.pos)).collect::<Vec<_>>());
        let overrides = defs.iter().position(|def| def.name == Known::OVERRIDES).filter(|_| is_set);
        // `inherit x` means the variable outside.
        let outside = defs
            .iter()
            .map(|def| match def.value {
                AttrValue::Inherited => self.variable(def.name, def.pos).map(Some),
                _ => Ok(None),
            })
            .collect::<Resolved<Vec<_>>>()?;
        self.scopes.push(Self::names_of(node));
        let inside = self.recursive_inside(node, &defs, outside, overrides.is_some());
        self.scopes.pop();
        let (values, dynamic) = inside?;
        let values = self.arena.alloc_slice_copy(&values);
        Ok(self.arena.alloc(RecCode {
            keys,
            values,
            dynamic,
            overrides: overrides.map(|index| index as u32),
        }))
    }

    fn recursive_inside(
        &mut self,
        node: &AttrsNode<'_>,
        defs: &[crate::ast::AttrDef<'_>],
        outside: Vec<Option<Code<'a>>>,
        overridden: bool,
    ) -> Resolved<(Vec<Lazy<'a>>, &'a [DynamicCode<'a>])> {
        let mut values = Vec::with_capacity(defs.len());
        for (index, (def, outside)) in defs.iter().zip(outside).enumerate() {
            values.push(match def.value {
                // What `__overrides` may replace must not be looked at before.
                AttrValue::Plain(value) if overridden => {
                    let code = self.code(&value)?;
                    Lazy::thunk(self.numbered(code, def.pos))
                }
                AttrValue::Plain(value) => match self.lazy_binding(&value, def.pos)? {
                    // `x = x`: a thunk, so that the message about it has a place.
                    lazy if lazy.is_local(index) => {
                        Lazy::thunk(self.numbered(Code::Local(index as u32), def.pos))
                    }
                    lazy => lazy,
                },
                AttrValue::InheritedFrom(source) => {
                    let code =
                        Code::Inherited { source: defs.len() as u32 + source, name: def.name, pos: def.pos };
                    self.lazy_code(code)
                }
                AttrValue::Inherited => {
                    let code = match outside {
                        Some(Code::Local(slot)) => Code::Var { depth: 1, slot },
                        Some(Code::Var { depth, slot }) => Code::Var { depth: depth + 1, slot },
                        Some(Code::WithVar(var)) => {
                            let depths =
                                self.arena.alloc_slice_fill_iter(var.depths.iter().map(|depth| depth + 1));
                            Code::WithVar(self.arena.alloc(WithVar { name: var.name, depths, pos: var.pos }))
                        }
                        Some(code) => code,
                        None => self.constant(Value::Null),
                    };
                    self.lazy_code(code)
                }
            });
        }
        for source in node.sources.borrow().iter() {
            values.push(self.lazy(source)?);
        }
        Ok((values, self.dynamic(node)?))
    }

    fn lambda(&mut self, node: &LambdaNode<'_>, pos: Pos) -> Resolved<u32> {
        if node.formals.is_none() && node.argument.is_some() {
            return self.plain_lambda(node, pos);
        }
        let mut names = Vec::new();
        let mut next = 0;
        if let Some(argument) = node.argument {
            names.push((argument, 0));
            next = 1;
        }
        if let Some(formals) = node.formals {
            for formal in formals.list {
                names.push((formal.name, next));
                next += 1;
            }
        }
        names.sort_unstable();
        self.scopes.push(Scope::Names(names));
        let inside = self.lambda_inside(node);
        self.scopes.pop();
        let (formals, body) = inside?;
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
        let mut names: Vec<(Symbol, u32)> = Vec::with_capacity(levels.len());
        // The last of two arguments of one name is the one that the body sees.
        for (slot, level) in levels.iter().enumerate().rev() {
            names.extend(
                level
                    .0
                    .filter(|&name| names.iter().all(|known| known.0 != name))
                    .map(|name| (name, slot as u32)),
            );
        }
        names.sort_unstable();
        self.scopes.push(Scope::Names(names));
        let body = self.code(body);
        self.scopes.pop();
        let body = self.alloc(body?);
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
                let mut list = Vec::with_capacity(formals.list.len());
                for formal in formals.list {
                    let default = formal.default.as_ref().map(|default| self.lazy(default)).transpose()?;
                    list.push(FormalCode { name: formal.name, pos: formal.pos, default });
                }
                Some(FormalsCode { list: self.arena.alloc_slice_copy(&list), ellipsis: formals.ellipsis })
            }
        };
        Ok((formals, self.code(&node.body)?))
    }
}
