//! The log of a disk's writes that QEMU's `blklogwrites` keeps ([`crate::Disk::record_writes`]), and what a power cut
//! could have left of them: every prefix, and subsets of what was not flushed.
//!
//! The format is that of dm-log-writes (Documentation/admin-guide/device-mapper/log-writes.rst in Linux): a superblock
//! {magic, version, entries, sector size}, then for each entry one sector {sector, sectors, flags, data length} and,
//! for writes, the data. All numbers are little-endian; sector numbers count 512 bytes.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

const MAGIC: u64 = 0x006A_7366_7773_6872;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
const SECTOR: u64 = 512;

/// A log that was read; its data stays in the file.
#[derive(Debug)]
pub struct WriteLog {
    path: PathBuf,
    entries: Vec<Entry>,
}

/// One operation on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The first byte on the disk.
    pub offset: u64,
    /// How many.
    pub length: u64,
    /// Write, discard or flush.
    pub operation: Operation,
    /// Where the data is in the log.
    data: u64,
}

/// What was asked of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// New bytes; may be lost until the next flush.
    Write,
    /// New bytes that are durable at once.
    DurableWrite,
    /// The bytes are no longer needed.
    Discard,
    /// Everything before is durable.
    Flush,
}

impl WriteLog {
    /// Reads the log of a machine that has ended.
    pub fn read(path: &Path) -> Result<Self> {
        let mut file = File::open(path).map_err(Error::file("cannot open", path))?;
        let size = file.metadata().map_err(Error::file("cannot read", path))?.len();
        let broken = |detail: String| Error::Format { path: path.to_owned(), detail };
        let mut sector = |at: u64| -> Result<[u8; 512]> {
            let mut bytes = [0; 512];
            let read = file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(&mut bytes));
            read.map_err(Error::file("cannot read", path)).map(|()| bytes)
        };
        let superblock = sector(0)?;
        if number(&superblock, 0) != MAGIC {
            return Err(broken("not a log of dm-log-writes".to_owned()));
        }
        let count = number(&superblock, 16);
        let mut entries = Vec::new();
        let mut at = SECTOR;
        for index in 0..count {
            if at + SECTOR > size {
                return Err(broken(format!("ends at entry {index} of {count}")));
            }
            let bytes = sector(at)?;
            at += SECTOR;
            let (first, sectors, flags) = (number(&bytes, 0), number(&bytes, 8), number(&bytes, 16));
            let (offset, length) = (first.saturating_mul(SECTOR), sectors.saturating_mul(SECTOR));
            let entry = |operation, length| Entry { offset, length, operation, data: at };
            if flags & FLUSH != 0 {
                entries.push(entry(Operation::Flush, 0));
            }
            if flags & DISCARD != 0 {
                entries.push(entry(Operation::Discard, length));
            } else if length > 0 {
                entries.push(entry(
                    if flags & FUA == 0 { Operation::Write } else { Operation::DurableWrite },
                    length,
                ));
                at = at.saturating_add(length);
            }
        }
        Ok(Self { path: path.to_owned(), entries })
    }

    /// All operations in their order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The lengths of all prefixes that end with a write, the empty one first: every moment at which power could go
    /// on a disk that writes in order.
    pub fn crash_points(&self) -> Vec<usize> {
        let writes = self.entries.iter().enumerate().filter(|(_, e)| e.operation != Operation::Flush);
        std::iter::once(0).chain(writes.map(|(index, _)| index + 1)).collect()
    }

    /// What a disk that reorders its writes may have kept of a prefix: all before the last flush, durable writes, and
    /// each later write or not, as the seed says.
    pub fn survivors(&self, prefix: usize, seed: u64) -> Vec<usize> {
        let entries = self.entries.get(..prefix).unwrap_or(&self.entries);
        let flushed = entries.iter().rposition(|entry| entry.operation == Operation::Flush).unwrap_or(0);
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut coin = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state & (1 << 32) != 0
        };
        let kept = |(index, entry): &(usize, &Entry)| {
            let coin = coin();
            *index < flushed || entry.operation == Operation::DurableWrite || coin
        };
        entries.iter().enumerate().filter(kept).map(|(index, _)| index).collect()
    }

    /// Carries out these operations (by index, in order) on a raw copy of the disk as it was before.
    pub fn replay(&self, indices: impl IntoIterator<Item = usize>, disk: &Path) -> Result<()> {
        let mut log = File::open(&self.path).map_err(Error::file("cannot open", &self.path))?;
        let mut target = File::options().write(true).open(disk).map_err(Error::file("cannot open", disk))?;
        for entry in indices.into_iter().filter_map(|index| self.entries.get(index)) {
            let mut data = match entry.operation {
                Operation::Flush => continue,
                // Discarded bytes may read as zeros or as before; zeros are the harder test.
                Operation::Discard => vec![0; entry.length as usize],
                Operation::Write | Operation::DurableWrite => {
                    let mut data = vec![0; entry.length as usize];
                    let read = log.seek(SeekFrom::Start(entry.data)).and_then(|_| log.read_exact(&mut data));
                    read.map_err(Error::file("cannot read", &self.path))?;
                    data
                }
            };
            let written = target.seek(SeekFrom::Start(entry.offset)).and_then(|_| target.write_all(&data));
            written.map_err(Error::file("cannot write", disk))?;
            data.clear();
        }
        Ok(())
    }
}

