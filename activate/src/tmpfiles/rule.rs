//! One line of tmpfiles.d(5): type, path, mode, user, group, age, argument.

use super::specifier::Specifiers;
use crate::error::{Error, Result};
use std::time::Duration;

/// What a line asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `f`: a file, if missing; with `+` (and `F`): truncated and written again.
    File,
    /// `w`: write to an existing file; with `+`: append.
    Write,
    /// `d` (also `v`, `q`, `Q`): a directory.
    Directory,
    /// `D`: a directory, emptied at boot.
    EmptiedDirectory,
    /// `e`: set an existing directory right.
    ExistingDirectory,
    /// `p`: a pipe.
    Pipe,
    /// `L`: a link.
    Link,
    /// `c`: a character device.
    Character,
    /// `b`: a block device.
    Block,
    /// `C`: a copy of a tree.
    Copy,
    /// `x`: not cleaned, nor what is below.
    Exclude,
    /// `X`: not cleaned itself.
    ExcludeSelf,
    /// `r`: removed.
    Remove,
    /// `R`: removed with everything below.
    RemoveTree,
    /// `z`: mode and owner.
    Set,
    /// `Z`: mode and owner of everything below.
    SetTree,
    /// `h`: file attributes.
    Attributes,
    /// `H`: file attributes of everything below.
    AttributesTree,
    /// `a`: access control list.
    Acl,
    /// `A`: access control list of everything below.
    AclTree,
    /// `t`: extended attributes.
    Xattr,
    /// `T`: extended attributes of everything below.
    XattrTree,
}

/// The mode field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mode {
    /// The bits.
    pub bits: Option<u32>,
    /// `~`: reduced by what the existing file lacks.
    pub masked: bool,
    /// `:`: only when made.
    pub only_new: bool,
}

/// A user or group field.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OwnerField {
    /// Name or number.
    pub name: Option<String>,
    /// `:`: only when made.
    pub only_new: bool,
}

/// One line, read.
#[expect(clippy::struct_excessive_bools, reason = "they are the modifiers of a line, one for one")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The line itself, for messages.
    pub line: String,
    /// What it asks for.
    pub kind: Kind,
    /// `+`
    pub plus: bool,
    /// `!`: only at boot.
    pub boot_only: bool,
    /// `-`: failing is no error.
    pub may_fail: bool,
    /// `=`: a thing of another type is removed first.
    pub replace: bool,
    /// `?` of `L?`: only if the target exists.
    pub if_target: bool,
    /// The absolute path, specifiers expanded.
    pub path: String,
    /// The mode.
    pub mode: Mode,
    /// The user.
    pub user: OwnerField,
    /// The group.
    pub group: OwnerField,
    /// How old contents may get.
    pub age: Option<Duration>,
    /// `~`: what lies directly below is not cleaned.
    pub keep_first_level: bool,
    /// The argument, specifiers expanded.
    pub argument: Option<String>,
}

impl Kind {
    /// Whether the path is a pattern.
    pub fn is_glob(self) -> bool {
        !matches!(
            self,
            Self::File
                | Self::Directory
                | Self::EmptiedDirectory
                | Self::Pipe
                | Self::Link
                | Self::Character
                | Self::Block
                | Self::Copy
        )
    }
}

impl Rule {
    /// Reads a line. `None`: it is empty or a comment.
    ///
    /// # Errors
    /// When the line has an unknown type, a bad path, mode or age.
    pub fn parse(line: &str, specifiers: &Specifiers) -> Result<Option<Self>> {
        let wrong = |problem: String| Error::Rule { line: line.to_owned(), problem };
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            return Ok(None);
        }
        let (fields, argument) = split(trimmed).map_err(wrong)?;
        let mut fields = fields.into_iter();
        let letters = fields.next().unwrap_or_default();
        let path = fields.next().ok_or_else(|| wrong("it has no path".to_owned()))?;
        let path = specifiers.expand(&path).map_err(wrong)?;
        if !path.starts_with('/') || path.split('/').any(|part| part == "..") {
            return Err(wrong("the path must be absolute, without `..`".to_owned()));
        }
        let mut given = || fields.next().filter(|field| field != "-" && !field.is_empty());
        let (mode, user, group, age) = (given(), given(), given(), given());
        let (kind, modifiers) = kind_of(&letters).map_err(wrong)?;
        let (age, keep_first_level) = match age {
            Some(text) => parse_age(&text).map_err(wrong)?,
            None => (None, false),
        };
        let argument = argument.map(|argument| specifiers.expand(&argument)).transpose().map_err(wrong)?;
        Ok(Some(Self {
            line: trimmed.to_owned(),
            kind,
            plus: modifiers.contains('+') || letters.starts_with('F'),
            boot_only: modifiers.contains('!'),
            may_fail: modifiers.contains('-'),
            replace: modifiers.contains('='),
            if_target: modifiers.contains('?'),
            path: normal(&path),
            mode: parse_mode(mode.as_deref()).map_err(wrong)?,
            user: owner(user.as_deref()),
            group: owner(group.as_deref()),
            age,
            keep_first_level,
            argument: argument.filter(|argument| !argument.is_empty()),
        }))
    }
}

