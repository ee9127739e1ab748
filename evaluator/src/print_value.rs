//! Values as text: in full as `nix-instantiate --eval` prints them, and shortened for messages.

mod pretty;

use crate::attrs::{Attrs, Keys};
use crate::evaluator::Evaluator;
use crate::position::Pos;
use crate::value::{Slot, Value};
use hashbrown::HashSet;

/// How functions and unevaluated values are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// As `nix-instantiate --eval`: `<LAMBDA>`, `<CODE>`.
    Plain,
    /// As the REPL and messages: `«lambda f @ file:1:2»`, derivations by their path, `«thunk»`.
    Talkative,
}

/// Limits of a print.
#[derive(Debug, Clone, Copy)]
struct Limits {
    depth: usize,
    attrs: usize,
    items: usize,
    string: usize,
}

impl Limits {
    const NONE: Self = Self { depth: usize::MAX, attrs: usize::MAX, items: usize::MAX, string: usize::MAX };
    const SHORT: Self = Self { depth: 2, attrs: 10, items: 10, string: 120 };
}

/// Writes `"…"` with escapes.
pub(crate) fn write_string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for (index, &byte) in text.iter().enumerate() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'$' if text.get(index + 1) == Some(&b'{') => out.extend_from_slice(b"\\$"),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// Writes an attribute's name, quoted where it has to be.
pub(crate) fn write_identifier(out: &mut Vec<u8>, name: &[u8]) {
    let starts = name.first().is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'_');
    let plain = starts
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'\'' | b'-'))
        && !matches!(
            name,
            b"if" | b"then" | b"else" | b"assert" | b"with" | b"let" | b"in" | b"rec" | b"inherit"
        );
    if plain {
        out.extend_from_slice(name);
    } else {
        write_string(out, name);
    }
}

struct Printer<'e, 'a> {
    evaluator: &'e Evaluator<'a>,
    out: Vec<u8>,
    style: Style,
    limits: Limits,
    seen: HashSet<usize>,
}

impl<'a> Evaluator<'a> {
    /// A value as text; nothing is evaluated.
    pub(crate) fn print_value(&self, value: Value<'a>, style: Style) -> Vec<u8> {
        self.printed(value, style, Limits::NONE)
    }

    /// A value as a short text for a message.
    pub(crate) fn show_short(&self, value: Value<'a>) -> String {
        let text = self.printed(value, Style::Talkative, Limits::SHORT);
        String::from_utf8_lossy(&text).into_owned()
    }

    fn printed(&self, value: Value<'a>, style: Style, limits: Limits) -> Vec<u8> {
        let mut printer = Printer { evaluator: self, out: Vec::new(), style, limits, seen: HashSet::new() };
        printer.value(value, 0);
        printer.out
    }

    /// The attributes of a set, in the order of their names.
    pub(crate) fn by_name(&self, attrs: &'a Attrs<'a>) -> Vec<crate::attrs::Attr<'a>> {
        if attrs.under().is_some() {
            let list: Vec<_> = attrs.iter().collect();
            // Many sets have the same names: their order is kept.
            let keys = self.shapes.keys(list.len(), |index| (list[index].name, Pos::NONE));
            return self.order(keys).iter().map(|&index| list[index as usize]).collect();
        }
        let keys = attrs.keys();
        let slots = attrs.slots();
        self.order(keys)
            .iter()
            .map(|&index| {
                let index = index as usize;
                crate::attrs::Attr { name: keys.names[index], pos: keys.position(index), slot: &slots[index] }
            })
            .collect()
    }

    /// The numbers of names in the order of their texts.
    fn order(&self, keys: &Keys<'a>) -> &'a [u32] {
        keys.by_text(self.arena, |order| {
            self.symbols.sort_by_text(order, |&index| keys.names[index as usize]);
        })
    }
}

/// What lies at the end of references; nothing if they lead in a circle, as those of `rec { a = b; b = a; }` do.
fn followed<'a>(slot: &'a Slot<'a>) -> Option<Value<'a>> {
    let (mut slow, mut fast) = (slot, slot);
    loop {
        for _ in 0..2 {
            match fast.get() {
                Value::Ref(next) => fast = next,
                value => return Some(value),
            }
        }
        match slow.get() {
            Value::Ref(next) => slow = next,
            value => return Some(value),
        }
        if std::ptr::eq(slow, fast) {
            return None;
        }
    }
}

