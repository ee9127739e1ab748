//! Coercions and expectations: to strings, paths, names, sets, lists, functions; and the operators that build strings.

use crate::attrs::Attrs;
use crate::code::Code;
use crate::context::{ContextBuilder, Element};
use crate::error::{ErrorKind, Eval, What};
use crate::evaluator::Evaluator;
use crate::io::Ingestion;
use crate::paths::canonical;
use crate::position::Pos;
use crate::symbol::{Known, Symbol};
use crate::value::{Env, List, Str, Value};

/// How willing a coercion to a string is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Coercion {
    /// Takes numbers, Booleans, null and lists, too.
    pub(crate) more: bool,
    /// Copies paths to the store.
    pub(crate) copy: bool,
}

impl Coercion {
    pub(crate) const INTERPOLATION: Self = Self { more: false, copy: true };
    pub(crate) const PLAIN: Self = Self { more: false, copy: false };
    pub(crate) const TO_STRING: Self = Self { more: true, copy: false };
    pub(crate) const ENVIRONMENT: Self = Self { more: true, copy: true };
}

impl<'a> Evaluator<'a> {
    pub(crate) fn expect_attrs(&self, value: Value<'a>, pos: Pos) -> Eval<'a, &'a Attrs<'a>> {
        match value {
            Value::Attrs(attrs) => Ok(attrs),
            other => Err(self.wrong_type(other, "a set", pos)),
        }
    }

    pub(crate) fn expect_list(&self, value: Value<'a>, pos: Pos) -> Eval<'a, &'a List<'a>> {
        match value {
            Value::List(list) => Ok(list),
            other => Err(self.wrong_type(other, "a list", pos)),
        }
    }

    pub(crate) fn expect_string(&self, value: Value<'a>, pos: Pos) -> Eval<'a, &'a Str<'a>> {
        match value {
            Value::String(string) => Ok(string),
            other => Err(self.wrong_type(other, "a string", pos)),
        }
    }

    pub(crate) fn expect_int(&self, value: Value<'a>, pos: Pos) -> Eval<'a, i64> {
        match value {
            Value::Int(number) => Ok(number),
            other => Err(self.wrong_type(other, "an integer", pos)),
        }
    }

    pub(crate) fn expect_bool(&self, value: Value<'a>, pos: Pos) -> Eval<'a, bool> {
        match value {
            Value::Bool(value) => Ok(value),
            other => Err(self.wrong_type(other, "a Boolean", pos)),
        }
    }

    /// A string without context.
    pub(crate) fn expect_plain(&self, value: Value<'a>, pos: Pos) -> Eval<'a, &'a [u8]> {
        Ok(self.expect_plain_string(value, pos)?.bytes())
    }

    /// A string without context, as it is stored.
    pub(crate) fn expect_plain_string(&self, value: Value<'a>, pos: Pos) -> Eval<'a, &'a Str<'a>> {
        let string = self.expect_string(value, pos)?;
        if string.context.is_some() {
            let text = String::from_utf8_lossy(string.bytes());
            let message = format!(
                "the string '{text}' is not allowed to refer to a store path (such as '{}')",
                self.context_elements(string.context)
                    .first()
                    .map_or_else(String::new, crate::builtins::show_element)
            );
            return self.fail(ErrorKind::Type, pos, &message);
        }
        Ok(string)
    }

    /// An attribute name.
    pub(crate) fn expect_name(&mut self, value: Value<'a>, pos: Pos) -> Eval<'a, Symbol> {
        let name = self.expect_plain_string(value, pos)?;
        Ok(self.symbols.of_string(name))
    }

    pub(crate) fn is_function(value: Value<'_>) -> bool {
        matches!(value, Value::Lambda(..) | Value::Builtin(_) | Value::Partial(_))
    }

    /// Checks that something can be called.
    pub(crate) fn expect_function(&self, value: Value<'a>, pos: Pos) -> Eval<'a, ()> {
        match value {
            Value::Attrs(attrs) if attrs.get(Known::FUNCTOR).is_some() => Ok(()),
            value if Self::is_function(value) => Ok(()),
            other => Err(self.wrong_type(other, "a function", pos)),
        }
    }

    /// Whether a set says `type = "derivation"`.
    pub(crate) fn is_derivation(&mut self, value: Value<'a>) -> Eval<'a, bool> {
        let Value::Attrs(attrs) = value else { return Ok(false) };
        let Some(slot) = attrs.get(Known::TYPE) else { return Ok(false) };
        Ok(matches!(self.force(slot)?, Value::String(string) if string.bytes() == b"derivation"))
    }

    /// Appends a value's text.
    pub(crate) fn coerce_into(
        &mut self,
        value: Value<'a>,
        how: Coercion,
        pos: Pos,
        text: &mut Vec<u8>,
        context: &mut ContextBuilder,
    ) -> Eval<'a, ()> {
        if self.stack_is_low() {
            return self.on_new_stack(|evaluator| evaluator.coerce_into(value, how, pos, text, context));
        }
        match value {
            Value::String(string) => {
                text.extend_from_slice(string.bytes());
                context.add(string.context);
                Ok(())
            }
            Value::Path(path) if how.copy => {
                let stored = self.copy_to_store(path.bytes(), pos)?;
                text.extend_from_slice(stored);
                let number = self.context_number(Element::Opaque(stored));
                context.elements.push(number);
                Ok(())
            }
            Value::Path(path) => {
                text.extend_from_slice(path.bytes());
                Ok(())
            }
            Value::Attrs(attrs) => self.coerce_set(value, attrs, how, pos, text, context),
            Value::Bool(true) if how.more => {
                text.push(b'1');
                Ok(())
            }
            Value::Bool(false) | Value::Null if how.more => Ok(()),
            Value::Int(number) if how.more => {
                text.extend_from_slice(number.to_string().as_bytes());
                Ok(())
            }
            Value::Float(number) if how.more => {
                text.extend_from_slice(crate::float_format::print_f(number).as_bytes());
                Ok(())
            }
            Value::List(list) if how.more => self.coerce_list(list, how, pos, text, context),
            value if !value.is_evaluated() => {
                let value = self.force_value(value)?;
                self.coerce_into(value, how, pos, text, context)
            }
            other => {
                let message = format!(
                    "cannot coerce {} to a string: {}",
                    other.describe_type(),
                    self.show_short(other)
                );
                self.fail(ErrorKind::Type, pos, &message)
            }
        }
    }

    fn coerce_set(
        &mut self,
        value: Value<'a>,
        attrs: &'a Attrs<'a>,
        how: Coercion,
        pos: Pos,
        text: &mut Vec<u8>,
        context: &mut ContextBuilder,
    ) -> Eval<'a, ()> {
        self.depth += 1;
        if self.depth > self.options.max_call_depth {
            return self.fail(ErrorKind::StackOverflow, pos, "stack overflow; max-call-depth exceeded");
        }
        let inner = if let Some(to_string) = attrs.get(Known::TO_STRING) {
            let function = self.force(to_string)?;
            self.call1(function, value, pos)?
        } else if let Some(out_path) = attrs.get(Known::OUT_PATH) {
            self.force(out_path)
                .map_err(|error| error.within(self.arena, What::Attribute(Known::OUT_PATH), pos))?
        } else {
            let message = format!("cannot coerce a set to a string: {}", self.show_short(value));
            return self.fail(ErrorKind::Type, pos, &message);
        };
        let result = self.coerce_into(inner, how, pos, text, context);
        self.depth -= 1;
        result
    }

    fn coerce_list(
        &mut self,
        list: &'a List<'a>,
        how: Coercion,
        pos: Pos,
        text: &mut Vec<u8>,
        context: &mut ContextBuilder,
    ) -> Eval<'a, ()> {
        self.depth += 1;
        if self.depth > self.options.max_call_depth {
            return self.fail(ErrorKind::StackOverflow, pos, "stack overflow; max-call-depth exceeded");
        }
        for (index, slot) in list.items().iter().enumerate() {
            let item = self.force(slot)?;
            self.coerce_into(item, how, pos, text, context)?;
            // Nix puts no blank after an empty list.
            let empty = matches!(item, Value::List(list) if list.is_empty());
            if index + 1 < list.len() && !empty {
                text.push(b' ');
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// A value's text as a string value.
    pub(crate) fn coerce(&mut self, value: Value<'a>, how: Coercion, pos: Pos) -> Eval<'a, &'a Str<'a>> {
        if let Value::String(string) = value {
            return Ok(string);
        }
        let mut text = Vec::new();
        let mut context = ContextBuilder::default();
        self.coerce_into(value, how, pos, &mut text, &mut context)?;
        match self.string_with(&text, context) {
            Value::String(string) => Ok(string),
            _ => Ok(self.empty_string),
        }
    }

    /// A value as an absolute path, with the context that it came with.
    pub(crate) fn coerce_to_path(
        &mut self,
        value: Value<'a>,
        pos: Pos,
        context: &mut ContextBuilder,
    ) -> Eval<'a, Vec<u8>> {
        if let Value::Path(path) = value {
            return Ok(path.bytes().to_vec());
        }
        if let Value::Attrs(attrs) = value {
            if let Some(to_string) = attrs.get(Known::TO_STRING) {
                let function = self.force(to_string)?;
                let inner = self.call1(function, value, pos)?;
                return self.coerce_to_path(inner, pos, context);
            }
            if let Some(out_path) = attrs.get(Known::OUT_PATH) {
                let inner = self.force(out_path)?;
                return self.coerce_to_path(inner, pos, context);
            }
        }
        let mut text = Vec::new();
        self.coerce_into(value, Coercion::PLAIN, pos, &mut text, context)?;
        if text.first() != Some(&b'/') {
            let text = String::from_utf8_lossy(&text);
            let message = format!("string '{text}' doesn't represent an absolute path");
            return self.fail(ErrorKind::Type, pos, &message);
        }
        Ok(canonical(&text))
    }

    /// The store path of a copy of a local path.
    pub(crate) fn copy_to_store(&mut self, path: &[u8], pos: Pos) -> Eval<'a, &'a [u8]> {
        if let Some(stored) = self.copied.get(path) {
            return Ok(stored);
        }
        if path.ends_with(b".drv") {
            let message = format!(
                "file names are not allowed to end in '.drv' (in '{}')",
                String::from_utf8_lossy(path)
            );
            return self.fail(ErrorKind::Other, pos, &message);
        }
        self.check_access(path, pos)?;
        let name = String::from_utf8_lossy(crate::paths::base_name(path)).into_owned();
        let name = if name.is_empty() { "source".to_owned() } else { name };
        let io = std::rc::Rc::clone(&self.io);
        let stored = io
            .add_path(&name, path, Ingestion::Nar, None, None)
            .map_err(|error| self.io_error(&error, pos))?;
        let printed = format!("{}/{}", self.io.store_dir(), stored.base_name());
        let printed: &'a [u8] = self.arena.alloc_slice_copy(printed.as_bytes());
        self.copied.insert(path.to_vec(), printed);
        Ok(printed)
    }

    /// `"…${…}…"`.
    #[inline(never)]
    pub(crate) fn interpolate(
        &mut self,
        parts: &'a [Code<'a>],
        env: &'a Env<'a>,
        pos: Pos,
    ) -> Eval<'a, Value<'a>> {
        if self.stack_is_low() {
            return self.on_new_stack(|evaluator| evaluator.interpolate(parts, env, pos));
        }
        // Buffers that keep their size from one string to the next; strings inside of strings take others.
        let (mut text, mut context) = self.take_buffers();
        for part in parts {
            let value = self.eval(part, env)?;
            if parts.len() == 1
                && let Value::String(_) = value
            {
                (self.buffer, self.context_buffer) = (text, context);
                return Ok(value);
            }
            self.coerce_into(value, Coercion::INTERPOLATION, pos, &mut text, &mut context)?;
        }
        let made = self.string_built(&text, &mut context);
        (self.buffer, self.context_buffer) = (text, context);
        Ok(made)
    }

    /// Where to put a string together, empty.
    fn take_buffers(&mut self) -> (Vec<u8>, ContextBuilder) {
        let (mut text, mut context) =
            (std::mem::take(&mut self.buffer), std::mem::take(&mut self.context_buffer));
        text.clear();
        context.elements.clear();
        (text, context)
    }

    /// `a + b`, and paths with interpolations.
    #[inline(never)]
    pub(crate) fn plus(&mut self, parts: &'a [Code<'a>], env: &'a Env<'a>, pos: Pos) -> Eval<'a, Value<'a>> {
        if self.stack_is_low() {
            return self.on_new_stack(|evaluator| evaluator.plus(parts, env, pos));
        }
        let Some((first, rest)) = parts.split_first() else { return Ok(Value::Null) };
        let first = self.eval(first, env)?;
        match first {
            Value::Int(_) | Value::Float(_) => {
                let mut sum = first;
                for part in rest {
                    let value = self.eval(part, env)?;
                    sum = self.add_numbers(sum, value, pos)?;
                }
                Ok(sum)
            }
            _ => {
                let (mut text, mut context) = self.take_buffers();
                let how = Coercion { more: false, copy: matches!(first, Value::String(_)) };
                self.coerce_into(first, how, pos, &mut text, &mut context)?;
                for part in rest {
                    let value = self.eval(part, env)?;
                    self.coerce_into(value, how, pos, &mut text, &mut context)?;
                }
                if !matches!(first, Value::Path(_)) {
                    let made = self.string_built(&text, &mut context);
                    (self.buffer, self.context_buffer) = (text, context);
                    return Ok(made);
                }
                if !context.is_empty() {
                    let message = "a string that refers to a store path cannot be appended to a path";
                    return self.fail(ErrorKind::Type, pos, message);
                }
                Ok(self.new_path(&canonical(&text)))
            }
        }
    }

    #[inline]
    pub(crate) fn add_numbers(&mut self, left: Value<'a>, right: Value<'a>, pos: Pos) -> Eval<'a, Value<'a>> {
        if let (Value::Int(a), Value::Int(b)) = (left, right)
            && let Some(sum) = a.checked_add(b)
        {
            return Ok(Value::Int(sum));
        }
        self.add_other_numbers(left, right, pos)
    }

    #[inline(never)]
    fn add_other_numbers(&mut self, left: Value<'a>, right: Value<'a>, pos: Pos) -> Eval<'a, Value<'a>> {
        match (left, right) {
            (Value::Int(a), Value::Int(b)) => {
                self.fail(ErrorKind::Other, pos, &format!("integer overflow in adding {a} + {b}"))
            }
            (Value::Int(a), Value::Float(b)) => Ok(Value::Float(a as f64 + b)),
            (Value::Float(a), Value::Int(b)) => Ok(Value::Float(a + b as f64)),
            (Value::Float(a), Value::Float(b)) => Ok(Value::Float(a + b)),
            (left, right) => {
                let message = format!("cannot add {} to {}", right.describe_type(), left.describe_type());
                self.fail(ErrorKind::Type, pos, &message)
            }
        }
    }
}
