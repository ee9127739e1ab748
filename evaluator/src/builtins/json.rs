//! `toJSON` and `fromJSON`: RFC 8259 with the number rules of the library that Nix uses (integers of 64 bits stay
//! integers, the last of a duplicate key wins).

use super::{Builtin, builtin};
use crate::attrs::Attrs;
use crate::coerce::Coercion;
use crate::context::{ContextBuilder, Element};
use crate::error::{ErrorKind, Eval, What};
use crate::evaluator::Evaluator;
use crate::position::Pos;
use crate::symbol::{Known, Symbol};
use crate::value::Value;
use formats::scan::{each_special, is_plain};
use std::collections::BTreeMap;

pub(super) const TABLE: &[Builtin] = &[
    builtin("__toJSON", 1, 1, to_json, "e: e as JSON"),
    builtin("__fromJSON", 1, 1, from_json, "s: the value that a JSON text says"),
];

fn to_json<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let mut text = Vec::new();
    let mut context = ContextBuilder::default();
    e.write_json(args[0], pos, true, &mut text, &mut context)?;
    Ok(e.string_with(&text, context))
}

/// Writes a JSON string. Bytes that are no UTF-8 are an error.
fn write_text<'a>(e: &Evaluator<'a>, bytes: &[u8], pos: Pos, out: &mut Vec<u8>) -> Eval<'a, ()> {
    // Most texts are names, paths and the like.
    if is_plain(bytes) {
        out.reserve(bytes.len() + 2);
        out.push(b'"');
        out.extend_from_slice(bytes);
        out.push(b'"');
        return Ok(());
    }
    if std::str::from_utf8(bytes).is_err() {
        let shown = String::from_utf8_lossy(bytes);
        return e.fail(
            ErrorKind::Other,
            pos,
            &format!("the string '{shown}' is not UTF-8 and cannot be written as JSON"),
        );
    }
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    let mut done = 0;
    // Whole runs of plain bytes are copied together.
    each_special(bytes, 0x20, [b'"', b'\\'], |place| {
        out.extend_from_slice(&bytes[done..place]);
        match bytes[place] {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            byte => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
        }
        done = place + 1;
    });
    out.extend_from_slice(&bytes[done..]);
    out.push(b'"');
    Ok(())
}

impl<'a> Evaluator<'a> {
    /// Appends a value as JSON, evaluating it completely. With `copy`, paths are copied to the store.
    pub(crate) fn write_json(
        &mut self,
        value: Value<'a>,
        pos: Pos,
        copy: bool,
        out: &mut Vec<u8>,
        context: &mut ContextBuilder,
    ) -> Eval<'a, ()> {
        if self.stack_is_low() {
            return self.on_new_stack(|evaluator| evaluator.write_json(value, pos, copy, out, context));
        }
        self.depth += 1;
        if self.depth > self.options.max_call_depth {
            return self.fail(ErrorKind::StackOverflow, pos, "stack overflow; max-call-depth exceeded");
        }
        match value {
            Value::Null => out.extend_from_slice(b"null"),
            Value::Bool(true) => out.extend_from_slice(b"true"),
            Value::Bool(false) => out.extend_from_slice(b"false"),
            Value::Int(number) => out.extend_from_slice(number.to_string().as_bytes()),
            Value::Float(number) => out.extend_from_slice(crate::float_format::print_json(number).as_bytes()),
            Value::String(string) => {
                context.add(string.context);
                write_text(self, string.bytes(), pos, out)?;
            }
            Value::Path(path) if copy => {
                let stored = self.copy_to_store(path.bytes(), pos)?;
                let number = self.context_number(Element::Opaque(stored));
                context.elements.push(number);
                write_text(self, stored, pos, out)?;
            }
            Value::Path(path) => write_text(self, path.bytes(), pos, out)?,
            Value::List(list) => {
                out.push(b'[');
                for (index, slot) in list.items().iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    let item = self.force(slot)?;
                    self.write_json(item, pos, copy, out, context)?;
                }
                out.push(b']');
            }
            Value::Attrs(attrs) => self.write_json_set(value, attrs, pos, copy, out, context)?,
            other => {
                let message = format!("cannot convert {} to JSON", other.describe_type());
                return self.fail(ErrorKind::Type, pos, &message);
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn write_json_set(
        &mut self,
        value: Value<'a>,
        attrs: &'a Attrs<'a>,
        pos: Pos,
        copy: bool,
        out: &mut Vec<u8>,
        context: &mut ContextBuilder,
    ) -> Eval<'a, ()> {
        if attrs.get(Known::TO_STRING).is_some() {
            let mut text = Vec::new();
            self.coerce_into(value, Coercion::PLAIN, pos, &mut text, context)?;
            return write_text(self, &text, pos, out);
        }
        if let Some(slot) = attrs.get(Known::OUT_PATH) {
            let inner = self.force(slot)?;
            return self.write_json(inner, pos, copy, out, context);
        }
        out.push(b'{');
        for (index, attr) in self.by_name(attrs).into_iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            write_text(self, self.symbols.text(attr.name), pos, out)?;
            out.push(b':');
            let inner =
                self.force(attr.slot).and_then(|inner| self.write_json(inner, pos, copy, out, context));
            inner.map_err(|error| error.within(self.arena, What::Attribute(attr.name), attr.pos))?;
        }
        out.push(b'}');
        Ok(())
    }
}

