//! POSIX extended regular expressions over bytes, as `builtins.match` and `builtins.split` have them: those of the C++
//! standard library's `std::regex::extended`, with its choices where POSIX leaves some. POSIX.1-2017, XBD 9.4.
//!
//! The overall match is the longest of the leftmost ones; the groups are those of the first way, depth first and greedy,
//! that reaches it; a group keeps its value from an earlier iteration of its loop. There are no back-references, `\` may
//! stand before special characters only, and inside brackets it is an ordinary character.
//!
//! The original recurses once per byte and tries some paths again and again; this one keeps its own stack and remembers
//! where it has been, so time grows linearly with the text and with the expression, and no text overflows anything.

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
    /// Expands to more than 100,000 states, or wants more memory for a text than is given to it. Nix: `memory limit
    /// exceeded by regular expression`; of a long text it overflows its stack.
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
    pub fn full_match(&self, text: &[u8]) -> Result<Option<Groups>, RegexError> {
        let mode = matcher::Mode { exact: true, ..matcher::Mode::default() };
        let found = matcher::Matcher::new(&self.program, text)?.run(0, mode)?;
        Ok(found.map(|found| found.groups))
    }

    /// Whether the whole of `text` matches; what is too large for that does not.
    pub fn matches(&self, text: &[u8]) -> bool {
        self.full_match(text).is_ok_and(|groups| groups.is_some())
    }

    /// The text cut at every match: text, match, text, …, text. One `Text` when nothing matches.
    pub fn split(&self, text: &[u8]) -> Result<Vec<Piece>, RegexError> {
        let mut pieces = Vec::new();
        let mut end_of_last = 0;
        let mut matches = Matches::new(&self.program, text)?;
        while let Some(found) = matches.following()? {
            pieces.push(Piece::Text(end_of_last..found.range.start));
            end_of_last = found.range.end;
            pieces.push(Piece::Match(found.groups));
        }
        pieces.push(Piece::Text(end_of_last..text.len()));
        Ok(pieces)
    }
}

/// All matches from left to right, stepping over empty ones as `std::regex_iterator` does.
struct Matches<'a> {
    matcher: matcher::Matcher<'a>,
    length: usize,
    last: Option<Range<usize>>,
    /// Whether something stands before the place where the next search starts, for `^`.
    has_previous: bool,
}

impl<'a> Matches<'a> {
    fn new(program: &'a program::Program, text: &'a [u8]) -> Result<Self, RegexError> {
        let matcher = matcher::Matcher::new(program, text)?;
        Ok(Self { matcher, length: text.len(), last: None, has_previous: false })
    }

    /// The next match. Not to be asked for after the last one.
    fn following(&mut self) -> Result<Option<matcher::Found>, RegexError> {
        let found = self.find()?;
        self.last = found.as_ref().map(|found| found.range.clone());
        Ok(found)
    }

    fn find(&mut self) -> Result<Option<matcher::Found>, RegexError> {
        let Some(last) = self.last.clone() else { return self.search(0) };
        let mut start = last.end;
        if last.is_empty() {
            if start == self.length {
                return Ok(None);
            }
            let mode = matcher::Mode {
                not_empty: true,
                has_previous: self.has_previous,
                ..matcher::Mode::default()
            };
            if let Some(found) = self.matcher.run(start, mode)? {
                return Ok(Some(found));
            }
            start += 1;
        }
        self.has_previous = true;
        self.search(start)
    }

