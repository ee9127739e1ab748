//! Source texts and positions in them. A position is one `u32`: the sources lie end to end in one imagined text, and a
//! position is the offset in it; lines and columns are counted only when somebody asks.

/// A place in some source text; zero is "nowhere".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Pos(pub(crate) u32);

impl Pos {
    /// No position.
    pub(crate) const NONE: Self = Self(0);
}

/// Where a source text came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A file, by its path.
    File(Vec<u8>),
    /// A string given on the command line or to the library.
    Text,
    /// Standard input.
    Stdin,
    /// Nix code that the evaluator carries inside.
    Internal(&'static str),
}

/// One source text.
#[derive(Debug)]
pub(crate) struct Source {
    /// Where it came from.
    pub(crate) origin: Origin,
    /// Offset of its first byte in the imagined text.
    pub(crate) base: u32,
    /// Its text; for files it is read again when a message needs it.
    pub(crate) text: Option<Vec<u8>>,
    length: u32,
}

/// A position spelled out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The file's path, or `«string»`, `«stdin»`.
    pub file: String,
    /// Line, counted from one; zero when the text is not at hand any more.
    pub line: u32,
    /// Column in bytes, counted from one.
    pub column: u32,
    /// The text of that line.
    pub source_line: String,
}

impl Location {
    /// The word that stands there: an attribute path or a variable.
    pub(crate) fn word(&self) -> String {
        let rest = self.source_line.get(self.column as usize - 1..).unwrap_or_default();
        let belongs = |character: &char| character.is_alphanumeric() || "_'-.\"".contains(*character);
        rest.chars().take_while(belongs).collect()
    }
}

/// All sources read so far.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    list: Vec<Source>,
    next: u32,
}

impl Sources {
    /// Enters a text of that length and returns its base, or `None` when four gigabytes of sources have been read.
    pub(crate) fn add(&mut self, origin: Origin, length: usize, text: Option<Vec<u8>>) -> Option<u32> {
        let base = self.next + 1;
        let length = u32::try_from(length).ok()?;
        self.next = base.checked_add(length)?.checked_add(1)?;
        self.list.push(Source { origin, base, text, length });
        Some(base)
    }

    /// The source that a position lies in.
    pub(crate) fn source_of(&self, pos: Pos) -> Option<&Source> {
        if pos == Pos::NONE {
            return None;
        }
        let index = self.list.partition_point(|source| source.base <= pos.0).checked_sub(1)?;
        self.list.get(index).filter(|source| pos.0 <= source.base + source.length)
    }
}

/// Line and column (both from one) of an offset, and that line's text.
pub(crate) fn line_and_column(text: &[u8], offset: usize) -> (u32, u32, String) {
    let offset = offset.min(text.len());
    let before = &text[..offset];
    let mut line = 1 + before.iter().map(|&byte| u32::from(byte == b'\n')).sum::<u32>();
    let mut start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
    let mut index = offset;
    // Carriage returns are rare; only where there are some are the lines counted one by one.
    if before.contains(&b'\r') {
        (line, start, index) = (1, 0, 0);
    }
    while index < offset {
        match text[index] {
            b'\n' => {
                line += 1;
                start = index + 1;
            }
            b'\r' if text.get(index + 1) != Some(&b'\n') => {
                line += 1;
                start = index + 1;
            }
            _ => {}
        }
        index += 1;
    }
    let end = text[start..]
        .iter()
        .position(|&byte| byte == b'\n' || byte == b'\r')
        .map_or(text.len(), |n| start + n);
    let shown = String::from_utf8_lossy(&text[start..end.max(start)]).into_owned();
    (line, (offset - start) as u32 + 1, shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_lines_and_columns() {
        assert_eq!(line_and_column(b"a\nbc\nd", 3), (2, 2, "bc".to_owned()));
        assert_eq!(line_and_column(b"a\r\nbc", 4), (2, 2, "bc".to_owned()));
        assert_eq!(line_and_column(b"", 9), (1, 1, String::new()));
    }

    #[test]
    fn finds_the_source_of_a_position() {
        let mut sources = Sources::default();
        let first = sources.add(Origin::Text, 10, None).unwrap();
        let second = sources.add(Origin::Stdin, 0, None).unwrap();
        assert_eq!(sources.source_of(Pos(first + 10)).unwrap().origin, Origin::Text);
        assert_eq!(sources.source_of(Pos(second)).unwrap().origin, Origin::Stdin);
        assert!(sources.source_of(Pos::NONE).is_none());
    }

    /// As Nix has it: the file is known at once, line and column wait.
    #[test]
    fn lines_are_counted_when_they_are_asked_for() {
        let arena = crate::Arena::new();
        let io = crate::io::MemoryIo::default().with_file("/f.nix", "{\n  a = 1; here = __curPos;\n}\n");
        let mut evaluator = crate::Evaluator::new(&arena, std::rc::Rc::new(io), crate::Options::default());
        for (text, waiting, whole) in [
            (
                "__unsafeGetAttrPos \"a\" (import /f.nix)",
                "{ column = <CODE>; file = \"/f.nix\"; line = <CODE>; }",
                "{ column = 3; file = \"/f.nix\"; line = 2; }",
            ),
            (
                "(import /f.nix).here",
                "{ column = <CODE>; file = \"/f.nix\"; line = <CODE>; }",
                "{ column = 17; file = \"/f.nix\"; line = 2; }",
            ),
        ] {
            let value = evaluator.eval_str(text, b"/").unwrap();
            let print = |value| evaluator.print(value, crate::Style::Plain);
            assert_eq!(String::from_utf8(print(value)).unwrap(), waiting);
            evaluator.force_deep_value(value).unwrap();
            let print = |value| evaluator.print(value, crate::Style::Plain);
            assert_eq!(String::from_utf8(print(value)).unwrap(), whole);
        }
    }
}
