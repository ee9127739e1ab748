//! Values as the REPL prints them: what is shown is evaluated, down to a depth; what lies deeper is `{ ... }`; sets and
//! lists of more than one item, or of one that holds others, stand on lines of their own; an error inside is shown in its
//! place. As `nix repl` of Nix 2.34 prints them, its colours included.

use super::{Style, write_identifier, write_string};
use crate::api::Handle;
use crate::diagnostic::EvalError;
use crate::error::Error;
use crate::evaluator::Evaluator;
use crate::symbol::Known;
use crate::value::{Slot, Value};
use hashbrown::HashSet;

/// Spaces a level.
const INDENT: usize = 2;

/// Escape sequences of a terminal: how each kind of value looks.
const STRING: &str = "35;1";
const CONSTANT: &str = "36;1";
const PATH: &str = "32;1";
const FUNCTION: &str = "34;1";
const REPEATED: &str = "35;1";
const ERROR: &str = "31;1";

impl<'a> Evaluator<'a> {
    /// A value as a person reads it: evaluated and printed to that depth (1: the attributes of a set, not theirs), for
    /// a terminal with colours.
    pub fn print_pretty(&mut self, value: Handle<'a>, depth: usize, colours: bool) -> Vec<u8> {
        self.measure_stack();
        let mut printer = Pretty {
            evaluator: self,
            out: Vec::new(),
            deepest: depth,
            colours,
            in_line: false,
            known: HashSet::new(),
        };
        printer.value(value.0, 0);
        printer.out
    }

    /// A value on one line, evaluated as it is printed, as `nix eval` of Nix 2.34 prints it: derivations by their paths, what was
    /// shown before as `«repeated»`, an error inside in its place.
    pub fn print_in_line(&mut self, value: Handle<'a>) -> Result<Vec<u8>, EvalError> {
        self.measure_stack();
        let forced = self.force_value(value.0);
        let value = self.outward(forced)?;
        let mut printer = Pretty {
            evaluator: self,
            out: Vec::new(),
            deepest: usize::MAX,
            colours: false,
            in_line: true,
            known: HashSet::new(),
        };
        printer.value(value, 0);
        Ok(printer.out)
    }
}

struct Pretty<'e, 'a> {
    evaluator: &'e mut Evaluator<'a>,
    out: Vec<u8>,
    deepest: usize,
    colours: bool,
    /// All on one line.
    in_line: bool,
    /// The addresses of the sets and lists that the current one lies in; on one line, of all before it.
    known: HashSet<usize>,
}

