//! The tokens of the Nix language, read straight from the bytes: nothing is copied, a token is a kind and a span.
//!
//! The rules are those of a longest-match lexer: at each place the longest of identifier, number, path, look-up path and
//! URI wins. The insides of strings and paths are read by the parser through the functions at the end, because what they
//! mean depends on the nesting.

use crate::scan;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    Identifier,
    Integer,
    Float,
    Path,
    HomePath,
    LookupPath,
    Uri,
    StringOpen,
    IndentedOpen,
    DollarBrace,
    If,
    Then,
    Else,
    Assert,
    With,
    Let,
    In,
    Rec,
    Inherit,
    Or,
    Ellipsis,
    Equal,
    NotEqual,
    LessEqual,
    GreaterEqual,
    Less,
    Greater,
    And,
    OrOr,
    Implies,
    Update,
    Concat,
    PipeInto,
    PipeFrom,
    Plus,
    Minus,
    Star,
    Slash,
    Not,
    Question,
    Dot,
    Comma,
    Colon,
    At,
    Semicolon,
    Assign,
    ParenOpen,
    ParenClose,
    BracketOpen,
    BracketClose,
    BraceOpen,
    BraceClose,
    End,
    Invalid,
    UnfinishedComment,
}

/// A token with its place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lexeme {
    pub(crate) token: Token,
    start: u32,
    end: u32,
}

impl Lexeme {
    #[inline]
    pub(crate) fn new(token: Token, start: usize, end: usize) -> Self {
        // No source has four gigabytes: positions are 32 bits.
        Self { token, start: start as u32, end: end as u32 }
    }

    #[inline]
    pub(crate) fn start(self) -> usize {
        self.start as usize
    }

    #[inline]
    pub(crate) fn end(self) -> usize {
        self.end as usize
    }
}

/// Reads tokens one after the other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lexer<'s> {
    pub(crate) text: &'s [u8],
    pub(crate) at: usize,
}

const PATH: u8 = 2;
const DIGIT: u8 = 4;
/// What words begin with.
const BEGIN: u8 = 8;
const URI: u8 = 16;
const SCHEME: u8 = 32;
/// What is a token whatever follows it.
const SINGLE: u8 = 64;

const SINGLES: [Token; 256] = singles();

const fn singles() -> [Token; 256] {
    let mut table = [Token::Invalid; 256];
    table[b'(' as usize] = Token::ParenOpen;
    table[b')' as usize] = Token::ParenClose;
    table[b'[' as usize] = Token::BracketOpen;
    table[b']' as usize] = Token::BracketClose;
    table[b'{' as usize] = Token::BraceOpen;
    table[b'}' as usize] = Token::BraceClose;
    table[b';' as usize] = Token::Semicolon;
    table[b',' as usize] = Token::Comma;
    table[b':' as usize] = Token::Colon;
    table[b'?' as usize] = Token::Question;
    table[b'@' as usize] = Token::At;
    table[b'"' as usize] = Token::StringOpen;
    table
}

const CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let byte = index as u8;
        let mut class = 0;
        if byte.is_ascii_alphabetic() {
            class |= PATH | BEGIN | URI | SCHEME;
        }
        if byte.is_ascii_digit() {
            class |= PATH | DIGIT | URI | SCHEME;
        }
        match byte {
            b'_' => class |= BEGIN | PATH | URI,
            b'-' | b'.' | b'+' => class |= PATH | URI | SCHEME,
            b'\'' | b'%' | b'/' | b'?' | b':' | b'@' | b'&' | b'=' | b'$' | b',' | b'!' | b'~' | b'*' => {
                class |= URI;
            }
            _ => {}
        }
        if !matches!(SINGLES[index], Token::Invalid) {
            class |= SINGLE;
        }
        table[index] = class;
        index += 1;
    }
    table
}

impl<'s> Lexer<'s> {
    pub(crate) fn new(text: &'s [u8]) -> Self {
        Self { text, at: 0 }
    }

    fn byte(&self, at: usize) -> u8 {
        self.text.get(at).copied().unwrap_or(0)
    }

    fn is(&self, at: usize, class: u8) -> bool {
        self.text.get(at).is_some_and(|&byte| CLASSES[byte as usize] & class != 0)
    }

    fn run(&self, mut at: usize, class: u8) -> usize {
        while self.is(at, class) {
            at += 1;
        }
        at
    }

