//! Command lines in the style of getopt_long(3): options and words in any order, `--name=value` and `--name value`, `-xVALUE`
//! and `-x VALUE`, flags together (`-qa`), `--` ends the options.

use crate::family::Failure;
use anyhow::Result;
use std::ffi::OsString;

/// One option: its long name, its letter, whether it has a value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Option_ {
    pub(super) long: &'static str,
    pub(super) letter: char,
    pub(super) value: Value,
}

/// What follows an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    No,
    Needed,
    /// Only in the forms `--name=VALUE` and `-xVALUE`, or as the next word when that looks like one (`-b -1`).
    Number,
}

/// An option without value.
pub(super) const fn flag(long: &'static str, letter: char) -> Option_ {
    Option_ { long, letter, value: Value::No }
}

/// An option with a value.
pub(super) const fn with_value(long: &'static str, letter: char) -> Option_ {
    Option_ { long, letter, value: Value::Needed }
}

/// A command line, read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    given: Vec<(&'static str, String)>,
    pub(super) words: Vec<String>,
}

impl Line {
    /// Reads it. With `until_word`, the first word ends the options, as a command to be run does.
    pub(super) fn read(
        program: &str,
        table: &[Option_],
        arguments: &[OsString],
        until_word: bool,
    ) -> Result<Self> {
        let wrong = |text: String| Failure { code: 1, message: format!("{program}: {text}") };
        let mut line = Self::default();
        let mut rest = arguments.iter().map(|word| word.to_string_lossy().into_owned()).peekable();
        while let Some(word) = rest.next() {
            if word == "--" {
                line.words.extend(rest);
                break;
            }
            if let Some(long) = word.strip_prefix("--") {
                let (name, value) = match long.split_once('=') {
                    Some((name, value)) => (name, Some(value.to_owned())),
                    None => (long, None),
                };
                let option = table.iter().find(|option| option.long == name);
                let option = option.ok_or_else(|| wrong(format!("the option --{name} is not there")))?;
                let value = match (option.value, value) {
                    (Value::No, Some(_)) => return Err(wrong(format!("--{name} has no value")).into()),
                    (Value::No, None) => String::new(),
                    (_, Some(value)) => value,
                    (Value::Needed, None) => {
                        rest.next().ok_or_else(|| wrong(format!("--{name} needs a value")))?
                    }
                    (Value::Number, None) => rest.next_if(|next| is_number(next)).unwrap_or_default(),
                };
                line.given.push((option.long, value));
            } else if let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) {
                for (at, letter) in letters.char_indices() {
                    let option = table.iter().find(|option| option.letter == letter && letter != ' ');
                    let option = option.ok_or_else(|| wrong(format!("the option -{letter} is not there")))?;
                    if option.value == Value::No {
                        line.given.push((option.long, String::new()));
                        continue;
                    }
                    let glued = word.get(1 + at + letter.len_utf8()..).unwrap_or_default();
                    let value = match option.value {
                        _ if !glued.is_empty() => glued.to_owned(),
                        Value::Number => rest.next_if(|next| is_number(next)).unwrap_or_default(),
                        _ => rest.next().ok_or_else(|| wrong(format!("-{letter} needs a value")))?,
                    };
                    line.given.push((option.long, value));
                    break;
                }
            } else {
                line.words.push(word);
                if until_word {
                    line.words.extend(rest);
                    break;
                }
            }
        }
        Ok(line)
    }

    /// Whether an option was given.
    pub(super) fn has(&self, long: &str) -> bool {
        self.given.iter().any(|(name, _)| *name == long)
    }

    /// An option's last value.
    pub(super) fn value(&self, long: &str) -> Option<&str> {
        self.given.iter().rev().find(|(name, _)| *name == long).map(|(_, value)| value.as_str())
    }

    /// All its values.
    pub(super) fn values<'a>(&'a self, long: &'a str) -> impl Iterator<Item = &'a str> {
        self.given.iter().filter(move |(name, _)| *name == long).map(|(_, value)| value.as_str())
    }
}

/// A number, a negative one too, `all`, or an id in hexadecimal digits.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    text == "all"
        || (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
        || (text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[Option_] = &[
        flag("quiet", 'q'),
        flag("all", 'a'),
        flag("no-block", ' '),
        with_value("property", 'p'),
        Option_ { long: "boot", letter: 'b', value: Value::Number },
    ];

    fn read(text: &str, until_word: bool) -> Result<Line> {
        let words: Vec<OsString> = text.split(' ').map(OsString::from).collect();
        Line::read("t", TABLE, &words, until_word)
    }

    #[test]
    fn lines_are_read() {
        let line =
            read("show -qap A --property=B x --property C -pD --no-block -b -1 -b y -- -z", false).unwrap();
        assert_eq!(line.words, ["show", "x", "y", "-z"]);
        assert_eq!(line.values("property").collect::<Vec<_>>(), ["A", "B", "C", "D"]);
        assert_eq!(line.values("boot").collect::<Vec<_>>(), ["-1", ""]);
        assert!(line.has("quiet") && line.has("all") && line.has("no-block"));
        assert_eq!(read("-q echo -n", true).unwrap().words, ["echo", "-n"]);
        for wrong in ["--quiet=1", "--nothing", "-z", "--property", "-p"] {
            assert!(read(wrong, false).is_err(), "{wrong}");
        }
    }
}
