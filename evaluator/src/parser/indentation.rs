//! Takes the common indentation off `''…''`. Only blanks indent; a tab, an escape or an interpolation ends the start of
//! a line; empty lines do not count; a last line of blanks goes away.

use crate::ast::{Expr, Kind};
use crate::position::Pos;
use bumpalo::Bump;

/// A piece of an indented string as the lexer saw it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Piece<'t> {
    /// Literal text; `indented` when its leading blanks count.
    Text {
        pos: Pos,
        text: &'t [u8],
        indented: bool,
    },
    Expression(Expr<'t>),
}

/// The string without its indentation.
pub(super) fn strip_indentation<'t>(tree: &'t Bump, pieces: &[Piece<'t>], pos: Pos) -> Expr<'t> {
    let indent = common_indent(pieces);
    let mut parts: Vec<Expr<'t>> = Vec::new();
    let mut at_line_start = true;
    let mut dropped = 0;
    for (index, piece) in pieces.iter().enumerate() {
        match *piece {
            Piece::Expression(inner) => {
                at_line_start = false;
                dropped = 0;
                parts.push(inner);
            }
            Piece::Text { pos, text, .. } => {
                let mut kept = strip_text(text, indent, &mut at_line_start, &mut dropped);
                if index + 1 == pieces.len() {
                    drop_last_blank_line(&mut kept);
                }
                if !kept.is_empty() {
                    parts.push(Expr { pos, kind: Kind::String(tree.alloc_slice_copy(&kept)) });
                }
            }
        }
    }
    if parts.iter().all(|part| matches!(part.kind, Kind::String(_))) && !contains_expression(pieces) {
        if let [Expr { kind: Kind::String(text), .. }] = parts.as_slice() {
            return Expr { pos, kind: Kind::String(text) };
        }
        if parts.is_empty() {
            return Expr { pos, kind: Kind::String(&[]) };
        }
    }
    Expr { pos, kind: Kind::Concat { force_string: true, parts: tree.alloc_slice_copy(&parts) } }
}

/// A piece without the blanks that begin its lines, up to `indent` of them.
fn strip_text(text: &[u8], indent: usize, at_line_start: &mut bool, dropped: &mut usize) -> Vec<u8> {
    let mut kept = Vec::with_capacity(text.len());
    for &byte in text {
        if *at_line_start && byte == b' ' {
            if *dropped >= indent {
                kept.push(byte);
            }
            *dropped += 1;
            continue;
        }
        *at_line_start = byte == b'\n';
        *dropped = 0;
        kept.push(byte);
    }
    kept
}

fn contains_expression(pieces: &[Piece<'_>]) -> bool {
    pieces.iter().any(|piece| matches!(piece, Piece::Expression(_)))
}

fn drop_last_blank_line(text: &mut Vec<u8>) {
    if let Some(newline) = text.iter().rposition(|&byte| byte == b'\n')
        && text[newline + 1..].iter().all(|&byte| byte == b' ')
    {
        text.truncate(newline + 1);
    }
}

fn common_indent(pieces: &[Piece<'_>]) -> usize {
    let mut at_line_start = true;
    let mut minimum = 1_000_000;
    let mut current = 0;
    for piece in pieces {
        let Piece::Text { text, indented: true, .. } = piece else {
            if at_line_start {
                at_line_start = false;
                minimum = minimum.min(current);
            }
            continue;
        };
        for &byte in *text {
            if at_line_start {
                match byte {
                    b' ' => current += 1,
                    b'\n' => current = 0,
                    _ => {
                        at_line_start = false;
                        minimum = minimum.min(current);
                    }
                }
            } else if byte == b'\n' {
                at_line_start = true;
                current = 0;
            }
        }
    }
    minimum
}
