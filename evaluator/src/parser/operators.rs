//! Operators by how tightly they bind, and what they stand for: `-`, `*`, `/` and the comparisons are calls of variables that
//! can be shadowed, as in Nix.

use super::{MAX_NESTING, Parsed, Parser};
use crate::ast::{Binary, Expr, HasAttrNode, Kind};
use crate::lexer::Token;
use crate::position::Pos;
use crate::symbol::Known;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
    None,
}

const NOT_POWER: u8 = 8;
const NEGATE_POWER: u8 = 13;

fn binding_power(token: Token) -> Option<(u8, Side)> {
    Some(match token {
        Token::PipeFrom => (0, Side::Right),
        Token::PipeInto => (1, Side::Left),
        Token::Implies => (2, Side::Right),
        Token::OrOr => (3, Side::Left),
        Token::And => (4, Side::Left),
        Token::Equal | Token::NotEqual => (5, Side::None),
        Token::Less | Token::Greater | Token::LessEqual | Token::GreaterEqual => (6, Side::None),
        Token::Update => (7, Side::Right),
        Token::Plus | Token::Minus => (9, Side::Left),
        Token::Star | Token::Slash => (10, Side::Left),
        Token::Concat => (11, Side::Right),
        Token::Question => (12, Side::None),
        _ => return None,
    })
}

impl<'t> Parser<'t, '_, '_, '_> {
    /// Operators that bind at least as tightly as `minimum`.
    pub(super) fn operation(&mut self, minimum: u8) -> Parsed<Expr<'t>> {
        let mut left = self.prefix()?;
        loop {
            let operator = self.token.token;
            let Some((power, associativity)) = binding_power(operator) else { return Ok(left) };
            if power < minimum {
                return Ok(left);
            }
            let pos = self.pos();
            if matches!(operator, Token::PipeInto | Token::PipeFrom) && !self.surroundings.pipes {
                let message = "the pipe operators need the experimental feature 'pipe-operators'";
                return self.error(pos, message);
            }
            self.advance();
            if operator == Token::Question {
                let path = self.attribute_path()?;
                left = Expr { pos, kind: Kind::HasAttr(self.tree.alloc(HasAttrNode { base: left, path })) };
            } else {
                let right =
                    self.nested_operation(if associativity == Side::Right { power } else { power + 1 })?;
                left = self.combine(operator, pos, left, right);
            }
            if associativity == Side::None
                && binding_power(self.token.token).is_some_and(|(next, _)| next == power)
            {
                return self.unexpected("");
            }
        }
    }

    fn nested_operation(&mut self, minimum: u8) -> Parsed<Expr<'t>> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return self.error(self.pos(), "the expression nests too deeply to be parsed");
        }
        let result = stacker::maybe_grow(64 * 1024, 1024 * 1024, || self.operation(minimum));
        self.nesting -= 1;
        result
    }

    fn prefix(&mut self) -> Parsed<Expr<'t>> {
        let pos = self.pos();
        match self.token.token {
            Token::Not => {
                self.advance();
                let operand = self.nested_operation(NOT_POWER)?;
                Ok(Expr { pos, kind: Kind::Not(self.alloc(operand)) })
            }
            Token::Minus => {
                self.advance();
                let operand = self.nested_operation(NEGATE_POWER)?;
                Ok(self.call(pos, Known::SUB, &[Expr { pos, kind: Kind::Int(0) }, operand]))
            }
            _ => self.application(),
        }
    }

    fn combine(&self, operator: Token, pos: Pos, left: Expr<'t>, right: Expr<'t>) -> Expr<'t> {
        let binary =
            |operator| Expr { pos, kind: Kind::Binary { operator, sides: self.tree.alloc([left, right]) } };
        let not = |operand: Expr<'t>| Expr { pos, kind: Kind::Not(self.alloc(operand)) };
        match operator {
            Token::Equal => binary(Binary::Equal),
            Token::NotEqual => binary(Binary::NotEqual),
            Token::And => binary(Binary::And),
            Token::OrOr => binary(Binary::Or),
            Token::Implies => binary(Binary::Implies),
            Token::Update => binary(Binary::Update),
            Token::Concat => binary(Binary::ConcatLists),
            Token::Less => self.call(pos, Known::LESS_THAN, &[left, right]),
            Token::LessEqual => not(self.call(pos, Known::LESS_THAN, &[right, left])),
            Token::Greater => self.call(pos, Known::LESS_THAN, &[right, left]),
            Token::GreaterEqual => not(self.call(pos, Known::LESS_THAN, &[left, right])),
            Token::Minus => self.call(pos, Known::SUB, &[left, right]),
            Token::Star => self.call(pos, Known::MUL, &[left, right]),
            Token::Slash => self.call(pos, Known::DIV, &[left, right]),
            Token::PipeInto => self.apply(pos, right, left),
            Token::PipeFrom => self.apply(pos, left, right),
            _ => Expr {
                pos,
                kind: Kind::Concat { force_string: false, parts: self.tree.alloc_slice_copy(&[left, right]) },
            },
        }
    }
}