impl<'a> Printer<'_, 'a> {
    fn put(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    fn repeated(&mut self, address: usize) -> bool {
        if self.seen.insert(address) {
            return false;
        }
        self.put("«repeated»");
        true
    }

    fn value(&mut self, value: Value<'a>, depth: usize) {
        stacker::maybe_grow(64 * 1024, 1024 * 1024, || self.value_here(value, depth));
    }

    fn value_here(&mut self, value: Value<'a>, depth: usize) {
        match value {
            Value::Null => self.put("null"),
            Value::Bool(true) => self.put("true"),
            Value::Bool(false) => self.put("false"),
            Value::Int(number) => self.put(&number.to_string()),
            Value::Float(number) => self.put(&crate::float_format::print_g(number)),
            Value::String(string) if string.bytes().len() > self.limits.string => {
                write_string(&mut self.out, &string.bytes()[..self.limits.string]);
                let more = string.bytes().len() - self.limits.string;
                self.put(&format!(" «{more} bytes elided»"));
            }
            Value::String(string) => write_string(&mut self.out, string.bytes()),
            Value::Path(path) => self.out.extend_from_slice(path.bytes()),
            Value::List(list) => self.list(list.items(), std::ptr::from_ref(list).addr(), depth),
            Value::Attrs(attrs) => self.attrs(attrs, depth),
            Value::Ref(slot) => match followed(slot) {
                Some(value) => self.value(value, depth),
                None => self.opaque(value),
            },
            Value::Blackhole => self.put("«potential infinite recursion»"),
            other => self.opaque(other),
        }
    }

    fn opaque(&mut self, value: Value<'a>) {
        if self.style == Style::Plain {
            self.put(match value {
                Value::Lambda(..) => "<LAMBDA>",
                Value::Builtin(_) => "<PRIMOP>",
                Value::Partial(_) => "<PRIMOP-APP>",
                _ => "<CODE>",
            });
            return;
        }
        match value {
            Value::Lambda(number, _) => {
                let lambda = self.evaluator.lambdas[number as usize];
                let name = lambda
                    .name
                    .map(|name| format!(" {}", self.evaluator.symbols.show(name)))
                    .unwrap_or_default();
                let place = self.evaluator.show_position(lambda.pos);
                self.put(&format!("«lambda{name} @ {place}»"));
            }
            Value::Builtin(builtin) => self.put(&format!("«primop {}»", builtin.shown_name())),
            Value::Partial(partial) => {
                self.put(&format!("«partially applied primop {}»", partial.builtin.shown_name()));
            }
            Value::Failed(_) => self.put("«error»"),
            _ => self.put("«thunk»"),
        }
    }

    fn list(&mut self, items: &'a [Slot<'a>], address: usize, depth: usize) {
        if items.is_empty() {
            return self.put("[ ]");
        }
        if self.repeated(address) {
            return;
        }
        if depth >= self.limits.depth {
            return self.put("[ ... ]");
        }
        self.put("[ ");
        for (index, item) in items.iter().enumerate() {
            if index >= self.limits.items {
                self.put(&format!("«{} items elided» ", items.len() - index));
                break;
            }
            self.value(item.get(), depth + 1);
            self.put(" ");
        }
        self.put("]");
    }

    fn attrs(&mut self, attrs: &'a Attrs<'a>, depth: usize) {
        if attrs.len() == 0 {
            return self.put("{ }");
        }
        if self.style == Style::Talkative && self.derivation(attrs) {
            return;
        }
        if self.repeated(std::ptr::from_ref(attrs).addr()) {
            return;
        }
        if depth >= self.limits.depth {
            return self.put("{ ... }");
        }
        self.put("{ ");
        for (index, attr) in self.evaluator.by_name(attrs).into_iter().enumerate() {
            if index >= self.limits.attrs {
                self.put(&format!("«{} attributes elided» ", attrs.len() - index));
                break;
            }
            write_identifier(&mut self.out, self.evaluator.symbols.text(attr.name));
            self.put(" = ");
            self.value(attr.slot.get(), depth + 1);
            self.put("; ");
        }
        self.put("}");
    }

    /// `«derivation /nix/store/….drv»`, when that much is evaluated.
    fn derivation(&mut self, attrs: &'a Attrs<'a>) -> bool {
        use crate::symbol::Known;
        let followed = |slot: &Slot<'a>| match slot.get() {
            Value::Ref(inner) => inner.get(),
            value => value,
        };
        let is_derivation = attrs.get(Known::TYPE).is_some_and(
            |slot| matches!(followed(slot), Value::String(text) if text.bytes() == b"derivation"),
        );
        if !is_derivation {
            return false;
        }
        match attrs.get(Known::DRV_PATH).map(followed) {
            Some(Value::String(path)) => {
                self.put(&format!("«derivation {}»", String::from_utf8_lossy(path.bytes())));
            }
            _ => self.put("«derivation»"),
        }
        true
    }
}
