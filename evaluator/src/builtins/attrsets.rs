//! Builtins on attribute sets.

use super::{Builtin, builtin};
use crate::attrs::{Attr, Attrs, share};
use crate::error::Eval;
use crate::evaluator::Evaluator;
use crate::position::Pos;
use crate::symbol::{Known, Symbol};
use crate::value::{List, Mapped, Value};

pub(super) const TABLE: &[Builtin] = &[
    builtin("__attrNames", 1, 1, attr_names, "set: the names of the attributes, sorted"),
    builtin(
        "__attrValues",
        1,
        1,
        attr_values,
        "set: the values of the attributes, in the order of their names",
    ),
    builtin("__getAttr", 2, 3, get_attr, "name set: the attribute of that name"),
    builtin("__hasAttr", 2, 3, has_attr, "name set: whether there is an attribute of that name"),
    builtin("__unsafeGetAttrPos", 2, 3, attr_pos, "name set: where the attribute was written, or null"),
    builtin("removeAttrs", 2, 3, remove_attrs, "set names: the set without the attributes named"),
    builtin(
        "__listToAttrs",
        1,
        1,
        list_to_attrs,
        "list: a set from { name, value } pairs; the first of a name wins",
    ),
    builtin("__intersectAttrs", 2, 3, intersect, "a b: the attributes of b whose names are in a, too"),
    builtin("__catAttrs", 2, 3, cat_attrs, "name list: the attribute of that name from each set that has it"),
    builtin(
        "__functionArgs",
        1,
        1,
        function_args,
        "function: a set from argument names to whether they have a default",
    ),
    builtin("__mapAttrs", 2, 2, map_attrs, "f set: the set with each value replaced by f name value"),
    builtin(
        "__zipAttrsWith",
        2,
        0,
        zip_with,
        "f list: merges sets; f gets a name and the list of its values",
    ),
    builtin(
        "__isAttrs",
        1,
        1,
        |_, args, _| Ok(Value::Bool(matches!(args[0], Value::Attrs(_)))),
        "e: whether it is a set",
    ),
];

fn attr_names<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let attrs = e.expect_attrs(args[0], pos)?;
    let names: Vec<Value<'a>> =
        e.by_name(attrs).iter().map(|attr| Value::String(e.symbols.string(attr.name))).collect();
    Ok(e.new_list(&names))
}

fn attr_values<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let attrs = e.expect_attrs(args[0], pos)?;
    let values: Vec<Value<'a>> = e.by_name(attrs).iter().map(|attr| share(attr.slot)).collect();
    Ok(e.new_list(&values))
}

fn get_attr<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let name = e.expect_name(args[0], pos)?;
    let attrs = e.expect_attrs(args[1], pos)?;
    let slot = e.required(attrs, name, pos)?;
    e.force(slot)
}

fn has_attr<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let name = e.expect_plain_string(args[0], pos)?;
    let attrs = e.expect_attrs(args[1], pos)?;
    let known = e.symbols.find_string(name).is_some_and(|name| attrs.get(name).is_some());
    Ok(Value::Bool(known))
}

fn attr_pos<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let name = e.expect_name(args[0], pos)?;
    let attrs = e.expect_attrs(args[1], pos)?;
    match attrs.get_attr(name) {
        Some(attr) => Ok(e.position_value(attr.pos)),
        None => Ok(Value::Null),
    }
}

/// The names in a list of at least so many are remembered: for every derivation that it makes nixpkgs removes the same.
const REMEMBERED: usize = 16;

/// Names to be removed, in the order of their symbols.
fn removed_names<'a>(e: &mut Evaluator<'a>, list: &'a List<'a>, pos: Pos) -> Eval<'a, Vec<Symbol>> {
    let mut names = Vec::with_capacity(list.len());
    for item in list.items() {
        let value = e.force(item)?;
        // If the list is remembered, a set may have a name later that none has yet.
        names.push(e.expect_name(value, pos)?);
    }
    names.sort_unstable();
    Ok(names)
}

fn remove_attrs<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let attrs = e.expect_attrs(args[0], pos)?;
    let list = e.expect_list(args[1], pos)?;
    let known = e.removed.filter(|(known, _)| std::ptr::eq(*known, list));
    let found;
    let names: &[Symbol] = match known {
        Some((_, names)) => names,
        None if list.len() >= REMEMBERED => {
            let names = removed_names(e, list, pos)?;
            let names: &'a [Symbol] = e.arena.alloc_slice_copy(&names);
            e.removed = Some((list, names));
            names
        }
        None => {
            found = removed_names(e, list, pos)?;
            &found
        }
    };
    if !names.iter().any(|&name| attrs.get(name).is_some()) {
        return Ok(args[0]);
    }
    let all = attrs.iter();
    let mut kept: Vec<Attr<'a>> = Vec::with_capacity(all.size_hint().0);
    // Both are in order.
    let mut removed = names.iter().peekable();
    for attr in all {
        while removed.next_if(|name| **name < attr.name).is_some() {}
        if removed.peek() != Some(&&attr.name) {
            kept.push(attr);
        }
    }
    Ok(Value::Attrs(Attrs::of_attrs(&e.shapes, &kept)))
}

