//! What a function's author wrote about it: the `/** … */` comment before a function, or before the attribute or variable
//! that it is the value of; and the page that a builtin has. RFC 145.

mod pages;

use crate::api::{Handle, Result};
use crate::evaluator::Evaluator;
use crate::position::{Origin, Pos};
use crate::value::Value;
use std::path::PathBuf;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Documentation {
    /// The function's name, if it has one. A builtin's stands in the text.
    pub name: Option<String>,
    /// Where it is defined; nothing for a builtin.
    pub place: Option<String>,
    /// The text, without the comment's marks and its indentation.
    pub text: String,
}

impl<'a> Evaluator<'a> {
    /// The documentation of a function; `None` of what is no function or has none.
    pub fn documentation(&self, value: Handle<'a>) -> Option<Documentation> {
        let builtin = match value.0 {
            Value::Builtin(builtin) => builtin,
            Value::Partial(partial) => partial.builtin,
            other => return self.documentation_of_lambda(other),
        };
        Some(Documentation { name: None, place: None, text: pages::page(builtin) })
    }

    /// The file and the line that somebody wants to see who asks for a value: a path itself, where a function is written, where a
    /// package says that it is (`meta.position`).
    pub fn place_of(&mut self, value: Handle<'a>) -> Result<Option<(PathBuf, u32)>> {
        if let Value::Path(path) = value.0 {
            return Ok(Some((PathBuf::from(String::from_utf8_lossy(path.bytes()).into_owned()), 0)));
        }
        if let Value::Lambda(number, _) = value.0 {
            let pos = self.lambdas.get(number as usize).map_or(Pos::NONE, |lambda| lambda.pos);
            let in_file = self.sources.source_of(pos).is_some_and(|s| matches!(s.origin, Origin::File(_)));
            let location = self.location(pos).filter(|_| in_file);
            return Ok(location.map(|location| (PathBuf::from(location.file), location.line)));
        }
        let Some(meta) = self.attribute(value, "meta")? else { return Ok(None) };
        let Some(position) = self.attribute(meta, "position")? else { return Ok(None) };
        let text = self.as_string(position).map(|text| String::from_utf8_lossy(text).into_owned());
        let parts = text.as_deref().and_then(|text| text.rsplit_once(':'));
        Ok(parts.map(|(file, line)| (PathBuf::from(file), line.parse().unwrap_or(0))))
    }

    /// The names that every expression knows, sorted.
    pub fn global_names(&self) -> Vec<String> {
        let public = |name: &String| !name.starts_with("__");
        let mut names: Vec<String> =
            self.globals.keys().map(|&name| self.symbols.show(name)).filter(public).collect();
        names.sort();
        names
    }