fn number(bytes: &[u8; 512], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(log: &mut Vec<u8>, sector: u64, sectors: u64, flags: u64, fill: u8) {
        let mut head: Vec<u8> = [sector, sectors, flags, 0].iter().flat_map(|n| n.to_le_bytes()).collect();
        head.resize(512, 0);
        log.extend(head);
        if flags & DISCARD == 0 {
            log.extend(vec![fill; (sectors * SECTOR) as usize]);
        }
    }

    fn sample(directory: &Path) -> WriteLog {
        let mut log = [MAGIC, 1, 5]
            .iter()
            .flat_map(|n| n.to_le_bytes())
            .chain(512_u32.to_le_bytes())
            .collect::<Vec<u8>>();
        log.resize(512, 0);
        entry(&mut log, 0, 1, 0, 1);
        entry(&mut log, 0, 0, FLUSH, 0);
        entry(&mut log, 1, 2, 0, 2);
        entry(&mut log, 0, 1, DISCARD, 0);
        entry(&mut log, 3, 1, FUA, 3);
        let path = directory.join("log");
        std::fs::write(&path, log).unwrap();
        WriteLog::read(&path).unwrap()
    }

    #[test]
    fn prefixes_are_replayed() {
        let directory = tempfile::tempdir().unwrap();
        let log = sample(directory.path());
        assert_eq!(log.crash_points(), [0, 1, 3, 4, 5]);
        let expected = [[9, 9, 9, 9], [1, 9, 9, 9], [1, 2, 2, 9], [0, 2, 2, 9], [0, 2, 2, 3]];
        for (prefix, expected) in log.crash_points().into_iter().zip(expected) {
            let disk = directory.path().join("disk");
            std::fs::write(&disk, vec![9; 2048]).unwrap();
            log.replay(0..prefix, &disk).unwrap();
            let bytes = std::fs::read(&disk).unwrap();
            let firsts: Vec<u8> = bytes.chunks(512).map(|sector| sector[0]).collect();
            assert_eq!(firsts, expected, "prefix {prefix}");
        }
    }

    #[test]
    fn what_was_flushed_survives_and_the_rest_may_not() {
        let directory = tempfile::tempdir().unwrap();
        let log = sample(directory.path());
        let all: Vec<Vec<usize>> = (0..50).map(|seed| log.survivors(5, seed)).collect();
        assert!(all.iter().all(|kept| kept.contains(&0) && kept.contains(&4)));
        assert!(all.iter().any(|kept| kept.contains(&2)) && all.iter().any(|kept| !kept.contains(&2)));
    }

    #[test]
    fn what_is_no_log_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        std::fs::write(&path, [0; 512]).unwrap();
        assert!(WriteLog::read(&path).unwrap_err().to_string().contains("dm-log-writes"));
    }
}