    /// Skips blanks and comments. False when a comment has no end.
    fn skip_blanks(&mut self) -> bool {
        loop {
            match self.text.get(self.at) {
                Some(b' ' | b'\n') => self.at = scan::spaces(self.text, self.at + 1),
                Some(b'\t' | b'\r') => self.at += 1,
                Some(b'#') => self.at = scan::until(self.text, self.at + 1, [b'\n', b'\r', b'\n']),
                Some(b'/') if self.byte(self.at + 1) == b'*' => {
                    let mut at = self.at + 2;
                    loop {
                        at = scan::until(self.text, at, [b'*'; 3]);
                        if at == self.text.len() {
                            return false;
                        }
                        if self.byte(at + 1) == b'/' {
                            break;
                        }
                        at += 1;
                    }
                    self.at = at + 2;
                }
                _ => return true,
            }
        }
    }

    /// The first byte of the next token, or zero.
    #[inline]
    pub(crate) fn peek(&mut self) -> u8 {
        if self.skip_blanks() { self.byte(self.at) } else { 0 }
    }

    /// The next token.
    pub(crate) fn next(&mut self) -> Lexeme {
        let mut start = self.at;
        // One space comes before most tokens.
        if self.byte(start) == b' ' {
            start += 1;
        }
        let mut first = self.byte(start);
        if CLASSES[first as usize] & (BEGIN | SINGLE) == 0 {
            self.at = start;
            if !self.skip_blanks() {
                let start = self.at;
                self.at = self.text.len();
                return Lexeme::new(Token::UnfinishedComment, start, self.at);
            }
            start = self.at;
            first = self.byte(start);
            if start >= self.text.len() {
                return Lexeme::new(Token::End, start, start);
            }
        }
        let (token, end) = match CLASSES[first as usize] {
            class if class & BEGIN != 0 => self.word(start, first),
            class if class & SINGLE != 0 => (SINGLES[first as usize], start + 1),
            class if class & PATH != 0 => self.number_or_path(start, first),
            _ if first == b'=' && self.byte(start + 1) != b'=' => (Token::Assign, start + 1),
            _ => self.punctuation(start, first),
        };
        self.at = end;
        Lexeme::new(token, start, end)
    }

    fn word(&self, start: usize, first: u8) -> (Token, usize) {
        let end = scan::word(self.text, start + 1);
        if matches!(self.byte(end), b'/' | b'.' | b'+' | b':')
            && matches!(self.byte(self.run(end, PATH)), b'/' | b':')
        {
            let path = self.path_end(start).unwrap_or(0);
            let uri = if first == b'_' { 0 } else { self.uri_end(start).unwrap_or(0) };
            if uri > path && uri > end {
                return (Token::Uri, uri);
            }
            if path > end {
                return (Token::Path, path);
            }
        }
        (self.keyword(start, end), end)
    }

    fn keyword(&self, start: usize, end: usize) -> Token {
        let bytes = scan::eight(self.text, start);
        let is = |word: &[u8]| (bytes ^ scan::eight(word, 0)) << (64 - 8 * word.len()) == 0;
        match end - start {
            2 if is(b"in") => Token::In,
            2 if is(b"if") => Token::If,
            2 if is(b"or") => Token::Or,
            3 if is(b"let") => Token::Let,
            3 if is(b"rec") => Token::Rec,
            4 if is(b"with") => Token::With,
            4 if is(b"then") => Token::Then,
            4 if is(b"else") => Token::Else,
            6 if is(b"assert") => Token::Assert,
            7 if is(b"inherit") => Token::Inherit,
            _ => Token::Identifier,
        }
    }

    fn number_or_path(&self, start: usize, first: u8) -> (Token, usize) {
        let (token, end) = self.number(start).unwrap_or_else(|| self.punctuation(start, first));
        match self.path_end(start) {
            Some(path) if path > end => (Token::Path, path),
            _ => (token, end),
        }
    }

    /// `[0-9]+`, or a float: `[1-9][0-9]*\.[0-9]*` or `0?\.[0-9]+`, with an exponent.
    fn number(&self, start: usize) -> Option<(Token, usize)> {
        let digits = self.run(start, DIGIT);
        let whole = digits - start;
        let first = self.byte(start);
        let is_float = self.byte(digits) == b'.'
            && ((whole > 0 && first != b'0')
                || (self.is(digits + 1, DIGIT) && (whole == 0 || (whole == 1 && first == b'0'))));
        if is_float {
            let mut end = self.run(digits + 1, DIGIT);
            if matches!(self.byte(end), b'e' | b'E') {
                let exponent = if matches!(self.byte(end + 1), b'+' | b'-') { end + 2 } else { end + 1 };
                if self.is(exponent, DIGIT) {
                    end = self.run(exponent, DIGIT);
                }
            }
            return Some((Token::Float, end));
        }
        (whole > 0).then_some((Token::Integer, digits))
    }

