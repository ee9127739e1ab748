//! `toXML` and `--xml`. Nix manual, `builtins.toXML`.

use super::{Builtin, builtin};
use crate::attrs::Attrs;
use crate::context::ContextBuilder;
use crate::error::{ErrorKind, Eval};
use crate::evaluator::Evaluator;
use crate::position::Pos;
use crate::symbol::Known;
use crate::value::Value;
use std::collections::BTreeSet;

pub(super) const TABLE: &[Builtin] = &[builtin("__toXML", 1, 1, to_xml, "e: e as XML")];

fn to_xml<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let mut context = ContextBuilder::default();
    let text = e.write_xml(args[0], true, false, &mut context, pos)?;
    Ok(e.string_with(&text, context))
}

/// The state of a document being written.
struct Document<'c> {
    out: Vec<u8>,
    depth: usize,
    strict: bool,
    locations: bool,
    context: &'c mut ContextBuilder,
    derivations: BTreeSet<Vec<u8>>,
    /// The sets and lists that are being written, by address: one that lies in itself has no end.
    open: BTreeSet<usize>,
}

impl Document<'_> {
    fn indent(&mut self) {
        for _ in 0..self.depth {
            self.out.extend_from_slice(b"  ");
        }
    }

    fn attributes(&mut self, attributes: &[(&str, &[u8])]) {
        // Sorted by name, as Nix's own writer has them.
        let mut sorted = attributes.to_vec();
        sorted.sort_unstable();
        for (name, value) in sorted {
            self.out.extend_from_slice(format!(" {name}=\"").as_bytes());
            for &byte in value {
                match byte {
                    b'"' => self.out.extend_from_slice(b"&quot;"),
                    b'<' => self.out.extend_from_slice(b"&lt;"),
                    b'>' => self.out.extend_from_slice(b"&gt;"),
                    b'&' => self.out.extend_from_slice(b"&amp;"),
                    b'\n' => self.out.extend_from_slice(b"&#xA;"),
                    _ => self.out.push(byte),
                }
            }
            self.out.push(b'"');
        }
    }

    fn empty(&mut self, name: &str, attributes: &[(&str, &[u8])]) {
        self.indent();
        self.out.extend_from_slice(format!("<{name}").as_bytes());
        self.attributes(attributes);
        self.out.extend_from_slice(b" />\n");
    }

    fn open(&mut self, name: &str, attributes: &[(&str, &[u8])]) {
        self.indent();
        self.out.extend_from_slice(format!("<{name}").as_bytes());
        self.attributes(attributes);
        self.out.extend_from_slice(b">\n");
        self.depth += 1;
    }

    fn close(&mut self, name: &str) {
        self.depth -= 1;
        self.indent();
        self.out.extend_from_slice(format!("</{name}>\n").as_bytes());
    }
}

/// The attribute that names a file, if it is one and not an expression of a command line.
fn path_of(file: &[u8]) -> Option<(&'static str, &[u8])> {
    (!file.starts_with("«".as_bytes())).then_some(("path", file))
}

