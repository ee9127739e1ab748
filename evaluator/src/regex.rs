//! POSIX extended regular expressions over bytes, as `builtins.match` and `builtins.split` have them: those of the C++
//! standard library's `std::regex::extended`, with its choices where POSIX leaves some. POSIX.1-2017, XBD 9.4.
//!
//! The overall match is the longest of the leftmost ones; the groups are those of the first way, depth first and greedy,
//! that reaches it; a group keeps its value from an earlier iteration of its loop. There are no back-references, `\` may
//! stand before special characters only, and inside brackets it is an ordinary character.
//!
//! The original recurses once per byte and tries some paths again and again; this one keeps its own stack and remembers
//! where it has been, so time grows linearly with the text and no text overflows anything.

mod bracket;
mod matcher;
mod parser;
mod program;

use std::ops::Range;

/// Why an expression is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegexError {
    /// Not an extended regular expression. Nix: `invalid regular expression`.
    Invalid,
    /// Expands to more than 100,000 states. Nix: `memory limit exceeded by regular expression`.
    TooLarge,
}

impl std::fmt::Display for RegexError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Invalid => "invalid regular expression",
            Self::TooLarge => "memory limit exceeded by regular expression",
        })
    }
}

impl std::error::Error for RegexError {}

/// Byte ranges of the groups 1, 2, …; `None` where a group took no part.
pub type Groups = Vec<Option<Range<usize>>>;

/// One piece of a text that was split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// What stands between two matches.
    Text(Range<usize>),
    /// A match, as its groups.
    Match(Groups),
}

/// A compiled expression.
#[derive(Debug, Clone)]
pub struct Regex {
    program: program::Program,
}

impl Regex {
    /// Compiles an expression.
    pub fn new(expression: &[u8]) -> Result<Self, RegexError> {
        let (syntax, groups) = parser::parse(expression)?;
        Ok(Self { program: program::Program::compile(&syntax, groups)? })
    }

    /// How many groups the expression has.
    pub fn group_count(&self) -> usize {
        self.program.groups
    }

    /// The groups if the whole of `text` matches.
    pub fn full_match(&self, text: &[u8]) -> Option<Groups> {
        let mut matcher = matcher::Matcher::new(&self.program, text);
        matcher.run(0, matcher::Mode { exact: true, ..matcher::Mode::default() }).map(|found| found.groups)
    }

    /// The text cut at every match: text, match, text, …, text. One `Text` when nothing matches.
    pub fn split(&self, text: &[u8]) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut end_of_last = 0;
        for found in Matches::new(&self.program, text) {
            pieces.push(Piece::Text(end_of_last..found.range.start));
            end_of_last = found.range.end;
            pieces.push(Piece::Match(found.groups));
        }
        pieces.push(Piece::Text(end_of_last..text.len()));
        pieces
    }
}

/// All matches from left to right, stepping over empty ones as `std::regex_iterator` does.
struct Matches<'a> {
    matcher: matcher::Matcher<'a>,
    length: usize,
    last: Option<Range<usize>>,
    /// Whether something stands before the place where the next search starts, for `^`.
    has_previous: bool,
    finished: bool,
}

impl<'a> Matches<'a> {
    fn new(program: &'a program::Program, text: &'a [u8]) -> Self {
        let matcher = matcher::Matcher::new(program, text);
        Self { matcher, length: text.len(), last: None, has_previous: false, finished: false }
    }

    /// The first match that starts at `start` or later.
    fn search(&mut self, start: usize) -> Option<matcher::Found> {
        let mut has_previous = self.has_previous;
        for position in start..=self.length {
            let mode = matcher::Mode { has_previous, ..matcher::Mode::default() };
            if let Some(found) = self.matcher.run(position, mode) {
                return Some(found);
            }
            has_previous = true;
        }
        None
    }

    fn following(&mut self) -> Option<matcher::Found> {
        let Some(last) = self.last.clone() else { return self.search(0) };
        let mut start = last.end;
        if last.is_empty() {
            if start == self.length {
                return None;
            }
            let mode = matcher::Mode {
                not_empty: true,
                has_previous: self.has_previous,
                ..matcher::Mode::default()
            };
            if let Some(found) = self.matcher.run(start, mode) {
                return Some(found);
            }
            start += 1;
        }
        self.has_previous = true;
        self.search(start)
    }
}