impl<'a> Pretty<'_, 'a> {
    fn put(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    /// Writes something in a colour.
    fn coloured(&mut self, colour: &str, write: impl FnOnce(&mut Vec<u8>)) {
        if !self.colours {
            return write(&mut self.out);
        }
        self.put(&format!("\x1b[{colour}m"));
        write(&mut self.out);
        self.put("\x1b[0m");
    }

    fn say(&mut self, colour: &str, text: &str) {
        self.coloured(colour, |out| out.extend_from_slice(text.as_bytes()));
    }

    fn line(&mut self, depth: usize) {
        self.out.push(b'\n');
        self.out.resize(self.out.len() + depth * INDENT, b' ');
    }

    fn value(&mut self, value: Value<'a>, depth: usize) {
        stacker::maybe_grow(64 * 1024, 1024 * 1024, || match self.evaluator.force_value(value) {
            Ok(value) => self.evaluated(value, depth),
            Err(error) => self.error(error),
        });
    }

    /// What lies in a slot is there evaluated afterwards.
    fn slot(&mut self, slot: &'a Slot<'a>, depth: usize) {
        stacker::maybe_grow(64 * 1024, 1024 * 1024, || match self.evaluator.force(slot) {
            Ok(value) => self.evaluated(value, depth),
            Err(error) => self.error(error),
        });
    }

    fn error(&mut self, error: Error<'a>) {
        self.evaluator.cycle = None;
        self.say(ERROR, &format!("«error: {}»", error.0.cause.message));
    }

    fn evaluated(&mut self, value: Value<'a>, depth: usize) {
        match value {
            Value::String(string) => self.coloured(STRING, |out| write_string(out, string.bytes())),
            Value::List(list) => {
                let items: Vec<_> = list.items().iter().map(|slot| (None, slot)).collect();
                self.container(&items, std::ptr::from_ref(list).addr(), ("[", "]"), depth);
            }
            Value::Attrs(attrs) => {
                if self.derivation(value) {
                    return;
                }
                let items: Vec<_> =
                    self.evaluator.by_name(attrs).iter().map(|attr| (Some(attr.name), attr.slot)).collect();
                self.container(&items, std::ptr::from_ref(attrs).addr(), ("{", "}"), depth);
            }
            other => {
                let text = self.evaluator.print_value(other, Style::Talkative);
                let colour = match other {
                    Value::Path(_) => PATH,
                    Value::Lambda(..) | Value::Builtin(_) | Value::Partial(_) => FUNCTION,
                    _ => CONSTANT,
                };
                self.coloured(colour, |out| out.extend_from_slice(&text));
            }
        }
    }

    /// `«derivation /nix/store/….drv»`, if it is one.
    fn derivation(&mut self, value: Value<'a>) -> bool {
        let Value::Attrs(attrs) = value else { return false };
        if !self.evaluator.is_derivation(value).unwrap_or(false) {
            return false;
        }
        let path = attrs.get(Known::DRV_PATH).map(|slot| self.evaluator.force(slot));
        match path {
            Some(Ok(Value::String(path))) => {
                self.say(PATH, &format!("«derivation {}»", String::from_utf8_lossy(path.bytes())));
            }
            Some(Err(error)) => {
                self.say(PATH, "«derivation ");
                self.error(error);
                self.say(PATH, "»");
            }
            _ => self.say(PATH, "«derivation ???»"),
        }
        true
    }

    fn container(
        &mut self,
        items: &[(Option<crate::symbol::Symbol>, &'a Slot<'a>)],
        address: usize,
        (open, close): (&str, &str),
        depth: usize,
    ) {
        if items.is_empty() {
            return self.put(&format!("{open} {close}"));
        }
        if self.known.contains(&address) {
            return self.say(REPEATED, "«repeated»");
        }
        if depth >= self.deepest {
            return self.put(&format!("{open} ... {close}"));
        }
        self.known.insert(address);
        let lines = !self.in_line && self.on_lines(items);
        self.put(open);
        for &(name, slot) in items {
            if lines {
                self.line(depth + 1);
            } else {
                self.put(" ");
            }
            if let Some(name) = name {
                write_identifier(&mut self.out, self.evaluator.symbols.text(name));
                self.put(" = ");
            }
            self.slot(slot, depth + 1);
            if name.is_some() {
                self.put(";");
            }
        }
        if lines {
            self.line(depth);
        } else {
            self.put(" ");
        }
        self.put(close);
        if !self.in_line {
            self.known.remove(&address);
        }
    }

    /// Whether each item gets a line.
    fn on_lines(&mut self, items: &[(Option<crate::symbol::Symbol>, &'a Slot<'a>)]) -> bool {
        let [(_, slot)] = items else { return true };
        matches!(self.evaluator.force(slot), Ok(Value::List(_) | Value::Attrs(_)))
    }
}

#[cfg(test)]
mod tests {
    use crate::io::MemoryIo;
    use crate::{Arena, Evaluator, Options};
    use std::rc::Rc;

