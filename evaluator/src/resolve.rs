//! Resolves names: turns the syntax tree into [`crate::code`]. Each variable becomes a slot of an environment a known
//! number of scopes out, a builtin becomes a constant, and a name that nothing can define is an error of the whole file.

use crate::arena::Arena;
use crate::ast::{AttrName, AttrValue, AttrsNode, Binary, Expr, Kind, LambdaNode};
use crate::attrs::Keys;
use crate::code::{
    Argument, Arithmetic, Assert, AttrsCode, Call, Code, DynamicCode, FormalCode, FormalsCode, Init,
    LambdaCode, Lazy, RecCode, Select, Step, StepName, WithVar,
};
use crate::parser::SyntaxError;
use crate::position::Pos;
use crate::symbol::{Known, Symbol, Symbols};
use crate::value::{List, Str, Value};
use hashbrown::HashMap;
use std::cell::Cell;

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
        let mut withs = Vec::new();
        for (depth, scope) in self.scopes.iter().rev().enumerate() {
            match scope {
                Scope::Names(names) => {
                    if let Ok(index) = names.binary_search_by_key(&name, |entry| entry.0) {
                        return Ok(Found::Slot { depth: depth as u32, slot: names[index].1 });
                    }
                }
                Scope::With => withs.push(depth as u32),
            }
        }
        if let Some(value) = self.globals.get(&name) {
            return Ok(Found::Global(*value));
        }
        if withs.is_empty() {
            return Err(Box::new(SyntaxError {
                pos,
                message: format!("undefined variable '{}'", self.symbols.show(name)),
                other: None,
            }));
        }
        Ok(Found::With(withs))
    }

    /// All names that are in scope, for "did you mean".
    pub(crate) fn names_in_scope(&self) -> Vec<Symbol> {
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
        let bytes = self.arena.alloc_slice_copy(text);
        Value::String(self.arena.alloc(Str::new(bytes, None)))
    }

    fn variable(&self, name: Symbol, pos: Pos) -> Resolved<Code<'a>> {
        Ok(match self.find(name, pos)? {
            Found::Slot { depth: 0, slot } => Code::Local(slot),
            Found::Slot { depth, slot } => Code::Var { depth, slot },
            Found::Global(value) => Code::Const(value),
            Found::With(depths) => {
                let depths = self.arena.alloc_slice_copy(&depths);
                Code::WithVar(self.arena.alloc(WithVar { name, depths, pos }))
            }
        })
    }

    /// Code that is put off: no thunk where there is nothing to do.
    fn lazy_code(&mut self, code: Code<'a>) -> (Lazy<'a>, &'a Code<'a>) {
        let code = self.alloc(code);
        let lazy = match *code {
            Code::Const(value) => Lazy::value(self.arena, value),
            Code::Local(slot) => Lazy::variable(0, slot),
            Code::Var { depth, slot } => Lazy::variable(depth, slot),
            Code::Lambda(number) => Lazy::lambda(number),
            _ => {
                self.codes.push(code);
                self.code_places.push(Pos::NONE);
                Lazy::thunk(self.codes.len() as u32 - 1)
            }
        };
        (lazy, code)
    }

    fn lazy(&mut self, expression: &Expr<'_>) -> Resolved<Lazy<'a>> {
        let code = self.code(expression)?;
        Ok(self.lazy_code(code).0)
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

    fn code_here(&mut self, expression: &Expr<'_>) -> Resolved<Code<'a>> {
        let pos = expression.pos;
        Ok(match expression.kind {
            Kind::Int(number) => Code::Const(Value::Int(number)),
            Kind::Float(number) => Code::Const(Value::Float(number)),
            Kind::String(text) => Code::Const(self.string(text)),
            Kind::Path(path) => {
                let bytes = self.arena.alloc_slice_copy(path);
                Code::Const(Value::Path(self.arena.alloc(Str::new(bytes, None))))
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
                Code::HasAttr { base: self.alloc(base), path: self.steps(path)? }
            }
            Kind::Attrs(node) if node.recursive.get() => Code::RecAttrs(self.recursive(node, true)?),
            Kind::Attrs(node) => self.attrs(node)?,
            Kind::List([]) => Code::Const(Value::List(self.arena.alloc(List { items: &[] }))),
            Kind::List(items) => {
                let items = items.iter().map(|item| self.lazy(item)).collect::<Resolved<Vec<_>>>()?;
                Code::List(self.arena.alloc_slice_copy(&items))
            }
            Kind::Lambda(node) => Code::Lambda(self.lambda(node, pos)?),
            Kind::Call { function, arguments } => self.call(function, arguments, pos)?,
            Kind::Let { bindings, body } => {
                let scope = self.recursive(bindings, false)?;
                self.scopes.push(Self::names_of(bindings));
                let body = self.code(body);
                self.scopes.pop();
                let body = body?;
                Code::Let { scope, body: self.alloc(body) }
            }
            Kind::With { attrs, body } => {
                let attrs = self.lazy(attrs)?;
                self.scopes.push(Scope::With);
                let body = self.code(body);
                self.scopes.pop();
                let body = body?;
                Code::With { attrs, body: self.alloc(body) }
            }
            Kind::If { condition, then, otherwise } => {
                let condition = self.code(condition)?;
                Code::If { condition: self.alloc(condition), branches: self.pair(then, otherwise)?, pos }
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
                if force_string { Code::Interpolate { parts, pos } } else { Code::Plus { parts, pos } }
            }
        })
    }

    fn steps(&mut self, path: &[AttrName<'_>]) -> Resolved<&'a [Step<'a>]> {
        let steps = path
            .iter()
            .map(|step| {
                let (name, pos) = match step {
                    AttrName::Static(name, pos) => (StepName::Static(*name), *pos),
                    AttrName::Dynamic(name) => {
                        let code = self.code(name)?;
                        (StepName::Dynamic(self.alloc(code)), name.pos)
                    }
                };
                Ok(Step { name, pos, keys: Cell::new(None), index: Cell::new(0) })
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
        let arguments = arguments
            .iter()
            .map(|argument| {
                let code = self.code(argument)?;
                let (lazy, code) = self.lazy_code(code);
                Ok(Argument { lazy, code })
            })
            .collect::<Resolved<Vec<_>>>()?;
        let arguments = self.arena.alloc_slice_fill_iter(arguments);
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
                AttrValue::Plain(value) => {
                    Init { lazy: self.lazy_binding(&value, def.pos)?, inherited: false }
                }
                AttrValue::Inherited => {
                    let code = self.variable(def.name, def.pos)?;
                    Init { lazy: self.lazy_code(code).0, inherited: false }
                }
                AttrValue::InheritedFrom(source) => {
                    let code = Code::Inherited { source, name: def.name, pos: def.pos };
                    Init { lazy: self.lazy_code(code).0, inherited: true }
                }
            });
        }
        let dynamic = self.dynamic(node)?;
        let values = self.arena.alloc_slice_copy(&values);
        let sources = self.arena.alloc_slice_copy(&sources);
        if values.is_empty() && dynamic.is_empty() {
            let empty = crate::attrs::Attrs::filled(self.arena, keys, |_| crate::value::Slot::default());
            return Ok(Code::Const(Value::Attrs(empty)));
        }
        Ok(Code::Attrs(self.arena.alloc(AttrsCode { keys, values, sources, dynamic })))
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
                    self.codes.push(self.arena.alloc(code));
                    self.code_places.push(def.pos);
                    Lazy::thunk(self.codes.len() as u32 - 1)
                }
                AttrValue::Plain(value) => match self.lazy_binding(&value, def.pos)? {
                    // `x = x`: a thunk, so that the message about it has a place.
                    lazy if lazy.is_local(index) => {
                        self.codes.push(self.arena.alloc(Code::Local(index as u32)));
                        self.code_places.push(def.pos);
                        Lazy::thunk(self.codes.len() as u32 - 1)
                    }
                    lazy => lazy,
                },
                AttrValue::InheritedFrom(source) => {
                    let code =
                        Code::Inherited { source: defs.len() as u32 + source, name: def.name, pos: def.pos };
                    self.lazy_code(code).0
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
                        None => Code::Const(Value::Null),
                    };
                    self.lazy_code(code).0
                }
            });
        }
        for source in node.sources.borrow().iter() {
            values.push(self.lazy(source)?);
        }
        Ok((values, self.dynamic(node)?))
    }

    fn lambda(&mut self, node: &LambdaNode<'_>, pos: Pos) -> Resolved<u32> {
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
        };
        self.lambdas.push(self.arena.alloc(code));
        Ok(self.lambdas.len() as u32 - 1)
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
