//! Builtins on lists.

use super::{Builtin, builtin};
use crate::attrs::{Attrs, share};
use crate::error::{ErrorKind, Eval};
use crate::evaluator::Evaluator;
use crate::position::Pos;
use crate::symbol::{Known, Symbol};
use crate::value::slot::NUMBER_BITS;
use crate::value::{List, Mapped, Slot, Value};
use hashbrown::HashMap;
use std::collections::BTreeMap;

pub(super) const TABLE: &[Builtin] = &[
    builtin(
        "__isList",
        1,
        1,
        |_, args, _| Ok(Value::Bool(matches!(args[0], Value::List(_)))),
        "e: whether it is a list",
    ),
    builtin("__elemAt", 2, 3 | Builtin::BACKWARDS, elem_at, "list n: item number n, counted from 0"),
    builtin("__head", 1, 1, head, "list: the first item"),
    builtin("__tail", 1, 1, tail, "list: all items but the first"),
    builtin("map", 2, 2, map, "f list: f of each item"),
    builtin("__filter", 2, 2, filter, "f list: the items for which f is true"),
    builtin("__elem", 2, 2, elem, "x list: whether an item equals x"),
    builtin("__concatLists", 1, 1, concat_lists, "lists: the lists one after the other"),
    builtin("__length", 1, 1, length, "list: how many items it has"),
    builtin("__foldl'", 3, 4, fold, "op nul list: op (… (op (op nul a) b) …) z, evaluating each step"),
    builtin("__any", 2, 3, any, "f list: whether f is true for some item"),
    builtin("__all", 2, 3, all, "f list: whether f is true for all items"),
    builtin("__genList", 2, 2, gen_list, "f n: [ (f 0) (f 1) … (f (n - 1)) ]"),
    builtin("__sort", 2, 2, sort, "less list: the items sorted; equal ones keep their order"),
    builtin(
        "__partition",
        2,
        3,
        partition,
        "f list: { right, wrong }: items for which f is true, and the others",
    ),
    builtin("__groupBy", 2, 3, group_by, "f list: a set from f of the items to the lists of items"),
    builtin(
        "__concatMap",
        2,
        3,
        concat_map,
        "f list: the lists that f gives for the items, one after the other",
    ),
    builtin(
        "__genericClosure",
        1,
        1,
        generic_closure,
        "{ startSet, operator }: everything reachable, by key",
    ),
];

fn elem_at<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let index = e.expect_int(args[1], pos)?;
    let list = e.expect_list(args[0], pos)?;
    if let Some(slot) = usize::try_from(index).ok().and_then(|index| list.items().get(index)) {
        e.force(slot)
    } else {
        let message = format!("list index {index} is out of bounds: the list has {} items", list.len());
        e.fail(ErrorKind::Other, pos, &message)
    }
}

fn head<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    match e.expect_list(args[0], pos)?.items().first() {
        Some(slot) => e.force(slot),
        None => e.fail(ErrorKind::Other, pos, "'head' called on an empty list"),
    }
}

fn tail<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    match e.expect_list(args[0], pos)?.items().split_first() {
        // The items lie in the arena already: the tail is a part of the same array.
        Some((_, items)) => Ok(Value::List(List::over(e.arena, items))),
        None => e.fail(ErrorKind::Other, pos, "'tail' called on an empty list"),
    }
}

fn map<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let list = e.expect_list(args[1], pos)?;
    if list.is_empty() {
        return Ok(args[1]);
    }
    let function = e.force_value(args[0])?;
    e.expect_function(function, pos)?;
    Ok(e.mapped_list(function, Some(list), list.len()))
}

impl<'a> Evaluator<'a> {
    /// A list of results that wait.
    fn mapped_list(&self, function: Value<'a>, over: Option<&'a List<'a>>, length: usize) -> Value<'a> {
        if length == 0 {
            return Value::List(self.empty_list);
        }
        let arena = self.arena;
        let list = if length < 1 << NUMBER_BITS {
            let mapped = Mapped::over(arena, function, over.map_or(Value::Null, Value::List));
            List::filled(arena, length, |index| mapped.item(index))
        } else {
            List::filled(arena, length, |index| {
                let argument = over.map_or(Value::Int(index as i64), |list| share(&list.items()[index]));
                Slot::new(arena, self.apply_later(function, &[argument]))
            })
        };
        Value::List(list)
    }
}

fn filter<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let list = e.expect_list(args[1], pos)?;
    if list.is_empty() {
        return Ok(args[1]);
    }
    let function = e.force_value(args[0])?;
    let mut kept = Vec::with_capacity(list.len());
    for item in list.items() {
        let value = e.call_with(function, [item.share()], pos)?;
        if e.expect_bool(value, pos)? {
            kept.push(share(item));
        }
    }
    if kept.len() == list.len() {
        return Ok(args[1]);
    }
    Ok(e.new_list(&kept))
}

