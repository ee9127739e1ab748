//! A part of an image file or a disk that a writer fills: offsets count from its beginning, nothing is written past its end, and
//! blocks of zeros are left as holes. Where a region of a new file lies everything reads as zeros; where one of a disk that
//! held something lies, writers clear what they use first.

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// The grain of holes.
const HOLE: usize = 4096;

/// How much of a file is in memory when it is copied.
const CHUNK: usize = 1 << 20;

/// A window on an image file.
#[derive(Debug)]
pub struct Region<'a> {
    file: &'a File,
    start: u64,
    length: u64,
    holds_something: bool,
}

/// Makes a sparse file of that size, replacing what was there.
///
/// # Errors
/// When the file cannot be made or be that large.
pub fn create_sparse(path: &Path, size: u64) -> io::Result<File> {
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
    file.set_len(size)?;
    Ok(file)
}

impl<'a> Region<'a> {
    /// The window from `start`, `length` bytes long.
    pub fn new(file: &'a File, start: u64, length: u64) -> Self {
        Self { file, start, length, holds_something: false }
    }

    /// The same on a disk or file that may hold something there.
    pub fn of_used(file: &'a File, start: u64, length: u64) -> Self {
        Self { file, start, length, holds_something: true }
    }

    /// Has these bytes read as zeros. Offset and length are multiples of 512. In a new file they do so already.
    ///
    /// # Errors
    /// When they do not lie within the region, or the system refuses.
    pub fn clear(&self, offset: u64, length: u64) -> io::Result<()> {
        if !self.holds_something || length == 0 {
            return Ok(());
        }
        self.check(offset, length)?;
        let range =
            |value: u64| i64::try_from(value).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
        let (from, bytes) = (range(self.start + offset)?, range(length)?);
        // The kernel knows whether the disk can do it by itself; a file system that cannot has to be written to.
        match fallocate(self.file, FallocateFlags::FALLOC_FL_ZERO_RANGE, from, bytes) {
            Ok(()) => return Ok(()),
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EINVAL) => {}
            Err(errno) => return Err(errno.into()),
        }
        let zeros = vec![0; CHUNK.min(usize::try_from(length).unwrap_or(CHUNK))];
        let mut done = 0;
        while done < length {
            let piece = zeros
                .get(..usize::try_from(length - done).unwrap_or(CHUNK).min(zeros.len()))
                .unwrap_or(&zeros);
            self.file.write_all_at(piece, self.start + offset + done)?;
            done += piece.len() as u64;
        }
        Ok(())
    }

    fn check(&self, offset: u64, length: u64) -> io::Result<()> {
        if offset.checked_add(length).is_some_and(|end| end <= self.length) {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{length} bytes at {offset} reach past the end of a region of {} bytes", self.length),
        ))
    }

    /// Its length in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Writes, leaving out aligned blocks of zeros.
    ///
    /// # Errors
    /// When the bytes do not lie within the region, or the system refuses.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.check(offset, bytes.len() as u64)?;
        let mut pending: Option<usize> = None;
        let first = (HOLE - (offset % HOLE as u64) as usize).min(bytes.len());
        let mut at = 0;
        let mut next = first;
        while at < bytes.len() {
            let piece = bytes.get(at..next).unwrap_or_default();
            if is_zero(piece) {
                self.flush(offset, bytes, pending.take(), at)?;
            } else if pending.is_none() {
                pending = Some(at);
            }
            at = next;
            next = (next + HOLE).min(bytes.len());
        }
        self.flush(offset, bytes, pending, bytes.len())
    }

    fn flush(&self, offset: u64, bytes: &[u8], from: Option<usize>, to: usize) -> io::Result<()> {
        match from.and_then(|from| Some((from, bytes.get(from..to)?))) {
            Some((from, piece)) => self.file.write_all_at(piece, self.start + offset + from as u64),
            None => Ok(()),
        }
    }

    /// Reads back what was written.
    ///
    /// # Errors
    /// As `pread` has them.
    pub fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(bytes, self.start + offset)
    }

    /// Copies `length` bytes of a file to `offset`, in pieces.
    ///
    /// # Errors
    /// When the file is shorter than that, or the system refuses.
    pub fn copy(&self, offset: u64, source: &File, from: u64, length: u64) -> io::Result<()> {
        let mut buffer = vec![0; usize::try_from(length.min(CHUNK as u64)).unwrap_or(CHUNK)];
        let mut done = 0;
        while done < length {
            let wanted = usize::try_from(length - done).unwrap_or(CHUNK).min(CHUNK);
            let Some(piece) = buffer.get_mut(..wanted) else { break };
            source.read_exact_at(piece, from + done)?;
            self.write(offset + done, piece)?;
            done += wanted as u64;
        }
        Ok(())
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    // Eight at a time; the compiler makes vectors of it.
    let (words, rest) = bytes.as_chunks::<8>();
    words.iter().all(|word| u64::from_ne_bytes(*word) == 0) && rest.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn zeros_stay_holes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image");
        let file = create_sparse(&path, 1 << 20).unwrap();
        let region = Region::new(&file, 8192, 1 << 19);
        let mut bytes = vec![0; 1 << 18];
        bytes[100_000] = 7;
        region.write(100, &bytes).unwrap();
        assert!(file.metadata().unwrap().blocks() * 512 <= 8192);
        let mut back = vec![1; bytes.len()];
        region.read(100, &mut back).unwrap();
        assert_eq!(back, bytes);
    }

    #[test]
    fn what_was_there_is_cleared_and_nothing_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk");
        std::fs::write(&path, vec![0xaa; 3 << 20]).unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let region = Region::of_used(&file, 4096, 2 << 20);
        region.clear(512, (1 << 20) + 512).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 3 << 20);
        assert!(bytes[..4608].iter().all(|byte| *byte == 0xaa));
        assert!(bytes[4608..4608 + (1 << 20) + 512].iter().all(|byte| *byte == 0));
        assert!(bytes[4608 + (1 << 20) + 512..].iter().all(|byte| *byte == 0xaa));
        assert!(region.clear(2 << 20, 512).is_err());
        Region::new(&file, 0, 4096).clear(0, 4096).unwrap();
        assert!(
            std::fs::read(&path).unwrap()[..4096].iter().all(|byte| *byte == 0xaa),
            "a new file is not touched"
        );
    }

    #[test]
    fn nothing_past_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let file = create_sparse(&directory.path().join("image"), 8192).unwrap();
        let region = Region::new(&file, 4096, 4096);
        assert!(region.write(4090, &[1; 6]).is_ok());
        assert!(region.write(4090, &[1; 7]).is_err());
        assert!(region.write(u64::MAX, &[1; 7]).is_err());
    }
}
