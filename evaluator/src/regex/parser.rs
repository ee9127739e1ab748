//! From the text of an extended regular expression to its syntax tree. POSIX.1-2017, XBD 9.5.3 (the grammar), with the
//! library's additions: a quantifier may follow a quantifier, a branch may be empty.

use super::RegexError;
use super::bracket::{self, ByteSet};

/// The syntax tree.
#[derive(Debug, Clone)]
pub(super) enum Syntax {
    /// Matches the empty text.
    Empty,
    /// One byte.
    Byte(u8),
    /// Any byte but NUL.
    Any,
    /// One of a set.
    Set(Box<ByteSet>),
    /// `^`.
    Begin,
    /// `$`.
    End,
    /// `( … )`: the group's number from 0, its content.
    Group(usize, Box<Syntax>),
    /// One after the other.
    Sequence(Vec<Syntax>),
    /// `a|b|c`, in the order in which they are tried.
    Either(Vec<Syntax>),
    /// So often at least, so often at most.
    Repeat(Box<Syntax>, u32, Option<u32>),
}

/// Deeper nesting than this is refused as too large.
const MAX_DEPTH: usize = 500;

/// Parses the whole expression; gives the tree and the number of groups.
pub(super) fn parse(expression: &[u8]) -> Result<(Syntax, usize), RegexError> {
    let mut parser = Parser { expression, position: 0, groups: 0 };
    let syntax = parser.disjunction(0)?;
    // What stops a disjunction is the end, or a `)` or a quantifier that nothing opened.
    if parser.position == expression.len() { Ok((syntax, parser.groups)) } else { Err(RegexError::Invalid) }
}

struct Parser<'a> {
    expression: &'a [u8],
    position: usize,
    groups: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.expression.get(self.position).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.position += usize::from(found);
        found
    }

    fn disjunction(&mut self, depth: usize) -> Result<Syntax, RegexError> {
        if depth > MAX_DEPTH {
            return Err(RegexError::TooLarge);
        }
        let first = self.branch(depth)?;
        if self.peek() != Some(b'|') {
            return Ok(first);
        }
        let mut branches = vec![first];
        while self.eat(b'|') {
            branches.push(self.branch(depth)?);
        }
        Ok(Syntax::Either(branches))
    }

    fn branch(&mut self, depth: usize) -> Result<Syntax, RegexError> {
        let mut terms = Vec::new();
        while let Some(term) = self.term(depth)? {
            terms.push(term);
        }
        Ok(match terms.len() {
            0 => Syntax::Empty,
            1 => terms.remove(0),
            _ => Syntax::Sequence(terms),
        })
    }

    /// An anchor, or an atom with its quantifiers; nothing at the end of a branch.
    fn term(&mut self, depth: usize) -> Result<Option<Syntax>, RegexError> {
        let Some(byte) = self.peek() else { return Ok(None) };
        if matches!(byte, b'|' | b')' | b'*' | b'+' | b'?' | b'{') {
            return Ok(None);
        }
        self.position += 1;
        let mut atom = match byte {
            b'^' => return Ok(Some(Syntax::Begin)),
            b'$' => return Ok(Some(Syntax::End)),
            b'.' => Syntax::Any,
            b'[' => {
                let (set, behind) = bracket::parse(self.expression, self.position)?;
                self.position = behind;
                Syntax::Set(Box::new(set))
            }
            b'(' => {
                let number = self.groups;
                self.groups += 1;
                let content = self.disjunction(depth + 1)?;
                if !self.eat(b')') {
                    return Err(RegexError::Invalid);
                }
                Syntax::Group(number, Box::new(content))
            }
            b'\\' => {
                let escaped =
                    self.peek().filter(|byte| b".[\\()*+?{|^$".contains(byte)).ok_or(RegexError::Invalid)?;
                self.position += 1;
                Syntax::Byte(escaped)
            }
            byte => Syntax::Byte(byte),
        };
        let mut depth = depth;
        while let Some((least, most)) = self.quantifier()? {
            depth += 1;
            if depth > MAX_DEPTH {
                return Err(RegexError::TooLarge);
            }
            atom = Syntax::Repeat(Box::new(atom), least, most);
        }
        Ok(Some(atom))
    }

    fn quantifier(&mut self) -> Result<Option<(u32, Option<u32>)>, RegexError> {
        let bounds = match self.peek() {
            Some(b'*') => (0, None),
            Some(b'+') => (1, None),
            Some(b'?') => (0, Some(1)),
            Some(b'{') => {
                self.position += 1;
                return self.interval().map(Some);
            }
            _ => return Ok(None),
        };
        self.position += 1;
        Ok(Some(bounds))
    }

    /// `n}`, `n,}` or `n,m}`.
    fn interval(&mut self) -> Result<(u32, Option<u32>), RegexError> {
        let least = self.number()?;
        let most = if !self.eat(b',') {
            Some(least)
        } else if self.peek() == Some(b'}') {
            None
        } else {
            Some(self.number()?)
        };
        if !self.eat(b'}') || most.is_some_and(|most| most < least) {
            return Err(RegexError::Invalid);
        }
        Ok((least, most))
    }

    fn number(&mut self) -> Result<u32, RegexError> {
        let digits: Vec<u8> =
            self.expression.iter().skip(self.position).copied().take_while(u8::is_ascii_digit).collect();
        self.position += digits.len();
        let value: u32 = std::str::from_utf8(&digits)
            .ok()
            .and_then(|digits| digits.parse().ok())
            .ok_or(RegexError::Invalid)?;
        if i32::try_from(value).is_ok() { Ok(value) } else { Err(RegexError::Invalid) }
    }
}
