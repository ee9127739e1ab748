//! What makes typing pleasant: an unfinished expression goes on in the next line, Tab completes commands, files, variables and
//! builtins, `:e` opens an editor.

use anyhow::{Context as _, Result, bail};
use rustyline::completion::Completer;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper};
use std::path::Path;

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
    let belongs = |character: char| character.is_ascii_alphanumeric() || "_'-./~:".contains(character);
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
    // More than one, or a semicolon in a `let`: not told apart here.
    let text = text.trim().trim_end_matches(';');
    (starts && plain && !text.starts_with('=') && !text.contains(';')).then_some((name, text))
}

/// Whether a line says what several variables are, or one with a path of names: `a = 1; b = 2`, `a.b = 1`, `inherit (x) y`.
pub(super) fn is_bindings(line: &str) -> bool {
    let line = line.trim();
    if let Some(rest) = line.strip_prefix("inherit") {
        return rest.starts_with([' ', '(']);
    }
    let mut quoted = false;
    let end = line.find(|character: char| {
        quoted ^= character == '"';
        !(quoted || character.is_ascii_alphanumeric() || "_'-.\"".contains(character))
    });
    let Some((name, rest)) = end.and_then(|end| line.split_at_checked(end)) else { return false };
    let starts =
        name.starts_with(|character: char| character.is_ascii_alphabetic() || "_\"".contains(character));
    let rest = rest.trim_start();
    starts && rest.starts_with('=') && !rest.starts_with("==")
}

/// The files whose paths begin like this.
pub(super) fn files(word: &str, directory: &Path) -> Vec<String> {
    let (parent, start) = word.rsplit_once('/').unwrap_or(("", word));
    let home = std::env::var("HOME").unwrap_or_default();
    let real = match parent.strip_prefix('~') {
        Some(rest) => format!("{home}{rest}/"),
        None => format!("{parent}/"),
    };
    let Ok(entries) = std::fs::read_dir(directory.join(real)) else { return Vec::new() };
    let mut found: Vec<String> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok().filter(|name| name.starts_with(start))?;
            let slash = if entry.path().is_dir() { "/" } else { "" };
            Some(format!("{parent}/{name}{slash}"))
        })
        .collect();
    found.sort();
    found
}

/// Opens a file in the user's editor, at a line if the editor is one that can be told.
pub(super) fn open_editor(file: &Path, line: u32) -> Result<()> {
    let editor = std::env::var("EDITOR").ok().filter(|editor| !editor.is_empty());
    let editor = editor.context("no editor is known: set $EDITOR")?;
    let mut words = editor.split_whitespace();
    let program = words.next().context("no editor is known: set $EDITOR")?;
    let mut command = std::process::Command::new(program);
    command.args(words);
    if ["emacs", "nano", "vi", "kak"].iter().any(|name| program.contains(name)) && line > 0 {
        command.arg(format!("+{line}"));
    }
    let status = command.arg(file).status().with_context(|| format!("starting the editor {program}"))?;
    if !status.success() {
        bail!("the editor {program} failed");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bindings_are_told_from_expressions() {
        for text in
            ["a = 1; b = 2", "a.b = 1", "inherit (x) y", "inherit x;", "\"a b\" = 1", "a.\"b c\".d = 1"]
        {
            assert!(is_bindings(text), "{text}");
        }
        for text in ["a == 1", "{ a = 1; }", "f { a = 1; }", "1", "inherited", "\"a\"", "a.b == c", "x: y"] {
            assert!(!is_bindings(text), "{text}");
        }
    }

    #[test]
    fn files_are_found() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("sub")).unwrap();
        std::fs::write(directory.path().join("sub/one.nix"), "").unwrap();
        assert_eq!(files("./s", directory.path()), ["./sub/"]);
        assert_eq!(files("./sub/o", directory.path()), ["./sub/one.nix"]);
        assert_eq!(files("./none/o", directory.path()), Vec::<String>::new());
    }

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
        assert_eq!(definition("a = 1; b = 2"), None);
        assert_eq!(definition("a == 1"), None);
        assert_eq!(definition("{ a = 1; }"), None);
        assert_eq!(definition("f (x: x) // { a = 1; }"), None);
    }

    #[test]
    fn words_start_after_blanks_and_brackets() {
        assert_eq!(word_start("map (builtins.le", 16), 5);
    }
}