    /// The type of a value in words, as messages have it.
    pub fn describe_type(&self, value: Handle<'a>) -> &'static str {
        value.0.describe_type()
    }

    fn documentation_of_lambda(&self, value: Value<'a>) -> Option<Documentation> {
        let Value::Lambda(number, _) = value else { return None };
        let lambda = self.lambdas.get(number as usize)?;
        let source = self.sources.source_of(lambda.pos)?;
        let read;
        let text: &[u8] = match (&source.text, &source.origin) {
            (Some(text), _) => text,
            (None, Origin::File(path)) => {
                read = self.io.read_file(path).ok()?;
                &read
            }
            _ => return None,
        };
        let before = text.get(..(lambda.pos.0 - source.base) as usize)?;
        let comment = comment_before(&String::from_utf8_lossy(before))?;
        Some(Documentation {
            name: lambda.name.map(|name| self.symbols.show(name)),
            place: Some(self.show_position(lambda.pos)),
            text: comment,
        })
    }
}

/// The documentation at the end of a text, where a function begins: right there, or before `name =`, and with arguments
/// (`a: { b, c }:`) between.
fn comment_before(text: &str) -> Option<String> {
    let mut rest = text;
    let mut named = false;
    loop {
        rest = rest.trim_end();
        if let Some(inside) = rest.strip_suffix("*/") {
            let start = inside.rfind("/*")?;
            if let Some(comment) = inside[start..].strip_prefix("/**")
                && !comment.is_empty()
            {
                return Some(dedented(comment));
            }
            rest = &rest[..start];
            continue;
        }
        if let Some(line) = ordinary_comment(rest) {
            rest = line;
            continue;
        }
        let before = match rest.as_bytes().last()? {
            b'(' => &rest[..rest.len() - 1],
            b':' if !named => before_argument(&rest[..rest.len() - 1])?,
            b'=' if !named => {
                named = true;
                before_name(&rest[..rest.len() - 1])
            }
            _ => return None,
        };
        rest = before;
    }
}

/// The text before the `# …` that its last line consists of.
fn ordinary_comment(text: &str) -> Option<&str> {
    let start = text.rfind('\n').map_or(0, |newline| newline + 1);
    text[start..].trim_start().starts_with('#').then(|| &text[..start])
}

/// The text before an argument: a name, or `{ … }` with or without `name@`.
fn before_argument(text: &str) -> Option<&str> {
    let mut rest = text.trim_end();
    loop {
        rest = if rest.ends_with('}') { before_braces(rest)? } else { before_name(rest) }.trim_end();
        match rest.strip_suffix('@') {
            Some(before) => rest = before.trim_end(),
            None => return Some(rest),
        }
    }
}

fn before_braces(text: &str) -> Option<&str> {
    let mut open = 0_usize;
    for (index, byte) in text.bytes().enumerate().rev() {
        match byte {
            b'}' => open += 1,
            b'{' => open -= 1,
            _ => {}
        }
        if open == 0 {
            return text.get(..index);
        }
    }
    None
}

/// The text before an attribute path.
fn before_name(text: &str) -> &str {
    let belongs = |character: char| character.is_alphanumeric() || "_'-.\"".contains(character);
    text.trim_end().trim_end_matches(belongs)
}

/// A comment's lines without the indentation that all of them have, and without empty lines around them.
fn dedented(comment: &str) -> String {
    let lines: Vec<&str> = comment.lines().map(str::trim_end).collect();
    let depth = |line: &&str| line.len() - line.trim_start().len();
    let common = lines.iter().skip(1).filter(|line| !line.is_empty()).map(depth).min().unwrap_or(0);
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        let line = if number == 0 { line.trim_start() } else { line.get(common..).unwrap_or_default() };
        text.push_str(line);
        text.push('\n');
    }
    text.trim_matches('\n').trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::comment_before;
    use crate::io::MemoryIo;
    use crate::{Arena, Evaluator, Options};
    use std::rc::Rc;

    fn text_of(source: &str) -> Option<String> {
        let arena = Arena::new();
        let mut evaluator = Evaluator::new(&arena, Rc::new(MemoryIo::default()), Options::default());
        let value = evaluator.eval_str(source, b"/").unwrap();
        evaluator.documentation(value).map(|found| found.text)
    }

    #[test]
    fn the_comment_before_a_function_is_its_documentation() {
        for source in [
            "/** Adds one. */ x: x + 1",
            "{ /** Adds one. */ f = x: x + 1; }.f",
            "let /** Adds one. */ f = x: x + 1; in f",
            "{ f = /** Adds one. */ x: x; }.f",
            "{ /** Adds one. */ a.b.\"c\" = { x, y ? { } }: x; }.a.b.c",
            "({ /** Adds one. */ f = x: y: z: x; }.f 1 2)",
            "{ /** Adds one. */ f = args@{ a, ... }: { b }@more: y: a; }.f",
            "{ /** Adds one. */ f = (\n # why\n x: x); }.f",
            "{ /**\n   Adds one.\n  */\n  f = x: x; }.f",
        ] {
            assert_eq!(text_of(source).as_deref(), Some("Adds one."), "{source}");
        }
    }

    #[test]
    fn other_comments_are_not() {
        for source in [
            "/* Adds one. */ x: x",
            "# Adds one.\nx: x",
            "/**/ x: x",
            "{ /** a */ a = 1; f = x: x; }.f",
            "(/** a */ { f = x: x; }).f",
            "1",
        ] {
            assert_eq!(text_of(source), None, "{source}");
        }
    }

    #[test]
    fn indentation_that_all_lines_have_goes() {
        let comment = "{\n  /**\n    Adds.\n\n    # Example\n\n        add 1 2\n  */\n  add = ";
        assert_eq!(comment_before(comment).as_deref(), Some("Adds.\n\n# Example\n\n    add 1 2"));
    }

    #[test]
    fn builtins_have_a_page() {
        assert_eq!(text_of("map").as_deref(), Some(text_of("map (x: x)").unwrap().as_str()));
        let text = "builtins.isList e\n    whether it is a list\n\n    builtins.isList [ ]\n    => true";
        assert_eq!(text_of("builtins.isList").as_deref(), Some(text));
    }
}
