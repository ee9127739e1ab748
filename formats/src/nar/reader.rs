//! Reads a NAR strictly and hands its nodes to a visitor as they come. What a hostile archive could do (leave the
//! directory, name an entry twice, announce lengths without end, nest without end) is refused here, before the visitor sees it.

use super::{DEPTH_LIMIT, MAGIC, NAME_LIMIT, NarError, TARGET_LIMIT, check_entry_name};
use std::io::{self, Read};

/// Takes the nodes of an archive in their order. `name` is the entry's name in the directory opened last, `None` for
/// the root.
pub trait Visitor {
    /// A directory begins; its entries follow.
    fn begin_directory(&mut self, name: Option<&[u8]>) -> io::Result<()>;
    /// The directory opened last ends.
    fn end_directory(&mut self) -> io::Result<()>;
    /// A regular file of `size` bytes; what the visitor leaves unread is skipped.
    fn file(
        &mut self,
        name: Option<&[u8]>,
        executable: bool,
        size: u64,
        contents: &mut dyn Read,
    ) -> io::Result<()>;
    /// A symbolic link.
    fn symlink(&mut self, name: Option<&[u8]>, target: &[u8]) -> io::Result<()>;
}

/// Reads exactly one archive, leaving the input behind its last byte. Many small reads are made: buffer the input.
pub fn read(input: &mut dyn Read, visitor: &mut dyn Visitor) -> Result<(), NarError> {
    let mut reader = Reader { input, offset: 0 };
    reader.expect(MAGIC, "`nix-archive-1`: this is not a NAR")?;
    reader.tree(visitor)
}

struct Reader<'a> {
    input: &'a mut dyn Read,
    offset: u64,
}

/// Longer than every keyword of the grammar.
const KEYWORD_LIMIT: u64 = 16;

