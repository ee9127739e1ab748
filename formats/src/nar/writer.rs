//! Writes a NAR from a walk: the caller says what it meets, the writer keeps the grammar and the order.

use super::{DEPTH_LIMIT, MAGIC, NarError, check_entry_name};
use std::io::{self, Read, Write};

/// Copies file contents in pieces of this size.
const BUFFER: usize = 128 * 1024;

/// A NAR being written. The root node comes first, by [`Writer::file`], [`Writer::symlink`] or
/// [`Writer::begin_directory`]; inside a directory each node is announced with [`Writer::entry`].
#[derive(Debug)]
pub struct Writer<W> {
    output: W,
    /// The name last written, per open directory.
    open: Vec<Option<Vec<u8>>>,
    /// Whether a node may be written now.
    node_due: bool,
    buffer: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Begins an archive.
    pub fn new(mut output: W) -> Result<Self, NarError> {
        put(&mut output, MAGIC)?;
        Ok(Self { output, open: Vec::new(), node_due: true, buffer: Vec::new() })
    }

    fn begin_node(&mut self, kind: &[u8]) -> Result<(), NarError> {
        if !self.node_due {
            return Err(NarError::Misuse("a node without its entry's name"));
        }
        self.node_due = false;
        for word in [b"(".as_slice(), b"type", kind] {
            put(&mut self.output, word)?;
        }
        Ok(())
    }

    fn end_node(&mut self) -> Result<(), NarError> {
        put(&mut self.output, b")")?;
        if !self.open.is_empty() {
            put(&mut self.output, b")")?;
        }
        Ok(())
    }

    /// A regular file of exactly `size` bytes, which are read from `contents`.
    pub fn file(&mut self, executable: bool, size: u64, contents: &mut dyn Read) -> Result<(), NarError> {
        self.begin_node(b"regular")?;
        if executable {
            put(&mut self.output, b"executable")?;
            put(&mut self.output, b"")?;
        }
        put(&mut self.output, b"contents")?;
        self.output.write_all(&size.to_le_bytes())?;
        self.copy(size, contents)?;
        pad(&mut self.output, size)?;
        self.end_node()
    }

    fn copy(&mut self, size: u64, contents: &mut dyn Read) -> Result<(), NarError> {
        let wanted = usize::try_from(size).unwrap_or(BUFFER).min(BUFFER);
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted, 0);
        }
        let mut written = 0;
        while written < size {
            let limit = usize::try_from(size - written).unwrap_or(BUFFER).min(self.buffer.len());
            let piece = self.buffer.get_mut(..limit).unwrap_or_default();
            let count = match contents.read(piece) {
                Ok(0) => return Err(NarError::Size { announced: size, written }),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            self.output.write_all(piece.get(..count).unwrap_or_default())?;
            written += count as u64;
        }
        Ok(())
    }

    /// A symbolic link.
    pub fn symlink(&mut self, target: &[u8]) -> Result<(), NarError> {
        self.begin_node(b"symlink")?;
        put(&mut self.output, b"target")?;
        put(&mut self.output, target)?;
        self.end_node()
    }

    /// Opens a directory; its entries follow, then [`Writer::end_directory`].
    pub fn begin_directory(&mut self) -> Result<(), NarError> {
        self.begin_node(b"directory")?;
        if self.open.len() >= DEPTH_LIMIT {
            return Err(NarError::TooDeep);
        }
        self.open.push(None);
        Ok(())
    }

    /// Names the next node. Names must ascend bytewise.
    pub fn entry(&mut self, name: &[u8]) -> Result<(), NarError> {
        check_entry_name(name)?;
        if self.node_due {
            return Err(NarError::Misuse("an entry's name without a node before the next name"));
        }
        let Some(previous) = self.open.last_mut() else {
            return Err(NarError::Misuse("an entry outside of a directory"));
        };
        if let Some(previous) = previous.as_ref().filter(|previous| previous.as_slice() >= name) {
            return Err(NarError::Unsorted {
                name: String::from_utf8_lossy(name).into_owned(),
                previous: String::from_utf8_lossy(previous).into_owned(),
            });
        }
        *previous = Some(name.to_vec());
        self.node_due = true;
        for word in [b"entry".as_slice(), b"(", b"name", name, b"node"] {
            put(&mut self.output, word)?;
        }
        Ok(())
    }

    /// Closes the directory opened last.
    pub fn end_directory(&mut self) -> Result<(), NarError> {
        if self.node_due || self.open.pop().is_none() {
            return Err(NarError::Misuse("the end of a directory that is not open or lacks a node"));
        }
        self.end_node()
    }

    /// Ends the archive and gives the output back.
    pub fn finish(self) -> Result<W, NarError> {
        if self.node_due || !self.open.is_empty() {
            return Err(NarError::Misuse("the archive is not complete"));
        }
        Ok(self.output)
    }
}

