//! The syntax tree as text, in the form that `nix-instantiate --parse` prints.

use crate::ast::{AttrName, AttrValue, AttrsNode, Binary, Expr, Kind, LambdaNode};
use crate::print_value::{write_identifier, write_string};
use crate::symbol::{Symbol, Symbols};

/// The text of an expression.
pub(crate) fn print(expression: &Expr<'_>, symbols: &Symbols<'_>) -> Vec<u8> {
    let mut printer = Printer { symbols, text: Vec::new() };
    printer.expression(expression);
    printer.text
}

struct Printer<'p, 'a> {
    symbols: &'p Symbols<'a>,
    text: Vec<u8>,
}

impl Printer<'_, '_> {
    fn put(&mut self, text: &str) {
        self.text.extend_from_slice(text.as_bytes());
    }

    fn name(&mut self, name: Symbol) {
        write_identifier(&mut self.text, self.symbols.text(name));
    }

    fn expression(&mut self, expression: &Expr<'_>) {
        stacker::maybe_grow(64 * 1024, 1024 * 1024, || self.inner(expression));
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each kind of expression")]
    fn inner(&mut self, expression: &Expr<'_>) {
        match expression.kind {
            Kind::Int(number) => self.put(&number.to_string()),
            Kind::Float(number) => self.put(&crate::float_format::print_g(number)),
            Kind::String(text) => write_string(&mut self.text, text),
            Kind::Path(path) => self.text.extend_from_slice(path),
            Kind::Var(name) => self.name(name),
            Kind::CurPos => self.put("__curPos"),
            Kind::Select(select) => {
                self.put("(");
                self.expression(&select.base);
                self.put(").");
                self.path(select.path);
                if let Some(default) = &select.default {
                    self.put(" or (");
                    self.expression(default);
                    self.put(")");
                }
            }
            Kind::HasAttr(has) => {
                self.put("((");
                self.expression(&has.base);
                self.put(") ? ");
                self.path(has.path);
                self.put(")");
            }
            Kind::Attrs(node) => {
                self.put(if node.recursive.get() { "rec { " } else { "{ " });
                self.bindings(node);
                self.put("}");
            }
            Kind::List(items) => {
                self.put("[ ");
                for item in items {
                    self.put("(");
                    self.expression(item);
                    self.put(") ");
                }
                self.put("]");
            }
            Kind::Lambda(node) => self.lambda(node),
            Kind::Call(call) => {
                self.put("(");
                self.expression(&call.function);
                for argument in call.arguments {
                    self.put(" ");
                    self.expression(argument);
                }
                self.put(")");
            }
            Kind::Let { bindings, body } => {
                self.put("(let ");
                self.bindings(bindings);
                self.put("in ");
                self.expression(body);
                self.put(")");
            }
            Kind::With { attrs, body } => {
                self.put("(with ");
                self.expression(attrs);
                self.put("; ");
                self.expression(body);
                self.put(")");
            }
            Kind::If([condition, then, otherwise]) => {
                self.put("(if ");
                self.expression(condition);
                self.put(" then ");
                self.expression(then);
                self.put(" else ");
                self.expression(otherwise);
                self.put(")");
            }
            Kind::Assert { condition, body } => {
                self.put("assert ");
                self.expression(condition);
                self.put("; ");
                self.expression(body);
            }
            Kind::Not(operand) => {
                self.put("(! ");
                self.expression(operand);
                self.put(")");
            }
            Kind::Binary { operator, sides: [left, right] } => {
                self.put("(");
                self.expression(left);
                self.put(match operator {
                    Binary::Equal => " == ",
                    Binary::NotEqual => " != ",
                    Binary::And => " && ",
                    Binary::Or => " || ",
                    Binary::Implies => " -> ",
                    Binary::Update => " // ",
                    Binary::ConcatLists => " ++ ",
                });
                self.expression(right);
                self.put(")");
            }
            Kind::Concat { parts, .. } => {
                self.put("(");
                for (index, part) in parts.iter().enumerate() {
                    if index > 0 {
                        self.put(" + ");
                    }
                    self.expression(part);
                }
                self.put(")");
            }
        }
    }

    fn path(&mut self, path: &[AttrName<'_>]) {
        for (index, step) in path.iter().enumerate() {
            if index > 0 {
                self.put(".");
            }
            match step {
                AttrName::Static(name, _) => self.name(*name),
                AttrName::Dynamic(name) => {
                    self.put("\"${");
                    self.expression(name);
                    self.put("}\"");
                }
            }
        }
    }

    fn bindings(&mut self, node: &AttrsNode<'_>) {
        let mut attrs = node.attrs.borrow().to_vec();
        attrs.sort_unstable_by_key(|attr| self.symbols.text(attr.name));
        let inherited: Vec<_> =
            attrs.iter().filter(|attr| matches!(attr.value, AttrValue::Inherited)).collect();
        if !inherited.is_empty() {
            self.put("inherit");
            for attr in inherited {
                self.put(" ");
                self.name(attr.name);
            }
            self.put("; ");
        }
        for (index, source) in node.sources.borrow().iter().enumerate() {
            let from: Vec<_> = attrs
                .iter()
                .filter(
                    |attr| matches!(attr.value, AttrValue::InheritedFrom(source) if source as usize == index),
                )
                .collect();
            if from.is_empty() {
                continue;
            }
            self.put("inherit (");
            self.expression(source);
            self.put(")");
            for attr in from {
                self.put(" ");
                self.name(attr.name);
            }
            self.put("; ");
        }
        for attr in &attrs {
            if let AttrValue::Plain(value) = &attr.value {
                self.name(attr.name);
                self.put(" = ");
                self.expression(value);
                self.put("; ");
            }
        }
        for attr in node.dynamic.borrow().iter() {
            self.put("\"${");
            self.expression(attr.name);
            self.put("}\" = ");
            self.expression(&attr.value);
            self.put("; ");
        }
    }

    fn lambda(&mut self, node: &LambdaNode<'_>) {
        self.put("(");
        if let Some(formals) = node.formals {
            self.put("{ ");
            let mut list = formals.list.to_vec();
            list.sort_unstable_by_key(|formal| self.symbols.text(formal.name));
            for (index, formal) in list.iter().enumerate() {
                if index > 0 {
                    self.put(", ");
                }
                self.name(formal.name);
                if let Some(default) = &formal.default {
                    self.put(" ? ");
                    self.expression(default);
                }
            }
            if formals.ellipsis {
                self.put(if list.is_empty() { "..." } else { ", ..." });
            }
            self.put(" }");
            if node.argument.is_some() {
                self.put(" @ ");
            }
        }
        if let Some(argument) = node.argument {
            self.name(argument);
        }
        self.put(": ");
        self.expression(&node.body);
        self.put(")");
    }
}