impl<'a> Evaluator<'a> {
    /// A value as an XML document.
    pub(crate) fn write_xml(
        &mut self,
        value: Value<'a>,
        strict: bool,
        locations: bool,
        context: &mut ContextBuilder,
        pos: Pos,
    ) -> Eval<'a, Vec<u8>> {
        let out = b"<?xml version='1.0' encoding='utf-8'?>\n".to_vec();
        let derivations = BTreeSet::new();
        let open = BTreeSet::new();
        let mut document = Document { out, depth: 0, strict, locations, context, derivations, open };
        document.open("expr", &[]);
        self.xml_value(value, &mut document, pos)?;
        document.close("expr");
        Ok(document.out)
    }

    fn xml_value(&mut self, value: Value<'a>, document: &mut Document<'_>, pos: Pos) -> Eval<'a, ()> {
        if self.stack_is_low() {
            return self.on_new_stack(|evaluator| evaluator.xml_value(value, document, pos));
        }
        let value = match value {
            Value::Ref(slot) if slot.get().is_evaluated() => slot.get(),
            value => value,
        };
        let value = if document.strict { self.force_value(value)? } else { value };
        match value {
            Value::Null => document.empty("null", &[]),
            Value::Bool(value) => {
                document.empty("bool", &[("value", if value { b"true" } else { b"false" })]);
            }
            Value::Int(number) => document.empty("int", &[("value", number.to_string().as_bytes())]),
            Value::Float(number) => {
                document.empty("float", &[("value", crate::float_format::print_g(number).as_bytes())]);
            }
            Value::String(string) => {
                document.context.add(string.context);
                document.empty("string", &[("value", string.bytes())]);
            }
            Value::Path(path) => document.empty("path", &[("value", path.bytes())]),
            Value::List(list) => {
                let address = list.items().as_ptr().addr();
                self.xml_enter(address, document, pos)?;
                document.open("list", &[]);
                for slot in list.items() {
                    let item = if document.strict { self.force(slot)? } else { slot.get() };
                    self.xml_value(item, document, pos)?;
                }
                document.close("list");
                self.xml_leave(address, document);
            }
            Value::Attrs(attrs) => self.xml_set(value, attrs, document, pos)?,
            Value::Lambda(number, _) => self.xml_function(number, document),
            _ => document.empty("unevaluated", &[]),
        }
        Ok(())
    }

    fn xml_enter(&mut self, address: usize, document: &mut Document<'_>, pos: Pos) -> Eval<'a, ()> {
        self.depth += 1;
        if document.strict && !document.open.insert(address) {
            let message = "the value contains itself: as XML it would have no end";
            return self.fail(ErrorKind::InfiniteRecursion, pos, message);
        }
        if self.depth > self.options.max_call_depth {
            return self.fail(ErrorKind::StackOverflow, pos, "stack overflow; max-call-depth exceeded");
        }
        Ok(())
    }

    fn xml_leave(&mut self, address: usize, document: &mut Document<'_>) {
        self.depth -= 1;
        document.open.remove(&address);
    }

    fn place(&self, pos: Pos, document: &Document<'_>) -> Option<(Vec<u8>, String, String)> {
        let location = self.location(pos).filter(|_| document.locations)?;
        Some((location.file.into_bytes(), location.line.to_string(), location.column.to_string()))
    }

    fn xml_set(
        &mut self,
        value: Value<'a>,
        attrs: &'a Attrs<'a>,
        document: &mut Document<'_>,
        pos: Pos,
    ) -> Eval<'a, ()> {
        if !self.is_derivation(value)? {
            let address = std::ptr::from_ref(attrs).addr();
            self.xml_enter(address, document, pos)?;
            document.open("attrs", &[]);
            self.xml_attrs(attrs, document, pos)?;
            document.close("attrs");
            self.xml_leave(address, document);
            return Ok(());
        }
        let mut path = |name| match attrs.get(name) {
            Some(slot) => {
                let value = if document.strict { self.force(slot) } else { Ok(slot.get()) };
                value.map(|value| match value {
                    Value::String(string) => Some(string.bytes().to_vec()),
                    _ => None,
                })
            }
            None => Ok(None),
        };
        let drv_path = path(Known::DRV_PATH)?;
        let out_path = path(Known::OUT_PATH)?;
        let mut attributes: Vec<(&str, &[u8])> = Vec::new();
        attributes.extend(drv_path.as_deref().map(|path| ("drvPath", path)));
        attributes.extend(out_path.as_deref().map(|path| ("outPath", path)));
        document.open("derivation", &attributes);
        match drv_path {
            Some(path) if !path.is_empty() && document.derivations.insert(path.clone()) => {
                self.xml_attrs(attrs, document, pos)?;
            }
            _ => document.empty("repeated", &[]),
        }
        document.close("derivation");
        Ok(())
    }

    fn xml_attrs(&mut self, attrs: &'a Attrs<'a>, document: &mut Document<'_>, pos: Pos) -> Eval<'a, ()> {
        for attr in self.by_name(attrs) {
            let place = self.place(attr.pos, document);
            let mut attributes: Vec<(&str, &[u8])> = vec![("name", self.symbols.text(attr.name))];
            if let Some((file, line, column)) = &place {
                attributes.extend(path_of(file));
                attributes.extend([("line", line.as_bytes()), ("column", column.as_bytes())]);
            }
            document.open("attr", &attributes);
            let inner = if document.strict { self.force(attr.slot)? } else { attr.slot.get() };
            self.xml_value(inner, document, pos)?;
            document.close("attr");
        }
        Ok(())
    }

    fn xml_function(&self, number: u32, document: &mut Document<'_>) {
        let lambda = self.lambdas[number as usize];
        let place = self.place(lambda.pos, document);
        let mut attributes: Vec<(&str, &[u8])> = Vec::new();
        if let Some((file, line, column)) = &place {
            attributes.extend(path_of(file));
            attributes.extend([("line", line.as_bytes()), ("column", column.as_bytes())]);
        }
        document.open("function", &attributes);
        match (&lambda.formals, lambda.argument) {
            (Some(formals), argument) => {
                let mut attributes: Vec<(&str, &[u8])> = Vec::new();
                attributes.extend(argument.map(|name| ("name", self.symbols.text(name))));
                if formals.ellipsis {
                    attributes.push(("ellipsis", b"1"));
                }
                document.open("attrspat", &attributes);
                let mut names: Vec<&[u8]> = formals.list.iter().map(|f| self.symbols.text(f.name)).collect();
                names.sort_unstable();
                for name in names {
                    document.empty("attr", &[("name", name)]);
                }
                document.close("attrspat");
            }
            (None, Some(argument)) => document.empty("varpat", &[("name", self.symbols.text(argument))]),
            (None, None) => {}
        }
        document.close("function");
    }
}