fn from_json<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let text = e.expect_plain(args[0], pos)?;
    read(e, text).or_else(|message| e.fail(ErrorKind::Other, pos, &message))
}

/// The value that a text says, or what is wrong with it and where.
pub(super) fn read<'a>(e: &mut Evaluator<'a>, text: &[u8]) -> Result<Value<'a>, String> {
    let mut reader = Reader { text, at: 0, depth: 0 };
    reader.document(e).map_err(|what| format!("error parsing JSON at byte {}: {what}", reader.at))
}

struct Reader<'t> {
    text: &'t [u8],
    at: usize,
    depth: usize,
}

type Read<T> = Result<T, &'static str>;

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn document<'a>(&mut self, e: &mut Evaluator<'a>) -> Read<Value<'a>> {
        if self.text.starts_with(b"\xef\xbb\xbf") {
            self.at = 3;
        }
        let value = self.value(e)?;
        self.blanks();
        if self.at == self.text.len() { Ok(value) } else { Err("something follows the value") }
    }

    fn value<'a>(&mut self, e: &mut Evaluator<'a>) -> Read<Value<'a>> {
        self.blanks();
        match self.peek() {
            Some(b'n') => self.word(b"null", Value::Null),
            Some(b't') => self.word(b"true", Value::Bool(true)),
            Some(b'f') => self.word(b"false", Value::Bool(false)),
            Some(b'"') => self.string().map(|text| e.new_string(&text)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'[') => self.nested(e, Self::array),
            Some(b'{') => self.nested(e, Self::object),
            Some(_) => Err("unexpected character"),
            None => Err("unexpected end of input"),
        }
    }

    fn nested<'a>(
        &mut self,
        e: &mut Evaluator<'a>,
        read: fn(&mut Self, &mut Evaluator<'a>) -> Read<Value<'a>>,
    ) -> Read<Value<'a>> {
        self.depth += 1;
        let value = if e.stack_is_low() {
            e.on_new_stack_or(|e| read(self, e), |_| Err("there is no memory for so many nested values"))
        } else {
            read(self, e)
        };
        self.depth -= 1;
        value
    }

    fn word<'a>(&mut self, word: &[u8], value: Value<'a>) -> Read<Value<'a>> {
        if !self.text[self.at..].starts_with(word) {
            return Err("unexpected word");
        }
        self.at += word.len();
        Ok(value)
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        self.at - start
    }

    fn number<'a>(&mut self) -> Read<Value<'a>> {
        let start = self.at;
        let negative = self.peek() == Some(b'-');
        if negative {
            self.at += 1;
        }
        let zero = self.peek() == Some(b'0');
        let whole = self.digits();
        if whole == 0 || (zero && whole > 1) {
            return Err("a number is malformed");
        }
        let mut float = false;
        if self.peek() == Some(b'.') {
            float = true;
            self.at += 1;
            if self.digits() == 0 {
                return Err("a number is malformed");
            }
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            float = true;
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if self.digits() == 0 {
                return Err("a number is malformed");
            }
        }
        let text = std::str::from_utf8(&self.text[start..self.at]).map_err(|_| "a number is malformed")?;
        if !float {
            if let Ok(number) = text.parse::<i64>() {
                return Ok(Value::Int(number));
            }
            if !negative && text.parse::<u64>().is_ok() {
                return Err("an unsigned number does not fit an integer of 64 bits");
            }
        }
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Value::Float(number)),
            _ => Err("a number is out of range"),
        }
    }

    fn array<'a>(&mut self, e: &mut Evaluator<'a>) -> Read<Value<'a>> {
        self.at += 1;
        let mut items = Vec::new();
        self.blanks();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(e.new_list(&items));
        }
        loop {
            items.push(self.value(e)?);
            self.blanks();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(e.new_list(&items));
                }
                _ => return Err("expected ',' or ']'"),
            }
        }
    }

    fn object<'a>(&mut self, e: &mut Evaluator<'a>) -> Read<Value<'a>> {
        self.at += 1;
        let mut attrs: BTreeMap<Symbol, Value<'a>> = BTreeMap::new();
        self.blanks();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Attrs(Attrs::from_sorted(&e.shapes, &[])));
        }
        loop {
            self.blanks();
            if self.peek() != Some(b'"') {
                return Err("expected a key");
            }
            let key = self.string()?;
            self.blanks();
            if self.peek() != Some(b':') {
                return Err("expected ':'");
            }
            self.at += 1;
            let value = self.value(e)?;
            let name = e.symbols.intern(&key);
            attrs.insert(name, value);
            self.blanks();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    let attrs: Vec<_> =
                        attrs.into_iter().map(|(name, value)| (name, Pos::NONE, value)).collect();
                    return Ok(Value::Attrs(Attrs::from_sorted(&e.shapes, &attrs)));
                }
                _ => return Err("expected ',' or '}'"),
            }
        }
    }

    fn string(&mut self) -> Read<Vec<u8>> {
        self.at += 1;
        let mut text = Vec::new();
        loop {
            let start = self.at;
            while self.peek().is_some_and(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
                self.at += 1;
            }
            let run = &self.text[start..self.at];
            if std::str::from_utf8(run).is_err() {
                return Err("a string is not UTF-8");
            }
            text.extend_from_slice(run);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => self.escape(&mut text)?,
                Some(_) => return Err("a control character in a string must be escaped"),
                None => return Err("a string has no end"),
            }
        }
    }

    fn escape(&mut self, text: &mut Vec<u8>) -> Read<()> {
        self.at += 1;
        let escaped = self.peek().ok_or("a string has no end")?;
        self.at += 1;
        text.push(match escaped {
            b'"' | b'\\' | b'/' => escaped,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let mut code = self.hex()?;
                if (0xd800..0xdc00).contains(&code) {
                    if !self.text[self.at..].starts_with(b"\\u") {
                        return Err("half a surrogate pair");
                    }
                    self.at += 2;
                    let low = self.hex()?;
                    if !(0xdc00..0xe000).contains(&low) {
                        return Err("half a surrogate pair");
                    }
                    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
                }
                if code == 0 {
                    return Err("a string holds the character NUL");
                }
                let character = char::from_u32(code).ok_or("half a surrogate pair")?;
                text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => return Err("an unknown escape"),
        });
        Ok(())
    }

    fn hex(&mut self) -> Read<u32> {
        let digits = self.text.get(self.at..self.at + 4).ok_or("a string has no end")?;
        let digits = std::str::from_utf8(digits).map_err(|_| "a wrong \\u escape")?;
        self.at += 4;
        if digits.starts_with('+') {
            return Err("a wrong \\u escape");
        }
        u32::from_str_radix(digits, 16).map_err(|_| "a wrong \\u escape")
    }
}
