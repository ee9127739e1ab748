//! Builtins on strings. Strings are bytes: lengths, offsets and patterns count bytes.

use super::{Builtin, builtin};
use crate::coerce::Coercion;
use crate::context::ContextBuilder;
use crate::error::{ErrorKind, Eval};
use crate::evaluator::Evaluator;
use crate::position::Pos;
use crate::regex::{Groups, Piece, Regex, RegexError};
use crate::value::Value;
use std::rc::Rc;

pub(super) const TABLE: &[Builtin] = &[
    builtin("toString", 1, 1, to_string, "e: e as a string"),
    builtin(
        "__substring",
        3,
        7,
        substring,
        "start length s: part of a string, in bytes; a negative length means the rest",
    ),
    builtin("__stringLength", 1, 1, string_length, "s: how many bytes a string has"),
    builtin(
        "__replaceStrings",
        3,
        7,
        replace_strings,
        "from to s: s with each of from replaced by the one of to",
    ),
    builtin("__concatStringsSep", 2, 3, concat_sep, "separator list: the strings joined"),
    builtin("__match", 2, 3, match_regex, "regex s: the groups if the whole string matches, else null"),
    builtin("__split", 2, 3, split, "regex s: the pieces between the matches, and the matches' groups"),
    builtin("baseNameOf", 1, 1, base_name_of, "s: what stands after the last slash"),
    builtin("dirOf", 1, 1, dir_of, "s: what stands before the last slash"),
];

fn to_string<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    e.coerce(args[0], Coercion::TO_STRING, pos).map(Value::String)
}

fn substring<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let start = e.expect_int(args[0], pos)?;
    if start < 0 {
        return e.fail(ErrorKind::Other, pos, "negative start position in 'substring'");
    }
    let length = e.expect_int(args[1], pos)?;
    let string = e.coerce(args[2], Coercion::INTERPOLATION, pos)?;
    let total = string.bytes().len();
    let start = usize::try_from(start).unwrap_or(usize::MAX).min(total);
    let length = usize::try_from(length).unwrap_or(usize::MAX).min(total - start);
    if length == total {
        return Ok(Value::String(string));
    }
    // The bytes lie in the arena already.
    let bytes = &string.bytes()[start..start + length];
    Ok(Value::String(e.arena.alloc(crate::value::Str::new(bytes, string.context))))
}

fn string_length<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let string = e.coerce(args[0], Coercion::INTERPOLATION, pos)?;
    Ok(Value::Int(string.bytes().len() as i64))
}

fn replace_strings<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let from = e.expect_list(args[0], pos)?;
    let to = e.expect_list(args[1], pos)?;
    if from.len() != to.len() {
        return e.fail(
            ErrorKind::Other,
            pos,
            "'from' and 'to' arguments passed to 'replaceStrings' have different lengths",
        );
    }
    let mut patterns = Vec::with_capacity(from.len());
    for item in from.items() {
        let value = e.force(item)?;
        patterns.push(e.expect_string(value, pos)?.bytes());
    }
    let string = e.expect_string(args[2], pos)?;
    let mut firsts = [false; 256];
    for pattern in &patterns {
        match pattern.first() {
            Some(&byte) => firsts[byte as usize] = true,
            None => firsts.fill(true),
        }
    }
    let text = string.bytes();
    let mut context = ContextBuilder::default();
    context.add(string.context);
    let mut result = Vec::with_capacity(text.len());
    let mut changed = false;
    let mut at = 0;
    while at <= text.len() {
        let rest = &text[at..];
        let found = if rest.first().is_none_or(|&byte| firsts[byte as usize]) {
            patterns.iter().position(|pattern| rest.starts_with(pattern))
        } else {
            None
        };
        if let Some(index) = found {
            changed = true;
            let value = e.force(&to.items()[index])?;
            let replacement = e.expect_string(value, pos)?;
            result.extend_from_slice(replacement.bytes());
            context.add(replacement.context);
            if patterns[index].is_empty() {
                result.extend(rest.first());
                at += 1;
            } else {
                at += patterns[index].len();
            }
        } else {
            result.extend(rest.first());
            at += 1;
        }
    }
    if !changed {
        return Ok(args[2]);
    }
    Ok(e.string_with(&result, context))
}

