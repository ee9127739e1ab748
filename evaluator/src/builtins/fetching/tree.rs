//! `fetchTree` and `fetchGit`: what is asked for as [`TreeInput`], and the set that comes of it. Nix manual, "fetchTree".

use crate::api::Handle;
use crate::attrs::Attrs;
use crate::coerce::Coercion;
use crate::context::{ContextBuilder, Element};
use crate::error::{ErrorKind, Eval, What};
use crate::evaluator::Evaluator;
use crate::io::{TreeAttribute, TreeInput};
use crate::position::Pos;
use crate::value::Value;
use formats::flake::url::Url;
use formats::flake::{Attributes, FlakeError, FlakeRef, Input};
use std::rc::Rc;

/// What `fetchGit` says where there is no revision.
const NO_REVISION: &str = "0000000000000000000000000000000000000000";

/// What a locked tree says of itself.
const SHOWN: [&str; 6] = ["narHash", "rev", "revCount", "dirtyRev", "dirtyShortRev", "lastModified"];

pub(super) fn fetch_tree<'a>(e: &mut Evaluator<'a>, argument: Value<'a>, pos: Pos) -> Eval<'a, Value<'a>> {
    let input = input_of(e, argument, pos)?;
    let mut input = input.or_else(|error| e.fail(ErrorKind::Other, pos, &error.to_string()))?;
    if !e.options.pure && !input.is_direct() {
        let reference = FlakeRef { input, subdir: String::new() };
        let found = e.io.look_up_flake(&reference, true).map_err(|error| e.io_error(&error, pos))?;
        input = found.input;
    }
    if e.options.pure && !input.is_locked() && input.text("narHash").is_none() {
        let message = format!("in pure evaluation mode, 'fetchTree' doesn't fetch unlocked input '{input}'");
        return e.fail(ErrorKind::Restricted, pos, &message);
    }
    fetched(e, &TreeInput::of(&input, false), false, pos)
}

/// The argument as an input; the inner error is a sentence.
fn input_of<'a>(e: &mut Evaluator<'a>, argument: Value<'a>, pos: Pos) -> Eval<'a, Result<Input, FlakeError>> {
    let Value::Attrs(_) = argument else {
        let url = text(e, argument, pos)?;
        return Ok(Url::parse(&url).and_then(|url| Input::from_url(&url, true)));
    };
    let mut attributes = given(e, argument, pos)?;
    let is_git = match attributes.get("type") {
        None => {
            let message = "argument 'type' is missing in call to 'fetchTree'";
            return e.fail(ErrorKind::Other, pos, message);
        }
        Some(kind) => *kind == TreeAttribute::from("git"),
    };
    if attributes.contains_key("name") {
        let message = "argument 'name' isn’t supported in call to 'fetchTree'";
        return e.fail(ErrorKind::Other, pos, message);
    }
    if is_git {
        attributes.entry("shallow".to_owned()).or_insert(TreeAttribute::Bool(true));
    }
    Ok(Input::from_attributes(attributes))
}

/// Fetches what a lock file names: its attributes are all that there is to know.
pub(super) fn fetch_locked<'a>(e: &mut Evaluator<'a>, argument: Value<'a>, pos: Pos) -> Eval<'a, Value<'a>> {
    let attributes = given(e, argument, pos)?;
    let input = Input::from_attributes(attributes);
    let input = input.or_else(|error| e.fail(ErrorKind::Other, pos, &error.to_string()))?;
    fetched(e, &TreeInput::of(&input, true), false, pos)
}

pub(super) fn fetch_git<'a>(e: &mut Evaluator<'a>, argument: Value<'a>, pos: Pos) -> Eval<'a, Value<'a>> {
    let attributes = given(e, argument, pos)?;
    let input = TreeInput { kind: "git".to_owned(), attributes, is_final: false };
    if input.text("url").is_none() {
        return e.fail(ErrorKind::Other, pos, "argument 'url' is missing in call to 'fetchGit'");
    }
    if e.options.pure && input.text("rev").is_none() && input.text("narHash").is_none() {
        let message = "in pure evaluation mode, 'fetchGit' requires a locked input ('rev')";
        return e.fail(ErrorKind::Restricted, pos, message);
    }
    fetched(e, &input, true, pos)
}

/// The argument as attributes; anything but a set is a URL.
fn given<'a>(e: &mut Evaluator<'a>, argument: Value<'a>, pos: Pos) -> Eval<'a, Attributes> {
    let mut attributes = Attributes::new();
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
    let tree = io.fetch_tree(input).map_err(|error| {
        let error = e.io_error(&error, pos);
        match Input::from_attributes(with_type(input)) {
            Ok(input) if !fallback => {
                let text = e.arena.alloc_str(&format!("while fetching the input '{input}'"));
                error.within(e.arena, What::Context(text), Pos::NONE)
            }
            _ => error,
        }
    })?;
    let mut attributes = tree.attributes;
    if fallback && !attributes.contains_key("rev") {
        attributes.insert("rev".to_owned(), TreeAttribute::Text(NO_REVISION.to_owned()));
        attributes.insert("revCount".to_owned(), TreeAttribute::Int(0));
    }
    let printed = format!("{}/{}", io.store_dir(), tree.path.base_name());
    Ok(e.tree_value(&printed, &input.kind, attributes))
}

fn with_type(input: &TreeInput) -> Attributes {
    let mut attributes = input.attributes.clone();
    attributes.insert("type".to_owned(), TreeAttribute::Text(input.kind.clone()));
    attributes
}

impl<'a> Evaluator<'a> {
    /// What a flake sees of a source tree at a path of the store: `outPath` and what is known of it.
    pub(crate) fn tree_value(&mut self, path: &str, kind: &str, mut attributes: Attributes) -> Value<'a> {
        let submodules = matches!(attributes.get("submodules"), Some(TreeAttribute::Bool(true)));
        attributes.retain(|name, _| SHOWN.contains(&name.as_str()));
        if let Some(TreeAttribute::Text(rev)) = attributes.get("rev") {
            let short = rev.get(..7).unwrap_or(rev).to_owned();
            attributes.insert("shortRev".to_owned(), TreeAttribute::Text(short));
        }
        if let Some(TreeAttribute::Int(time)) = attributes.get("lastModified") {
            let date = date_time(*time);
            attributes.insert("lastModifiedDate".to_owned(), TreeAttribute::Text(date));
        }
        if kind == "git" {
            attributes.insert("submodules".to_owned(), TreeAttribute::Bool(submodules));
        }
        let out = self.string_needing(path.as_bytes(), Element::Opaque(path.as_bytes()));
        let out = self.make_attrs(&[("outPath".to_owned(), Handle(out))]);
        let known = self.attributes_value(&attributes);
        match (out.0, known) {
            (Value::Attrs(out), Value::Attrs(known)) => Value::Attrs(Attrs::update(&self.shapes, known, out)),
            (out, _) => out,
        }
    }
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
