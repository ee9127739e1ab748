//! Takes the common indentation off `''…''`. Only blanks indent; a tab, an escape or an interpolation ends the start of
//! a line; empty lines do not count; a last line of blanks goes away.

use crate::ast::{Expr, Kind};
use crate::position::Pos;
use crate::scan;
use bumpalo::Bump;
use bumpalo::collections::Vec as ArenaVec;

/// A piece of an indented string as the lexer saw it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Piece<'t, 's> {
    /// Literal text; `indented` when its leading blanks count.
    Text {
        pos: Pos,
        text: &'s [u8],
        indented: bool,
    },
    Expression(Expr<'t>),
}

/// The string without its indentation.
pub(super) fn strip_indentation<'t>(tree: &'t Bump, pieces: &[Piece<'t, '_>], pos: Pos) -> Expr<'t> {
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
                let mut kept = strip_text(tree, text, indent, &mut at_line_start, &mut dropped);
                if index + 1 == pieces.len() {
                    drop_last_blank_line(&mut kept);
                }
                if !kept.is_empty() {
                    parts.push(Expr { pos, kind: Kind::String(kept.into_bump_slice()) });
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
fn strip_text<'t>(
    tree: &'t Bump,
    mut text: &[u8],
    indent: usize,
    at_line_start: &mut bool,
    dropped: &mut usize,
) -> ArenaVec<'t, u8> {
    let mut kept = ArenaVec::with_capacity_in(text.len(), tree);
    while !text.is_empty() {
        if *at_line_start {
            let blanks = scan::spaces(text, 0);
            // What is above the indentation stays.
            let excess = (*dropped + blanks).saturating_sub(indent).min(blanks);
            kept.extend_from_slice_copy(&text[blanks - excess..blanks]);
            *dropped += blanks;
            text = &text[blanks..];
            if text.is_empty() {
                break;
            }
        }
        let end = scan::until(text, 0, [b'\n'; 3]);
        *at_line_start = end < text.len();
        let line = (end + 1).min(text.len());
        *dropped = 0;
        kept.extend_from_slice_copy(&text[..line]);
        text = &text[line..];
    }
    kept
}

fn contains_expression(pieces: &[Piece<'_, '_>]) -> bool {
    pieces.iter().any(|piece| matches!(piece, Piece::Expression(_)))
}

fn drop_last_blank_line(text: &mut ArenaVec<'_, u8>) {
    if let Some(newline) = text.iter().rposition(|&byte| byte == b'\n')
        && text[newline + 1..].iter().all(|&byte| byte == b' ')
    {
        text.truncate(newline + 1);
    }
}

fn common_indent(pieces: &[Piece<'_, '_>]) -> usize {
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
        let mut at = 0;
        while at < text.len() {
            if at_line_start {
                let end = scan::spaces(text, at);
                current += end - at;
                at = end;
                match text.get(at) {
                    None => break,
                    Some(b'\n') => {
                        current = 0;
                        at += 1;
                        continue;
                    }
                    Some(_) => {
                        at_line_start = false;
                        minimum = minimum.min(current);
                    }
                }
            }
            at = scan::until(text, at, [b'\n'; 3]) + 1;
            if at <= text.len() {
                at_line_start = true;
                current = 0;
            }
        }
    }
    minimum
}