fn kind_of(letters: &str) -> std::result::Result<(Kind, &str), String> {
    let (letter, modifiers) = letters.split_at(letters.chars().next().map_or(0, char::len_utf8));
    if let Some(unknown) = modifiers.chars().find(|modifier| !"+!-=~^$?".contains(*modifier)) {
        return Err(format!("`{unknown}` is no modifier of a type"));
    }
    if modifiers.contains(['~', '^']) {
        return Err("`~` and `^` (encoded arguments, credentials) are not supported; write the text itself"
            .to_owned());
    }
    let kind = match letter {
        "f" | "F" => Kind::File,
        "w" => Kind::Write,
        "d" | "v" | "q" | "Q" => Kind::Directory,
        "D" => Kind::EmptiedDirectory,
        "e" => Kind::ExistingDirectory,
        "p" => Kind::Pipe,
        "L" => Kind::Link,
        "c" => Kind::Character,
        "b" => Kind::Block,
        "C" => Kind::Copy,
        "x" => Kind::Exclude,
        "X" => Kind::ExcludeSelf,
        "r" => Kind::Remove,
        "R" => Kind::RemoveTree,
        "z" | "m" => Kind::Set,
        "Z" => Kind::SetTree,
        "h" => Kind::Attributes,
        "H" => Kind::AttributesTree,
        "a" => Kind::Acl,
        "A" => Kind::AclTree,
        "t" => Kind::Xattr,
        "T" => Kind::XattrTree,
        other => return Err(format!("`{other}` is no type of line, see tmpfiles.d(5)")),
    };
    Ok((kind, modifiers))
}

fn parse_mode(text: Option<&str>) -> std::result::Result<Mode, String> {
    let Some(text) = text else { return Ok(Mode::default()) };
    let digits = text.trim_start_matches(['~', ':']);
    let marks = &text[..text.len() - digits.len()];
    let bits = u32::from_str_radix(digits, 8).ok().filter(|bits| *bits <= 0o7777);
    match bits {
        Some(bits) => {
            Ok(Mode { bits: Some(bits), masked: marks.contains('~'), only_new: marks.contains(':') })
        }
        None => Err(format!("`{text}` is no octal mode")),
    }
}

fn owner(text: Option<&str>) -> OwnerField {
    let only_new = text.is_some_and(|text| text.starts_with(':'));
    let name = text.map(|text| text.trim_start_matches(':').to_owned()).filter(|name| !name.is_empty());
    OwnerField { name, only_new }
}

/// `10d`, `1h 30min` without blanks, `0`, with a leading `~` and a prefix like `aAmM:`.
fn parse_age(text: &str) -> std::result::Result<(Option<Duration>, bool), String> {
    let keep = text.starts_with('~');
    let text = text.trim_start_matches('~');
    let text = text.split_once(':').map_or(text, |(_, age)| age);
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let unit_end = tail.find(|character: char| character.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let number: u64 = number.parse().map_err(|_| format!("`{text}` is no age"))?;
        let micros: u64 = match unit {
            "" | "s" | "sec" | "second" | "seconds" => 1_000_000,
            "us" | "usec" => 1,
            "ms" | "msec" => 1_000,
            "m" | "min" | "minute" | "minutes" => 60_000_000,
            "h" | "hr" | "hour" | "hours" => 3_600_000_000,
            "d" | "day" | "days" => 86_400_000_000,
            "w" | "week" | "weeks" => 604_800_000_000,
            "M" | "month" | "months" => 2_629_800_000_000,
            "y" | "year" | "years" => 31_557_600_000_000,
            other => return Err(format!("`{other}` is no unit of time")),
        };
        total = total.saturating_add(Duration::from_micros(number.saturating_mul(micros)));
        rest = tail;
    }
    Ok((Some(total), keep))
}