    /// The end of a path that starts here: path bytes, then at least one `/segment` or a `/` before `${`.
    fn path_end(&self, start: usize) -> Option<usize> {
        let mut at = self.run(start, PATH);
        let mut segments = 0;
        while self.byte(at) == b'/' && self.is(at + 1, PATH) {
            at = self.run(at + 1, PATH);
            segments += 1;
        }
        let slash = self.byte(at) == b'/';
        if segments == 0 {
            let interpolated = slash && self.byte(at + 1) == b'$' && self.byte(at + 2) == b'{';
            return interpolated.then_some(at + 1);
        }
        Some(if slash { at + 1 } else { at })
    }

    fn uri_end(&self, start: usize) -> Option<usize> {
        let colon = self.run(start, SCHEME);
        (self.byte(colon) == b':' && self.is(colon + 1, URI)).then(|| self.run(colon + 1, URI))
    }

    fn punctuation(&self, start: usize, first: u8) -> (Token, usize) {
        let second = self.byte(start + 1);
        let one = |token| (token, start + 1);
        let two = |token| (token, start + 2);
        match first {
            b'.' if second == b'.' && self.byte(start + 2) == b'.' => (Token::Ellipsis, start + 3),
            b'.' => one(Token::Dot),
            b'+' if second == b'+' => two(Token::Concat),
            b'+' => one(Token::Plus),
            b'-' if second == b'>' => two(Token::Implies),
            b'-' => one(Token::Minus),
            b'*' => one(Token::Star),
            b'/' => match self.path_end(start) {
                Some(end) => (Token::Path, end),
                None if second == b'/' => two(Token::Update),
                None => one(Token::Slash),
            },
            b'~' if second == b'/' => self.home_path(start),
            b'<' => self.less(start, second),
            b'>' if second == b'=' => two(Token::GreaterEqual),
            b'>' => one(Token::Greater),
            b'=' if second == b'=' => two(Token::Equal),
            b'!' if second == b'=' => two(Token::NotEqual),
            b'!' => one(Token::Not),
            b'&' if second == b'&' => two(Token::And),
            b'|' if second == b'|' => two(Token::OrOr),
            b'|' if second == b'>' => two(Token::PipeInto),
            b'$' if second == b'{' => two(Token::DollarBrace),
            b'\'' if second == b'\'' => {
                let blanks = self.text[start + 2..].iter().take_while(|&&byte| byte == b' ').count();
                let newline = self.byte(start + 2 + blanks) == b'\n';
                (Token::IndentedOpen, if newline { start + 3 + blanks } else { start + 2 })
            }
            _ => one(Token::Invalid),
        }
    }

    fn home_path(&self, start: usize) -> (Token, usize) {
        if self.is(start + 2, PATH) {
            return self
                .path_end(start + 1)
                .map_or((Token::Invalid, start + 1), |end| (Token::HomePath, end));
        }
        if self.byte(start + 2) == b'$' && self.byte(start + 3) == b'{' {
            return (Token::HomePath, start + 2);
        }
        (Token::Invalid, start + 1)
    }

    fn less(&self, start: usize, second: u8) -> (Token, usize) {
        let mut at = self.run(start + 1, PATH);
        if at > start + 1 {
            while self.byte(at) == b'/' && self.is(at + 1, PATH) {
                at = self.run(at + 1, PATH);
            }
            if self.byte(at) == b'>' {
                return (Token::LookupPath, at + 1);
            }
        }
        match second {
            b'=' => (Token::LessEqual, start + 2),
            b'|' => (Token::PipeFrom, start + 2),
            _ => (Token::Less, start + 1),
        }
    }

    /// Goes on inside a path: the end of the literal piece at `at`, or `at` when the path ends there.
    pub(crate) fn path_piece_end(&self, at: usize) -> usize {
        let mut end = self.run(at, PATH);
        while self.byte(end) == b'/' && self.is(end + 1, PATH) {
            end = self.run(end + 1, PATH);
        }
        let slash = self.byte(end) == b'/';
        let interpolation = slash && self.byte(end + 1) == b'$' && self.byte(end + 2) == b'{';
        if interpolation || (slash && self.text[at..end].contains(&b'/')) { end + 1 } else { end }
    }

