//! Functions: `x: …`, `{ a, b ? 1, ... }@all: …`, and how they are told from sets.

use super::{Parsed, Parser};
use crate::ast::{Expr, Formal, Formals, Kind, LambdaNode};
use crate::lexer::Token;
use crate::position::Pos;
use crate::symbol::Symbol;
use bumpalo::collections::Vec as ArenaVec;
use std::cell::Cell;

impl<'t> Parser<'t, '_, '_, '_> {
    /// A name, and what it begins: the argument of a function, or an operation.
    pub(super) fn identifier_or_function(&mut self) -> Parsed<Expr<'t>> {
        let pos = self.pos();
        match self.lexer.peek() {
            b':' => {
                let argument = self.intern(self.token);
                self.advance();
                self.advance();
                let body = self.expression()?;
                Ok(self.lambda(pos, Some(argument), None, body))
            }
            b'@' => {
                let argument = (self.intern(self.token), pos);
                self.advance();
                self.advance();
                self.formals_function(Some(argument))
            }
            _ => self.operation(0),
        }
    }

    fn lambda(
        &self,
        pos: Pos,
        argument: Option<Symbol>,
        formals: Option<Formals<'t>>,
        body: Expr<'t>,
    ) -> Expr<'t> {
        let node = self.tree.alloc(LambdaNode { argument, formals, body, name: Cell::new(None) });
        Expr { pos, kind: Kind::Lambda(node) }
    }

    /// Whether the `{` at hand opens the formals of a function and not a set.
    pub(super) fn at_formals(&self) -> bool {
        let mut ahead = self.lexer;
        match ahead.next().token {
            Token::Ellipsis => true,
            Token::BraceClose => matches!(ahead.peek(), b':' | b'@'),
            Token::Identifier => match ahead.peek() {
                b',' | b'?' => true,
                b'}' => {
                    ahead.at += 1;
                    matches!(ahead.peek(), b':' | b'@')
                }
                _ => false,
            },
            _ => false,
        }
    }

    /// A function that takes a set, from its formals on.
    pub(super) fn formals_function(&mut self, name: Option<(Symbol, Pos)>) -> Parsed<Expr<'t>> {
        let pos = name.map_or(self.pos(), |(_, pos)| pos);
        self.expect(Token::BraceOpen)?;
        let mut list: ArenaVec<'t, Formal<'t>> = ArenaVec::new_in(self.tree);
        let mut ellipsis = false;
        loop {
            match self.token.token {
                Token::BraceClose => break,
                Token::Ellipsis => {
                    ellipsis = true;
                    self.advance();
                    break;
                }
                Token::Identifier => {
                    let formal = self.formal()?;
                    list.push(formal);
                }
                _ => return self.unexpected("an argument's name, '...' or '}'"),
            }
            if self.token.token != Token::Comma {
                break;
            }
            self.advance();
        }
        self.expect(Token::BraceClose)?;
        let mut argument = name;
        if name.is_none() && self.token.token == Token::At {
            self.advance();
            argument = Some((self.intern(self.token), self.pos()));
            self.expect(Token::Identifier)?;
        }
        self.expect(Token::Colon)?;
        list.sort_unstable_by_key(|formal| formal.name);
        for pair in list.windows(2) {
            if pair[0].name == pair[1].name {
                let later = pair[0].pos.max(pair[1].pos);
                return self.error(
                    later,
                    format!("duplicate formal function argument '{}'", self.symbols.show(pair[0].name)),
                );
            }
        }
        if let Some((argument, at)) = argument
            && list.iter().any(|formal| formal.name == argument)
        {
            return self
                .error(at, format!("duplicate formal function argument '{}'", self.symbols.show(argument)));
        }
        let body = self.expression()?;
        let formals = Formals { list: list.into_bump_slice(), ellipsis };
        Ok(self.lambda(pos, argument.map(|(name, _)| name), Some(formals), body))
    }

    fn formal(&mut self) -> Parsed<Formal<'t>> {
        let pos = self.pos();
        let name = self.intern(self.token);
        self.advance();
        let mut default = None;
        if self.token.token == Token::Question {
            self.advance();
            default = Some(self.expression()?);
        }
        Ok(Formal { name, pos, default })
    }
}
