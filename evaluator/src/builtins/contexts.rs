//! Builtins on string contexts.

use super::{Builtin, builtin};
use crate::attrs::Attrs;
use crate::coerce::Coercion;
use crate::context::{ContextBuilder, Element};
use crate::error::{ErrorKind, Eval};
use crate::evaluator::Evaluator;
use crate::position::Pos;
use crate::symbol::{Known, Symbol};
use crate::value::{Str, Value};
use std::collections::BTreeMap;

pub(super) const TABLE: &[Builtin] = &[
    builtin("__hasContext", 1, 1, has_context, "s: whether the string depends on store objects"),
    builtin("__getContext", 1, 1, get_context, "s: what the string depends on, as a set"),
    builtin("__appendContext", 2, 3, append_context, "s context: the string with more dependencies"),
    builtin("__unsafeDiscardStringContext", 1, 1, discard, "s: the string without its dependencies"),
    builtin(
        "__unsafeDiscardOutputDependency",
        1,
        1,
        discard_deep,
        "s: depends on derivation files only as files",
    ),
    builtin(
        "__addDrvOutputDependencies",
        1,
        1,
        add_deep,
        "s: depends on all that the derivation file leads to",
    ),
];

/// An element as Nix writes it.
pub(crate) fn show_element(element: &Element<'_>) -> String {
    match element {
        Element::Opaque(path) => String::from_utf8_lossy(path).into_owned(),
        Element::DrvDeep(path) => format!("={}", String::from_utf8_lossy(path)),
        Element::Built { drv, output } => {
            format!("!{}!{}", String::from_utf8_lossy(output), String::from_utf8_lossy(drv))
        }
    }
}

fn has_context<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let string = e.expect_string(args[0], pos)?;
    Ok(Value::Bool(string.context.is_some()))
}

/// What is known about one store path in a context.
#[derive(Default)]
struct Entry<'a> {
    path: bool,
    all_outputs: bool,
    outputs: Vec<&'a [u8]>,
}

fn get_context<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let string = e.expect_string(args[0], pos)?;
    let mut entries: BTreeMap<&'a [u8], Entry<'a>> = BTreeMap::new();
    for element in e.context_elements(string.context) {
        match element {
            Element::Opaque(path) => entries.entry(path).or_default().path = true,
            Element::DrvDeep(path) => entries.entry(path).or_default().all_outputs = true,
            Element::Built { drv, output } => entries.entry(drv).or_default().outputs.push(output),
        }
    }
    let mut attrs = Vec::new();
    for (path, entry) in entries {
        let mut info: Vec<(Symbol, Pos, Value<'a>)> = Vec::new();
        if entry.path {
            info.push((Known::PATH, Pos::NONE, Value::Bool(true)));
        }
        if entry.all_outputs {
            info.push((Known::ALL_OUTPUTS, Pos::NONE, Value::Bool(true)));
        }
        if !entry.outputs.is_empty() {
            let outputs: Vec<Value<'a>> = entry.outputs.iter().map(|output| e.new_string(output)).collect();
            info.push((Known::OUTPUTS, Pos::NONE, e.new_list(&outputs)));
        }
        let name = e.symbols.intern(path);
        attrs.push((name, Pos::NONE, Value::Attrs(Attrs::from_unsorted(&e.shapes, &mut info))));
    }
    Ok(Value::Attrs(Attrs::from_unsorted(&e.shapes, &mut attrs)))
}

fn append_context<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let string = e.expect_string(args[0], pos)?;
    let attrs = e.expect_attrs(args[1], pos)?;
    let mut context = ContextBuilder::default();
    context.add(string.context);
    for attr in attrs.iter() {
        let path = e.symbols.text(attr.name);
        let store = formats::store_path::StoreDir::new(e.io.store_dir());
        let shown = String::from_utf8_lossy(path).into_owned();
        if store.parse(&shown).is_err() {
            return e.fail(ErrorKind::Other, pos, &format!("context key '{shown}' is not a store path"));
        }
        let info = e.force(attr.slot)?;
        let info = e.expect_attrs(info, pos)?;
        let is_drv = path.ends_with(b".drv");
        if let Some(slot) = info.get(Known::PATH) {
            let value = e.force(slot)?;
            if e.expect_bool(value, pos)? {
                let number = e.context_number(Element::Opaque(path));
                context.elements.push(number);
            }
        }
        if let Some(slot) = info.get(Known::ALL_OUTPUTS) {
            let value = e.force(slot)?;
            if e.expect_bool(value, pos)? {
                if !is_drv {
                    let message = format!(
                        "tried to add all-outputs context of {shown}, which is not a derivation, to a string"
                    );
                    return e.fail(ErrorKind::Other, pos, &message);
                }
                let number = e.context_number(Element::DrvDeep(path));
                context.elements.push(number);
            }
        }
        if let Some(slot) = info.get(Known::OUTPUTS) {
            let value = e.force(slot)?;
            let outputs = e.expect_list(value, pos)?;
            if !outputs.is_empty() && !is_drv {
                let message = format!(
                    "tried to add derivation output context of {shown}, which is not a derivation, to a string"
                );
                return e.fail(ErrorKind::Other, pos, &message);
            }
            for item in outputs.items() {
                let value = e.force(item)?;
                let output = e.expect_plain(value, pos)?;
                let number = e.context_number(Element::Built { drv: path, output });
                context.elements.push(number);
            }
        }
    }
    Ok(e.string_with(string.bytes(), context))
}

fn discard<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let string = e.coerce(args[0], Coercion::INTERPOLATION, pos)?;
    if string.context.is_none() {
        return Ok(Value::String(string));
    }
    Ok(Value::String(e.arena.alloc(Str::new(string.bytes(), None))))
}

fn discard_deep<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let string = e.coerce(args[0], Coercion::INTERPOLATION, pos)?;
    let mut context = ContextBuilder::default();
    for element in e.context_elements(string.context) {
        let element = match element {
            Element::DrvDeep(path) => Element::Opaque(path),
            other => other,
        };
        let number = e.context_number(element);
        context.elements.push(number);
    }
    Ok(e.string_with(string.bytes(), context))
}

fn add_deep<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let string = e.coerce(args[0], Coercion::INTERPOLATION, pos)?;
    let elements = e.context_elements(string.context);
    let [element] = elements.as_slice() else {
        let message = format!(
            "context of string '{}' must have exactly one element, but has {}",
            String::from_utf8_lossy(string.bytes()),
            elements.len()
        );
        return e.fail(ErrorKind::Other, pos, &message);
    };
    let deep = match *element {
        Element::Opaque(path) if path.ends_with(b".drv") => Element::DrvDeep(path),
        Element::DrvDeep(path) => Element::DrvDeep(path),
        Element::Opaque(path) => {
            let message = format!("path '{}' is not a derivation", String::from_utf8_lossy(path));
            return e.fail(ErrorKind::Other, pos, &message);
        }
        Element::Built { output, .. } => {
            let message = format!(
                "`addDrvOutputDependencies` can only act on derivations, not on a derivation output such as '{}'",
                String::from_utf8_lossy(output)
            );
            return e.fail(ErrorKind::Other, pos, &message);
        }
    };
    Ok(e.string_needing(string.bytes(), deep))
}
