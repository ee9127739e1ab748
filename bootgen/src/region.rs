//! A part of an image file that a writer fills: offsets count from its beginning, nothing is written past its end, and
//! blocks of zeros are left as holes. The file must be new (all holes) where the region lies.

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
        Self { file, start, length }
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
        let end = offset.checked_add(bytes.len() as u64);
        if end.is_none_or(|end| end > self.length) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "{} bytes at {offset} reach past the end of a region of {} bytes",
                    bytes.len(),
                    self.length
                ),
            ));
        }
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
    fn nothing_past_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let file = create_sparse(&directory.path().join("image"), 8192).unwrap();
        let region = Region::new(&file, 4096, 4096);
        assert!(region.write(4090, &[1; 6]).is_ok());
        assert!(region.write(4090, &[1; 7]).is_err());
        assert!(region.write(u64::MAX, &[1; 7]).is_err());
    }
}
