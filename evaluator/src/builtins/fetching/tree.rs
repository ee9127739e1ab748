//! `fetchTree` and `fetchGit`: what is asked for as [`TreeInput`], and the set that comes of it. Nix manual, "fetchTree".

use crate::attrs::Attrs;
use crate::coerce::Coercion;
use crate::context::{ContextBuilder, Element};
use crate::error::{ErrorKind, Eval};
use crate::evaluator::Evaluator;
use crate::io::{FetchedTree, TreeAttribute, TreeInput};
use crate::position::Pos;
use crate::value::Value;
use std::collections::BTreeMap;
use std::rc::Rc;

/// What `fetchGit` says where there is no revision.
const NO_REVISION: &str = "0000000000000000000000000000000000000000";

pub(super) fn fetch_tree<'a>(e: &mut Evaluator<'a>, argument: Value<'a>, pos: Pos) -> Eval<'a, Value<'a>> {
    let mut attributes = given(e, argument, pos)?;
    if let (1, Some(TreeAttribute::Text(url))) = (attributes.len(), attributes.get("url")) {
        let parsed = super::super::flake_ref::parse(url);
        let parsed = parsed.or_else(|error| e.fail(ErrorKind::Other, pos, &error))?;
        attributes = parsed.into_iter().map(|(name, text)| (name, typed(text))).collect();
    }
    let Some(TreeAttribute::Text(kind)) = attributes.remove("type") else {
        let message = "argument 'type' is missing in call to 'fetchTree'";
        return e.fail(ErrorKind::Other, pos, message);
    };
    if attributes.contains_key("name") {
        let message = "argument 'name' isn’t supported in call to 'fetchTree'";
        return e.fail(ErrorKind::Other, pos, message);
    }
    let input = TreeInput { kind, attributes };
    if e.options.pure && input.text("narHash").is_none() && input.text("rev").is_none() {
        let message = "in pure evaluation mode, 'fetchTree' requires a locked input ('narHash' or 'rev')";
        return e.fail(ErrorKind::Restricted, pos, message);
    }
    fetched(e, &input, false, pos)
}

pub(super) fn fetch_git<'a>(e: &mut Evaluator<'a>, argument: Value<'a>, pos: Pos) -> Eval<'a, Value<'a>> {
    let attributes = given(e, argument, pos)?;
    let input = TreeInput { kind: "git".to_owned(), attributes };
    if input.text("url").is_none() {
        return e.fail(ErrorKind::Other, pos, "argument 'url' is missing in call to 'fetchGit'");
    }
    if e.options.pure && input.text("rev").is_none() && input.text("narHash").is_none() {
        let message = "in pure evaluation mode, 'fetchGit' requires a locked input ('rev')";
        return e.fail(ErrorKind::Restricted, pos, message);
    }
    fetched(e, &input, true, pos)
}

/// An attribute of a URL as what it means.
fn typed(text: String) -> TreeAttribute {
    match text.as_str() {
        "true" => TreeAttribute::Bool(true),
        "false" => TreeAttribute::Bool(false),
        _ => TreeAttribute::Text(text),
    }
}

/// The argument as attributes; anything but a set is a URL.
fn given<'a>(
    e: &mut Evaluator<'a>,
    argument: Value<'a>,
    pos: Pos,
) -> Eval<'a, BTreeMap<String, TreeAttribute>> {
    let mut attributes = BTreeMap::new();
    let Value::Attrs(attrs) = argument else {
        attributes.insert("url".to_owned(), TreeAttribute::Text(text(e, argument, pos)?));
        return Ok(attributes);
    };
    for attr in attrs.iter() {
        let name = e.symbols.show(attr.name);
        let value = match e.force(attr.slot)? {
            Value::Bool(truth) => TreeAttribute::Bool(truth),
            Value::Int(number) => TreeAttribute::Int(number),
            other @ (Value::String(_) | Value::Path(_)) => TreeAttribute::Text(text(e, other, attr.pos)?),
            _ => {
                let message = format!(
                    "fetching a tree: argument '{name}' is neither a string, a Boolean nor an integer"
                );
                return e.fail(ErrorKind::Type, attr.pos, &message);
            }
        };
        attributes.insert(name, value);
    }
    Ok(attributes)
}

fn text<'a>(e: &mut Evaluator<'a>, value: Value<'a>, pos: Pos) -> Eval<'a, String> {
    let mut context = ContextBuilder::default();
    let mut bytes = Vec::new();
    e.coerce_into(value, Coercion::PLAIN, pos, &mut bytes, &mut context)?;
    let bytes = e.realised_text(bytes, &context, pos)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Fetches; with `fallback` a tree without revision has one of zeros.
fn fetched<'a>(e: &mut Evaluator<'a>, input: &TreeInput, fallback: bool, pos: Pos) -> Eval<'a, Value<'a>> {
    let io = Rc::clone(&e.io);
    let FetchedTree { path, mut attributes } =
        io.fetch_tree(input).map_err(|error| e.io_error(&error, pos))?;
    let printed = format!("{}/{}", io.store_dir(), path.base_name()).into_bytes();
    if fallback && !attributes.contains_key("rev") {
        attributes.insert("rev".to_owned(), TreeAttribute::Text(NO_REVISION.to_owned()));
        attributes.insert("revCount".to_owned(), TreeAttribute::Int(0));
    }
    if let Some(TreeAttribute::Text(rev)) = attributes.get("rev") {
        let short = rev.get(..7).unwrap_or(rev).to_owned();
        attributes.insert("shortRev".to_owned(), TreeAttribute::Text(short));
    }
    if let Some(TreeAttribute::Int(time)) = attributes.get("lastModified") {
        let date = date_time(*time);
        attributes.insert("lastModifiedDate".to_owned(), TreeAttribute::Text(date));
    }
    if input.kind == "git" {
        attributes.insert("submodules".to_owned(), TreeAttribute::Bool(input.truth("submodules")));
    }
    let out = e.string_needing(&printed, Element::Opaque(&printed));
    let mut attrs = vec![(e.symbols.intern(b"outPath"), Pos::NONE, out)];
    for (name, value) in attributes {
        let value = match value {
            TreeAttribute::Text(text) => e.new_string(text.as_bytes()),
            TreeAttribute::Int(number) => Value::Int(number),
            TreeAttribute::Bool(truth) => Value::Bool(truth),
        };
        attrs.push((e.symbols.intern(name.as_bytes()), Pos::NONE, value));
    }
    Ok(Value::Attrs(Attrs::from_unsorted(&e.shapes, &mut attrs)))
}

/// Seconds since 1970 as `YYYYMMDDhhmmss`, in UTC.
fn date_time(seconds: i64) -> String {
    let (days, time) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Years begin in March here, so that the odd day is the last of one.
    let shifted = days + 719_468;
    let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    format!("{year:04}{month:02}{date:02}{:02}{:02}{:02}", time / 3600, time / 60 % 60, time % 60)
}

#[cfg(test)]
mod tests {
    use super::date_time;

    #[test]
    fn dates() {
        for (seconds, date) in [
            (0, "19700101000000"),
            (951_782_399, "20000228235959"),
            (951_782_400, "20000229000000"),
            (1_668_165_060, "20221111111100"),
            (-1, "19691231235959"),
        ] {
            assert_eq!(date_time(seconds), date);
        }
    }
}