fn elem<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let list = e.expect_list(args[1], pos)?;
    if list.is_empty() {
        return Ok(Value::Bool(false));
    }
    let wanted = Slot::alone(e.arena, args[0]);
    for item in list.items() {
        if e.equal_slots(wanted, item, pos)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

fn concat_lists<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let lists = e.expect_list(args[0], pos)?;
    let mut all = Vec::with_capacity(lists.len());
    for item in lists.items() {
        let value = e.force(item)?;
        all.push(e.expect_list(value, pos)?);
    }
    Ok(Value::List(e.concat_lists(&all)))
}

fn length<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    Ok(Value::Int(e.expect_list(args[0], pos)?.len() as i64))
}

fn fold<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let function = e.force_value(args[0])?;
    e.expect_function(function, pos)?;
    let list = e.expect_list(args[2], pos)?;
    let mut value = args[1];
    for item in list.items() {
        value = e.call_with(function, [Slot::new(e.arena, value), item.share()], pos)?;
    }
    e.force_value(value)
}

fn any<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    any_is(e, args, pos, true).map(Value::Bool)
}

fn all<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    any_is(e, args, pos, false).map(|found| Value::Bool(!found))
}

fn any_is<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos, wanted: bool) -> Eval<'a, bool> {
    e.expect_function(args[0], pos)?;
    for item in e.expect_list(args[1], pos)?.items() {
        let value = e.call_with(args[0], [item.share()], pos)?;
        if e.expect_bool(value, pos)? == wanted {
            return Ok(true);
        }
    }
    Ok(false)
}

fn gen_list<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let count = e.expect_int(args[1], pos)?;
    if count >= 0 {
        let function = e.force_value(args[0])?;
        e.expect_function(function, pos)?;
        if let Ok(length) = u32::try_from(count) {
            return Ok(e.mapped_list(function, None, length as usize));
        }
    }
    e.fail(ErrorKind::Other, pos, &format!("cannot create a list of size {count}"))
}

fn sort<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let list = e.expect_list(args[1], pos)?;
    if list.is_empty() {
        return Ok(args[1]);
    }
    let function = e.force_value(args[0])?;
    e.expect_function(function, pos)?;
    let mut values = Vec::with_capacity(list.len());
    for item in list.items() {
        values.push(e.force(item)?);
    }
    let native = matches!(function, Value::Builtin(builtin) if builtin.name == "__lessThan");
    let mut aside = Vec::with_capacity(values.len() / 2);
    merge_sort(e, &mut values, &mut aside, &mut |e, left, right| {
        if native {
            return e.less_than(left, right, pos);
        }
        let pair = [Slot::new(e.arena, left), Slot::new(e.arena, right)];
        let value = e.call_with(function, pair, pos)?;
        e.expect_bool(value, pos)
    })?;
    Ok(e.new_list(&values))
}

type Less<'l, 'a> = dyn FnMut(&mut Evaluator<'a>, Value<'a>, Value<'a>) -> Eval<'a, bool> + 'l;

/// Stable; any comparator is safe, sensible or not. `aside` is room for half of the values.
fn merge_sort<'a>(
    e: &mut Evaluator<'a>,
    values: &mut [Value<'a>],
    aside: &mut Vec<Value<'a>>,
    less: &mut Less<'_, 'a>,
) -> Eval<'a, ()> {
    let half = values.len() / 2;
    if half == 0 {
        return Ok(());
    }
    let (left, right) = values.split_at_mut(half);
    merge_sort(e, left, aside, less)?;
    merge_sort(e, right, aside, less)?;
    // Nothing to merge when the halves follow each other.
    if let (Some(&last), Some(&first)) = (left.last(), right.first())
        && !less(e, first, last)?
    {
        return Ok(());
    }
    aside.clear();
    aside.extend_from_slice(left);
    let (mut from_left, mut from_right, mut to) = (0, half, 0);
    while let (Some(&a), Some(&b)) = (aside.get(from_left), values.get(from_right)) {
        if less(e, b, a)? {
            values[to] = b;
            from_right += 1;
        } else {
            values[to] = a;
            from_left += 1;
        }
        to += 1;
    }
    // What is left of the right half is in its place.
    for (place, &value) in values[to..].iter_mut().zip(&aside[from_left..]) {
        *place = value;
    }
    Ok(())
}

