//! `fromTOML`. TOML 1.0, as Nix has it: what came with 1.1 is an error.

mod version;

use super::{Builtin, builtin};
use crate::attrs::Attrs;
use crate::error::{ErrorKind, Eval};
use crate::evaluator::Evaluator;
use crate::position::Pos;
use crate::symbol::Known;
use crate::value::Value;

pub(super) const TABLE: &[Builtin] =
    &[builtin("fromTOML", 1, 1, from_toml, "s: the value that a TOML text says")];

fn from_toml<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let text = e.expect_plain(args[0], pos)?;
    let Ok(text) = std::str::from_utf8(text) else {
        return e.fail(ErrorKind::Other, pos, "while parsing TOML: the text is not UTF-8");
    };
    match text.parse::<toml::Table>() {
        Ok(table) => match version::newer_than_1_0(text.as_bytes()) {
            None => convert(e, &toml::Value::Table(table), pos),
            Some(what) => e.fail(
                ErrorKind::Other,
                pos,
                &format!("while parsing TOML: {what}, which is not in TOML 1.0"),
            ),
        },
        Err(error) => e.fail(ErrorKind::Other, pos, &format!("while parsing TOML: {}", error.message())),
    }
}

fn convert<'a>(e: &mut Evaluator<'a>, value: &toml::Value, pos: Pos) -> Eval<'a, Value<'a>> {
    Ok(match value {
        toml::Value::String(text) if text.contains('\0') => {
            return e.fail(ErrorKind::Other, pos, "while parsing TOML: a string holds the character NUL");
        }
        toml::Value::String(text) => e.new_string(text.as_bytes()),
        toml::Value::Integer(number) => Value::Int(*number),
        toml::Value::Float(number) => Value::Float(*number),
        toml::Value::Boolean(value) => Value::Bool(*value),
        toml::Value::Datetime(_) if !e.options.parse_toml_timestamps => {
            return e.fail(ErrorKind::Other, pos, "while parsing TOML: Dates and times are not supported");
        }
        toml::Value::Datetime(time) => {
            let text = e.new_string(time.to_string().as_bytes());
            let kind = e.new_string(b"timestamp");
            let mut attrs = [(Known::TIMESTAMP, Pos::NONE, kind), (Known::VALUE, Pos::NONE, text)];
            Value::Attrs(Attrs::from_unsorted(&e.shapes, &mut attrs))
        }
        toml::Value::Array(items) => {
            let items = items.iter().map(|item| convert(e, item, pos)).collect::<Eval<'a, Vec<_>>>()?;
            e.new_list(&items)
        }
        toml::Value::Table(table) => {
            let mut attrs = Vec::with_capacity(table.len());
            for (name, value) in table {
                if name.contains('\0') {
                    return e.fail(
                        ErrorKind::Other,
                        pos,
                        "while parsing TOML: a key holds the character NUL",
                    );
                }
                let name = e.symbols.intern(name.as_bytes());
                attrs.push((name, Pos::NONE, convert(e, value, pos)?));
            }
            Value::Attrs(Attrs::from_unsorted(&e.shapes, &mut attrs))
        }
    })
}
