//! An attribute `__json` without `__structuredAttrs`: since Nix 2.30 it must be a JSON object, and is written as structured
//! attributes are.

use crate::builtins::json;
use crate::context::ContextBuilder;
use crate::error::{ErrorKind, Eval};
use crate::evaluator::Evaluator;
use crate::position::Pos;
use crate::value::Value;

/// The text as structured attributes would be written.
pub(super) fn rewrite<'a>(
    e: &mut Evaluator<'a>,
    derivation: &str,
    text: &[u8],
    pos: Pos,
) -> Eval<'a, Vec<u8>> {
    e.io.message(&format!(
        "warning: In derivation '{derivation}': setting structured attributes via '__json' is deprecated; \
         set '__structuredAttrs = true' instead"
    ));
    let what = match json::read(e, text) {
        Ok(value @ Value::Attrs(_)) => {
            let mut written = Vec::new();
            e.write_json(value, pos, false, &mut written, &mut ContextBuilder::default())?;
            return Ok(written);
        }
        Ok(value) => format!("it must be an object, and is {}", value.describe_type()),
        Err(what) => what,
    };
    e.fail(ErrorKind::Other, pos, &format!("cannot process __json attribute: {what}"))
}

#[cfg(test)]
mod tests {
    use crate::io::MemoryIo;
    use crate::{Arena, Evaluator, Options};
    use std::rc::Rc;

    /// The paths are those of Nix 2.34.8.
    #[test]
    fn objects_are_written_anew() {
        let cases = [
            (r#"{\"b\": 1, \"a\": [1.5, true, null] }"#, "jmw8jn229xap5sw0kbyy25pf6k9bwsqq"),
            ("{}", "2c8rln8lri5yamx7clwvand50g9sc6a6"),
            (r#"{\"a\":\"\\u00e9\"}"#, "2nnmahla0md3h4z8kxp6rv9pi308sgd3"),
            (r#"{\"a\":\"/nix\", \"a\":2}"#, "j28va7cy6rraksgb4prf4462gn1i8089"),
            (r#"{\"a\":1e3,\"b\":1.0,\"c\":-0,\"d\":-0.0}"#, "8nj7vmzvcqndvlp5jaw5xfqv7x19y9xg"),
        ];
        for (json, hash) in cases {
            let text = format!(
                r#"(derivationStrict {{ name = "x"; builder = "b"; system = "s"; __json = "{json}"; }}).drvPath"#
            );
            let arena = Arena::new();
            let mut evaluator = Evaluator::new(&arena, Rc::new(MemoryIo::default()), Options::default());
            let value = evaluator.eval_str(&text, b"/").unwrap();
            let path = evaluator.print(value, crate::Style::Plain);
            assert_eq!(String::from_utf8_lossy(&path), format!("\"/nix/store/{hash}-x.drv\""), "{json}");
        }
    }
}