    /// The first match that starts at `start` or later.
    fn search(&mut self, start: usize) -> Result<Option<matcher::Found>, RegexError> {
        let mut has_previous = self.has_previous;
        for position in start..=self.length {
            if self.matcher.may_begin(position) {
                let mode = matcher::Mode { has_previous, ..matcher::Mode::default() };
                if let Some(found) = self.matcher.run(position, mode)? {
                    return Ok(Some(found));
                }
            }
            has_previous = true;
        }
        Ok(None)
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
                let groups = regex.full_match(text.as_bytes()).unwrap();
                groups.map_or("null".into(), |groups| show(text, &groups))
            }
        }
    }

    fn split(expression: &str, text: &str) -> String {
        let pieces = Regex::new(expression.as_bytes()).unwrap().split(text.as_bytes()).unwrap();
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
        assert!(Regex::new(b"(a|b)*").unwrap().full_match(&text).unwrap().is_some());
        assert!(Regex::new(b".*").unwrap().full_match(&text).unwrap().is_some());
        // Exponential for a matcher that forgets.
        let text = vec![b'a'; 2_000];
        assert!(Regex::new(b"(a*)*b").unwrap().full_match(&text).unwrap().is_none());
        assert!(Regex::new(b"(a|aa)+c").unwrap().full_match(&text).unwrap().is_none());
    }

    #[test]
    fn loops_over_nothing_in_loops_over_nothing_come_to_an_end() {
        // What the fuzzer found first, then loops with groups, which no simplification could take away.
        let regex = Regex::new(b"(|\xe5(b))**u*++++++++*\0").unwrap();
        assert!(regex.full_match(b"a\0]\0").unwrap().is_none());
        assert!(regex.full_match(b"uuu\0").unwrap().is_some());
        for depth in [2, 8, 30] {
            let pattern = format!("{}a*{}b", "(".repeat(depth), ")*".repeat(depth));
            let regex = Regex::new(pattern.as_bytes()).unwrap();
            assert!(regex.full_match(b"aaaac").unwrap().is_none(), "{depth}");
            assert!(regex.full_match(b"aaaab").unwrap().is_some(), "{depth}");
            assert_eq!(regex.split(b"xaabc").unwrap().len(), 3, "{depth}");
        }
    }

    /// Runs in what a quick matcher needs for it, with much to spare; a slow one takes minutes.
    fn quickly(name: &str, work: impl FnOnce()) {
        let before = std::time::Instant::now();
        work();
        let taken = before.elapsed();
        assert!(taken < std::time::Duration::from_secs(20), "{name}: {taken:?}");
    }

    #[test]
    fn time_grows_with_text_and_expression_only() {
        let a = |count: usize| vec![b'a'; count];
        let split = |expression: &str, text: &[u8]| Regex::new(expression.as_bytes()).unwrap().split(text);
        // No match from any start, each of which looks through the rest.
        quickly("no match", || assert_eq!(split("a*b", &a(200_000)).unwrap().len(), 1));
        quickly("pairs", || assert_eq!(split("(a|a*c)", &a(50_000)).unwrap().len(), 100_001));
        quickly("lines", || assert_eq!(split("\n", &b"word\n".repeat(100_000)).unwrap().len(), 200_001));
        quickly("empty loops", || assert_eq!(split("(a*)*b", &a(100_000)).unwrap().len(), 1));
        // A run inside a loop starts at every position again.
        quickly("runs", || assert!(!Regex::new(b"(b|aa*)*c").unwrap().matches(&a(100_000))));
        // What the fuzzer found: thousands of counted runs, tried from every start.
        let text = b"7*ssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssss.b";
        quickly("counted", || {
            let expression = r"(((7})*[a-z])*.*)(\.*{9771}37}[[:alpha:]]*{9781}6})*+3}}";
            assert_eq!(split(expression, text).unwrap().len(), 1);
        });
        // Many ways into one long walk.
        quickly("joined", || {
            let expression = format!("({}){}x", "a|".repeat(10_000), "()".repeat(10_000));
            assert_eq!(split(&expression, &a(50)).unwrap().len(), 1);
        });
    }

    #[test]
    fn what_needs_too_much_memory_is_refused() {
        // A hundred thousand states, a megabyte of text.
        let regex = Regex::new(b"(a?){16000}b").unwrap();
        assert_eq!(regex.full_match(&vec![b'a'; 1_000_000]), Err(RegexError::TooLarge));
    }

    #[test]
    fn the_librarys_limit() {
        // The largest count that Nix 2.26.3 takes, and one more.
        for (before, behind, most) in [
            ("a{", "}", 99_993),
            ("(a){", "}", 24_997),
            ("a{", "}b", 99_992),
            ("a{1,", "}", 49_997),
            ("(a|b){", "}", 12_498),
            ("(a|b|cd){", "}", 7_690),
            ("a*{", "}", 49_996),
            ("(a?b+){", "}", 12_498),
            ("a{", "}{3}", 24_996),
            ("(a{3}){", "}", 12_498),
            ("(a{2,5}){", "}", 7_690),
            ("(a{2,}){", "}", 12_498),
            ("(){", "}", 33_330),
            ("([ab]c){5,", "}", 16_665),
            ("a{", "}|b|cd", 99_984),
            ("^a{", "}$", 99_991),
        ] {
            for (count, good) in [(most, true), (most + 1, false)] {
                let expression = format!("{before}{count}{behind}");
                assert_eq!(Regex::new(expression.as_bytes()).is_ok(), good, "{expression}");
            }
        }
        for expression in ["a{0}{1000000000}{1000000000}", "(){1000000000}"] {
            assert_eq!(Regex::new(expression.as_bytes()).err(), Some(RegexError::TooLarge));
        }
        // Depth of every kind.
        for expression in [format!("a{}", "*".repeat(90_000)), "(".repeat(90_000), "a|".repeat(33_000)] {
            drop(Regex::new(expression.as_bytes()));
        }
    }
}
