//! Attribute sets and `let` bindings: attribute paths, `inherit`, and the merging of sets that are written in pieces
//! (`{ a.b = 1; a.c = 2; a = { d = 3; }; }`), where the first definition decides whether the set is recursive.

use super::{Parsed, Parser, SyntaxError};
use crate::ast::{AttrDef, AttrName, AttrValue, AttrsNode, DynamicAttr, Expr, Kind};
use crate::lexer::Token;
use crate::position::Pos;
use crate::symbol::{Known, Symbol};
use bumpalo::collections::Vec as ArenaVec;
use std::cell::{Cell, RefCell};

/// Sets up to this size are searched one attribute after the other.
const SMALL: usize = 8;

impl<'t> Parser<'t, '_, '_, '_> {
    fn new_attrs(&mut self) -> &'t AttrsNode<'t> {
        self.nodes += 1;
        self.tree.alloc(AttrsNode {
            id: self.nodes,
            recursive: Cell::new(false),
            attrs: RefCell::new(ArenaVec::new_in(self.tree)),
            dynamic: RefCell::new(ArenaVec::new_in(self.tree)),
            sources: RefCell::new(ArenaVec::new_in(self.tree)),
        })
    }

    /// Bindings up to and including the closing token; what they belong to began there.
    pub(super) fn bindings(&mut self, close: Token, began: Pos) -> Parsed<&'t AttrsNode<'t>> {
        let node = self.new_attrs();
        loop {
            match self.token.token {
                token if token == close => {
                    self.advance();
                    return Ok(node);
                }
                Token::Inherit => self.inherit(node)?,
                Token::Identifier
                | Token::Or
                | Token::StringOpen
                | Token::IndentedOpen
                | Token::DollarBrace => {
                    let pos = self.pos();
                    let path = self.attribute_path()?;
                    self.expect(Token::Assign)?;
                    let value = self.expression()?;
                    if self.token.token != Token::Semicolon {
                        let what = "a ';' is missing behind the attribute that starts here";
                        return self.unexpected_within("';'", pos, what);
                    }
                    self.advance();
                    self.define(node, path, value, pos)?;
                }
                Token::UnfinishedComment => {
                    return self.error(self.pos(), "the comment that starts here has no end");
                }
                _ => {
                    let (wanted, what) = match close {
                        Token::In => ("a binding or 'in'", "the 'let' is here"),
                        _ => ("an attribute or '}'", "the set starts here"),
                    };
                    return match self.token.token {
                        Token::End => self.unexpected_within(wanted, began, what),
                        _ => self.unexpected(wanted),
                    };
                }
            }
        }
    }

    fn inherit(&mut self, node: &'t AttrsNode<'t>) -> Parsed<()> {
        self.advance();
        let mut value = AttrValue::Inherited;
        if self.token.token == Token::ParenOpen {
            self.advance();
            let source = self.expression()?;
            self.expect(Token::ParenClose)?;
            let mut sources = node.sources.borrow_mut();
            value = AttrValue::InheritedFrom(sources.len() as u32);
            sources.push(source);
        }
        while self.token.token != Token::Semicolon {
            let pos = self.pos();
            match self.attribute_name()? {
                AttrName::Static(name, _) => {
                    if let Some(earlier) = self.find(node, name) {
                        let earlier = node.attrs.borrow()[earlier].pos;
                        return self.duplicate(&[AttrName::Static(name, pos)], pos, earlier);
                    }
                    self.insert(node, AttrDef { name, pos, value });
                }
                AttrName::Dynamic(_) => {
                    return self.error(pos, "dynamic attributes not allowed in inherit");
                }
            }
        }
        self.advance();
        Ok(())
    }

    /// `a.b."c".${d}`.
    pub(super) fn attribute_path(&mut self) -> Parsed<&'t [AttrName<'t>]> {
        let mut path = ArenaVec::with_capacity_in(1, self.tree);
        loop {
            path.push(self.attribute_name()?);
            if self.token.token != Token::Dot {
                return Ok(path.into_bump_slice());
            }
            self.advance();
        }
    }

    fn attribute_name(&mut self) -> Parsed<AttrName<'t>> {
        let pos = self.pos();
        match self.token.token {
            Token::Identifier => {
                let name = self.intern(self.token);
                self.advance();
                Ok(AttrName::Static(name, pos))
            }
            Token::Or => {
                self.advance();
                Ok(AttrName::Static(Known::OR, pos))
            }
            Token::StringOpen => {
                let text = self.string()?;
                Ok(self.name_of(text, pos))
            }
            Token::DollarBrace => {
                self.advance();
                let inner = self.expression()?;
                self.expect(Token::BraceClose)?;
                Ok(self.name_of(inner, pos))
            }
            _ => self.unexpected("an attribute name"),
        }
    }

    /// A literal string is a name like any other, even between `${` and `}`.
    fn name_of(&mut self, name: Expr<'t>, pos: Pos) -> AttrName<'t> {
        match name.kind {
            Kind::String(text) => AttrName::Static(self.symbols.intern(text), pos),
            _ => AttrName::Dynamic(self.alloc(name)),
        }
    }

    fn find(&self, node: &AttrsNode<'t>, name: Symbol) -> Option<usize> {
        let attrs = node.attrs.borrow();
        if attrs.len() <= SMALL {
            return attrs.iter().position(|attr| attr.name == name);
        }
        self.index.get(&(node.id, name)).map(|&index| index as usize)
    }

    fn insert(&mut self, node: &AttrsNode<'t>, def: AttrDef<'t>) {
        if let AttrValue::Plain(Expr { kind: Kind::Lambda(lambda), .. }) = def.value
            && lambda.name.get().is_none()
        {
            lambda.name.set(Some(def.name));
        }
        let mut attrs = node.attrs.borrow_mut();
        attrs.push(def);
        if attrs.len() > SMALL {
            if attrs.len() == SMALL + 1 {
                for (index, attr) in attrs.iter().enumerate() {
                    self.index.insert((node.id, attr.name), index as u32);
                }
            } else {
                self.index.insert((node.id, def.name), attrs.len() as u32 - 1);
            }
        }
    }

    /// Enters `path = value` into a set, opening or reusing the sets on the way.
    fn define(
        &mut self,
        node: &'t AttrsNode<'t>,
        path: &'t [AttrName<'t>],
        value: Expr<'t>,
        pos: Pos,
    ) -> Parsed<()> {
        let Some((last, front)) = path.split_last() else { return Ok(()) };
        let mut node = node;
        for step in front {
            match *step {
                AttrName::Static(name, _) => {
                    let found = self.find(node, name).map(|index| node.attrs.borrow()[index]);
                    node = match found {
                        Some(AttrDef {
                            value: AttrValue::Plain(Expr { kind: Kind::Attrs(inner), .. }),
                            ..
                        }) => inner,
                        Some(other) => return self.duplicate(path, pos, other.pos),
                        None => {
                            let inner = self.new_attrs();
                            let value = AttrValue::Plain(Expr { pos, kind: Kind::Attrs(inner) });
                            self.insert(node, AttrDef { name, pos, value });
                            inner
                        }
                    };
                }
                AttrName::Dynamic(name) => {
                    let inner = self.new_attrs();
                    let value = Expr { pos, kind: Kind::Attrs(inner) };
                    node.dynamic.borrow_mut().push(DynamicAttr { name, value, pos });
                    node = inner;
                }
            }
        }
        match *last {
            AttrName::Static(name, _) => {
                self.merge(node, path, AttrDef { name, pos, value: AttrValue::Plain(value) })
            }
            AttrName::Dynamic(name) => {
                node.dynamic.borrow_mut().push(DynamicAttr { name, value, pos });
                Ok(())
            }
        }
    }

    fn merge(&mut self, node: &'t AttrsNode<'t>, path: &[AttrName<'t>], def: AttrDef<'t>) -> Parsed<()> {
        let Some(index) = self.find(node, def.name) else {
            self.insert(node, def);
            return Ok(());
        };
        let earlier = node.attrs.borrow()[index];
        let (
            AttrValue::Plain(Expr { kind: Kind::Attrs(into), .. }),
            AttrValue::Plain(Expr { kind: Kind::Attrs(from), .. }),
        ) = (earlier.value, def.value)
        else {
            return self.duplicate(path, def.pos, earlier.pos);
        };
        let shift = into.sources.borrow().len() as u32;
        let attrs = from.attrs.borrow().clone();
        for mut attr in attrs {
            if let AttrValue::InheritedFrom(source) = &mut attr.value {
                *source += shift;
            }
            let mut longer = path.to_vec();
            longer.push(AttrName::Static(attr.name, attr.pos));
            self.merge(into, &longer, attr)?;
        }
        into.sources.borrow_mut().extend(from.sources.borrow().iter().copied());
        into.dynamic.borrow_mut().extend(from.dynamic.borrow().iter().copied());
        Ok(())
    }

    fn duplicate<T>(&self, path: &[AttrName<'t>], pos: Pos, earlier: Pos) -> Parsed<T> {
        let names: Vec<String> = path
            .iter()
            .map(|step| match step {
                AttrName::Static(name, _) => self.symbols.show(*name),
                AttrName::Dynamic(_) => "${…}".to_owned(),
            })
            .collect();
        Err(Box::new(SyntaxError {
            pos,
            message: format!("attribute '{}' already defined", names.join(".")),
            other: Some((earlier, "first defined here")),
            hint: None,
        }))
    }
}