impl Iterator for Matches<'_> {
    type Item = matcher::Found;

    fn next(&mut self) -> Option<matcher::Found> {
        if self.finished {
            return None;
        }
        let found = self.following();
        match &found {
            Some(found) => self.last = Some(found.range.clone()),
            None => self.finished = true,
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Groups as Nix prints them.
    fn show(text: &str, groups: &Groups) -> String {
        let shown: Vec<String> = groups
            .iter()
            .map(|group| group.clone().map_or("null".into(), |range| format!("{:?}", &text[range])))
            .collect();
        format!("[ {} ]", shown.join(" ")).replace("[  ]", "[ ]")
    }

    fn matched(expression: &str, text: &str) -> String {
        match Regex::new(expression.as_bytes()) {
            Err(error) => error.to_string(),
            Ok(regex) => {
                regex.full_match(text.as_bytes()).map_or("null".into(), |groups| show(text, &groups))
            }
        }
    }

    fn split(expression: &str, text: &str) -> String {
        let pieces = Regex::new(expression.as_bytes()).unwrap().split(text.as_bytes());
        let shown: Vec<String> = pieces
            .iter()
            .map(|piece| match piece {
                Piece::Text(range) => format!("{:?}", &text[range.clone()]),
                Piece::Match(groups) => show(text, groups),
            })
            .collect();
        format!("[ {} ]", shown.join(" "))
    }

    #[test]
    fn matches_as_nix_does() {
        for (expression, text, expected) in [
            ("ab", "ab", "[ ]"),
            ("ab", "abc", "null"),
            ("a(b)(c)?", "ab", r#"[ "b" null ]"#),
            ("((a)|(b))*", "ab", r#"[ "b" "a" "b" ]"#),
            ("(a*)*", "aa", r#"[ "" ]"#),
            ("(a|ab)(c|bcd)(d*)", "abcd", r#"[ "a" "bcd" "" ]"#),
            (".", "é", "null"),
            ("..", "é", "[ ]"),
            (".", "\n", "[ ]"),
            ("[[:upper:]]+", "FOO", "[ ]"),
            ("[]a]+", "]a", "[ ]"),
            ("[^]a]", "b", "[ ]"),
            (r"[\d]", "\\", "[ ]"),
            ("[a-]+", "-a", "[ ]"),
            ("[[.a.]]", "a", "[ ]"),
            ("[[=a=]]", "a", "[ ]"),
            ("a{2,3}", "aaa", "[ ]"),
            ("a{2,3}", "aaaa", "null"),
            ("a{0}b", "b", "[ ]"),
            ("a**", "aaa", "[ ]"),
            ("a+?", "aaa", "[ ]"),
            ("()", "", r#"[ "" ]"#),
            ("(|a)", "a", r#"[ "a" ]"#),
            ("a]", "a]", "[ ]"),
            ("a}", "a}", "[ ]"),
        ] {
            assert_eq!(matched(expression, text), expected, "match {expression:?} {text:?}");
        }
    }

    #[test]
    fn refuses_what_nix_refuses() {
        for expression in [
            r"\d",
            r"\w",
            r"\b",
            r"\n",
            r"(a)\1",
            "(?i)a",
            "a{,3}",
            "a{a}",
            "a{",
            "*a",
            ")",
            "[z-a]",
            "(",
            "[",
            "[[:foo:]]",
            "a{3,2}",
            "\\",
        ] {
            assert_eq!(matched(expression, "a"), "invalid regular expression", "{expression:?}");
        }
        assert_eq!(matched("((a{1000}){1000}){1000}", "a"), "memory limit exceeded by regular expression");
    }

    #[test]
    fn splits_as_nix_does() {
        for (expression, text, expected) in [
            ("", "abc", r#"[ "" [ ] "a" [ ] "b" [ ] "c" [ ] "" ]"#),
            ("(a)b", "abc", r#"[ "" [ "a" ] "c" ]"#),
            ("([ac])", "abc", r#"[ "" [ "a" ] "b" [ "c" ] "" ]"#),
            ("(a)|(c)", "abc", r#"[ "" [ "a" null ] "b" [ null "c" ] "" ]"#),
            ("(a|ab)", "ab", r#"[ "" [ "ab" ] "" ]"#),
            ("([[:upper:]]+)", " FOO ", r#"[ " " [ "FOO" ] " " ]"#),
            ("x", "abc", r#"[ "abc" ]"#),
            ("^a", "aaa", r#"[ "" [ ] "aa" ]"#),
            ("b*", "abba", r#"[ "" [ ] "a" [ ] "" [ ] "a" [ ] "" ]"#),
        ] {
            assert_eq!(split(expression, text), expected, "split {expression:?} {text:?}");
        }
    }

    #[test]
    fn long_texts_take_linear_time_and_no_stack() {
        let text = vec![b'a'; 2_000_000];
        assert!(Regex::new(b"(a|b)*").unwrap().full_match(&text).is_some());
        assert!(Regex::new(b".*").unwrap().full_match(&text).is_some());
        // Exponential for a matcher that forgets.
        let text = vec![b'a'; 2_000];
        assert!(Regex::new(b"(a*)*b").unwrap().full_match(&text).is_none());
        assert!(Regex::new(b"(a|aa)+c").unwrap().full_match(&text).is_none());
    }
    #[test]
    fn loops_over_nothing_in_loops_over_nothing_come_to_an_end() {
        // What the fuzzer found first, then loops with groups, which no simplification could take away.
        let regex = Regex::new(b"(|\xe5(b))**u*++++++++*\0").unwrap();
        assert!(regex.full_match(b"a\0]\0").is_none());
        assert!(regex.full_match(b"uuu\0").is_some());
        for depth in [2, 8, 30] {
            let pattern = format!("{}a*{}b", "(".repeat(depth), ")*".repeat(depth));
            let regex = Regex::new(pattern.as_bytes()).unwrap();
            assert!(regex.full_match(b"aaaac").is_none(), "{depth}");
            assert!(regex.full_match(b"aaaab").is_some(), "{depth}");
            assert_eq!(regex.split(b"xaabc").len(), 3, "{depth}");
        }
    }
}
