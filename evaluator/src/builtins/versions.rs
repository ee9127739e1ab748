//! Builtins on version numbers and package names. Nix manual, `nix-env --upgrade`, "Versions".

use super::{Builtin, builtin};
use crate::attrs::Attrs;
use crate::error::Eval;
use crate::evaluator::Evaluator;
use crate::position::Pos;
use crate::symbol::Known;
use crate::value::Value;
use crate::versions::{compare_versions as compare, parse_drv_name, split_version as split};
use std::cmp::Ordering;

pub(super) const TABLE: &[Builtin] = &[
    builtin("__splitVersion", 1, 1, split_version, "s: the components of a version"),
    builtin(
        "__compareVersions",
        2,
        3,
        compare_versions,
        "a b: -1, 0 or 1: whether version a is older than b",
    ),
    builtin("__parseDrvName", 1, 1, parse_name, "s: { name, version } of a package name"),
];

fn split_version<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let text = e.expect_plain(args[0], pos)?;
    let parts: Vec<Value<'a>> = split(text).iter().map(|part| e.new_string(part)).collect();
    Ok(e.new_list(&parts))
}

fn compare_versions<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let left = e.expect_plain(args[0], pos)?;
    let right = e.expect_plain(args[1], pos)?;
    Ok(Value::Int(match compare(left, right) {
        Ordering::Less => -1,
        Ordering::Equal => 0,
        Ordering::Greater => 1,
    }))
}

fn parse_name<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let text = e.expect_plain(args[0], pos)?;
    let (name, version) = parse_drv_name(text);
    let mut attrs =
        [(Known::NAME, Pos::NONE, e.new_string(name)), (Known::VERSION, Pos::NONE, e.new_string(version))];
    Ok(Value::Attrs(Attrs::from_unsorted(&e.shapes, &mut attrs)))
}