fn list_to_attrs<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let list = e.expect_list(args[0], pos)?;
    let mut attrs: Vec<(Symbol, Pos, Value<'a>)> = Vec::with_capacity(list.len());
    for item in list.items() {
        let value = e.force(item)?;
        let pair = e.expect_attrs(value, pos)?;
        let name = e.required(pair, Known::NAME, pos)?;
        let name = e.force(name)?;
        let name = e.expect_name(name, pos)?;
        let Some(value) = pair.get_attr(Known::VALUE) else {
            return Err(e.missing_attribute(pair, Known::VALUE, pos));
        };
        attrs.push((name, value.pos, share(value.slot)));
    }
    // Stable, so the first of a name stays first.
    attrs.sort_by_key(|attr| attr.0);
    attrs.dedup_by_key(|attr| attr.0);
    Ok(Value::Attrs(Attrs::from_sorted(&e.shapes, &attrs)))
}

fn intersect<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let left = e.expect_attrs(args[0], pos)?;
    let right = e.expect_attrs(args[1], pos)?;
    let kept: Vec<Attr<'a>> = if left.at_least() < right.at_least() {
        left.iter().filter_map(|attr| right.get_attr(attr.name)).collect()
    } else {
        right.iter().filter(|attr| left.get(attr.name).is_some()).collect()
    };
    Ok(Value::Attrs(Attrs::of_attrs(&e.shapes, &kept)))
}

fn cat_attrs<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let name = e.expect_name(args[0], pos)?;
    let list = e.expect_list(args[1], pos)?;
    let mut found = Vec::new();
    for item in list.items() {
        let value = e.force(item)?;
        if let Some(slot) = e.expect_attrs(value, pos)?.get(name) {
            found.push(share(slot));
        }
    }
    Ok(e.new_list(&found))
}

fn function_args<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let mut attrs: Vec<(Symbol, Pos, Value<'a>)> = Vec::new();
    match args[0] {
        Value::Lambda(number, _) => {
            if let Some(formals) = &e.lambdas[number as usize].formals {
                attrs.extend(formals.list.iter().map(|f| (f.name, f.pos, Value::Bool(f.default.is_some()))));
            }
        }
        Value::Builtin(_) | Value::Partial(_) => {}
        other => return Err(e.wrong_type(other, "a function", pos)),
    }
    Ok(Value::Attrs(Attrs::from_sorted(&e.shapes, &attrs)))
}

fn map_attrs<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let attrs = e.expect_attrs(args[1], pos)?;
    if attrs.at_least() == 0 {
        return Ok(args[1]);
    }
    let attrs = attrs.flatten(&e.shapes);
    let keys = attrs.keys().without_positions(e.arena);
    let mapped = Mapped::over(e.arena, args[0], Value::Attrs(attrs));
    Ok(Value::Attrs(Attrs::filled(e.arena, keys, |index| mapped.item(index))))
}

fn zip_with<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let function = e.force_value(args[0])?;
    e.expect_function(function, pos)?;
    let list = e.force_value(args[1])?;
    let list = e.expect_list(list, pos)?;
    let mut all: Vec<(Symbol, Value<'a>)> = Vec::new();
    for item in list.items() {
        let value = e.force(item)?;
        all.extend(e.expect_attrs(value, pos)?.iter().map(|attr| (attr.name, share(attr.slot))));
    }
    // Stable: the values of a name stay in the order of the sets.
    all.sort_by_key(|one| one.0);
    let mut attrs = Vec::new();
    let mut values = Vec::new();
    for group in all.chunk_by(|one, other| one.0 == other.0) {
        values.clear();
        values.extend(group.iter().map(|one| one.1));
        attrs.extend(group.first().map(|first| (first.0, Pos::NONE, e.new_list(&values))));
    }
    let lists = Attrs::from_sorted(&e.shapes, &attrs);
    let mapped = Mapped::over(e.arena, function, Value::Attrs(lists));
    Ok(Value::Attrs(Attrs::filled(e.arena, lists.keys(), |index| mapped.item(index))))
}
