//! What makes typing pleasant: an unfinished expression goes on in the next line, Tab completes variables and builtins.

use rustyline::completion::Completer;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper};

/// What the line editor knows.
pub(super) struct Editing<'s> {
    complete: &'s dyn Fn(&str) -> Vec<String>,
}

impl<'s> Editing<'s> {
    /// An editor that asks how a word may go on.
    pub(super) fn new(complete: &'s dyn Fn(&str) -> Vec<String>) -> Self {
        Self { complete }
    }
}

impl Helper for Editing<'_> {}
impl Highlighter for Editing<'_> {}

impl Hinter for Editing<'_> {
    type Hint = String;
}

impl Validator for Editing<'_> {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        if is_unfinished(context.input()) {
            return Ok(ValidationResult::Incomplete);
        }
        Ok(ValidationResult::Valid(None))
    }
}

impl Completer for Editing<'_> {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        let start = word_start(line, at);
        Ok((start, (self.complete)(&line[start..at])))
    }
}

/// Where the word before the cursor begins.
fn word_start(line: &str, at: usize) -> usize {
    let belongs = |character: char| character.is_ascii_alphanumeric() || "_'-.".contains(character);
    line[..at]
        .char_indices()
        .rev()
        .take_while(|(_, character)| belongs(*character))
        .last()
        .map_or(at, |(start, _)| start)
}

/// Whether brackets or strings are still open.
pub(super) fn is_unfinished(text: &str) -> bool {
    let mut open = 0_i32;
    let mut characters = text.chars().peekable();
    let mut quoted = false;
    let mut indented = false;
    while let Some(character) = characters.next() {
        let pair = characters.peek() == Some(&'\'');
        match character {
            '\\' if quoted => {
                characters.next();
            }
            '"' if !indented => quoted = !quoted,
            '\'' if !quoted && pair => {
                characters.next();
                indented = !indented;
            }
            '#' if !quoted && !indented => {
                for skipped in characters.by_ref() {
                    if skipped == '\n' {
                        break;
                    }
                }
            }
            '(' | '[' | '{' if !quoted && !indented => open += 1,
            ')' | ']' | '}' if !quoted && !indented => open -= 1,
            _ => {}
        }
    }
    quoted || indented || open > 0
}

/// `name = expression`, if that is what a line says.
pub(super) fn definition(line: &str) -> Option<(&str, &str)> {
    let (name, text) = line.split_once('=')?;
    let name = name.trim();
    let starts =
        name.chars().next().is_some_and(|character| character.is_ascii_alphabetic() || character == '_');
    let plain = name.chars().all(|character| character.is_ascii_alphanumeric() || "_'-".contains(character));
    (starts && plain && !text.starts_with('=')).then(|| (name, text.trim().trim_end_matches(';')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unfinished_lines_go_on() {
        for text in ["{ a = 1;", "[ 1", "''a", "\"a", "(x:", "{ # }"] {
            assert!(is_unfinished(text), "{text}");
        }
        for text in ["{ a = 1; }", "\"{\"", "''{''", "1 # {", "x: x"] {
            assert!(!is_unfinished(text), "{text}");
        }
    }

    #[test]
    fn definitions_are_told_from_comparisons() {
        assert_eq!(definition("a = 1"), Some(("a", "1")));
        assert_eq!(definition("a-b = { }; "), Some(("a-b", "{ }")));
        assert_eq!(definition("a == 1"), None);
        assert_eq!(definition("{ a = 1; }"), None);
        assert_eq!(definition("f (x: x) // { a = 1; }"), None);
    }

    #[test]
    fn words_start_after_blanks_and_brackets() {
        assert_eq!(word_start("map (builtins.le", 16), 5);
    }
}
