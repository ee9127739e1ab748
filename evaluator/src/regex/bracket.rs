//! Bracket expressions: `[a-z]`, `[^]x-]`, `[[:alpha:]]`, `[[.hyphen.]]`, `[[=a=]]` in the C locale. POSIX.1-2017, XBD 9.3.5.

use super::RegexError;

/// A set of bytes.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct ByteSet([u64; 4]);

impl std::fmt::Debug for ByteSet {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_set().entries((0..=255).filter(|byte| self.contains(*byte))).finish()
    }
}

impl ByteSet {
    /// The empty set.
    pub(super) const fn empty() -> Self {
        Self([0; 4])
    }

    /// Adds a byte.
    pub(super) fn insert(&mut self, byte: u8) {
        if let Some(word) = self.0.get_mut(usize::from(byte >> 6)) {
            *word |= 1 << (byte & 63);
        }
    }

    /// Whether the byte is in it.
    pub(super) fn contains(&self, byte: u8) -> bool {
        self.0.get(usize::from(byte >> 6)).is_some_and(|word| word >> (byte & 63) & 1 == 1)
    }

    fn complement(&mut self) {
        for word in &mut self.0 {
            *word = !*word;
        }
    }
}

/// What the last element was: only a single character may start a range.
#[derive(Clone, Copy)]
enum Last {
    Nothing,
    Byte(u8),
    Class,
}

/// Reads a bracket expression whose `[` was read; gives the set and the position behind its `]`.
pub(super) fn parse(expression: &[u8], mut position: usize) -> Result<(ByteSet, usize), RegexError> {
    let mut set = ByteSet::empty();
    let negated = expression.get(position) == Some(&b'^');
    position += usize::from(negated);
    let mut last = Last::Nothing;
    let mut first = true;
    loop {
        let (token, behind) = token(expression, position, first)?;
        position = behind;
        match token {
            Token::End => break,
            Token::Byte(byte) => push(&mut set, &mut last, Last::Byte(byte)),
            Token::Dash if first => push(&mut set, &mut last, Last::Byte(b'-')),
            Token::Dash => {
                let (end, behind) = self::token(expression, position, false)?;
                match (last, end) {
                    (Last::Byte(low), Token::Byte(high)) => range(&mut set, low, high)?,
                    (Last::Byte(low), Token::Dash) => range(&mut set, low, b'-')?,
                    (_, Token::End) => {
                        push(&mut set, &mut last, Last::Byte(b'-'));
                        first = false;
                        continue;
                    }
                    _ => return Err(RegexError::Invalid),
                }
                last = Last::Nothing;
                position = behind;
            }
            Token::Class(members) => {
                push(&mut set, &mut last, Last::Class);
                (0..=255).filter(|byte| members(*byte)).for_each(|byte| set.insert(byte));
            }
            Token::Equivalent(byte) => {
                push(&mut set, &mut last, Last::Class);
                set.insert(byte.to_ascii_lowercase());
                set.insert(byte.to_ascii_uppercase());
            }
        }
        first = false;
    }
    push(&mut set, &mut last, Last::Nothing);
    if negated {
        set.complement();
    }
    Ok((set, position))
}

/// Makes `next` the last element; the one before it can no longer start a range, so it goes into the set.
fn push(set: &mut ByteSet, last: &mut Last, next: Last) {
    if let Last::Byte(byte) = *last {
        set.insert(byte);
    }
    *last = next;
}

/// Adds a range. The original compares signed characters, so a range from ASCII to above 127 is upside down.
fn range(set: &mut ByteSet, low: u8, high: u8) -> Result<(), RegexError> {
    let (low, high) = (low.cast_signed(), high.cast_signed());
    if low > high {
        return Err(RegexError::Invalid);
    }
    (low..=high).for_each(|byte| set.insert(byte.cast_unsigned()));
    Ok(())
}

enum Token {
    Byte(u8),
    Dash,
    End,
    Class(fn(u8) -> bool),
    Equivalent(u8),
}