/// The first six fields, quotes and escapes undone, and the rest of the line.
fn split(line: &str) -> std::result::Result<(Vec<String>, Option<String>), String> {
    let mut fields = Vec::new();
    let mut rest = line;
    while fields.len() < 6 && !rest.is_empty() {
        let (field, tail) = take_field(rest)?;
        fields.push(field);
        rest = tail.trim_start();
    }
    let argument = (!rest.is_empty() && rest != "-").then(|| rest.to_owned());
    // A quoted argument loses its quotes.
    let argument = match argument {
        Some(text) if text.starts_with(['"', '\'']) => {
            let (inner, tail) = take_field(&text)?;
            Some(if tail.trim().is_empty() { inner } else { text })
        }
        other => other,
    };
    Ok((fields, argument))
}

/// The words of an argument, quotes and escapes undone.
pub fn words(text: &str) -> std::result::Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (word, tail) = take_field(rest)?;
        words.push(word);
        rest = tail.trim_start();
    }
    Ok(words)
}

fn take_field(text: &str) -> std::result::Result<(String, &str), String> {
    let mut field = String::new();
    let mut quote = None;
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match (character, quote) {
            ('"' | '\'', None) => quote = Some(character),
            (_, Some(open)) if open == character => quote = None,
            ('\\', _) => match characters.next() {
                Some((_, 'x')) => {
                    let hex: String = characters.by_ref().take(2).map(|(_, digit)| digit).collect();
                    let byte =
                        u8::from_str_radix(&hex, 16).map_err(|_| format!("`\\x{hex}` is no escape"))?;
                    field.push(char::from(byte));
                }
                Some((_, 'n')) => field.push('\n'),
                Some((_, 't')) => field.push('\t'),
                Some((_, 's')) => field.push(' '),
                Some((_, other)) => field.push(other),
                None => return Err("it ends in a backslash".to_owned()),
            },
            (blank, None) if blank.is_whitespace() => return Ok((field, &text[at..])),
            (other, _) => field.push(other),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed".to_owned());
    }
    Ok((field, ""))
}

/// Without doubled or trailing slashes.
fn normal(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Rule {
        Rule::parse(line, &Specifiers::for_tests()).unwrap().unwrap()
    }

    #[test]
    fn fields_are_read() {
        let rule = parse("d /var/lib/x/ 0750 nginx nginx 10d -");
        assert_eq!(
            (rule.kind, rule.path.as_str(), rule.mode.bits),
            (Kind::Directory, "/var/lib/x", Some(0o750))
        );
        assert_eq!(
            (rule.user.name.as_deref(), rule.age),
            (Some("nginx"), Some(Duration::from_secs(864_000)))
        );
        let rule = parse("L+ /run/opengl - - - - /nix/store/x with blanks");
        assert_eq!((rule.plus, rule.argument.as_deref()), (true, Some("/nix/store/x with blanks")));
        let rule = parse("f+ \"/a b\" ~:0644 :root - aAmM:1h30min text\\n");
        assert_eq!((rule.path.as_str(), rule.mode.masked, rule.mode.only_new), ("/a b", true, true));
        assert_eq!((rule.user.only_new, rule.age), (true, Some(Duration::from_secs(5400))));
        let rule = parse("R! /tmp/%m-%%");
        assert_eq!((rule.boot_only, rule.path.as_str()), (true, "/tmp/0123456789abcdef0123456789abcdef-%"));
        assert_eq!(parse("d'' /x").path, "/x");
        assert_eq!(Rule::parse("# comment", &Specifiers::for_tests()).unwrap(), None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, expected) in [
            ("k /x", "no type"),
            ("d x", "absolute"),
            ("d /a/../b", "absolute"),
            ("d", "no path"),
            ("d /x 999", "octal"),
            ("d /x 0755 root root 5parsecs", "unit of time"),
            ("d \"/x", "not closed"),
            ("d /x%q", "%q"),
            ("d* /x", "modifier"),
        ] {
            let error = Rule::parse(line, &Specifiers::for_tests()).unwrap_err().to_string();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }
}