    /// Whether `${` starts at `at`.
    pub(crate) fn at_interpolation(&self, at: usize) -> bool {
        self.byte(at) == b'$' && self.byte(at + 1) == b'{'
    }
}

impl Token {
    /// How a message names the token.
    pub(crate) fn show(self) -> &'static str {
        match self {
            Self::Identifier => "an identifier",
            Self::Integer => "an integer",
            Self::Float => "a float",
            Self::Path | Self::HomePath => "a path",
            Self::LookupPath => "a look-up path",
            Self::Uri => "a URI",
            Self::StringOpen => "'\"'",
            Self::IndentedOpen => "\"''\"",
            Self::DollarBrace => "'${'",
            Self::If => "'if'",
            Self::Then => "'then'",
            Self::Else => "'else'",
            Self::Assert => "'assert'",
            Self::With => "'with'",
            Self::Let => "'let'",
            Self::In => "'in'",
            Self::Rec => "'rec'",
            Self::Inherit => "'inherit'",
            Self::Or => "'or'",
            Self::Ellipsis => "'...'",
            Self::Equal => "'=='",
            Self::NotEqual => "'!='",
            Self::LessEqual => "'<='",
            Self::GreaterEqual => "'>='",
            Self::Less => "'<'",
            Self::Greater => "'>'",
            Self::And => "'&&'",
            Self::OrOr => "'||'",
            Self::Implies => "'->'",
            Self::Update => "'//'",
            Self::Concat => "'++'",
            Self::PipeInto => "'|>'",
            Self::PipeFrom => "'<|'",
            Self::Plus => "'+'",
            Self::Minus => "'-'",
            Self::Star => "'*'",
            Self::Slash => "'/'",
            Self::Not => "'!'",
            Self::Question => "'?'",
            Self::Dot => "'.'",
            Self::Comma => "','",
            Self::Colon => "':'",
            Self::At => "'@'",
            Self::Semicolon => "';'",
            Self::Assign => "'='",
            Self::ParenOpen => "'('",
            Self::ParenClose => "')'",
            Self::BracketOpen => "'['",
            Self::BracketClose => "']'",
            Self::BraceOpen => "'{'",
            Self::BraceClose => "'}'",
            Self::End => "the end of the file",
            Self::Invalid => "an invalid character",
            Self::UnfinishedComment => "a comment without end",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<(Token, &str)> {
        let mut lexer = Lexer::new(text.as_bytes());
        let mut list = Vec::new();
        loop {
            let lexeme = lexer.next();
            if lexeme.token == Token::End {
                return list;
            }
            list.push((lexeme.token, &text[lexeme.start()..lexeme.end()]));
        }
    }

    #[test]
    fn the_longest_match_wins() {
        use Token::*;
        let cases: &[(&str, &[(Token, &str)])] = &[
            ("x:x", &[(Uri, "x:x")]),
            ("x: x", &[(Identifier, "x"), (Colon, ":"), (Identifier, "x")]),
            ("1/2", &[(Path, "1/2")]),
            ("1 / 2", &[(Integer, "1"), (Slash, "/"), (Integer, "2")]),
            ("1e10", &[(Integer, "1"), (Identifier, "e10")]),
            (
                ".5 0.5 1. 00.1",
                &[(Float, ".5"), (Float, "0.5"), (Float, "1."), (Integer, "00"), (Float, ".1")],
            ),
            ("a.b/c", &[(Path, "a.b/c")]),
            ("a.b.c", &[(Identifier, "a"), (Dot, "."), (Identifier, "b"), (Dot, "."), (Identifier, "c")]),
            ("a//b", &[(Identifier, "a"), (Update, "//"), (Identifier, "b")]),
            ("<a/b> <a", &[(LookupPath, "<a/b>"), (Less, "<"), (Identifier, "a")]),
            ("./. ../x ~/y", &[(Path, "./."), (Path, "../x"), (HomePath, "~/y")]),
            ("./${", &[(Path, "./"), (DollarBrace, "${")]),
            ("a++b a-b", &[(Identifier, "a"), (Concat, "++"), (Identifier, "b"), (Identifier, "a-b")]),
            ("/* a */ # b\n...", &[(Ellipsis, "...")]),
        ];
        for (text, expected) in cases {
            assert_eq!(&tokens(text), expected, "{text}");
        }
    }
}