    fn pretty(text: &str, depth: usize) -> String {
        let arena = Arena::new();
        let mut evaluator = Evaluator::new(&arena, Rc::new(MemoryIo::default()), Options::default());
        let value = evaluator.eval_str(text, b"/").unwrap();
        let plain = String::from_utf8(evaluator.print_pretty(value, depth, false)).unwrap();
        let coloured = String::from_utf8(evaluator.print_pretty(value, depth, true)).unwrap();
        let mut parts = coloured.split("\x1b[");
        let mut uncoloured = parts.next().unwrap().to_owned();
        parts.for_each(|part| uncoloured.push_str(part.split_once('m').unwrap().1));
        assert_eq!(uncoloured, plain);
        plain
    }

    /// What `nix repl` of 2.34.8 printed.
    #[test]
    fn one_level_as_nix_repl() {
        for (text, printed) in [
            (
                "{ a = 1; b = { c = 2; }; l = [ 1 [ 2 ] ]; e = { }; }",
                "{\n  a = 1;\n  b = { ... };\n  e = { };\n  l = [ ... ];\n}",
            ),
            ("{ d = \"x\\ny\"; }", "{ d = \"x\\ny\"; }"),
            ("[ 1 ]", "[ 1 ]"),
            ("[ (throw \"x\") 1 ]", "[\n  «error: x»\n  1\n]"),
            ("let a = { b = a; }; in a", "{\n  b = «repeated»;\n}"),
            ("map 1", "«partially applied primop map»"),
            ("x: x", "«lambda @ «string»:1:1»"),
            ("{ \"a b\" = null; }", "{ \"a b\" = null; }"),
            ("1.5", "1.5"),
        ] {
            assert_eq!(pretty(text, 1), printed, "{text}");
        }
    }

    #[test]
    fn all_levels_as_nix_repl() {
        assert_eq!(
            pretty("{ a = 1; b = { c = [ 1 { d = \"x\\ny\"; } ]; }; s = \"q\"; }", usize::MAX),
            "{\n  a = 1;\n  b = {\n    c = [\n      1\n      { d = \"x\\ny\"; }\n    ];\n  };\n  s = \"q\";\n}"
        );
    }

    /// What `nix eval` of 2.34.8 printed.
    #[test]
    fn one_line_as_nix_eval() {
        for (text, printed) in [
            ("{ a = throw \"x\"; b = 1; }", "{ a = «error: x»; b = 1; }"),
            ("let a = { x = 1; }; in [ a a ]", "[ { x = 1; } «repeated» ]"),
            ("rec { a = { b = a; }; }", "{ a = { b = «repeated»; }; }"),
            ("[ [ 1 [ 2 ] ] { } [ ] ]", "[ [ 1 [ 2 ] ] { } [ ] ]"),
            ("builtins.add 1", "«partially applied primop add»"),
            (
                "{ a = { b = x: x; }; \"if\" = 2; }",
                "{ a = { b = «lambda b @ «string»:1:13»; }; \"if\" = 2; }",
            ),
            (
                "[ (derivation { name = \"a\"; builder = \"b\"; system = \"s\"; }) ]",
                "[ «derivation /nix/store/pn5w9v350w6b152fg17i8iinyi3g0di4-a.drv» ]",
            ),
        ] {
            let arena = Arena::new();
            let mut evaluator = Evaluator::new(&arena, Rc::new(MemoryIo::default()), Options::default());
            let value = evaluator.eval_str(text, b"/").unwrap();
            assert_eq!(
                String::from_utf8(evaluator.print_in_line(value).unwrap()).unwrap(),
                printed,
                "{text}"
            );
        }
    }

    #[test]
    fn derivations_are_their_paths() {
        let text = "{ d = derivation { name = \"a\"; builder = \"b\"; system = \"s\"; }; }";
        let path = "/nix/store/pn5w9v350w6b152fg17i8iinyi3g0di4-a.drv";
        assert_eq!(pretty(text, 1), format!("{{\n  d = «derivation {path}»;\n}}"));
        assert_eq!(pretty("{ type = \"derivation\"; }", 1), "«derivation ???»");
    }
}