fn concat_sep<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let separator = e.expect_string(args[0], pos)?;
    let list = e.expect_list(args[1], pos)?;
    let mut text = Vec::new();
    let mut context = ContextBuilder::default();
    context.add(separator.context);
    for (index, item) in list.items().iter().enumerate() {
        if index > 0 {
            text.extend_from_slice(separator.bytes());
        }
        let value = e.force(item)?;
        e.coerce_into(value, Coercion::INTERPOLATION, pos, &mut text, &mut context)?;
    }
    Ok(e.string_with(&text, context))
}

fn regex<'a>(e: &mut Evaluator<'a>, pattern: &[u8], pos: Pos) -> Eval<'a, Rc<Regex>> {
    if let Some(regex) = e.regexes.get(pattern) {
        return Ok(Rc::clone(regex));
    }
    match Regex::new(pattern) {
        Ok(regex) => {
            let regex = Rc::new(regex);
            e.regexes.insert(pattern.to_vec(), Rc::clone(&regex));
            Ok(regex)
        }
        Err(error) => e.fail(ErrorKind::Other, pos, &refusal(error, pattern)),
    }
}

fn refusal(error: RegexError, pattern: &[u8]) -> String {
    format!("{error} '{}'", String::from_utf8_lossy(pattern))
}

fn group_values<'a>(e: &Evaluator<'a>, text: &'a [u8], groups: &Groups) -> Value<'a> {
    let values: Vec<Value<'a>> = groups
        .iter()
        .map(|group| group.clone().map_or(Value::Null, |range| piece(e, &text[range])))
        .collect();
    e.new_list(&values)
}

/// A part of a string that lies in the arena already.
fn piece<'a>(e: &Evaluator<'a>, bytes: &'a [u8]) -> Value<'a> {
    if bytes.is_empty() {
        return Value::String(e.empty_string);
    }
    Value::String(e.arena.alloc(crate::value::Str::new(bytes, None)))
}

fn match_regex<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let expression = e.expect_plain(args[0], pos)?;
    let regex = regex(e, expression, pos)?;
    let text = e.expect_string(args[1], pos)?.bytes();
    match regex.full_match(text) {
        Ok(groups) => Ok(groups.map_or(Value::Null, |groups| group_values(e, text, &groups))),
        Err(error) => e.fail(ErrorKind::Other, pos, &refusal(error, expression)),
    }
}

fn split<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let expression = e.expect_plain(args[0], pos)?;
    let regex = regex(e, expression, pos)?;
    let text = e.expect_string(args[1], pos)?.bytes();
    let pieces = match regex.split(text) {
        Ok(pieces) => pieces,
        Err(error) => return e.fail(ErrorKind::Other, pos, &refusal(error, expression)),
    };
    if let [Piece::Text(_)] = pieces.as_slice() {
        // Nothing matched: the string itself, with what it depends on.
        return Ok(e.new_list(&[args[1]]));
    }
    let values: Vec<Value<'a>> = pieces
        .into_iter()
        .map(|found| match found {
            Piece::Text(range) => piece(e, &text[range]),
            Piece::Match(groups) => group_values(e, text, &groups),
        })
        .collect();
    Ok(e.new_list(&values))
}

fn base_name_of<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let string = e.coerce(args[0], Coercion::PLAIN, pos)?;
    Ok(e.string_in_context(crate::paths::base_name(string.bytes()), string.context))
}

fn dir_of<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    if let Value::Path(path) = args[0] {
        return Ok(e.new_path(crate::paths::dir_name(path.bytes())));
    }
    let string = e.coerce(args[0], Coercion::PLAIN, pos)?;
    Ok(e.string_in_context(crate::paths::dir_name(string.bytes()), string.context))
}