/// The token at `position`; a `]` that stands first is an ordinary character.
fn token(expression: &[u8], position: usize, first: bool) -> Result<(Token, usize), RegexError> {
    let byte = *expression.get(position).ok_or(RegexError::Invalid)?;
    let token = match (byte, expression.get(position + 1)) {
        (b'-', _) => Token::Dash,
        (b']', _) if !first => Token::End,
        (b'[', None) => return Err(RegexError::Invalid),
        (b'[', Some(kind @ (b'.' | b':' | b'='))) => {
            let rest = expression.get(position + 2..).unwrap_or_default();
            let length = rest.iter().position(|byte| byte == kind).ok_or(RegexError::Invalid)?;
            if rest.get(length + 1) != Some(&b']') {
                return Err(RegexError::Invalid);
            }
            let name = rest.get(..length).unwrap_or_default();
            let token = match kind {
                b':' => Token::Class(class(name).ok_or(RegexError::Invalid)?),
                b'.' => Token::Byte(collating_element(name).ok_or(RegexError::Invalid)?),
                _ => Token::Equivalent(collating_element(name).ok_or(RegexError::Invalid)?),
            };
            return Ok((token, position + 2 + length + 2));
        }
        _ => Token::Byte(byte),
    };
    Ok((token, position + 1))
}

/// A character class of the C locale; names may be written in capitals.
fn class(name: &[u8]) -> Option<fn(u8) -> bool> {
    Some(match name.to_ascii_lowercase().as_slice() {
        b"alnum" => |byte| byte.is_ascii_alphanumeric(),
        b"alpha" => |byte| byte.is_ascii_alphabetic(),
        b"blank" => |byte| matches!(byte, b' ' | b'\t'),
        b"cntrl" => |byte| byte.is_ascii_control(),
        b"d" | b"digit" => |byte| byte.is_ascii_digit(),
        b"graph" => |byte| byte.is_ascii_graphic(),
        b"lower" => |byte| byte.is_ascii_lowercase(),
        b"print" => |byte| byte.is_ascii_graphic() || byte == b' ',
        b"punct" => |byte| byte.is_ascii_punctuation(),
        b"s" | b"space" => |byte| matches!(byte, b' ' | b'\t'..=b'\r'),
        b"upper" => |byte| byte.is_ascii_uppercase(),
        b"w" => |byte| byte.is_ascii_alphanumeric() || byte == b'_',
        b"xdigit" => |byte| byte.is_ascii_hexdigit(),
        _ => return None,
    })
}

/// The names of the collating elements of POSIX's portable character set (XBD 6.1), in the order of their bytes.
const COLLATING_ELEMENTS: [&str; 128] = [
    "NUL",
    "SOH",
    "STX",
    "ETX",
    "EOT",
    "ENQ",
    "ACK",
    "alert",
    "backspace",
    "tab",
    "newline",
    "vertical-tab",
    "form-feed",
    "carriage-return",
    "SO",
    "SI",
    "DLE",
    "DC1",
    "DC2",
    "DC3",
    "DC4",
    "NAK",
    "SYN",
    "ETB",
    "CAN",
    "EM",
    "SUB",
    "ESC",
    "IS4",
    "IS3",
    "IS2",
    "IS1",
    "space",
    "exclamation-mark",
    "quotation-mark",
    "number-sign",
    "dollar-sign",
    "percent-sign",
    "ampersand",
    "apostrophe",
    "left-parenthesis",
    "right-parenthesis",
    "asterisk",
    "plus-sign",
    "comma",
    "hyphen",
    "period",
    "slash",
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "colon",
    "semicolon",
    "less-than-sign",
    "equals-sign",
    "greater-than-sign",
    "question-mark",
    "commercial-at",
    "A",
    "B",
    "C",
    "D",
    "E",
    "F",
    "G",
    "H",
    "I",
    "J",
    "K",
    "L",
    "M",
    "N",
    "O",
    "P",
    "Q",
    "R",
    "S",
    "T",
    "U",
    "V",
    "W",
    "X",
    "Y",
    "Z",
    "left-square-bracket",
    "backslash",
    "right-square-bracket",
    "circumflex",
    "underscore",
    "grave-accent",
    "a",
    "b",
    "c",
    "d",
    "e",
    "f",
    "g",
    "h",
    "i",
    "j",
    "k",
    "l",
    "m",
    "n",
    "o",
    "p",
    "q",
    "r",
    "s",
    "t",
    "u",
    "v",
    "w",
    "x",
    "y",
    "z",
    "left-curly-bracket",
    "vertical-line",
    "right-curly-bracket",
    "tilde",
    "DEL",
];

fn collating_element(name: &[u8]) -> Option<u8> {
    COLLATING_ELEMENTS.iter().position(|element| element.as_bytes() == name).map(|index| index as u8)
}