fn put(output: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    output.write_all(&(bytes.len() as u64).to_le_bytes())?;
    output.write_all(bytes)?;
    pad(output, bytes.len() as u64)
}

fn pad(output: &mut impl Write, length: u64) -> io::Result<()> {
    let filling = (length.next_multiple_of(8) - length) as usize;
    output.write_all([0u8; 8].get(..filling).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::super::{Visitor, read};
    use super::*;
    use crate::hash::{Algorithm, Hash, HashingWriter};

    /// The directory `d` of the golden vectors: a="a", l -> a, x="#!/bin/sh\n" executable.
    fn write_d<W: Write>(output: W) -> W {
        let mut writer = Writer::new(output).unwrap();
        writer.begin_directory().unwrap();
        writer.entry(b"a").unwrap();
        writer.file(false, 1, &mut &b"a"[..]).unwrap();
        writer.entry(b"l").unwrap();
        writer.symlink(b"a").unwrap();
        writer.entry(b"x").unwrap();
        writer.file(true, 10, &mut &b"#!/bin/sh\n"[..]).unwrap();
        writer.end_directory().unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn hashes_as_nix_does() {
        let (_, hash, size) = write_d(HashingWriter::new(std::io::sink(), Algorithm::Sha256)).finish();
        assert_eq!(size, 712);
        assert_eq!(hash, Hash::parse("sha256:0597lv3gkj0lc63si52ch5s1q4msds6z96zq7c378wgcjv0hs9d5").unwrap());
    }

    /// Copies what it reads into a writer: reader and writer must be inverse.
    struct Copy(Option<Writer<Vec<u8>>>);

    impl Copy {
        fn at(&mut self, name: Option<&[u8]>) -> io::Result<&mut Writer<Vec<u8>>> {
            let writer = self.0.as_mut().unwrap();
            if let Some(name) = name {
                writer.entry(name).map_err(io::Error::other)?;
            }
            Ok(writer)
        }
    }

    impl Visitor for Copy {
        fn begin_directory(&mut self, name: Option<&[u8]>) -> io::Result<()> {
            self.at(name)?.begin_directory().map_err(io::Error::other)
        }
        fn end_directory(&mut self) -> io::Result<()> {
            self.at(None)?.end_directory().map_err(io::Error::other)
        }
        fn file(
            &mut self,
            name: Option<&[u8]>,
            executable: bool,
            size: u64,
            data: &mut dyn Read,
        ) -> io::Result<()> {
            self.at(name)?.file(executable, size, data).map_err(io::Error::other)
        }
        fn symlink(&mut self, name: Option<&[u8]>, target: &[u8]) -> io::Result<()> {
            self.at(name)?.symlink(target).map_err(io::Error::other)
        }
    }

    #[test]
    fn reading_is_the_inverse() {
        let archive = write_d(Vec::new());
        let mut copy = Copy(Some(Writer::new(Vec::new()).unwrap()));
        read(&mut archive.as_slice(), &mut copy).unwrap();
        assert_eq!(copy.0.take().unwrap().finish().unwrap(), archive);
    }

    #[test]
    fn wrong_calls_are_refused() {
        let mut writer = Writer::new(Vec::new()).unwrap();
        writer.begin_directory().unwrap();
        assert!(matches!(writer.symlink(b"x"), Err(NarError::Misuse(_))));
        writer.entry(b"b").unwrap();
        writer.symlink(b"x").unwrap();
        assert!(matches!(writer.entry(b"a"), Err(NarError::Unsorted { .. })));
        assert!(matches!(writer.entry(b"b"), Err(NarError::Unsorted { .. })));
        assert!(matches!(writer.entry(b".."), Err(NarError::BadName(_))));
        writer.entry(b"c").unwrap();
        assert!(matches!(
            writer.file(false, 5, &mut &b"abc"[..]),
            Err(NarError::Size { announced: 5, written: 3 })
        ));
    }
}
