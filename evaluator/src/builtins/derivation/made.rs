//! Derivations that are made again. A package set makes many of its derivations more than once (each interpreter of a
//! language has hooks of its own that come out the same; a package that is overridden without effect): about half of all
//! in nixpkgs. What is the same in everything that goes into a derivation is the same derivation; it need not be written
//! and hashed again.

use super::Special;
use crate::attrs::Attrs;
use crate::context::ContextBuilder;
use crate::evaluator::Evaluator;
use hashbrown::{DefaultHashBuilder, HashMap};
use std::hash::{BuildHasher as _, Hasher as _};

/// What stands for everything that a derivation is made of: two hashes with secret seeds of their own, 128 bits. They are
/// not what gives a derivation its path, and never leave the process.
pub(super) type Print = (u64, u64);

/// The results of `derivationStrict` so far.
#[derive(Debug, Default)]
pub(super) struct Made<'a> {
    hashers: (DefaultHashBuilder, DefaultHashBuilder),
    results: HashMap<Print, &'a Attrs<'a>>,
    /// Where the small things are put together before they are hashed.
    buffer: Vec<u8>,
}

impl<'a> Made<'a> {
    /// The fingerprint of a derivation whose attributes have been taken in.
    pub(super) fn print(&mut self, name: &str, special: &Special<'a>, context: &ContextBuilder) -> Print {
        // Lengths stand before what they are the length of: two different derivations never look the same.
        let buffer = &mut self.buffer;
        buffer.clear();
        let number = |buffer: &mut Vec<u8>, number: usize| buffer.extend_from_slice(&number.to_ne_bytes());
        let bytes = |buffer: &mut Vec<u8>, bytes: &[u8]| {
            buffer.extend_from_slice(&bytes.len().to_ne_bytes());
            buffer.extend_from_slice(bytes);
        };
        bytes(buffer, name.as_bytes());
        bytes(buffer, &special.platform);
        bytes(buffer, &special.builder);
        number(buffer, usize::from(special.content_addressed) | usize::from(special.impure) << 1);
        number(buffer, special.output_hash_mode.map_or(0, |mode| 1 + mode as usize));
        for text in [special.output_hash, special.output_hash_algo] {
            number(buffer, usize::from(text.is_some()));
            bytes(buffer, text.unwrap_or_default());
        }
        number(buffer, special.outputs.len());
        for output in &special.outputs {
            bytes(buffer, output.as_bytes());
        }
        // Arguments and variables lie behind each other in the texts: where they end says all.
        number(buffer, special.args.len());
        for range in &special.args {
            number(buffer, range.start);
            number(buffer, range.end);
        }
        number(buffer, special.env.len());
        for (key, range) in &special.env {
            bytes(buffer, key);
            number(buffer, range.start);
            number(buffer, range.end);
        }
        number(buffer, context.elements.len());
        for element in &context.elements {
            buffer.extend_from_slice(&element.to_ne_bytes());
        }
        let print = |builder: &DefaultHashBuilder| {
            let mut hasher = builder.build_hasher();
            hasher.write(buffer);
            hasher.write(&special.texts);
            hasher.finish()
        };
        (print(&self.hashers.0), print(&self.hashers.1))
    }

    /// Notes what a derivation came to.
    pub(super) fn insert(&mut self, print: Print, result: &'a Attrs<'a>) {
        self.results.insert(print, result);
    }
}

/// The result for a derivation that was made before, as a set of its own.
pub(super) fn again<'a>(e: &Evaluator<'a>, print: Print) -> Option<&'a Attrs<'a>> {
    let known = e.derivations.made.results.get(&print)?;
    let slots = known.slots();
    Some(Attrs::filled(e.arena, known.keys(), |index| slots[index].share()))
}

#[cfg(test)]
mod tests {
    use crate::io::LocalIo;
    use crate::{Arena, Evaluator, Options, Style};
    use std::rc::Rc;

    #[test]
    fn what_is_made_again_is_the_same_in_a_set_of_its_own() {
        let text = r#"
            let
              make = attrs: builtins.derivationStrict ({ name = "n"; builder = "/bin/sh"; system = "s"; } // attrs);
              fixed = { outputHashAlgo = "sha256"; outputHash = builtins.hashString "sha256" ""; };
            in map make [
              { } { } { a = "1"; b = ""; } { a = ""; b = "1"; } { a = "1"; b = ""; } { args = [ "1" ]; } { args = [ "" "1" ]; }
              { name = "m"; } fixed (fixed // { outputHashMode = "recursive"; }) fixed { a = make { }; }
              { a = (make { }).out; } { a = builtins.unsafeDiscardStringContext (make { }).out; }
            ]"#;
        let arena = Arena::new();
        let mut evaluator = Evaluator::new(&arena, Rc::new(LocalIo::new("/nix/store")), Options::default());
        let mut show = |text: &str| {
            let value = evaluator.eval_str(text, b"/").map_err(|error| error.to_string());
            value.and_then(|value| {
                evaluator.force_deep_value(value).map_err(|error| error.to_string())?;
                Ok(String::from_utf8_lossy(&evaluator.print(value, Style::Plain)).into_owned())
            })
        };
        // A set cannot be a variable of a derivation: that one fails, and spoils nothing.
        assert!(show(text).is_err());
        let text = text.replace("{ a = make { }; }", "");
        let first = show(&text).expect("a list");
        assert!(!first.contains("repeated"), "{first}");
        assert_eq!(show(&text).expect("a list"), first);
        let paths: Vec<&str> =
            first.split("drvPath = ").skip(1).filter_map(|rest| rest.split('"').nth(1)).collect();
        assert_eq!(paths.len(), 13);
        let same = |one: usize, other: usize| paths[one] == paths[other];
        assert!(same(0, 1) && same(2, 4) && same(8, 10));
        let mut distinct = paths.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), 10);
        assert_eq!(evaluator.derivations.made.results.len(), 10);
    }
}
