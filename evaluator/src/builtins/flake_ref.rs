//! `parseFlakeRef` and `flakeRefToString`: flake references as sets and as text ([`formats::flake`]). Nix manual,
//! `nix flake`, "Flake references". Nothing is fetched here.

use super::{Builtin, builtin};
use crate::attrs::Attrs;
use crate::error::{ErrorKind, Eval};
use crate::evaluator::Evaluator;
use crate::position::Pos;
use crate::value::Value;
use formats::flake::{Attribute, Attributes, FlakeRef};

pub(super) const TABLE: &[Builtin] = &[
    builtin("__parseFlakeRef", 1, 1, parse_flake_ref, "s: a flake reference as a set"),
    builtin("__flakeRefToString", 1, 1, flake_ref_to_string, "set: a flake reference as a string"),
];

fn parse_flake_ref<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let text = String::from_utf8_lossy(e.expect_plain(args[0], pos)?).into_owned();
    let reference = FlakeRef::parse(&text, true, false);
    let reference = reference.or_else(|error| e.fail(ErrorKind::Other, pos, &error.to_string()))?;
    Ok(e.attributes_value(&reference.to_attributes()))
}

fn flake_ref_to_string<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let mut attributes = Attributes::new();
    for attr in e.expect_attrs(args[0], pos)?.iter() {
        let name = e.symbols.show(attr.name);
        let attribute = match e.force(attr.slot)? {
            Value::Int(number) if number < 0 => {
                let message = format!("negative value given for flake ref attr {name}: {number}");
                return e.fail(ErrorKind::Other, attr.pos, &message);
            }
            Value::Int(number) => Attribute::Int(number),
            Value::Bool(truth) => Attribute::Bool(truth),
            Value::String(text) => Attribute::Text(String::from_utf8_lossy(text.bytes()).into_owned()),
            other => {
                let message = format!(
                    "flake reference attribute sets may only contain integers, Booleans, and strings, but attribute \
                     '{name}' is {}",
                    other.describe_type()
                );
                return e.fail(ErrorKind::Type, attr.pos, &message);
            }
        };
        attributes.insert(name, attribute);
    }
    let url = FlakeRef::from_attributes(attributes).and_then(|reference| reference.to_url());
    let url = url.or_else(|error| e.fail(ErrorKind::Other, pos, &error.to_string()))?;
    Ok(e.new_string(url.to_string().as_bytes()))
}

impl<'a> Evaluator<'a> {
    /// Attributes of an input as a set.
    pub(crate) fn attributes_value(&mut self, attributes: &Attributes) -> Value<'a> {
        let mut attrs = Vec::with_capacity(attributes.len());
        for (name, attribute) in attributes {
            let value = match attribute {
                Attribute::Text(text) => self.new_string(text.as_bytes()),
                Attribute::Int(number) => Value::Int(*number),
                Attribute::Bool(truth) => Value::Bool(*truth),
            };
            attrs.push((self.symbols.intern(name.as_bytes()), Pos::NONE, value));
        }
        Value::Attrs(Attrs::from_unsorted(&self.shapes, &mut attrs))
    }
}
