//! Errors for people: what is wrong, the source line with a caret, what to do, and a short trace in the user's terms.

use crate::error::{Error, ErrorKind, Frame, What};
use crate::evaluator::Evaluator;
use crate::position::{Location, Pos};
use std::fmt;

/// A failed evaluation, explained. Stands alone: nothing in it refers to the evaluator. One word; its parts are those of
/// [`Explanation`].
#[derive(Debug, Clone)]
pub struct EvalError(Box<Explanation>);

impl std::ops::Deref for EvalError {
    type Target = Explanation;

    fn deref(&self) -> &Explanation {
        &self.0
    }
}

/// What there is to say about a failed evaluation.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// What kind of error it is.
    pub kind: ErrorKind,
    /// One sentence.
    pub message: String,
    /// Where.
    pub location: Option<Location>,
    /// What to do, or what is close.
    pub hint: Option<String>,
    /// What was being evaluated, innermost first.
    pub trace: Vec<TraceLine>,
    /// For infinite recursion: the values that need each other, in order.
    pub cycle: Vec<TraceLine>,
}

/// A line of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceLine {
    /// What was going on.
    pub text: String,
    /// Where.
    pub location: Option<Location>,
    /// Whether it was given by `addErrorContext` or names a derivation: such lines are always shown.
    pub important: bool,
}

/// How many lines of trace are shown unless all are asked for.
const SHORT_TRACE: usize = 6;

impl<'a> Evaluator<'a> {
    /// Spells an error out.
    pub(crate) fn explain(&self, error: Error<'a>) -> EvalError {
        let cause = error.0.cause;
        let mut frames: Vec<&'a Frame<'a>> = Vec::new();
        let mut next = error.0.trace;
        while let Some(frame) = next {
            frames.push(frame);
            next = frame.next;
        }
        frames.reverse();
        let mut trace: Vec<TraceLine> = Vec::new();
        let mut cycle = Vec::new();
        let mut marks = 0;
        for frame in frames {
            if matches!(frame.what, What::Cycle) {
                marks += 1;
                continue;
            }
            let line = self.trace_line(frame);
            if matches!(frame.what, What::Needs) {
                if marks == 1 {
                    cycle.push(line);
                }
                continue;
            }
            if trace.last() == Some(&line) {
                continue;
            }
            trace.push(line);
        }
        let location = self
            .location(cause.pos)
            .or_else(|| cycle_place(&cycle))
            .or_else(|| trace.iter().find_map(|line| line.location.clone()));
        EvalError(Box::new(Explanation {
            kind: cause.kind,
            message: cause.message.to_owned(),
            location,
            hint: cause.hint.map(str::to_owned),
            trace,
            cycle,
        }))
    }

    fn trace_line(&self, frame: &Frame<'a>) -> TraceLine {
        let (text, important) = match frame.what {
            What::Attribute(name) => {
                (format!("while evaluating the attribute '{}'", self.symbols.show(name)), false)
            }
            What::Call(Some(name)) => (format!("while calling '{}'", self.symbols.show(name)), false),
            What::Call(None) => ("while calling an anonymous function".to_owned(), false),
            What::Builtin(name) => {
                (format!("while calling the '{}' builtin", name.strip_prefix("__").unwrap_or(name)), false)
            }
            What::File(path) => (format!("while evaluating the file '{path}':"), false),
            What::Context(text) => (text.to_owned(), true),
            What::Derivation { name, attribute: Some(attribute) } => {
                let attribute = self.symbols.show(attribute);
                (format!("while evaluating the attribute '{attribute}' of the derivation '{name}'"), true)
            }
            What::Derivation { name, attribute: None } => {
                (format!("while evaluating the derivation '{name}'"), true)
            }
            What::Cycle | What::Needs => (String::new(), false),
        };
        let location = if frame.pos == Pos::NONE { None } else { self.location(frame.pos) };
        let text = match (&frame.what, &location) {
            (What::Needs, Some(location)) => location.word(),
            _ => text,
        };
        TraceLine { text, location, important }
    }
}

impl Explanation {
    /// The error as text: message, source, hint, trace (all of it with `full`).
    pub fn render(&self, full: bool) -> String {
        let mut text = format!("{}\n", self.message);
        if let Some(location) = &self.location {
            push_snippet(&mut text, location, "");
        }
        if let Some(hint) = &self.hint {
            push(&mut text, format_args!("   = {hint}\n"));
        }
        if let [only] = self.cycle.as_slice() {
            push(&mut text, format_args!("   = '{}' needs itself\n", only.text));
        } else if let Some(first) = self.cycle.first() {
            text.push_str("   = these need each other in turn:\n");
            for line in self.cycle.iter().rev() {
                push(&mut text, format_args!("       '{}'{} needs\n", line.text, place(line)));
            }
            push(&mut text, format_args!("       '{}' again\n", self.cycle.last().unwrap_or(first).text));
        }
        self.push_trace(&mut text, full);
        text.truncate(text.trim_end().len());
        text
    }

    fn push_trace(&self, text: &mut String, full: bool) {
        let own =
            |line: &TraceLine| line.location.as_ref().is_some_and(|location| is_own_file(&location.file));
        let mut shown = 0;
        let mut folded = 0;
        for (index, line) in self.trace.iter().enumerate() {
            // The innermost step says nothing when it stands where the message stands.
            if index == 0 && !full && !line.important && line.location == self.location {
                continue;
            }
            // Places name their files.
            if !full && !line.important && line.location.is_none() {
                continue;
            }
            if full {
                push(text, format_args!("   … {}\n", line.text));
                if let Some(location) = &line.location {
                    push_snippet(text, location, "  ");
                }
                continue;
            }
            if line.important || (own(line) && shown < SHORT_TRACE) {
                push(text, format_args!("   … {}{}\n", line.text, place(line)));
                shown += 1;
            } else {
                folded += 1;
            }
        }
        if folded > 0 && self.trace.len() > 1 {
            push(text, format_args!("   … {folded} more steps; --show-trace shows them\n"));
        }
    }
}

fn push(text: &mut String, arguments: fmt::Arguments<'_>) {
    text.push_str(&arguments.to_string());
}

/// A place for an error that has none but its cycle.
fn cycle_place(cycle: &[TraceLine]) -> Option<Location> {
    cycle.last().and_then(|line| line.location.clone())
}

/// Whether a file is one that the user is likely to have written.
fn is_own_file(file: &str) -> bool {
    !file.starts_with("/nix/store/")
        && !file.starts_with("«internal")
        && !file.contains("/lib/")
        && !file.contains("/os/lib/")
}

fn place(line: &TraceLine) -> String {
    line.location
        .as_ref()
        .map(|location| format!(" at {}:{}:{}", location.file, location.line, location.column))
        .unwrap_or_default()
}

fn push_snippet(text: &mut String, location: &Location, indent: &str) {
    push(text, format_args!("{indent}  --> {}:{}:{}\n", location.file, location.line, location.column));
    if location.source_line.trim().is_empty() {
        return;
    }
    let number = location.line.to_string();
    let gutter = " ".repeat(number.len());
    let mut line: String = location.source_line.chars().take(160).collect();
    line = line.replace('\t', " ");
    let column = location.column as usize - 1;
    let before = String::from_utf8_lossy(location.source_line.as_bytes().get(..column).unwrap_or_default())
        .chars()
        .count();
    push(
        text,
        format_args!(
            "{indent} {gutter} |\n{indent} {number} | {line}\n{indent} {gutter} | {}^\n",
            " ".repeat(before)
        ),
    );
}

impl fmt::Display for EvalError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.render(false))
    }
}

impl std::error::Error for EvalError {}
