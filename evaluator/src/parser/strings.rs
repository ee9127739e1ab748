//! The insides of strings and paths: escapes, interpolation, line ends.

use super::indentation::{Piece, strip_indentation};
use super::{Parsed, Parser};
use crate::ast::{Expr, Kind};
use crate::lexer::{Lexeme, Token};
use crate::paths::{canonical, canonical_below};
use crate::scan;
use bumpalo::collections::Vec as ArenaVec;

impl<'t> Parser<'t, '_, '_, '_> {
    fn byte_at(&self, at: usize) -> Option<u8> {
        self.lexer.text.get(at).copied()
    }

    /// `"…"`: the current token is the opening quote.
    pub(super) fn string(&mut self) -> Parsed<Expr<'t>> {
        let pos = self.pos();
        let mut parts = ArenaVec::new_in(self.tree);
        let mut at = self.token.end();
        loop {
            let start = at;
            let mut plain = true;
            // The common case: a run of bytes that stand for themselves.
            loop {
                let end = scan::until(self.lexer.text, at, [b'"', b'\\', b'$']);
                plain = plain && scan::until(&self.lexer.text[..end], at, [0, b'\r', 0]) == end;
                at = end;
                match self.byte_at(at) {
                    None => return self.error(pos, "syntax error, the string that starts here has no end"),
                    Some(b'"') => break,
                    Some(b'\\') => {
                        if self.byte_at(at + 1).is_none() {
                            return self.error(pos, "syntax error, the string that starts here has no end");
                        }
                        plain = false;
                        at += 2;
                    }
                    // A dollar.
                    Some(_) => match self.byte_at(at + 1) {
                        Some(b'{') => break,
                        Some(b'"' | b'\\') | None => at += 1,
                        Some(byte) => {
                            plain &= !matches!(byte, 0 | b'\r');
                            at += 2;
                        }
                    },
                }
            }
            if at > start {
                let raw = &self.lexer.text[start..at];
                let text: &[u8] = if plain {
                    self.tree.alloc_slice_copy(raw)
                } else {
                    self.refuse_nul(raw, start)?;
                    unescape(self.tree, raw)
                };
                if parts.is_empty() && self.byte_at(at) == Some(b'"') {
                    // Nothing but text, as in most strings.
                    self.lexer.at = at + 1;
                    self.advance();
                    return Ok(Expr { pos, kind: Kind::String(text) });
                }
                parts.push(Expr { pos: self.pos_at(start), kind: Kind::String(text) });
            }
            if self.byte_at(at) == Some(b'"') {
                self.lexer.at = at + 1;
                self.advance();
                return Ok(match parts.as_slice() {
                    [] => Expr { pos, kind: Kind::String(&[]) },
                    _ => Expr {
                        pos,
                        kind: Kind::Concat { force_string: true, parts: parts.into_bump_slice() },
                    },
                });
            }
            parts.push(self.interpolation(at)?);
            at = self.lexer.at;
        }
    }

    fn refuse_nul(&self, text: &[u8], start: usize) -> Parsed<()> {
        if scan::until(text, 0, [0; 3]) == text.len() {
            return Ok(());
        }
        let shown = String::from_utf8_lossy(text).replace('\0', "␀");
        let pos = self.pos_at(start);
        self.error(
            pos,
            format!(
                "input string '{shown}' cannot be represented as Nix string because it contains null bytes"
            ),
        )
    }

    /// `${ e }` at an offset; afterwards the lexer stands right behind the brace.
    fn interpolation(&mut self, at: usize) -> Parsed<Expr<'t>> {
        self.lexer.at = at + 2;
        self.advance();
        let inner = self.expression()?;
        if self.token.token != Token::BraceClose {
            return self.unexpected("'}'");
        }
        self.lexer.at = self.token.end();
        Ok(inner)
    }

    /// `''…''`: the current token is the opening quote with the rest of an empty first line.
    pub(super) fn indented_string(&mut self) -> Parsed<Expr<'t>> {
        let pos = self.pos();
        let mut pieces: Vec<Piece<'t, '_>> = Vec::new();
        let mut at = self.token.end();
        loop {
            let start = at;
            at = self.indented_run(at);
            if at > start {
                let text = &self.lexer.text[start..at];
                self.refuse_nul(text, start)?;
                pieces.push(Piece::Text { pos: self.pos_at(start), text, indented: true });
            }
            let literal = |text, pos| Piece::Text { pos, text, indented: false };
            let here = self.pos_at(at);
            match (self.byte_at(at), self.byte_at(at + 1), self.byte_at(at + 2)) {
                (None, ..) => return self.error(pos, "syntax error, the string that starts here has no end"),
                (Some(b'$'), Some(b'{'), _) => {
                    let inner = self.interpolation(at)?;
                    pieces.push(Piece::Expression(inner));
                    at = self.lexer.at;
                }
                (Some(b'$'), ..) => {
                    pieces.push(literal(b"$", here));
                    at += 1;
                }
                (_, Some(b'\''), Some(b'$')) => {
                    pieces.push(literal(b"$", here));
                    at += 3;
                }
                (_, Some(b'\''), Some(b'\'')) => {
                    pieces.push(literal(b"''", here));
                    at += 3;
                }
                (_, Some(b'\''), Some(b'\\')) => {
                    let Some(byte) = self.byte_at(at + 3) else {
                        return self.error(pos, "syntax error, the string that starts here has no end");
                    };
                    let text = match byte {
                        b'n' => b"\n",
                        b'r' => b"\r",
                        b't' => b"\t",
                        _ => &self.lexer.text[at + 3..at + 4],
                    };
                    pieces.push(literal(text, here));
                    at += 4;
                }
                (_, Some(b'\''), _) => {
                    self.lexer.at = at + 2;
                    self.advance();
                    return Ok(strip_indentation(self.tree, &pieces, pos));
                }
                _ => {
                    pieces.push(literal(b"'", here));
                    at += 1;
                }
            }
        }
    }

    /// The end of the bytes that stand for themselves: no `$`, `'`, except in pairs that mean nothing.
    fn indented_run(&self, mut at: usize) -> usize {
        loop {
            at = scan::until(self.lexer.text, at, [b'$', b'\'', b'$']);
            match (self.byte_at(at), self.byte_at(at + 1)) {
                (Some(b'$'), Some(next)) if next != b'{' && next != b'\'' => at += 2,
                (Some(b'\''), Some(next)) if next != b'\'' && next != b'$' => at += 2,
                _ => return at,
            }
        }
    }

    /// A path, with what is interpolated in it.
    pub(super) fn path(&mut self, lexeme: Lexeme) -> Parsed<Expr<'t>> {
        let pos = self.pos();
        let literal = self.text_of(lexeme);
        let surroundings = self.surroundings();
        let mut first = match lexeme.token {
            Token::HomePath => {
                let Some(home) = (surroundings.home)() else {
                    return self.error(
                        pos,
                        format!(
                            "the path '{}' can not be resolved in pure mode",
                            String::from_utf8_lossy(literal)
                        ),
                    );
                };
                canonical_below(&canonical(&home), &literal[1..])
            }
            _ if literal.first() == Some(&b'/') => canonical(literal),
            _ => canonical_below(surroundings.directory, literal),
        };
        let slash = literal.len() > 1 && literal.last() == Some(&b'/');
        if slash && first != b"/" {
            first.push(b'/');
        }
        let mut parts = ArenaVec::new_in(self.tree);
        parts.push(Expr { pos, kind: Kind::Path(self.tree.alloc_slice_copy(&first)) });
        let mut at = lexeme.end();
        let mut last_slash = literal.last() == Some(&b'/');
        loop {
            if self.lexer.at_interpolation(at) {
                parts.push(self.interpolation(at)?);
                at = self.lexer.at;
                last_slash = false;
                continue;
            }
            let end = self.lexer.path_piece_end(at);
            if end == at {
                break;
            }
            let piece = &self.lexer.text[at..end];
            last_slash = piece.last() == Some(&b'/');
            parts.push(Expr { pos: self.pos_at(at), kind: Kind::String(self.tree.alloc_slice_copy(piece)) });
            at = end;
        }
        if last_slash {
            return self.error(pos, "path has a trailing slash");
        }
        self.lexer.at = at;
        self.advance();
        if parts.len() == 1 {
            return Ok(parts[0]);
        }
        Ok(Expr { pos, kind: Kind::Concat { force_string: false, parts: parts.into_bump_slice() } })
    }
}

/// Resolves the escapes of `"…"`; a carriage return, with or without a line feed, becomes a line feed.
fn unescape<'t>(tree: &'t bumpalo::Bump, raw: &[u8]) -> &'t [u8] {
    let mut text = ArenaVec::with_capacity_in(raw.len(), tree);
    let mut bytes = raw.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => text.push(match bytes.next() {
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                Some(b't') => b'\t',
                Some(other) => other,
                None => b'\\',
            }),
            b'\r' => {
                text.push(b'\n');
                if bytes.peek() == Some(&b'\n') {
                    bytes.next();
                }
            }
            _ => text.push(byte),
        }
    }
    text.into_bump_slice()
}