fn partition<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    e.expect_function(args[0], pos)?;
    let list = e.expect_list(args[1], pos)?;
    let (mut right, mut wrong) = (Vec::new(), Vec::new());
    for item in list.items() {
        // Unlike `filter`, Nix evaluates each item itself.
        e.force(item)?;
        let value = e.call_with(args[0], [item.share()], pos)?;
        if e.expect_bool(value, pos)? {
            right.push(share(item));
        } else {
            wrong.push(share(item));
        }
    }
    let mut attrs =
        [(Known::RIGHT, Pos::NONE, e.new_list(&right)), (Known::WRONG, Pos::NONE, e.new_list(&wrong))];
    Ok(Value::Attrs(Attrs::from_unsorted(&e.shapes, &mut attrs)))
}

fn group_by<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    e.expect_function(args[0], pos)?;
    let list = e.expect_list(args[1], pos)?;
    let mut groups: BTreeMap<Symbol, Vec<Value<'a>>> = BTreeMap::new();
    for item in list.items() {
        let value = e.call_with(args[0], [item.share()], pos)?;
        let name = e.expect_name(value, pos)?;
        groups.entry(name).or_default().push(share(item));
    }
    let attrs: Vec<_> = groups.iter().map(|(&name, items)| (name, Pos::NONE, e.new_list(items))).collect();
    Ok(Value::Attrs(Attrs::from_sorted(&e.shapes, &attrs)))
}

fn concat_map<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    e.expect_function(args[0], pos)?;
    let list = e.expect_list(args[1], pos)?;
    let mut all = Vec::with_capacity(list.len());
    for item in list.items() {
        let value = e.call_with(args[0], [item.share()], pos)?;
        all.push(e.expect_list(value, pos)?);
    }
    Ok(Value::List(e.concat_lists(&all)))
}

/// A key that has been seen, where it can be hashed.
#[derive(PartialEq, Eq, Hash)]
enum Key {
    /// Integers and floats compare as one kind.
    Number(u64),
    /// An integer that no float is equal to.
    Large(i64),
    Bytes(Vec<u8>),
}

impl Key {
    fn of_int(number: i64) -> Self {
        let float = number as f64;
        if float as i64 == number { Self::Number(float.to_bits()) } else { Self::Large(number) }
    }
}

fn generic_closure<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let attrs = e.expect_attrs(args[0], pos)?;
    let start = e.required(attrs, Known::START_SET, pos)?;
    let start = e.force(start)?;
    let start = e.expect_list(start, pos)?;
    let mut queue: std::collections::VecDeque<Value<'a>> = start.items().iter().map(share).collect();
    if queue.is_empty() {
        return Ok(Value::List(start));
    }
    let operator = e.required(attrs, Known::OPERATOR, pos)?;
    let operator = e.force(operator)?;
    e.expect_function(operator, pos)?;
    let mut seen: HashMap<Key, ()> = HashMap::new();
    let mut others: Vec<Value<'a>> = Vec::new();
    let mut result = Vec::new();
    let mut kind = None;
    while let Some(item) = queue.pop_front() {
        let item = e.force_value(item)?;
        let set = e.expect_attrs(item, pos)?;
        let key = e.required(set, Known::KEY, pos)?;
        let key = e.force(key)?;
        // Keys of different kinds cannot be compared.
        match kind {
            Some(first) => {
                e.less_than(first, key, pos)?;
            }
            None => kind = Some(key),
        }
        let fresh = match key {
            Value::Int(number) => seen.insert(Key::of_int(number), ()).is_none(),
            Value::Float(number) => seen.insert(Key::Number((number + 0.0).to_bits()), ()).is_none(),
            Value::String(text) => seen.insert(Key::Bytes(text.bytes().to_vec()), ()).is_none(),
            Value::Path(path) => seen.insert(Key::Bytes(path.bytes().to_vec()), ()).is_none(),
            other => {
                let mut fresh = true;
                for &known in &others {
                    if !e.less_than(known, other, pos)? && !e.less_than(other, known, pos)? {
                        fresh = false;
                        break;
                    }
                }
                if fresh {
                    // Compared with the others when there are others, even if values of its type cannot be.
                    others.push(other);
                }
                fresh
            }
        };
        if !fresh {
            continue;
        }
        result.push(item);
        let more = e.call_with(operator, [Slot::new(e.arena, item)], pos)?;
        for next in e.expect_list(more, pos)?.items() {
            let next = e.force(next)?;
            queue.push_back(next);
        }
    }
    Ok(e.new_list(&result))
}