impl Reader<'_> {
    fn exact(&mut self, buffer: &mut [u8]) -> Result<(), NarError> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.input.read(rest) {
                Ok(0) => return Err(NarError::Truncated { offset: self.offset }),
                Ok(count) => {
                    filled += count;
                    self.offset += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn length(&mut self) -> Result<u64, NarError> {
        let mut bytes = [0; 8];
        self.exact(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn padding(&mut self, length: u64) -> Result<(), NarError> {
        let offset = self.offset;
        let filling = (8 - length % 8) % 8;
        let mut bytes = [0; 8];
        let filling = bytes.get_mut(..filling as usize).unwrap_or_default();
        self.exact(filling)?;
        if filling.iter().any(|&byte| byte != 0) { Err(NarError::Padding { offset }) } else { Ok(()) }
    }

    fn string(&mut self, what: &'static str, limit: u64) -> Result<Vec<u8>, NarError> {
        let offset = self.offset;
        let length = self.length()?;
        if length > limit {
            return Err(NarError::TooLong { what, length, offset });
        }
        let mut bytes = vec![0; length as usize];
        self.exact(&mut bytes)?;
        self.padding(length)?;
        Ok(bytes)
    }

    fn keyword(&mut self) -> Result<(Vec<u8>, u64), NarError> {
        let offset = self.offset;
        Ok((self.string("keyword", KEYWORD_LIMIT)?, offset))
    }

    fn expect(&mut self, word: &[u8], expected: &'static str) -> Result<(), NarError> {
        let (found, offset) = self.keyword()?;
        if found == word { Ok(()) } else { Err(unexpected(expected, &found, offset)) }
    }

    /// The root node and all below it; a stack of its own, so that nesting costs no stack of the thread.
    fn tree(&mut self, visitor: &mut dyn Visitor) -> Result<(), NarError> {
        let mut open: Vec<Option<Vec<u8>>> = Vec::new();
        let mut name: Option<Vec<u8>> = None;
        loop {
            if self.begins_directory(visitor, name.as_deref())? {
                if open.len() >= DEPTH_LIMIT {
                    return Err(NarError::TooDeep);
                }
                visitor
                    .begin_directory(name.as_deref())
                    .map_err(|source| failed("creating directory", name.as_deref(), source))?;
                open.push(None);
            } else if open.is_empty() {
                return Ok(());
            } else {
                self.expect(b")", "`)`")?;
            }
            // Behind a node: the next entry, or the ends of directories.
            name = loop {
                let Some(previous) = open.last_mut() else { return Ok(()) };
                if let Some(entry) = self.entry(previous.as_deref())? {
                    *previous = Some(entry.clone());
                    break Some(entry);
                }
                open.pop();
                visitor.end_directory().map_err(|source| failed("closing directory", None, source))?;
                if !open.is_empty() {
                    self.expect(b")", "`)`")?;
                }
            };
        }
    }

    /// Reads a node's beginning; a file or link is read and given to the visitor, a directory only announced.
    fn begins_directory(&mut self, visitor: &mut dyn Visitor, name: Option<&[u8]>) -> Result<bool, NarError> {
        self.expect(b"(", "`(`")?;
        self.expect(b"type", "`type`")?;
        let (kind, offset) = self.keyword()?;
        match kind.as_slice() {
            b"regular" => self.regular(visitor, name).map(|()| false),
            b"symlink" => self.symlink(visitor, name).map(|()| false),
            b"directory" => Ok(true),
            other => Err(unexpected("`regular`, `symlink` or `directory`", other, offset)),
        }
    }

    /// The next entry's name, or `None` at the end of the directory.
    fn entry(&mut self, previous: Option<&[u8]>) -> Result<Option<Vec<u8>>, NarError> {
        let (word, offset) = self.keyword()?;
        match word.as_slice() {
            b")" => return Ok(None),
            b"entry" => {}
            other => return Err(unexpected("`entry` or `)`", other, offset)),
        }
        self.expect(b"(", "`(`")?;
        self.expect(b"name", "`name`")?;
        let entry = self.string("name", NAME_LIMIT)?;
        check_entry_name(&entry)?;
        if let Some(previous) = previous.filter(|previous| *previous >= entry.as_slice()) {
            return Err(NarError::Unsorted {
                name: String::from_utf8_lossy(&entry).into_owned(),
                previous: String::from_utf8_lossy(previous).into_owned(),
            });
        }
        self.expect(b"node", "`node`")?;
        Ok(Some(entry))
    }

    fn regular(&mut self, visitor: &mut dyn Visitor, name: Option<&[u8]>) -> Result<(), NarError> {
        let (mut word, mut offset) = self.keyword()?;
        let executable = word == b"executable";
        if executable {
            if !self.string("mark of an executable", 0)?.is_empty() {
                return Err(NarError::Misuse("the mark of an executable is not empty"));
            }
            (word, offset) = self.keyword()?;
        }
        match word.as_slice() {
            b"contents" => {
                let size = self.length()?;
                let mut contents = Contents { reader: self, left: size, broken: None };
                let taken = visitor.file(name, executable, size, &mut contents);
                let broken = contents.broken.take();
                if let Some(error) = broken {
                    return Err(error);
                }
                taken.map_err(|source| failed("writing", name, source))?;
                io::copy(&mut contents, &mut io::sink())
                    .map_err(|error| contents.broken.take().unwrap_or(NarError::Io(error)))?;
                self.padding(size)?;
                self.expect(b")", "`)`")
            }
            // Nix writes `contents` always, and takes a file without it as empty.
            b")" => visitor
                .file(name, executable, 0, &mut io::empty())
                .map_err(|source| failed("writing", name, source)),
            other => Err(unexpected("`executable`, `contents` or `)`", other, offset)),
        }
    }

    fn symlink(&mut self, visitor: &mut dyn Visitor, name: Option<&[u8]>) -> Result<(), NarError> {
        self.expect(b"target", "`target`")?;
        let target = self.string("link target", TARGET_LIMIT)?;
        if target.is_empty() || target.contains(&0) {
            return Err(NarError::BadTarget(String::from_utf8_lossy(&target).into_owned()));
        }
        visitor.symlink(name, &target).map_err(|source| failed("linking", name, source))?;
        self.expect(b")", "`)`")
    }
}

fn unexpected(expected: &'static str, found: &[u8], offset: u64) -> NarError {
    NarError::Unexpected { expected, found: String::from_utf8_lossy(found).into_owned(), offset }
}

fn failed(doing: &str, name: Option<&[u8]>, source: io::Error) -> NarError {
    let name = name.map_or_else(|| "the root".into(), |name| format!("`{}`", String::from_utf8_lossy(name)));
    NarError::Visitor { context: format!("{doing} {name} from a NAR"), source }
}

/// A file's contents inside the archive.
struct Contents<'a, 'b> {
    reader: &'a mut Reader<'b>,
    left: u64,
    broken: Option<NarError>,
}

impl Read for Contents<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let limit = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let Some(piece) = buffer.get_mut(..limit).filter(|piece| !piece.is_empty()) else {
            return Ok(0);
        };
        let count = self.reader.input.read(piece)?;
        if count == 0 {
            self.broken = Some(NarError::Truncated { offset: self.reader.offset });
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.reader.offset += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes everything and keeps nothing.
    struct Nothing;

    impl Visitor for Nothing {
        fn begin_directory(&mut self, _: Option<&[u8]>) -> io::Result<()> {
            Ok(())
        }
        fn end_directory(&mut self) -> io::Result<()> {
            Ok(())
        }
        fn file(&mut self, _: Option<&[u8]>, _: bool, _: u64, _: &mut dyn Read) -> io::Result<()> {
            Ok(())
        }
        fn symlink(&mut self, _: Option<&[u8]>, _: &[u8]) -> io::Result<()> {
            Ok(())
        }
    }

    /// An archive from words; `#n` writes a bare length n.
    fn archive(words: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in std::iter::once(&"nix-archive-1").chain(words) {
            if let Some(length) = word.strip_prefix('#') {
                bytes.extend(length.parse::<u64>().unwrap().to_le_bytes());
                continue;
            }
            bytes.extend((word.len() as u64).to_le_bytes());
            bytes.extend(word.as_bytes());
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        }
        bytes
    }

    fn outcome(words: &[&str]) -> String {
        match read(&mut archive(words).as_slice(), &mut Nothing) {
            Ok(()) => "ok".into(),
            Err(error) => format!("{error:?}").chars().take_while(char::is_ascii_alphanumeric).collect(),
        }
    }

    #[test]
    fn hostile_archives_are_refused() {
        let file = ["(", "type", "regular", "contents", "x", ")"];
        let entry = |name: &'static str| {
            let mut words = vec!["entry", "(", "name", name, "node"];
            words.extend(file);
            words.push(")");
            words
        };
        let directory = |names: &[&'static str]| {
            let mut words = vec!["(", "type", "directory"];
            for name in names {
                words.extend(entry(name));
            }
            words.push(")");
            words
        };
        let long: &'static str = Box::leak("n".repeat(256).into_boxed_str());
        let cases: Vec<(Vec<&str>, &str)> = vec![
            (file.to_vec(), "ok"),
            (directory(&["a", "b"]), "ok"),
            (directory(&["a", "a"]), "Unsorted"),
            (directory(&["b", "a"]), "Unsorted"),
            (directory(&["."]), "BadName"),
            (directory(&[".."]), "BadName"),
            (directory(&[""]), "BadName"),
            (directory(&["a/b"]), "BadName"),
            (directory(&["/etc"]), "BadName"),
            (directory(&["a\0b"]), "BadName"),
            (directory(&[long]), "TooLong"),
            (vec!["(", "type", "fifo", ")"], "Unexpected"),
            (vec!["(", "type", "regular", "contents", "x", "executable", "", ")"], "Unexpected"),
            (vec!["(", "type", "regular", "executable", "yes", "contents", "x", ")"], "TooLong"),
            (vec!["(", "type", "symlink", "target", "", ")"], "BadTarget"),
            (vec!["(", "type", "symlink", "target", "a\0b", ")"], "BadTarget"),
            (vec!["(", "type", "regular", "contents", "#18446744073709551615"], "Truncated"),
            (vec!["(", "type", "symlink", "target", "#18446744073709551615"], "TooLong"),
            (vec!["(", "type", "directory", "#9223372036854775807"], "TooLong"),
            (vec!["(", "type"], "Truncated"),
        ];
        for (words, expected) in cases {
            assert_eq!(outcome(&words), expected, "{words:?}");
        }
    }

    #[test]
    fn nesting_has_a_limit() {
        let mut words = Vec::new();
        for _ in 0..=DEPTH_LIMIT {
            words.extend(["(", "type", "directory", "entry", "(", "name", "d", "node"]);
        }
        assert_eq!(outcome(&words), "TooDeep");
    }

    #[test]
    fn padding_must_be_zero() {
        let mut bytes = archive(&["(", "type", "regular", "contents", "x", ")"]);
        let position = bytes.windows(2).rposition(|pair| pair == b"x\0").unwrap() + 1;
        bytes[position] = 1;
        assert!(matches!(read(&mut bytes.as_slice(), &mut Nothing), Err(NarError::Padding { .. })));
    }

    #[test]
    fn every_truncation_is_noticed() {
        let bytes = archive(&["(", "type", "regular", "contents", "hello", ")"]);
        for end in 0..bytes.len() {
            let result = read(&mut &bytes[..end], &mut Nothing);
            assert!(matches!(result, Err(NarError::Truncated { .. })), "{end}: {result:?}");
        }
    }
}
